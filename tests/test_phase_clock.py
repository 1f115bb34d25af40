"""Seconds per iteration by kind of phase."""

from __future__ import annotations

from typing import Any, List

import pytest
import torch

from training_hooks.core.schedule import Phase
from training_hooks.methods.regan import phase_clock
from training_hooks.methods.regan.phase_clock import HookClock, PhaseClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """The time, as a list of one number to be set."""
    time = [100.0]
    monkeypatch.setattr(phase_clock.time, "perf_counter", lambda: time[0])
    return time


def test_each_iteration_counts_for_the_phase_that_it_is_in(now: List[float]) -> None:
    clock = PhaseClock()
    for phase, seconds in [(Phase.SPARSE, 1), (Phase.SPARSE, 3), (Phase.DENSE, 10), (Phase.DENSE, 20), (Phase.SPARSE, 9)]:
        clock.begin(phase)
        now[0] += seconds
    assert clock.read() == {Phase.SPARSE: 2.0, Phase.DENSE: 15.0}
    clock.begin(Phase.SPARSE)
    assert clock.read() == {Phase.SPARSE: 9.0}  # since the last call
    assert clock.read() == {}


def test_a_pause_and_the_iteration_before_it_do_not_count(now: List[float]) -> None:
    clock = PhaseClock()
    clock.begin(Phase.SPARSE)
    now[0] += 1
    clock.begin(Phase.SPARSE)
    now[0] += 1
    clock.pause()
    now[0] += 500
    clock.begin(Phase.SPARSE)
    assert clock.read() == {Phase.SPARSE: 1.0}


def test_the_device_finishes_what_a_phase_has_queued(now: List[float]) -> None:
    """A GPU that lags by 5 seconds, which the phase that queued them has to pay for."""

    def finish() -> None:
        now[0] += 5

    clock = PhaseClock(finish)
    for phase in (Phase.SPARSE, Phase.SPARSE, Phase.DENSE, Phase.DENSE):
        clock.begin(phase)
        now[0] += 1
    assert clock.read() == {Phase.SPARSE: 3.5, Phase.DENSE: 1.0}


def test_the_hooks_share_is_per_iteration_since_the_last_reading(now: List[float]) -> None:
    clock = HookClock(torch.device("cpu"))
    for seconds in (0.001, 0.003, 0.008):
        clock.begin_iteration()
        for _ in range(2):
            with clock.running():
                now[0] += seconds
        now[0] += 100
    assert clock.read() == pytest.approx(8.0) and clock.read() == 0


class Stream:
    """A GPU that has got as far as ``done`` of the work that it was given, in milliseconds."""

    def __init__(self) -> None:
        self.given = self.done = 0.0
        self.waits = 0


class Event:
    def __init__(self, enable_timing: bool):
        assert enable_timing

    def record(self, stream: Stream) -> None:
        self.stream, self.at = stream, stream.given

    def query(self) -> bool:
        return self.at <= self.stream.done

    def synchronize(self) -> None:
        self.stream.waits += 1
        self.stream.done = max(self.stream.done, self.at)

    def elapsed_time(self, end: Any) -> float:
        assert end.query()
        return end.at - self.at


def test_on_a_gpu_nothing_waits_before_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    clock = HookClock(torch.device("cuda", 1))
    for iteration in range(4):
        clock.begin_iteration()
        with clock.running():
            stream.given += 2 * (iteration + 1)
        stream.given += 50
        stream.done = stream.given / 2
    assert stream.waits == 0
    assert clock.read() == 5 and stream.waits == 1
    assert clock.read() == 0
