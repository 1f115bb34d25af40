"""The phases of a run up to where it stands, from its schedule: drawn one by one, or thinned where they are too many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

from training_hooks.core.schedule import Phase, Schedule

from .folder import Run

__all__ = ["MOST_PHASES", "Phases", "phases_of", "phases_of_schedule"]

MOST_PHASES = 100  # that can be told apart in a chart


@dataclass(frozen=True)
class Phases:
    """The phases of a run so far, in iterations.

    Args:
        count: number of phases.
        spans: kind, begin and end of each phase; of alternating ones only every ``every``-th sparse one.
        turns: begin and end of stretches in which sparse and dense phases alternate too often to be drawn; mostly none.
        every: 1 where all phases are in ``spans``.
    """

    count: int
    spans: Tuple[Tuple[Phase, int, int], ...]
    turns: Tuple[Tuple[int, int], ...] = ()
    every: int = 1


@dataclass(frozen=True)
class _Stretch:
    """Iterations ``start`` to ``stop`` (exclusive) of a run, which one of its parts trained by its own schedule."""

    schedule: Schedule
    start: int
    stop: int


def phases_of(run: Run) -> Optional[Phases]:
    """The phases of the run so far; None in a plain run, before the first tick, and where they are not known."""
    stretches = list(_stretches(run))
    return _phases(stretches) if stretches else None


def phases_of_schedule(schedule: Schedule, total: int) -> Phases:
    """The phases of a whole run of ``total`` iterations, at least 1."""
    return _phases([_Stretch(schedule, 0, total)])


def _phases(stretches: Sequence[_Stretch]) -> Phases:
    count = sum(s.schedule.span(s.stop - 1).number - s.schedule.span(s.start).number + 1 for s in stretches)
    if count <= MOST_PHASES:
        return Phases(count, _joined([span for stretch in stretches for span in _all(stretch)]))
    every = math.ceil(count / MOST_PHASES)
    spans = [span for stretch in stretches for span in _thinned(stretch, every)]
    begun = [(max(s.start, s.schedule.warmup), s.stop) for s in stretches]
    return Phases(count, tuple(spans), tuple((start, stop) for start, stop in begun if start < stop), every)


def _stretches(run: Run) -> Iterator[_Stretch]:
    begin = 0
    for part in run.parts:
        end = run.iteration_at(min(part.until, run.kimg))
        if part.run.schedule is not None and begin < end:
            yield _Stretch(part.run.schedule, begin, end)
        begin = max(begin, end)


def _all(stretch: _Stretch) -> Iterator[Tuple[Phase, int, int]]:
    iteration = stretch.start
    while iteration < stretch.stop:
        span = stretch.schedule.span(iteration)
        stop = stretch.stop if span.stop is None else min(span.stop, stretch.stop)
        yield span.phase, iteration, stop
        iteration = stop


def _thinned(stretch: _Stretch, every: int) -> Iterator[Tuple[Phase, int, int]]:
    """The warm-up, and the sparse phase of every ``every``-th cycle."""
    schedule = stretch.schedule
    if stretch.start < schedule.warmup:
        yield Phase.WARMUP, stretch.start, min(schedule.warmup, stretch.stop)
    for iteration in range(max(stretch.start, schedule.warmup), stretch.stop, 2 * every * schedule.interval):
        span = schedule.span(iteration)
        if span.phase == Phase.DENSE:
            span = schedule.span(span.start - 1)
        start = max(span.start, stretch.start)
        stop = stretch.stop if span.stop is None else min(span.stop, stretch.stop)
        if span.phase == Phase.SPARSE and start < stop:
            yield span.phase, start, stop


def _joined(spans: List[Tuple[Phase, int, int]]) -> Tuple[Tuple[Phase, int, int], ...]:
    """Phases that two parts of a run share, as one."""
    joined: List[Tuple[Phase, int, int]] = []
    for phase, start, stop in spans:
        if joined and joined[-1][0] == phase and joined[-1][2] == start:
            joined[-1] = (phase, joined[-1][1], stop)
        else:
            joined.append((phase, start, stop))
    return tuple(joined)
