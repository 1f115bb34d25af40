"""What a run with these settings will do: selected weights, the pace of the ramp, and whether it can leave sparse mode."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any, Dict, List

from ...sparsity.selection import check_rgb
from ..method import Facts, Plan
from ..target import targets
from .config import RESTART, RGConfig, share_pruned
from .quality import chosen_metric
from .selection import selected

__all__ = ["completed", "describe", "label", "outlook"]

_THRESHOLD_OF_RESTART = statistics.NormalDist().inv_cdf(1 - RESTART / 2)  # in σ, of normally distributed weights


def completed(config: RGConfig, facts: Facts) -> RGConfig:
    """The settings with the metric of the run by the name of its value.

    Raises:
        ValueError: it is not measured, or it is not known which values of it are better.
    """
    return dataclasses.replace(config, metric=chosen_metric(config.metric, facts.metrics))


def describe(config: RGConfig) -> str:
    """The settings as one line for the reader of a report."""
    pace = f"rate {config.rate:g}" if config.rate else config.reach
    rule = f"ramp {pace}" if config.rule == "ramp" else f"rule {config.rule}, lambda {config.strength:g}"
    return f"{rule}, {' and '.join(targets(config))}, by {config.metric or 'the first metric'}"


def label(given: Any, config: RGConfig) -> str:
    """Such as "-rg0.3@200kimg", what the name of a run folder says."""
    pace = (f"{config.rate:g}" if config.rate else config.reach) if config.rule == "ramp" else f"-{config.rule}"
    return f"-rg{pace}" + ("" if config.target == "both" else f"-{config.target}")


def outlook(config: RGConfig, facts: Facts) -> Plan:
    """What a run will do.

    Args:
        config: settings of the run.
        facts: networks, length and metrics of the run.

    Raises:
        ValueError: a pattern matches nothing, RGB layers are not known, or the ramp is longer than the run.
    """
    rate = config.ramp_rate(facts.batch_size, facts.total)
    for kind in targets(config):
        if config.exclude is None:
            check_rgb(kind, facts.shapes[kind])
    names = {kind: selected(config, kind, facts.trained[kind]) for kind in targets(config)}
    values: Dict[str, Any] = {
        "metric": config.metric,
        "measured_snapshots": facts.measured,
        "selected_tensors": sum(map(len, names.values())),
        "selected_weights": sum(math.prod(facts.trained[kind][name]) for kind in names for name in names[kind]),
    }
    notes: List[str] = []
    least = len(config.mean_weights)
    if facts.measured <= least:  # after the last one nothing is trained
        notes.append(
            f"RG-GAN will never leave sparse mode: it decides from the {least}th value of {config.metric} on, and this run "
            f"measures {facts.measured}; a smaller --snap or --metrics-every measures more."
        )
    if config.rule == "ramp":
        share = share_pruned(math.log1p(rate * facts.total))
        values.update(rate=rate, pruned_at_most=share)
        if 1 - share <= RESTART:
            restart = math.ceil(math.expm1(_THRESHOLD_OF_RESTART) / rate)
            values["restarts_after"] = restart
            notes.append(
                f"after {restart} sparse iterations the ramp keeps {RESTART:.0%} of fresh weights, and tensors begin anew with "
                "thresholds of 0, unless quality has made the run dense for part of it."
            )
    return Plan(values, tuple(notes), tuple(f"{kind}.{name}" for kind in names for name in names[kind]))
