"""What the settings of the Re-GAN hook save on networks with given parameters, by theory: names and shapes only."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional

from ...core.schedule import Phase
from ...sparsity.operations import layer_operations, narrow_shapes, run_operations
from ..target import targets
from .config import ReconfigurationConfig
from .plan import plan_channels, select_parameters

__all__ = ["describe_cost", "run_cost", "sparse_cost"]

_NONE: Mapping[str, Any] = MappingProxyType({})
_SOME = 16  # phases that a mean is taken of


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
    dense = _dense_operations(networks, frozen)
    if not dense:
        return 1 - sum(config.of(kind, done).ratio for kind in networks) / len(networks)
    each = (_sparse_operations(config, kind, shapes, frozen.get(kind, {}), done) for kind, shapes in networks.items())
    return sum(sum(counts.values()) for counts in each) / sum(dense.values())


def run_cost(
    config: ReconfigurationConfig,
    networks: Mapping[str, Mapping[str, Any]],
    frozen: Mapping[str, Mapping[str, Any]],
    iterations: int,
    total: Optional[int],
) -> float:
    """Multiply–accumulates of the forward passes of networks in the first ``iterations`` iterations over those of a dense run.

    Args:
        config: the settings.
        networks, frozen: see ``sparse_cost``.
        iterations: how many, at least 1.
        total: those of the whole run; None = not known.
    """
    dense, spared = _dense_operations(networks, frozen) or dict.fromkeys(networks, 1.0), 0.0
    for kind, shapes in networks.items():
        share = config.sparse_iterations(kind, iterations, total) / iterations
        cost = _mean_cost(config, kind, shapes, frozen.get(kind, {}), iterations, total)
        spared += share * (1 - cost) * dense[kind]
    return 1 - spared / sum(dense.values())


def _dense_operations(networks: Mapping[str, Mapping[str, Any]], frozen: Mapping[str, Mapping[str, Any]]) -> Dict[str, float]:
    """Network → multiply–accumulates of a dense forward pass for one image; empty where one of them is not StyleGAN2's."""
    try:
        return {k: sum(layer_operations({**shapes, **frozen.get(k, {})}).values()) for k, shapes in networks.items()}
    except ValueError:
        return {}


def _mean_cost(
    config: ReconfigurationConfig,
    kind: str,
    shapes: Mapping[str, Any],
    frozen: Mapping[str, Any],
    iterations: int,
    total: Optional[int],
) -> float:
    """Mean ``sparse_cost`` of one network's sparse phases in the first ``iterations`` of ``total``, or of some of many."""
    network = {kind: shapes}, {kind: frozen}
    if kind != "D" or total is None or not config.ratio_changes:
        return sparse_cost(config, *network)
    spans = config.schedule(total).spans(iterations)
    starts = [span.start / total for span in spans if config.phase(kind, span) == Phase.SPARSE]
    some = starts[:: len(starts) // _SOME + 1] or [0.0]
    return sum(sparse_cost(config, *network, done) for done in some) / len(some)


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
    dense = _dense_operations(shapes, fixed)
    if not dense:
        return {}
    sparse = {k: n * sparse_cost(config, {k: shapes[k]}, fixed) if k in targets(config) else n for k, n in dense.items()}
    costs = {kind: run_cost(config, {kind: shapes[kind]}, fixed, total, total) for kind in targets(config)}
    mean = {kind: n * costs.get(kind, 1) for kind, n in dense.items()}
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
