"""Measures how long the iterations of each kind of phase take."""

from __future__ import annotations

import time
from typing import Callable, Dict, Optional

from ...core.schedule import Phase

__all__ = ["PhaseClock"]


class PhaseClock:
    """Seconds from the beginning of an iteration to that of the next, by kind of phase.

    What a switch costs belongs to the phase that it begins. The last iteration before a pause is left out, because what
    follows it is a tick's snapshot and metrics.

    Args:
        finish: waits until the device has done what it was given; called at switches, so that no phase is charged with the
            work that another one has queued.
    """

    def __init__(self, finish: Callable[[], None] = lambda: None) -> None:
        self._finish = finish
        self._begun: Optional[float] = None
        self._phase: Optional[Phase] = None
        self._seconds: Dict[Phase, float] = {}
        self._iterations: Dict[Phase, int] = {}

    def begin(self, phase: Phase) -> None:
        """An iteration of ``phase`` begins."""
        if phase != self._phase:
            self._finish()
        now = time.perf_counter()
        if self._begun is not None and self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._begun
            self._iterations[self._phase] = self._iterations.get(self._phase, 0) + 1
        self._begun, self._phase = now, phase

    def pause(self) -> None:
        """What happens until the next iteration begins does not count."""
        self._begun = None

    def read(self) -> Dict[Phase, float]:
        """Mean seconds per iteration since the last call, for each kind of phase that was measured."""
        means = {phase: seconds / self._iterations[phase] for phase, seconds in self._seconds.items()}
        self._seconds, self._iterations = {}, {}
        return dict(sorted(means.items()))
