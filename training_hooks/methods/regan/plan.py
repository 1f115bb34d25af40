"""What the settings of the Re-GAN hook prune of networks with given parameters, and what that saves: names and shapes only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch

from ...core.schedule import Phase
from ...sparsity import masks, selection
from ...sparsity.anatomy import MAPPING, RGB
from ...sparsity.channels import Layout, kept_channels
from ...sparsity.operations import layer_operations, narrow_shapes, run_operations
from ...sparsity.selection import SelectionError, select
from ..target import targets
from .config import ReconfigurationConfig

__all__ = [
    "ChannelPlan", "check_rgb", "describe_cost", "doubts", "knows_rgb", "left_dense", "mean_cost", "plan_channels",
    "ratio_of", "select_parameters", "sparse_cost",
]  # fmt: skip

_NONE: Mapping[str, Any] = MappingProxyType({})
_SOME = 16  # phases that a mean is taken of


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


def sparse_cost(
    config: ReconfigurationConfig,
    networks: Mapping[str, Mapping[str, Any]],
    frozen: Mapping[str, Mapping[str, Any]] = _NONE,
    done: Optional[float] = None,
) -> float:
    """Multiply–accumulates of a sparse forward pass of each network over those of dense ones, by theory.

    Single weights count as far as a machine could leave out each zero. Networks other than StyleGAN2's count 1 - ratio.

    Args:
        config: the settings.
        networks: "G" and "D", those that are reconfigured → parameter name → shape.
        frozen: the same of weights and biases that do not train.
        done: share of the run after which the phase begins; None = where the ratios are largest.
    """
    if config.score == "none":
        return 1.0
    try:
        dense = sum(sum(layer_operations({**shapes, **frozen.get(kind, {})}).values()) for kind, shapes in networks.items())
    except ValueError:
        return 1 - sum(config.of(kind, done).ratio for kind in networks) / len(networks)
    each = (_sparse_operations(config, kind, shapes, frozen.get(kind, {}), done) for kind, shapes in networks.items())
    return sum(sum(counts.values()) for counts in each) / dense


def mean_cost(
    config: ReconfigurationConfig,
    networks: Mapping[str, Mapping[str, Any]],
    frozen: Mapping[str, Mapping[str, Any]],
    iterations: int,
    total: Optional[int],
) -> float:
    """Mean ``sparse_cost`` of the sparse phases in the first ``iterations`` of ``total`` iterations, or of some of many."""
    if total is None or not config.ratio_changes:
        return sparse_cost(config, networks, frozen)
    starts = [span.start / total for span in config.schedule(total).spans(iterations) if span.phase == Phase.SPARSE]
    some = starts[:: len(starts) // _SOME + 1] or [0.0]
    return sum(sparse_cost(config, networks, frozen, done) for done in some) / len(some)


def describe_cost(
    config: ReconfigurationConfig,
    generator: Mapping[str, Any],
    discriminator: Mapping[str, Any],
    batch: int,
    total: int,
    frozen: Mapping[str, Any] = _NONE,
) -> Dict[str, Any]:
    """What a run costs by theory and, with whole channels, which feature maps are narrowed: plain JSON values.

    Args:
        generator, discriminator: parameter name → shape.
        batch: images per iteration.
        total: iterations of the run.
        frozen: name → shape of D's weights and biases that do not train.

    Returns:
        Giga-multiply–accumulates of a forward pass of each network for one image, dense, and sparse where the ratio is largest,
        and peta-FLOPs of the run, as it is and if it were dense; where G is reconfigured, also mega-multiply–accumulates of its
        layers, see ``_layers``. Empty for networks that are not StyleGAN2's.
    """
    shapes, fixed = {"G": generator, "D": discriminator}, {"G": _NONE, "D": frozen}
    try:
        dense = {kind: sum(layer_operations({**shapes[kind], **fixed[kind]}).values()) for kind in shapes}
    except ValueError:
        return {}
    share = config.schedule(total).sparse_iterations(total) / total
    sparse = {k: n * sparse_cost(config, {k: shapes[k]}, fixed) if k in targets(config) else n for k, n in dense.items()}
    costs = {kind: mean_cost(config, {kind: shapes[kind]}, fixed, total, total) for kind in targets(config)}
    mean = {kind: n * (1 - share * (1 - costs.get(kind, 1))) for kind, n in dense.items()}
    told: Dict[str, Any] = {
        "generator_gmacs": _rounded(dense["G"] / 1e9),
        "sparse_generator_gmacs": _rounded(sparse["G"] / 1e9),
        "discriminator_gmacs": _rounded(dense["D"] / 1e9),
        "sparse_discriminator_gmacs": _rounded(sparse["D"] / 1e9),
        "run_pflops": _rounded(2 * run_operations(mean["G"], mean["D"], batch * total) / 1e15),
        "dense_run_pflops": _rounded(2 * run_operations(dense["G"], dense["D"], batch * total) / 1e15),
    }
    if "G" in targets(config):
        told["layers"] = _layers(config, generator)
    if config.granularity == "channel":
        plans = {kind: plan_channels(config, kind, shapes[kind], fixed[kind]) for kind in targets(config)}
        told["channels"] = {
            f.name if kind == "G" else f"D.{f.name}": [kept, f.channels]
            for kind, plan in plans.items()
            for f, kept in zip(plan.layout.features, plan.kept)
            if kept < f.channels
        }
    return told


def _sparse_operations(
    config: ReconfigurationConfig,
    network: str,
    shapes: Mapping[str, Any],
    frozen: Mapping[str, Any] = _NONE,
    done: Optional[float] = None,
) -> Dict[str, float]:
    """Weight name → multiply–accumulates of a sparse forward pass of ``network`` ("G" or "D") for one image."""
    ratio = config.of(network, done).ratio
    whole: Mapping[str, Any] = {**shapes, **frozen}
    if config.granularity == "channel":
        plan = plan_channels(config, network, shapes, frozen)
        whole, pruned = narrow_shapes(whole, plan.layout, plan.at(ratio)), set(plan.mapping)
    else:
        pruned = set(select_parameters(config, network, shapes))
    return {n: count * (1 - ratio if n in pruned else 1) for n, count in layer_operations(whole).items()}


def _layers(config: ReconfigurationConfig, shapes: Mapping[str, Any]) -> Dict[str, Dict[str, float]]:
    """G's layer, its style's affine included → mega-multiply–accumulates for one image, "dense", and sparse with "weights" and
    with "channels" as far as each can be had."""
    counts: Dict[str, Mapping[str, float]] = {"dense": layer_operations(shapes)}
    for granularity in ("weight", "channel"):
        try:
            counts[f"{granularity}s"] = _sparse_operations(_at(config, granularity), "G", shapes)
        except ValueError:
            continue
    layers: Dict[str, Dict[str, float]] = {}
    for kind, of_weights in counts.items():
        for name, count in of_weights.items():
            layer = layers.setdefault(name[: -len(".weight")].replace(".affine", ""), {})
            layer[kind] = layer.get(kind, 0) + count
    return {name: {kind: _rounded(c / 1e6) for kind, c in layer.items()} for name, layer in layers.items()}


def _at(config: ReconfigurationConfig, granularity: str) -> ReconfigurationConfig:
    """``config``, or what it would be at the other granularity: the same ratio, and the defaults of what only one has."""
    if config.granularity == granularity:
        return config
    return ReconfigurationConfig(
        config.ratio, granularity=granularity, channel_multiple=config.channel_multiple, channel_min=config.channel_min
    )


def _rounded(value: float) -> float:
    """Four digits: more would pretend to an accuracy that a count of products has not."""
    return float(f"{value:.4g}")


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
