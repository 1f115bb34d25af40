"""Measures how long the iterations of each kind of phase take, and how much of them is the hook's."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, Optional, Tuple

import torch

from ...core.schedule import Phase

__all__ = ["HookClock", "PhaseClock"]


class HookClock:
    """Milliseconds that a hook takes per iteration.

    On a GPU they are those of its stream, between events before and after what the hook does: the processor goes on, and waits
    for them only when the number is read.

    Args:
        device: that the hook computes on.
    """

    def __init__(self, device: torch.device):
        self._device, self._is_gpu = device, device.type == "cuda"
        self._milliseconds, self._iterations = 0.0, 0
        self._open: Deque[Tuple[Any, Any]] = deque()  # pairs of events that have not been reached yet

    def begin_iteration(self) -> None:
        """Another iteration shares what is measured."""
        self._iterations += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What happens inside is the hook's."""
        begin = self._mark()
        yield
        if self._is_gpu:
            self._open.append((begin, self._mark()))
            self._close_reached()
        else:
            self._milliseconds += 1000 * (self._mark() - begin)

    def read(self) -> float:
        """Mean of the iterations since the last call."""
        if self._open:
            self._open[-1][1].synchronize()
            self._close_reached()
        mean = self._milliseconds / max(1, self._iterations)
        self._milliseconds, self._iterations = 0.0, 0
        return mean

    def _mark(self) -> Any:
        if not self._is_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _close_reached(self) -> None:
        while self._open and self._open[0][1].query():
            begin, end = self._open.popleft()
            self._milliseconds += begin.elapsed_time(end)


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
