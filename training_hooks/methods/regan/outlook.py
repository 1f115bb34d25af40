"""What a run with these settings will do: phases, selected weights, cost by theory, and whether masks can move."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional, Sequence

from ...core.schedule import Phase
from ...sparsity.anatomy import place, role
from ..method import Facts, Plan
from ..target import targets
from . import exploration
from .config import IN_TURN, ReconfigurationConfig
from .cost import describe_cost
from .plan import check_rgb, left_dense, ratio_of, select_parameters

__all__ = ["as_share", "describe", "label", "outlook"]

_LITTLE = 0.01  # share of others in a mask below which it is called the same
_GROWTH = {"value": "as they were", "random": "at random", "initial": "as they began"}


def describe(config: ReconfigurationConfig) -> str:
    """The settings as one line for the reader of a report."""
    text = f"ratio {config.ratio:g}, phases of {config.interval} iterations, warm-up {config.warmup}"
    text += ", whole channels" if config.granularity == "channel" else ""
    text += "" if config.score == "magnitude" else ", nothing pruned" if config.score == "none" else f", by {config.score}"
    text += f", turnover {config.turnover:g}" if config.turnover else ""
    text += "" if config.regrow == "zero" else f", growing back {_GROWTH[config.regrow]}"
    text += f", of D {config.ratio_d.replace(':', ' to ')}" if config.ratio_d else ""
    text += ", D's phases in turn with G's" if config.phases_d == "in-turn" else ""
    return text + ("" if config.finish == "as-is" else f", ending {config.finish}")


def label(given: Any, config: ReconfigurationConfig) -> str:
    """Such as "-regan0.3-g100" or "-regan0.3-g100-GD-saliency-value-lr1", what the name of a run folder says."""
    interval = given.get("interval", config.interval)
    kind = "ch" if config.granularity == "channel" else ""
    name = f"-schedule-g{interval}" if config.score == "none" else f"-regan{kind}{config.ratio:g}-g{interval}"
    parts = {"G": [], "D": ["D"], "both": ["GD"]}[config.target]
    parts += [f"D{config.ratio_d.replace(':', '-')}"] if config.ratio_d else []
    parts += ["turns"] if config.phases_d == "in-turn" else []
    parts += [config.score] if config.score not in ("magnitude", "none") else []
    parts += [config.regrow] if config.regrow != "zero" and config.score != "none" else []
    parts += [f"turnover{config.turnover:g}"] if config.turnover else []
    if config.lr_scale != ReconfigurationConfig.lr_scale:
        rates = config.lr_scale if isinstance(config.lr_scale, str) else f"{config.lr_scale:g}"
        parts.append(f"lr{rates.replace(':', '-')}")
    return "-".join([name, *parts])


def outlook(config: ReconfigurationConfig, facts: Facts) -> Plan:
    """What a run will do.

    Args:
        config: settings of the run.
        facts: networks, length and optimizers of the run.

    Raises:
        ValueError: a pattern matches nothing, RGB layers are not known, the ratio is too high, or the run too short.
    """
    total, kinds, is_pruned = facts.total, targets(config), config.score != "none"
    in_scope = {kind: left_dense(config, kind, facts.trained[kind]) for kind in kinds}
    dense = [f"{kind}.{name} {list(shape)}" for kind, tensors in in_scope.items() for name, shape in tensors.items()]
    schedule = config.schedule(total)
    for kind in kinds:
        check_rgb(config, kind, list(facts.shapes[kind]))
    frozen = {kind: {n: s for n, s in facts.shapes[kind].items() if n not in facts.trained[kind]} for kind in facts.shapes}
    selected = {kind: select_parameters(config, kind, facts.trained[kind], frozen[kind]) for kind in kinds}
    values: Dict[str, Any] = {
        "ratio": config.ratio,
        "ratios": {kind: list(config.ratios(kind)) for kind in kinds},
        "is_pruned": is_pruned,
        "selected_tensors": sum(map(len, selected.values())),
        "selected_weights": sum(math.prod(facts.shapes[kind][name]) for kind in selected for name in selected[kind]),
        "sparse_phases": schedule.sparse_phases(total) if is_pruned else 0,
        "sparse_iterations": schedule.sparse_iterations(total) if is_pruned else 0,
        "ends_in": schedule.span(total - 1).phase.name.lower(),
        "left_dense": dense,
        "theory": describe_cost(config, facts.trained["G"], facts.trained["D"], facts.batch_size, total, frozen["D"]),
    }
    notes = []
    blank = [f"{kind}.{name}" for kind in kinds for name in selected[kind] if name in facts.zeros.get(kind, ())]
    if blank and is_pruned and schedule.span(0).phase == Phase.SPARSE:
        notes.append(
            f"{len(blank)} of the layers to prune, {blank[0]} first, are all zero at the beginning, where a pruning goes by "
            "places, not by values: a warm-up is needed, such as --regan-warmup=1kimg."
        )
    if dense:
        ratios = " and ".join(dict.fromkeys(ratio_of(config.of(kind)) for kind in kinds))
        notes.append(f"{', '.join(dense)} stay dense, {ratios} would take whole output channels of them.")
    if config.phases_d == "in-turn":
        values["sparse_iterations_d"] = config.sparse_iterations("D", total, total) if is_pruned else 0
        notes.append(f"{IN_TURN}.")
        if values["sparse_phases"] and not values["sparse_iterations_d"]:
            notes.append("the run ends before D would be sparse for the first time, after the first sparse phase of G.")
    if is_pruned and values["sparse_phases"] == 0:
        remedy = "a shorter --regan-warmup or a larger --kimg lets it begin"
        notes.append(f"Re-GAN prunes nothing here, the warm-up lasts for all {total} iterations; {remedy}.")
    elif not is_pruned and {config.scale(Phase.SPARSE), config.scale(Phase.DENSE)} == {1.0}:
        notes.append("nothing is pruned and all phases have the full learning rate, so this run is one without Re-GAN.")
    elif config.granularity == "weight" and "G" in kinds and values["sparse_phases"] > 1:
        values["exploration"] = _exploration(config, facts, selected["G"])
        note = _note(config, values["exploration"].get("mask_change", {}))
        notes += [] if note is None else [note]
    pruned = [f"{kind}.{name}" for kind in kinds for name in selected[kind]] if values["sparse_phases"] else []
    return Plan(values, tuple(notes), tuple(pruned))


def _exploration(config: ReconfigurationConfig, facts: Facts, selected: Sequence[str]) -> Dict[str, Any]:
    """How much G's masks will change between two prunings, by an estimate; nothing of networks whose layers are not known."""
    of_g = facts.optimizers["G"]
    rest = of_g["betas"][1], of_g["reg_interval"]
    sparse, dense = (
        exploration.Movement(config.interval, of_g["lr"] * config.scale(phase), *rest) for phase in (Phase.SPARSE, Phase.DENSE)
    )
    forgotten = exploration.moment_left(sparse) * exploration.moment_left(dense)  # of the moment at the first pruning
    left = {"restore": 1.0, "reset": 0.0}.get(config.moments, exploration.moment_left(sparse))
    recovered = 1 - (1 - left) * exploration.moment_left(dense)
    pruned = exploration.displacement(dense, left)
    kept = math.hypot(exploration.displacement(sparse), exploration.displacement(dense))
    changes, moves = {}, {}
    measured = {role(each) for each in selected if place(each) is not None}  # the pace is that of StyleGAN2's weights
    for name in sorted(measured & set(exploration.PACE)):
        pace = exploration.PACE[name] / exploration.UNIT[name]
        rule = config.score, config.regrow, config.regrow_scale
        noise = exploration.NOISE[name] * math.sqrt(1 - forgotten)
        change = exploration.mask_change(config.ratio, pace * kept, pace * pruned, *rule, noise, recovered)
        if change is not None:
            moves[name], changes[name] = pace * pruned, min(1.0, change + config.turnover)
    if not changes:
        return {}
    return {"threshold": exploration.fresh_threshold(config.ratio), "movement": moves, "mask_change": changes}


def _note(config: ReconfigurationConfig, changes: Mapping[str, float]) -> Optional[str]:
    """What the user should know of masks that hardly change."""
    highest = max(changes.values(), default=1.0)
    if highest >= _LITTLE:
        return None
    same = (
        f"every pruning will choose nearly the same weights again: {as_share(highest)} of them will be others, by an estimate."
    )
    if config.regrow == "value" and config.scale(Phase.DENSE) >= 1:
        return f"{same} Longer phases, or --regan-turnover=0.1, let others in."
    return (
        f"{same} Weights that grow back as they were, at the full learning rate, let others in (--regan-regrow=value "
        f"--regan-lr-scale=1; --regan-preset=explore has more)."
    )


def as_share(value: float) -> str:
    """A share for a reader, such as "12 %" or "less than 0.1 %"."""
    return f"about {100 * value:.{0 if value >= 0.1 else 1}f} %" if value >= 0.001 else "less than 0.1 %"
