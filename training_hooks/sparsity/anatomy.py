"""What the names of a network's parameters say: one table a family of networks.

StyleGAN2's, in NVIDIA's PyTorch code: a generator is ``mapping.*`` and ``synthesis.b4``, ``b8``, ...; a discriminator is
``b4``, ``b8``, ... and, with labels, ``mapping.*``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = ["RGB", "ROLES", "SYNTHESIS", "Place", "place", "role"]

#: Where the synthesis network lies in a generator.
SYNTHESIS = "synthesis."

#: Network → patterns of the parameters of layers that write (G) or read (D) RGB, as StyleGAN2, its other implementations,
#: StyleGAN3, FastGAN and R3GAN name them. The reference code of Re-GAN leaves out names with "to_rgb".
RGB: Dict[str, Tuple[str, ...]] = {
    "G": ("*torgb*", "*to_rgb*", "synthesis.L*_[134].*", "*.to_big.*", "*AggregationLayer*"),
    "D": ("*fromrgb*", "*from_rgb*", "*ExtractionLayer*"),
}

#: Role → what plays it. Weights of a role begin with one spread and learn at one rate, so they are compared with each other.
ROLES: Dict[str, str] = {
    "conv": "convolutions and the learned input",
    "affine": "layers that make styles",
    "mapping": "mapping network",
    "fc": "fully connected layers of D",
}

_LAYERS = "conv0|conv1|torgb|skip|fromrgb|conv|fc|out"
_BLOCK = re.compile(rf"({re.escape(SYNTHESIS)})?b(\d+)\.(?:(const)|({_LAYERS})\.(affine\.)?(weight|bias|noise_strength))")
_MAPPING = re.compile(r"mapping\.(fc\d+|embed)\.(weight|bias)")
# Layers whose convolution runs on half the resolution of their block: before upsampling in G, after downsampling in D.
_HALVED = {True: ("conv0", "skip"), False: ("conv1", "skip")}
_ONCE = ("fc", "out")  # layers that are applied once, not at every pixel


@dataclass(frozen=True)
class Place:
    """Where a parameter is.

    Args:
        part: "mapping", "synthesis" or "D".
        resolution: resolution of its block in pixels; 0 in the mapping network.
        layer: layer in its block, such as "const", "conv0" or "torgb"; in the mapping network such as "fc0" or "embed".
        is_affine: whether it makes the layer's styles.
        kind: "const", "weight", "bias" or "noise_strength".
    """

    part: str
    resolution: int
    layer: str
    is_affine: bool
    kind: str

    @property
    def pixels(self) -> int:
        """How many times the parameter is applied for one image."""
        if self.part == "mapping" or self.is_affine or self.layer in _ONCE:
            return 1
        return (self.resolution // (2 if self.layer in _HALVED[self.part == "synthesis"] else 1)) ** 2


def place(name: str) -> Optional[Place]:
    """The place of a parameter of a StyleGAN2 generator or discriminator; None for the names of other networks."""
    mapping = _MAPPING.fullmatch(name)
    if mapping is not None:
        return Place("mapping", 0, mapping[1], False, mapping[2])
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    synthesis, resolution, const, layer, affine, kind = block.groups()
    return Place("synthesis" if synthesis else "D", int(resolution), const or layer, bool(affine), const or kind)


def role(name: str) -> str:
    """What a parameter does, one of ``ROLES``; "" for the names of other networks."""
    found = place(name)
    if found is None:
        return ""
    if found.part == "mapping":
        return "mapping"
    return "affine" if found.is_affine else "fc" if found.layer in _ONCE else "conv"
