"""What a run cost: counted operations, and measured time. The two are kept apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional

from training_hooks.schedule import Phase

from .runs import Run, Tick

__all__ = ["Efficiency", "Pace", "hook_percent", "measure"]


@dataclass(frozen=True)
class Pace:
    """Measured seconds per kimg: mean, fastest and slowest of a number of ticks; NaN over none."""

    sec_per_kimg: float
    ticks: int
    fastest: float = math.nan
    slowest: float = math.nan


@dataclass(frozen=True)
class Efficiency:
    """Cost of a run.

    Args:
        flops_ratio: theoretical operations of G's forward passes over those of a dense run. Counted, not measured.
        paces: measured, over the ticks that lie wholly inside phases of a kind; the key None is a plain run.
        hook_percent: measured share of the training time that the method's hook took; NaN in a plain run.
        total_sec: measured from the start of the job to its last tick, everything included.
    """

    flops_ratio: float
    paces: Dict[Optional[Phase], Pace]
    hook_percent: float
    total_sec: float

    @property
    def sparse_over_dense(self) -> float:
        """Measured time of a sparse kimg over that of a dense one."""
        return self.paces[Phase.SPARSE].sec_per_kimg / self.paces[Phase.DENSE].sec_per_kimg


def measure(run: Run) -> Efficiency:
    """Cost of the run. The host's first tick, one batch that holds the start-up, counts only in the total time."""
    ticks = [tick for tick in run.ticks if not tick.is_startup]
    last = run.ticks[-1] if run.ticks else None
    kinds = (Phase.WARMUP, Phase.SPARSE, Phase.DENSE)
    paces: Dict[Optional[Phase], Pace] = {kind: _pace([t for t in ticks if run.phase_of(t) == kind]) for kind in kinds}
    paces[None] = _pace([] if run.has_method else ticks)
    timed = [tick for tick in ticks if math.isfinite(_hook_seconds(run, tick)) and math.isfinite(_seconds(tick))]
    whole = math.fsum(_seconds(tick) for tick in timed)
    hook = math.fsum(_hook_seconds(run, tick) for tick in timed)
    ratio = math.nan if last is None else last.get("ReGAN/flops_ratio")
    return Efficiency(
        flops_ratio=ratio if run.has_method else 1.0,
        paces=paces,
        hook_percent=100 * hook / whole if whole > 0 else math.nan,
        total_sec=math.nan if last is None else last.get("Timing/total_sec"),
    )


def hook_percent(run: Run, tick: Tick) -> float:
    """Share of a tick's iterations that the hook took, in percent."""
    seconds = _seconds(tick)
    return 100 * _hook_seconds(run, tick) / seconds if seconds > 0 else math.nan


def _seconds(tick: Tick) -> float:
    return tick.get("Timing/sec_per_kimg") * (tick.kimg - tick.start)


def _hook_seconds(run: Run, tick: Tick) -> float:
    if run.batch is None:
        return math.nan
    return tick.get("ReGAN/hook_ms") / 1000 * (tick.kimg - tick.start) * 1000 / run.batch


def _pace(ticks: List[Tick]) -> Pace:
    timed = [tick for tick in ticks if math.isfinite(_seconds(tick))]
    if not timed:
        return Pace(math.nan, 0)
    mean = math.fsum(_seconds(tick) for tick in timed) / math.fsum(tick.kimg - tick.start for tick in timed)
    each = [tick.get("Timing/sec_per_kimg") for tick in timed]
    return Pace(mean, len(timed), min(each), max(each))
