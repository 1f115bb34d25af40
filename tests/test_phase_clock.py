"""Seconds per iteration by kind of phase."""

from __future__ import annotations

from typing import List

import pytest

from training_hooks.core.schedule import Phase
from training_hooks.methods.regan import phase_clock
from training_hooks.methods.regan.phase_clock import PhaseClock


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
