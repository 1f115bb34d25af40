"""The lines about phases in a run's log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.runs import Run

from training_hooks.core.schedule import Phase, Schedule
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.phase_lines import PhaseLines, fact

CONFIG = ReconfigurationConfig(ratio=0.3, interval=10, warmup=10)


def test_a_run_tells_each_switch_and_the_phase_of_each_tick(regan_run: Run) -> None:
    """Warm-up 0-9, sparse 10-19, dense 20-29, ..., of 16 images; ticks end with iterations 0 and 62."""
    lines = [line for line in regan_run.output.splitlines() if line.startswith(("Re-GAN: ", "tick "))]
    kinds = [re.sub(r" {2,}.*", "", line) if line.startswith("tick") else line for line in lines]
    assert kinds == [
        "Re-GAN: warm-up from iteration 0 (0 kimg) on, until 0.16 kimg: everything trains",
        "tick 0",
        "Re-GAN: warm-up, 10% of the phase done",
        "Re-GAN: sparse 1 from iteration 10 (0.16 kimg) on, until 0.32 kimg: 0.3 of the weights are pruned",
        "Re-GAN: dense 1 from iteration 20 (0.32 kimg) on, until 0.48 kimg: what was pruned grows back, learning rate x 0.1",
        "Re-GAN: sparse 2 from iteration 30 (0.48 kimg) on, until 0.64 kimg: 0.3 of the weights are pruned, "
        "0.00% of them others than before",
        "tick 1",
        "Re-GAN: dense 3, 100% of the phase done; 6 phases began in this tick",
    ]


@pytest.mark.parametrize("interval", [1, 7])
def test_short_phases_do_not_flood_the_log(interval: int, capsys: Any) -> None:
    schedule, lines = Schedule(0, interval, 1000), PhaseLines(16, 1000)
    for iteration in range(1000):
        span = schedule.span(iteration)
        if span.start == iteration:
            lines.switch(span, "")
        if iteration % 500 == 499:
            lines.tick(iteration, span)
    assert len(capsys.readouterr().out.splitlines()) == 2 * 4


def test_what_a_phase_means() -> None:
    assert fact(Phase.SPARSE, CONFIG, None) == "0.3 of the weights are pruned"
    assert fact(Phase.SPARSE, CONFIG, 0.5).endswith("pruned, 50.00% of them others than before")
    assert "0.3 of the channels" in fact(Phase.SPARSE, ReconfigurationConfig(granularity="channel"), None)
    both = ReconfigurationConfig(0.3, target="both", ratio_d="0:0.5")
    assert fact(Phase.SPARSE, both, None, 0.5) == "0.3 of the weights of G and 0.25 of the weights of D are pruned"
    assert fact(Phase.SPARSE, both, 0.5, 0.5, ["D"]) == "0.25 of the weights are pruned, 50.00% of them others than before"
    assert fact(Phase.DENSE, CONFIG, None) == "what was pruned grows back, learning rate x 0.1"
