"""What the settings of the Re-GAN hook prune of networks with given parameters: names and shapes only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

import torch

from ...sparsity import masks, selection
from ...sparsity.anatomy import MAPPING, RGB
from ...sparsity.channels import Layout, kept_channels
from ...sparsity.selection import SelectionError, select
from .config import ReconfigurationConfig

__all__ = [
    "ChannelPlan", "check_rgb", "doubts", "knows_rgb", "left_dense", "plan_channels", "ratio_of", "select_parameters",
]  # fmt: skip

_NONE: Mapping[str, Any] = MappingProxyType({})


def select_parameters(
    config: ReconfigurationConfig, network: str, shapes: Mapping[str, Any], frozen: Mapping[str, Any] = _NONE
) -> List[str]:
    """Names of the parameters of ``network`` ("G" or "D") of which ``config`` zeroes entries.

    Args:
        config: the settings.
        network: "G" or "D".
        shapes: parameter name → shape.
        frozen: the same of its weights and biases that do not train.

    Raises:
        SelectionError: none, or a pattern matches nothing.
        ValueError: the ratio is too high for any tensor to keep one weight per output channel; or whole channels are asked
            for, of a network that is not StyleGAN2's.
    """
    config = config.of(network)
    if config.granularity == "channel":
        plan = plan_channels(config, network, shapes, frozen)
        return [*plan.readers, *plan.mapping]
    names = _chosen(config, network, shapes)
    return names if "quantile" in config.quirks else _without_thin(config, network, {name: shapes[name] for name in names})


def left_dense(config: ReconfigurationConfig, network: str, shapes: Mapping[str, Any]) -> Dict[str, Any]:
    """Names and shapes of the parameters in scope that are not pruned: ``config.ratio`` would take a whole output channel.

    Raises:
        SelectionError: nothing is in scope, or a pattern matches nothing.
    """
    config = config.of(network)
    if config.granularity == "channel":
        names = _mapping_in_scope(config, shapes)
    else:
        names = [] if "quantile" in config.quirks else _chosen(config, network, shapes)
    return {name: shapes[name] for name in names if _is_thin(_moved(config), shapes[name])}


def _chosen(config: ReconfigurationConfig, network: str, shapes: Mapping[str, Any]) -> List[str]:
    exclude = RGB[network] if config.exclude is None else config.exclude
    return select(shapes, config.scope, exclude, strict=config.exclude is not None)


def knows_rgb(config: ReconfigurationConfig, network: str, names: Iterable[str]) -> bool:
    """Whether the layers that write (G) or read (D) RGB are told from the others: by ``config``, or by their usual names.

    Args:
        config: the settings.
        network: "G" or "D".
        names: of its parameters, frozen ones included.
    """
    given = config.exclude is not None or config.granularity == "channel"  # the image's own channels are never narrowed
    return given or selection.knows_rgb(network, names)


def check_rgb(config: ReconfigurationConfig, network: str, names: Sequence[str]) -> None:
    """Check that no RGB layer is pruned unasked, see ``knows_rgb``.

    Raises:
        SelectionError: it might be.
    """
    if not knows_rgb(config, network, names):
        selection.check_rgb(network, names)


def doubts(config: ReconfigurationConfig, network: str, shapes: Mapping[str, Any]) -> Iterator[str]:
    """What the user may not have meant, of a network whose names nobody knows."""
    if not knows_rgb(config, network, shapes):
        names = select_parameters(config, network, shapes)
        last, do = f"the last of {len(names)} is {names[-1]} {list(shapes[names[-1]])}", "write" if network == "G" else "read"
        spared = "" if config.target == "both" else f"leave it dense with exclude=[{names[-1]!r}], or "
        yield (
            f"no layer is named as those that {do} an image are, so all in scope are pruned, and {last}; "
            f"{spared}prune it knowingly with exclude=()"
        )
    for name, shape in left_dense(config, network, shapes).items():
        yield f"{name} {list(shape)} stays dense: {ratio_of(config.of(network))} would take a whole output channel of it"


def _moved(config: ReconfigurationConfig) -> float:
    """Share of each tensor that a pruning may have to choose from: what goes, and what stays for the turnover."""
    return config.ratio * (1 + config.turnover)


def ratio_of(config: ReconfigurationConfig) -> str:
    """What decides which tensors are too thin, for messages, of the settings of one network."""
    return f"{_name(config)} {config.ratio:g}" + (f" with turnover {config.turnover:g}" if config.turnover else "")


def _name(config: ReconfigurationConfig) -> str:
    """The setting that the ratio of one network comes from."""
    return "ratio_d" if config.ratio_d else "ratio"


def _is_thin(ratio: float, shape: Sequence[int]) -> bool:
    """Whether a parameter has fewer weights to spare than this share, while each output channel keeps one."""
    probe = torch.empty(tuple(shape), device="meta")
    return masks.pruned_count(probe.numel(), ratio) > masks.max_pruned(probe)


def _without_thin(config: ReconfigurationConfig, network: str, shapes: Mapping[str, Any]) -> List[str]:
    """Names of those of these parameters of ``network`` that keep one weight per output channel."""
    left = [name for name, shape in shapes.items() if not _is_thin(_moved(config), shape)]
    if shapes and not left:
        highest = {name: 1 - shape[0] / math.prod(shape) for name, shape in shapes.items()}
        widest = max(highest, key=lambda name: highest[name])
        raise ValueError(
            f"{ratio_of(config)} would take whole output channels of all {len(shapes)} selected tensors of {network}; "
            f"the highest ratio is {highest[widest] / (1 + config.turnover):g}, for {widest} {list(shapes[widest])}"
        )
    return left


@dataclass(frozen=True)
class ChannelPlan:
    """What is pruned of a network.

    Args:
        layout: of the network.
        kept: how many channels of each feature map stay, where the ratio is largest.
        multiple, minimum: numbers of channels that stay, see ``training_hooks.sparsity.channels.kept_channels``.
        readers: parameters that read a feature map of which channels are pruned.
        mapping: parameters of the mapping network of which single weights are pruned.
    """

    layout: Layout
    kept: Tuple[int, ...]
    multiple: int
    minimum: int
    readers: Tuple[str, ...]
    mapping: Tuple[str, ...]

    def at(self, ratio: float) -> Tuple[int, ...]:
        """How many channels of each feature map stay at this ratio."""
        each = zip(self.layout.features, self.kept)
        sizes = self.multiple, self.minimum
        return tuple(kept_channels(f.channels, ratio, *sizes) if k < f.channels else k for f, k in each)


def plan_channels(
    config: ReconfigurationConfig, network: str, shapes: Mapping[str, Sequence[int]], frozen: Mapping[str, Any] = _NONE
) -> ChannelPlan:
    """What ``config`` prunes of ``network`` ("G" or "D") with these parameters, and with these frozen weights and biases.

    The patterns of ``scope`` and ``exclude`` choose feature maps by the parameters that write them.

    Raises:
        SelectionError: no channel is pruned, or a pattern matches nothing.
        ValueError: it is not StyleGAN2's, or the ratio is too high for its mapping network.
    """
    config = config.of(network)
    try:
        layout = Layout.of(shapes, frozen)
    except ValueError as err:
        raise ValueError(f"granularity=channel: {err}; granularity=weight prunes any network") from err
    chosen, sizes = set(_of_channels(config, shapes)), (config.channel_multiple, config.channel_min)
    kept = [
        kept_channels(f.channels, config.ratio, *sizes) if chosen.issuperset(f.writers) else f.channels for f in layout.features
    ]
    pruned = [i for i, (f, k) in enumerate(zip(layout.features, kept)) if k < f.channels]
    if not pruned:
        widest = max((f.channels for f in layout.features), default=0)
        raise SelectionError(
            f"{_name(config)} {config.ratio:g} prunes no channel of {network}: the widest feature map has {widest}, the kept "
            f"ones are rounded up to a multiple of {config.channel_multiple} and are at least {config.channel_min}; lower "
            "those two or raise the ratio"
        )
    readers = [name for name in shapes if layout.axes.get(name, (None, None))[1] in pruned]
    mapping = _without_thin(config, network, {name: shapes[name] for name in _mapping_in_scope(config, shapes)})
    return ChannelPlan(layout, tuple(kept), *sizes, tuple(readers), tuple(mapping))


def _mapping_in_scope(config: ReconfigurationConfig, shapes: Mapping[str, Sequence[int]]) -> List[str]:
    """Parameters of the mapping network of which single weights are pruned beside whole channels."""
    if config.mapping != "weight":
        return []
    return [name for name in _of_channels(config, shapes) if name.startswith(MAPPING)]


def _of_channels(config: ReconfigurationConfig, shapes: Mapping[str, Sequence[int]]) -> List[str]:
    return select(shapes, "weights" if config.scope == "reference" else config.scope, config.exclude or ())
