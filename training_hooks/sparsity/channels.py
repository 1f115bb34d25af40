"""Feature maps of StyleGAN2's networks: who writes a channel, who reads it, and which channels are worth keeping.

Everything here works on parameter names and shapes alone, as ``G.named_parameters()`` gives them: of any generator whose
synthesis network has the blocks ``b4``, ``b8``, ... of StyleGAN2-ADA-PyTorch, and of any discriminator that has them
(architectures "orig", "skip" and "resnet").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import torch

from .anatomy import MAPPING, SYNTHESIS, place
from .scores import Rule, Scorer, keep_renewed

__all__ = ["Feature", "Layout", "choose_channels", "dead_channels", "entries_of", "kept_channels"]

# Layer → the feature map of its block that it reads, and the one that it writes, in the order of computing. "given" is the one
# that the block before hands on, its "conv1"; image and logits are none.
_WIRES: Dict[str, Tuple[Optional[str], Optional[str]]] = {
    "const": (None, "conv0"),
    "fromrgb": (None, "given"),
    "conv0": ("given", "conv0"),
    "conv1": ("conv0", "conv1"),
    "skip": ("given", "conv1"),
    "torgb": ("conv1", None),
    "conv": ("given", "conv"),
    "fc": ("conv", "fc"),
    "out": ("fc", None),
}


@dataclass(frozen=True)
class Feature:
    """One feature map.

    Args:
        name: the layer that writes it.
        channels: how many it has.
        writers: names of the parameters whose dimension 0 writes the channels (``const`` and weights).
        readers: names of the parameters whose dimension 1 reads them, each channel with as many entries as it has pixels there.
    """

    name: str
    channels: int
    writers: Tuple[str, ...]
    readers: Tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How the parameters of a generator's synthesis network, or of a discriminator, hang together.

    Args:
        features: the feature maps of which channels can be pruned, in the order of the network.
        axes: parameter name → for dimensions 0 and 1 the index of the feature map that the dimension runs over, or None.
        inputs: block such as "synthesis.b8" → index of the feature map that it is given by the block before.
        root: where the network lies whose forward pass is narrowed: "synthesis", or "" for a discriminator.
    """

    features: Tuple[Feature, ...]
    axes: Mapping[str, Tuple[Optional[int], Optional[int]]]
    inputs: Mapping[str, int]
    root: str

    @property
    def ends(self) -> List[str]:
        """Names of all parameters that write or read a feature map."""
        return list(dict.fromkeys(name for feature in self.features for name in (*feature.writers, *feature.readers)))

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]], frozen: Collection[str] = ()) -> "Layout":
        """The layout of the network with these parameters (name → shape). Those of mapping networks are passed over.

        A feature map stays whole, and is none of ``features``, if a frozen layer writes or reads it, or the deviation within a
        minibatch, which reads all channels without a weight.

        Args:
            shapes: of what trains.
            frozen: names of the weights and biases that do not.

        Raises:
            ValueError: it is neither a generator with StyleGAN2's synthesis network nor StyleGAN2's discriminator.
        """
        root = "synthesis" if any(name.startswith(SYNTHESIS) for name in shapes) else ""
        wires, inputs = _wired(root, _layers(root, [*shapes, *frozen]))
        whole = set(_whole(wires, shapes, set(frozen)))
        maps = [each for each in dict.fromkeys(wire.writes for wire in wires if wire.writes) if each not in whole]
        number = {name: index for index, name in enumerate(maps)}
        axes = {}
        for wire in wires:
            out, into = number.get(wire.writes or ""), number.get(wire.reads or "")
            axes.update({name: _axes(name, out, into) for name in wire.names if name in shapes})
        return cls(
            tuple(_feature(name, index, axes, shapes) for name, index in number.items()),
            axes,
            {block: number[given] for block, given in inputs.items() if given in number},
            root,
        )


@dataclass(frozen=True)
class _Wire:
    """A layer's parameters, and the feature maps that it reads and writes, by the layers that write them first."""

    names: Tuple[str, ...]
    reads: Optional[str]
    writes: Optional[str]


def _layers(root: str, names: Iterable[str]) -> Dict[Tuple[int, str], List[str]]:
    """Resolution and layer → names of its parameters."""
    what = "synthesis networks" if root else "synthesis networks and discriminators"
    only = f"channels can be pruned in StyleGAN2 {what} only"
    layers: Dict[Tuple[int, str], List[str]] = {}
    for name in names:
        found = place(name)
        if found is not None and found.part == (root or "D") and found.layer in _WIRES:
            layers.setdefault((found.resolution, found.layer), []).append(name)
        elif name.startswith(SYNTHESIS) or (not root and not name.startswith(MAPPING)):
            raise ValueError(f"{only}, and {name} is of none")
    end = (4, "const") if root else (4, "out")
    if end not in layers or min(layers)[0] != 4:
        raise ValueError(f"{only}, and there is no " + (f"{SYNTHESIS}b4.const" if root else "b4.out"))
    return layers


def _wired(root: str, layers: Mapping[Tuple[int, str], Sequence[str]]) -> Tuple[List[_Wire], Dict[str, str]]:
    """The layers in the order in which the network computes them, and the feature map that each block is given."""
    wires: List[_Wire] = []
    inputs: Dict[str, str] = {}
    given: Optional[str] = None
    for resolution in sorted({r for r, _ in layers}, reverse=not root):
        block = f"{root}.b{resolution}".lstrip(".")
        maps: Dict[str, str] = {}
        if given is not None:
            inputs[block] = maps["given"] = given
        for layer, (reads, writes) in _WIRES.items():
            names = layers.get((resolution, layer))
            if names is None:
                continue
            if reads is not None and reads not in maps:
                lacking = "fromrgb" if reads == "given" else reads
                raise ValueError(f"channels can be pruned in StyleGAN2 networks only, and {block} has no {lacking}.weight")
            into = None if reads is None else maps[reads]
            out = None if writes is None else maps.setdefault(writes, f"{block}.{layer}")
            wires.append(_Wire(tuple(names), into, out))
        given = maps.get("conv1")
    return wires, inputs


def _whole(wires: Sequence[_Wire], shapes: Mapping[str, Sequence[int]], frozen: Set[str]) -> Iterable[str]:
    """The feature maps of which no channel can be pruned."""
    channels: Dict[str, int] = {}
    for wire in wires:
        ends = [each for each in (wire.reads, wire.writes) if each is not None]
        if not frozen.isdisjoint(wire.names):
            yield from ends
            continue
        weight = next(name for name in wire.names if name.endswith(("const", "weight")) and ".affine." not in name)
        if wire.writes is not None:
            channels.setdefault(wire.writes, shapes[weight][0])
        if wire.reads in channels and shapes[weight][1] != channels[wire.reads] and not weight.endswith("fc.weight"):
            yield wire.reads  # the minibatch's deviation lies behind its channels


def _axes(name: str, out: Optional[int], into: Optional[int]) -> Tuple[Optional[int], Optional[int]]:
    if name.endswith(("affine.weight", "affine.bias")):
        return into, None  # one style for each channel that the layer reads
    if name.endswith(".weight"):
        return out, into
    return (out, None) if name.endswith((".bias", ".const")) else (None, None)


def _feature(
    name: str, index: int, axes: Mapping[str, Tuple[Optional[int], Optional[int]]], shapes: Mapping[str, Sequence[int]]
) -> Feature:
    ends = [n for n in axes if n.endswith(("weight", "const")) and not n.endswith("affine.weight")]
    writers, readers = (tuple(n for n in ends if axes[n][dimension] == index) for dimension in (0, 1))
    return Feature(name, shapes[writers[0]][0], writers, readers)


def entries_of(index: torch.Tensor, run: int) -> torch.Tensor:
    """Where the channels ``index`` lie in a dimension with ``run`` entries in turn for each channel."""
    return index if run == 1 else (index[:, None] * run + torch.arange(run, device=index.device)).flatten()


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
        layout: of the network.
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
    read = sum(_by_channel(squares(n), feature).sum(1) for n in feature.readers) if importance != "writers" else 1.0
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
        flags = [_by_channel(params[n] == 0, feature).all(1) for n in feature.readers]
        dead.append(torch.stack(flags).all(0))
    return dead


def _by_channel(reader: torch.Tensor, feature: Feature) -> torch.Tensor:
    """The entries of a weight that reads a feature map, [channels, entries]."""
    return reader.unflatten(1, (feature.channels, -1)).transpose(0, 1).flatten(1)
