"""Parameter shapes of the networks that a command trains, without making them: for what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

__all__ = ["Architecture", "discriminator_shapes", "generator_shapes"]

_Z = _W = 512
Shapes = Dict[str, Tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """StyleGAN2 as the host builds it.

    Args:
        resolution, image_channels: of the images.
        base, most: channels of a layer are ``base`` over its resolution, at most ``most``.
        mapping: layers of the mapping network.
        skips: D has residual connections ("resnet"), or none ("orig").
        classes: of the labels; 0 is unconditional.
    """

    resolution: int
    image_channels: int = 3
    base: int = 32768
    most: int = 512
    mapping: int = 8
    skips: bool = True
    classes: int = 0

    def channels(self, resolution: int) -> int:
        """Channels of the layers of that resolution."""
        return min(self.base // resolution, self.most)

    @property
    def resolutions(self) -> List[int]:
        """From 4 to that of the images."""
        return [2**power for power in range(2, self.resolution.bit_length())]


def generator_shapes(net: Architecture) -> Shapes:
    """The parameters of G by name, but for what a forward pass only adds."""
    shapes: Shapes = {f"mapping.fc{i}.weight": (_W, _Z) for i in range(net.mapping)}
    if net.classes:
        shapes.update({"mapping.embed.weight": (_W, net.classes), "mapping.fc0.weight": (_W, _Z + _W)})
    shapes["synthesis.b4.const"] = (net.channels(4), 4, 4)
    before = 0
    for side in net.resolutions:
        out = net.channels(side)
        layers = {"conv0": (before, 3, out)} if before else {}
        layers.update(conv1=(out, 3, out), torgb=(out, 1, net.image_channels))
        for layer, (inputs, kernel, outputs) in layers.items():
            shapes[f"synthesis.b{side}.{layer}.weight"] = (outputs, inputs, kernel, kernel)
            shapes[f"synthesis.b{side}.{layer}.affine.weight"] = (inputs, _W)
            shapes[f"synthesis.b{side}.{layer}.bias"] = (outputs,)
        before = out
    return shapes


def discriminator_shapes(net: Architecture) -> Shapes:
    """The weights of D by name."""
    shapes: Shapes = {}
    for side in reversed(net.resolutions[1:]):
        here, out = net.channels(side), net.channels(side // 2)
        if side == net.resolution:
            shapes[f"b{side}.fromrgb.weight"] = (here, net.image_channels, 1, 1)
        shapes[f"b{side}.conv0.weight"] = (here, here, 3, 3)
        shapes[f"b{side}.conv1.weight"] = (out, here, 3, 3)
        if net.skips:
            shapes[f"b{side}.skip.weight"] = (out, here, 1, 1)
    last = net.channels(4)
    shapes["b4.conv.weight"] = (last, last + 1, 3, 3)
    shapes["b4.fc.weight"] = (last, last * 16)
    shapes["b4.out.weight"] = (last if net.classes else 1, last)
    if net.classes:
        shapes["mapping.embed.weight"] = (last, net.classes)
        shapes.update({f"mapping.fc{i}.weight": (last, last) for i in range(8)})
    return shapes
