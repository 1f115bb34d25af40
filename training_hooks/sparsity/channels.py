"""Feature maps of a StyleGAN2 generator: who writes a channel, who reads it, and which channels are worth keeping.

Everything here works on parameter names and shapes alone, as ``G.named_parameters()`` gives them, of any generator whose
synthesis network has the blocks ``b4``, ``b8``, ... of StyleGAN2-ADA-PyTorch (architectures "orig", "skip" and "resnet").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from .anatomy import SYNTHESIS, place
from .scores import Rule, Scorer, keep_renewed

__all__ = ["Feature", "Layout", "choose_channels", "dead_channels", "kept_channels"]

_ONLY = "channels can be pruned in StyleGAN2 synthesis networks only"
_LAYERS = ("const", "conv0", "conv1", "torgb", "skip")


@dataclass(frozen=True)
class Feature:
    """One feature map.

    Args:
        name: the layer that writes it.
        channels: how many it has.
        writers: names of the parameters whose dimension 0 writes the channels (``const`` and convolution weights).
        readers: names of the parameters whose dimension 1 reads them.
    """

    name: str
    channels: int
    writers: Tuple[str, ...]
    readers: Tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How the parameters of a generator's synthesis network hang together.

    Args:
        features: the feature maps, in the order of the network.
        axes: parameter name → for dimensions 0 and 1 the index of the feature map that the dimension runs over, or None.
        inputs: block name such as "b8" → index of the feature map that the block is given. The first block is given none.
    """

    features: Tuple[Feature, ...]
    axes: Mapping[str, Tuple[Optional[int], Optional[int]]]
    inputs: Mapping[str, int]

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> "Layout":
        """The layout of the generator with these parameters (name → shape). Those of its mapping network are passed over.

        Raises:
            ValueError: it has no StyleGAN2 synthesis network.
        """
        layers: Dict[Tuple[int, str], List[str]] = {}
        for name in shapes:
            if name.startswith(SYNTHESIS):
                found = place(name)
                if found is None or found.layer not in _LAYERS:
                    raise ValueError(f"{_ONLY}, and {name} is of none")
                layers.setdefault((found.resolution, found.layer), []).append(name)
        if not layers or (min(layers)[0], "const") not in layers:
            raise ValueError(f"{_ONLY}, and there is no {SYNTHESIS}b4.const")
        return _Builder(shapes, layers).layout()


class _Builder:
    """Walks the layers in the order in which the network computes them."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], layers: Mapping[Tuple[int, str], Sequence[str]]):
        self.shapes, self.layers = shapes, layers
        self.names: List[str] = []
        self.channels: List[int] = []
        self.axes: Dict[str, Tuple[Optional[int], Optional[int]]] = {}
        self.inputs: Dict[str, int] = {}

    def layout(self) -> Layout:
        last = None
        for resolution in sorted({r for r, _ in self.layers}):
            last = self._block(resolution, last)
        features = []
        for index, name in enumerate(self.names):
            writers = [n for n, (out, _) in self.axes.items() if out == index and n.endswith(("weight", "const"))]
            readers = [n for n, (_, into) in self.axes.items() if into == index]
            writers = [n for n in writers if not n.endswith("affine.weight")]
            features.append(Feature(name, self.channels[index], tuple(writers), tuple(readers)))
        return Layout(tuple(features), self.axes, self.inputs)

    def _block(self, resolution: int, given: Optional[int]) -> int:
        """Returns the feature map that the block hands on."""
        if given is None:
            (const,) = self.layers[(resolution, "const")]
            x = self._feature(const)
            self.axes[const] = (x, None)
        else:
            self.inputs[f"b{resolution}"] = x = given
            x = self._convolution(resolution, "conv0", x)
        x = self._convolution(resolution, "conv1", x)
        if (resolution, "skip") in self.layers:
            assert given is not None
            for name in self.layers[(resolution, "skip")]:  # its output is added to that of conv1
                self.axes[name] = (x, given)
        for name in self.layers.get((resolution, "torgb"), ()):
            self.axes[name] = self._axes_of_layer(name, None, x)
        return x

    def _convolution(self, resolution: int, layer: str, x: int) -> int:
        names = self.layers.get((resolution, layer), ())
        weight = next((n for n in names if n.endswith(f"{layer}.weight")), None)
        if weight is None:
            raise ValueError(f"{_ONLY}, and {SYNTHESIS}b{resolution} has no {layer}.weight")
        out = self._feature(weight)
        for name in names:
            self.axes[name] = self._axes_of_layer(name, out, x)
        return out

    def _axes_of_layer(self, name: str, out: Optional[int], into: int) -> Tuple[Optional[int], Optional[int]]:
        if name.endswith(("affine.weight", "affine.bias")):
            return into, None  # one style for each channel that the layer reads
        if name.endswith(".weight"):
            return out, into
        return (out, None) if name.endswith(".bias") else (None, None)

    def _feature(self, writer: str) -> int:
        self.names.append(writer[: -len(".weight")] if writer.endswith(".weight") else writer)
        self.channels.append(self.shapes[writer][0])
        return len(self.names) - 1


def kept_channels(channels: int, ratio: float, multiple: int = 8, minimum: int = 8) -> int:
    """How many of ``channels`` stay: all but floor(ratio · channels), rounded up to a multiple, and at least ``minimum``."""
    wanted = max(channels - int(ratio * channels + 1e-9), minimum, 1)
    return min(channels, -(-wanted // multiple) * multiple)


@torch.no_grad()
def choose_channels(
    params: Mapping[str, torch.Tensor],
    layout: Layout,
    kept: Sequence[int],
    importance: str = "writers",
    rule: Optional[Rule] = None,
    before: Sequence[torch.Tensor] = (),
) -> List[torch.Tensor]:
    """The most important channels of every feature map.

    Args:
        params: parameter name → tensor.
        layout: of the generator.
        kept: how many channels of each feature map stay.
        importance: L2 norm of the scores of the weights that write the channel ("writers"), of those that read it
            ("readers"), or the product of the two ("both").
        rule: what scores weights, and how many channels are others than before; None = magnitudes.
        before: for each feature map the indices of the channels that were kept before; none where there was no choice yet.

    Returns:
        For each feature map the kept channels as ascending indices, int64. Ties go to the channel that comes first.
    """
    rule, chosen = rule or Rule(0), []
    for index, (feature, count) in enumerate(zip(layout.features, kept)):

        def first(scores: torch.Tensor, count: int = count) -> torch.Tensor:
            order = torch.argsort(scores, descending=True, stable=True)
            return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device).index_fill_(0, order[:count], True)

        score = _of_channels(params, feature, importance, rule.score)
        if rule.turnover and rule.worth is not None and before and count < feature.channels:
            last = torch.zeros(score.shape, dtype=torch.bool, device=score.device).index_fill_(0, before[index], True)
            worth = _of_channels(params, feature, "writers", rule.worth)
            mask = keep_renewed(score, first, last, worth, rule.turnover)
        else:
            mask = first(score)
        chosen.append(mask.nonzero().flatten())
    return chosen


def _of_channels(params: Mapping[str, torch.Tensor], feature: Feature, importance: str, score: Scorer) -> torch.Tensor:
    """The importance of each channel of a feature map, squared."""

    def squares(name: str) -> torch.Tensor:
        return score(name, params[name]).float().square()

    written = sum(squares(n).flatten(1).sum(1) for n in feature.writers) if importance != "readers" else 1.0
    read = sum(squares(n).transpose(0, 1).flatten(1).sum(1) for n in feature.readers) if importance != "writers" else 1.0
    found = written * read
    assert isinstance(found, torch.Tensor)
    return found


@torch.no_grad()
def dead_channels(params: Mapping[str, torch.Tensor], layout: Layout) -> List[torch.Tensor]:
    """Feature map by feature map, a bool tensor that is true where every weight that reads the channel is zero.

    Such channels can be removed without changing what the network computes.
    """
    dead = []
    for feature in layout.features:
        flags = [(params[n] == 0).transpose(0, 1).flatten(1).all(1) for n in feature.readers]
        dead.append(torch.stack(flags).all(0))
    return dead
