"""What a run with these settings will do: phases, selected weights, cost by theory, and whether masks can move."""

from __future__ import annotations

import math
from typing import Any, Dict, Optional, Tuple

from ...core.schedule import Phase
from ..method import Facts, Plan
from . import exploration
from .config import PRESETS, ReconfigurationConfig
from .plan import check_rgb, describe_cost, left_dense, select_parameters, targets

__all__ = ["describe", "label", "outlook"]


def describe(config: ReconfigurationConfig) -> str:
    """The settings as one line for the reader of a report."""
    text = f"ratio {config.ratio:g}, phases of {config.interval} iterations, warm-up {config.warmup}"
    text += ", whole channels" if config.granularity == "channel" else ""
    return text + ("" if config.finish == "as-is" else f", ending {config.finish}")


def label(given: Any, config: ReconfigurationConfig) -> str:
    """Such as "-regan0.3-g100" or "-regan0.3-g100-GD-saliency-value", what the name of a run folder says."""
    interval = given.get("interval", config.interval)
    kind = "ch" if config.granularity == "channel" else ""
    name = f"-schedule-g{interval}" if config.score == "none" else f"-regan{kind}{config.ratio:g}-g{interval}"
    parts = {"G": [], "D": ["D"], "both": ["GD"]}[config.target]
    parts += [config.score] if config.score not in ("magnitude", "none") else []
    parts += [config.regrow] if config.regrow != "zero" else []
    parts += [f"turnover{config.turnover:g}"] if config.turnover else []
    return "-".join([name, *parts])


def outlook(config: ReconfigurationConfig, facts: Facts) -> Plan:
    """What a run will do.

    Args:
        config: settings of the run.
        facts: networks, length and optimizers of the run.

    Raises:
        ValueError: a pattern matches nothing, RGB layers are not known, the ratio is too high, or the run too short.
    """
    total, kinds = facts.total, targets(config)
    in_scope = {kind: left_dense(config, kind, facts.trained[kind]) for kind in kinds}
    dense = [f"{kind}.{name} {list(shape)}" for kind, tensors in in_scope.items() for name, shape in tensors.items()]
    try:
        schedule = config.schedule(total)
    except ValueError as err:
        raise ValueError(f"{err}; give more --kimg, or a shorter --regan-warmup and --regan-interval") from err
    for kind in kinds:
        check_rgb(config, kind, list(facts.shapes[kind]))
    selected = {kind: select_parameters(config, kind, facts.trained[kind]) for kind in kinds}
    values: Dict[str, Any] = {
        "ratio": config.ratio,
        "selected_tensors": sum(map(len, selected.values())),
        "selected_weights": sum(math.prod(facts.shapes[kind][name]) for kind in selected for name in selected[kind]),
        "sparse_phases": schedule.sparse_phases(total),
        "sparse_iterations": schedule.sparse_iterations(total),
        "ends_in": schedule.span(total - 1).phase.name.lower(),
        "left_dense": dense,
        "theory": describe_cost(config, facts.shapes["G"], facts.shapes["D"], facts.batch_size, total),
    }
    notes = []
    if dense:
        notes.append(f"{', '.join(dense)} stay dense, the ratio would take whole output channels of them.")
    if values["sparse_phases"] == 0:
        remedy = "a shorter --regan-warmup or a larger --kimg lets it begin"
        notes.append(f"Re-GAN prunes nothing here, the warm-up lasts for all {total} iterations; {remedy}.")
    elif config.granularity == "weight" and "G" in kinds:
        values["exploration"], note = _exploration(config, facts)
        notes += [] if note is None else [note]
    return Plan(values, tuple(notes))


def _exploration(config: ReconfigurationConfig, facts: Facts) -> Tuple[Dict[str, Any], Optional[str]]:
    """Whether G's masks can change, and what could make them."""
    of_g = facts.optimizers["G"]
    lr, beta2 = of_g["lr"] * config.scale(Phase.DENSE), of_g["betas"][1]
    rest = lr, beta2, of_g["reg_interval"], config.moments != "restore"
    reach, threshold = exploration.reach(config.interval, *rest), exploration.fresh_threshold(config.ratio)
    values = {"reach": reach, "threshold": threshold, "is_possible": reach >= threshold}
    if reach >= threshold:
        return values, None
    needed = exploration.shortest_interval(config.ratio, *rest)
    return {**values, "shortest_interval": needed}, (
        f"phases of {config.interval} iterations are short. A regrown weight moves by about {reach:.2g} at most in a dense "
        f"phase, fresh weights are pruned below {threshold:.2g}: every pruning will choose nearly the same weights again. From "
        f"--regan-interval={needed} on others could come in, sooner with a larger --regan-lr-scale; "
        f"--regan-preset=few-shot has phases of {PRESETS['few-shot'].settings['interval'].value:g} kimg."
    )
