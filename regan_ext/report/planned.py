"""Sparsity and learning rate over a whole run, as its schedule sets them; ticks, which are samples, give their levels."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

from training_hooks.core.schedule import Phase

from ..runs.folder import Run, Tick
from ..runs.phases import phases_of
from ..support.reading import mapping, number

__all__ = ["Step", "learning_rate", "sparsity"]


@dataclass(frozen=True)
class Step:
    """Iterations ``start`` to ``stop`` (exclusive) and the value in them; where phases alternate, the lower and the higher."""

    start: int
    stop: int
    low: float
    high: float


def sparsity(run: Run) -> List[Step]:
    """The share of zeros among the selected weights; nothing where it is not known, where it changes from phase to phase, and
    where one network is sparse while the other is dense."""
    config = run.config
    sparse = [tick.get("ReGAN/sparsity") for tick in run.ticks if _phase(run, tick) == Phase.SPARSE]
    sparse = [value for value in sparse if math.isfinite(value)]
    if config is None or config.ratio_changes or config.phases_d == "in-turn" or not (sparse or config.granularity == "weight"):
        return []
    level = statistics.median(sparse) if sparse else config.ratio
    return _steps(run, lambda phase, _: level if phase == Phase.SPARSE else 0.0)


def learning_rate(run: Run) -> List[Step]:
    """The learning rate of the network that is pruned, G's of two; nothing where it is not known."""
    config = run.config
    if config is None:
        return []
    forgets_at = config.warmup + config.first_extra if "forget-lazy" in config.quirks else None
    optimizer = mapping(run.options.get("D_opt_kwargs" if config.target == "D" else "G_opt_kwargs"))
    before = [base for tick, base in _bases(run) if forgets_at is None or run.iteration_at(tick.kimg) <= forgets_at]
    after = [base for tick, base in _bases(run) if forgets_at is not None and run.iteration_at(tick.kimg) > forgets_at]
    after = after or [number(optimizer.get("configured_lr"))]
    if not before:
        return []

    def value(phase: Phase, iteration: int) -> float:
        base = before[-1] if forgets_at is None or iteration < forgets_at else after[-1]
        return base * config.scale(phase)

    return _steps(run, value, forgets_at)


def _bases(run: Run) -> List[Tuple[Tick, float]]:
    """The learning rates of the ticks without the factor of dense phases."""
    config, found = run.config, []
    for tick in run.ticks:
        phase, rate = _phase(run, tick), tick.get("ReGAN/lr")
        if config is not None and phase is not None and math.isfinite(rate):
            found.append((tick, rate / config.scale(phase)))
    return found


def _phase(run: Run, tick: Tick) -> Optional[Phase]:
    """The phase of the tick's last iteration, whose statistics it has."""
    known = tick.get("ReGAN/phase")
    if known in tuple(Phase):
        return Phase(int(known))
    iteration = run.iteration_at(tick.kimg) - 1
    return None if run.schedule is None or iteration < 0 else run.schedule.span(iteration).phase


def _steps(run: Run, value: Callable[[Phase, int], float], cut: Optional[int] = None) -> List[Step]:
    """The value over the run so far.

    Args:
        run: with a schedule.
        value: of a kind of phase, and an iteration of it.
        cut: iteration at which the value may also change.
    """
    phases = phases_of(run)
    if phases is None:
        return []
    alone = [(start, stop, (phase,)) for phase, start, stop in phases.spans if not phases.turns or phase == Phase.WARMUP]
    stretches = sorted([*alone, *((start, stop, (Phase.SPARSE, Phase.DENSE)) for start, stop in phases.turns)])
    steps = []
    for start, stop, kinds in stretches:
        inside = [start, cut, stop] if cut is not None and start < cut < stop else [start, stop]
        for first, last in zip(inside, inside[1:]):
            values = [value(kind, first) for kind in kinds]
            steps.append(Step(first, last, min(values), max(values)))
    return steps
