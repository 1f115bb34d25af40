"""What a run cost: counted operations, which are theory, and measured time. The two are kept apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from training_hooks.core.schedule import Phase

from ..support.reading import mapping, number
from .folder import Run, Tick

__all__ = ["COUNTS", "Efficiency", "Pace", "Theory", "hook_percent", "measure"]

#: What a layer's operations are counted with: all weights, or the ones that pruning leaves.
COUNTS = ("dense", "weights", "channels")


@dataclass(frozen=True)
class Theory:
    """What was counted from the networks' shapes before training. NaN, or empty, in plain runs and where a run has none.

    Args:
        dense_gmacs: giga-multiply–accumulates of a dense forward pass of G for one image.
        sparse_gmacs: the same in a sparse phase.
        d_dense_gmacs, d_sparse_gmacs: both of D.
        run_pflops: peta-FLOPs of the whole run as it was planned.
        dense_run_pflops: the same of a run that is dense throughout.
        channels: feature map → such as "48 of 64", the channels that sparse phases compute with; without whole channels empty.
        layers: G's layer → mega-multiply–accumulates of a forward pass for one image by ``COUNTS``, NaN where not known.
    """

    dense_gmacs: float
    sparse_gmacs: float
    d_dense_gmacs: float
    d_sparse_gmacs: float
    run_pflops: float
    dense_run_pflops: float
    channels: Mapping[str, str]
    layers: Mapping[str, Tuple[float, ...]]

    @property
    def sparse_over_dense(self) -> float:
        """Operations of a sparse forward pass of G over those of a dense one."""
        return _ratio(self.sparse_gmacs, self.dense_gmacs)

    @property
    def d_sparse_over_dense(self) -> float:
        """The same of D; 1 where it is not reconfigured, and NaN where that is not known."""
        return _ratio(self.d_sparse_gmacs, self.d_dense_gmacs)

    @property
    def run_over_dense(self) -> float:
        """FLOPs of the run over those of a dense one."""
        return _ratio(self.run_pflops, self.dense_run_pflops)


@dataclass(frozen=True)
class Pace:
    """Measured seconds per iteration: the mean, over how many iterations of how many ticks, and the lowest and the highest mean
    of a tick. NaN over none.
    """

    sec_per_iteration: float
    iterations: int
    ticks: int
    fastest: float = math.nan
    slowest: float = math.nan


@dataclass(frozen=True)
class Efficiency:
    """Cost of a run.

    Args:
        theory: counted, not measured.
        flops_ratio: theoretical operations of the forward passes so far of what is reconfigured over those of a dense run.
            Counted, not measured.
        paces: measured, of the iterations of each kind of phase; the key None is a plain run.
        is_timed: ``paces`` are by the method's own timer, not by the ticks that lie wholly inside phases.
        sec_per_kimg: measured over all ticks, whatever the phase.
        hook_percent: measured share of the training time that the method's hook took; NaN in a plain run.
        total_sec: measured from the start of the job to its last tick, everything included.
    """

    theory: Theory
    flops_ratio: float
    paces: Dict[Optional[Phase], Pace]
    is_timed: bool
    sec_per_kimg: float
    hook_percent: float
    total_sec: float

    @property
    def sparse_over_dense(self) -> float:
        """Measured time of a sparse iteration over that of a dense one."""
        return _ratio(self.paces[Phase.SPARSE].sec_per_iteration, self.paces[Phase.DENSE].sec_per_iteration)


def measure(run: Run) -> Efficiency:
    """Cost of the run. The host's first tick, one batch that holds the start-up, counts only in the total time."""
    ticks = [tick for tick in run.ticks if not tick.is_startup]
    last = run.ticks[-1] if run.ticks else None
    is_timed = any(math.isfinite(tick.get(_timer(phase))) for tick in ticks for phase in Phase)
    paces: Dict[Optional[Phase], Pace] = {
        phase: _timed_pace(run, ticks, phase) if is_timed else _tick_pace(run, [t for t in ticks if _phase_of(run, t) == phase])
        for phase in Phase
    }
    paces[None] = _tick_pace(run, [] if run.has_method else ticks)
    hooked = [tick for tick in ticks if math.isfinite(_hook_seconds(run, tick)) and math.isfinite(_seconds(tick))]
    hook = math.fsum(_hook_seconds(run, tick) for tick in hooked)
    clocked = [tick for tick in ticks if math.isfinite(_seconds(tick))]
    ratio = math.nan if last is None else last.get("ReGAN/flops_ratio")
    return Efficiency(
        theory=_theory(run),
        flops_ratio=ratio if run.has_method else 1.0,
        paces=paces,
        is_timed=is_timed,
        sec_per_kimg=_ratio(math.fsum(map(_seconds, clocked)), math.fsum(tick.kimg - tick.start for tick in clocked)),
        hook_percent=100 * _ratio(hook, math.fsum(map(_seconds, hooked))),
        total_sec=run.total_sec,
    )


def hook_percent(run: Run, tick: Tick) -> float:
    """Share of a tick's iterations that the hook took, in percent."""
    return 100 * _ratio(_hook_seconds(run, tick), _seconds(tick))


# ---------------------------------------------------------------- measured


def _timed_pace(run: Run, ticks: List[Tick], phase: Phase) -> Pace:
    """By the method's timer: the means of the ticks, each weighted by the iterations that it is the mean of.

    A host's statistics repeat the last mean in ticks without a new one; the weight of those is 0.
    """
    means = [(tick.get(_timer(phase)), _timed_iterations(run, tick, phase)) for tick in ticks]
    return _pace([(mean, weight) for mean, weight in means if weight > 0 and math.isfinite(mean)])


def _tick_pace(run: Run, ticks: List[Tick]) -> Pace:
    """By the time of whole ticks."""
    means = [(_seconds(tick), len(_iterations(run, tick))) for tick in ticks]
    return _pace([(seconds / count, count) for seconds, count in means if count > 0 and math.isfinite(seconds)])


def _pace(means: List[Tuple[float, int]]) -> Pace:
    """Of the mean of each tick, in seconds per iteration, and the number of iterations that it is of."""
    if not means:
        return Pace(math.nan, 0, 0)
    count, each = sum(weight for _, weight in means), [mean for mean, _ in means]
    return Pace(math.fsum(mean * weight for mean, weight in means) / count, count, len(means), min(each), max(each))


def _timer(phase: Phase) -> str:
    """The statistic with the mean seconds of an iteration in this kind of phase."""
    return f"ReGAN/sec_{phase.name.lower()}"


def _iterations(run: Run, tick: Tick) -> range:
    """The iterations of the tick; none where the batch is not known."""
    if run.batch is None:
        return range(0)
    return range(round(tick.start * 1000 / run.batch), round(tick.kimg * 1000 / run.batch))


def _timed_iterations(run: Run, tick: Tick, phase: Phase) -> int:
    """How many iterations of this kind of phase the timer measured in the tick: not the last, in which the tick ends."""
    inside, schedule = _iterations(run, tick)[:-1], run.schedule
    if schedule is None:
        return 0
    sparse = schedule.sparse_iterations(inside.stop) - schedule.sparse_iterations(inside.start)
    warmup = min(inside.stop, schedule.warmup) - min(inside.start, schedule.warmup)
    return {Phase.WARMUP: warmup, Phase.SPARSE: sparse, Phase.DENSE: len(inside) - warmup - sparse}[phase]


def _phase_of(run: Run, tick: Tick) -> Optional[Phase]:
    """The phase that holds the whole tick; None where it holds several, and in a plain run."""
    inside = _iterations(run, tick)
    if run.schedule is None or not inside:
        return None
    span = run.schedule.span(inside.start)
    return span.phase if span.stop is None or inside.stop <= span.stop else None


def _seconds(tick: Tick) -> float:
    return tick.get("Timing/sec_per_kimg") * (tick.kimg - tick.start)


def _hook_seconds(run: Run, tick: Tick) -> float:
    if run.batch is None:
        return math.nan
    return tick.get("ReGAN/hook_ms") / 1000 * (tick.kimg - tick.start) * 1000 / run.batch


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


# ---------------------------------------------------------------- theory


def _theory(run: Run) -> Theory:
    theory = mapping(run.plan.get("theory"))
    channels = {str(name): _kept(kept) for name, kept in mapping(theory.get("channels")).items()}
    layers = {
        str(n): tuple(number(mapping(of).get(kind)) for kind in COUNTS) for n, of in mapping(theory.get("layers")).items()
    }
    return Theory(
        dense_gmacs=number(theory.get("generator_gmacs")),
        sparse_gmacs=number(theory.get("sparse_generator_gmacs")),
        d_dense_gmacs=number(theory.get("discriminator_gmacs")),
        d_sparse_gmacs=number(theory.get("sparse_discriminator_gmacs")),
        run_pflops=number(theory.get("run_pflops")),
        dense_run_pflops=number(theory.get("dense_run_pflops")),
        channels=channels,
        layers=layers,
    )


def _kept(numbers: Any) -> str:
    """Such as "48 of 64"."""
    return " of ".join(f"{number(each):g}" for each in numbers) if isinstance(numbers, list) else ""
