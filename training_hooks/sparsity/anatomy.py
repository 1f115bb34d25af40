"""What the names of a network's parameters say: one table a family of networks.

StyleGAN2's, in NVIDIA's PyTorch code: a generator is ``mapping.*`` and ``synthesis.b4``, ``b8``, ...; a discriminator is
``b4``, ``b8``, ... and, with labels, ``mapping.*``. Of them the place of each parameter is known, of the others its role alone:
StyleGAN3's generators are ``synthesis.input`` and ``synthesis.L0_36_512``, ...; FastGAN's ``synthesis.feat_8``, ..., with gates
``se_64``, ...; R3GAN's networks stages of residual blocks, ``Model.MainLayers.0.Layers.1.LinearLayer1``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = ["DENSE", "MAPPING", "RGB", "ROLES", "SYNTHESIS", "Place", "place", "role"]

#: Where the synthesis network lies in a generator.
SYNTHESIS = "synthesis."
#: Where the mapping network lies, in a generator and in a discriminator.
MAPPING = "mapping."

#: Network → patterns of the parameters of layers that write (G) or read (D) RGB, as StyleGAN2, its other implementations,
#: StyleGAN3, FastGAN and R3GAN name them. The reference code of Re-GAN leaves out names with "to_rgb".
RGB: Dict[str, Tuple[str, ...]] = {
    "G": ("*torgb*", "*to_rgb*", "synthesis.L*_[134].*", "*.to_big.*", "*AggregationLayer*"),
    "D": ("*fromrgb*", "*from_rgb*", "*ExtractionLayer*"),
}

#: Network → the same, and the layer that gives StyleGAN2's D its logit.
DENSE: Dict[str, Tuple[str, ...]] = {"G": RGB["G"], "D": (*RGB["D"], "b4.out.*")}

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
_STAGE = r"Model\.MainLayers\.\d+\.Layers"
# Other networks: what the whole name of a parameter is like → role. The first that fits counts.
_OTHERS = (
    # StyleGAN3 -t and -r
    (r"synthesis\.(input|L\d+_\d+_\d+)\.affine\.(weight|bias)", "affine"),
    (r"synthesis\.(input\.weight|L\d+_\d+_\d+\.(weight|bias))", "conv"),
    # FastGAN, with spectral normalisation; what gates channels makes their style
    (r"synthesis\.(se_\d+\.main|feat_\d+\.bn\d?\.(gain|bias))\..+", "affine"),
    (r"synthesis\.(init\.init|feat_\d+|to_big)\..+", "conv"),
    (r"synthesis\.embed\.weight", "mapping"),
    # R3GAN: the latent scales G's learned input, in the first layer of its first stage; D ends with a linear layer
    (rf"{_STAGE}\.0\.LinearLayer\.weight", "affine"),
    (rf"{_STAGE}\.\d+\.LinearLayer\.weight", "fc"),
    (rf"{_STAGE}\.\d+\.(Basis(\.weight)?|LinearLayer[123]?\.Layer\.weight|NonLinearity\d\.Bias)", "conv"),
    (r"Model\.(AggregationLayer|ExtractionLayer)\.Layer\.weight", "conv"),
    (r"Model\.EmbeddingLayer\.weight", "mapping"),
)


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
        return next((role for pattern, role in _OTHERS if re.fullmatch(pattern, name)), "")
    if found.part == "mapping":
        return "mapping"
    return "affine" if found.is_affine else "fc" if found.layer in _ONCE else "conv"
