"""Nothing in a run folder makes a command that reads it fail otherwise than with one line, or wait."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import COMMANDS, build, damage, outcome
from support.run_folders import make_run, tick

from regan_ext.report import drawing as chart_drawing


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts as their descriptions: drawing takes most of a report's time."""
    monkeypatch.setattr(chart_drawing, "draw_svg", lambda chart, bars: chart.describe())


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False), count=st.integers(1, 3))
def test_damaged_run_folders(undrawn: None, chance: random.Random, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = build(Path(folder))
        done = [damage(run, chance) for _ in range(count)]
        outcomes = {command: outcome(command, run) for command in COMMANDS}
    assert set(outcomes.values()) <= {"done", "refused"}, (done, outcomes)


@pytest.mark.parametrize("command", COMMANDS)
def test_whole_run_folders(undrawn: None, command: str, tmp_path: Path) -> None:
    assert outcome(command, build(tmp_path)) == "done"


def test_values_of_any_size_are_drawn(tmp_path: Path) -> None:
    values = [1e100, 1e-320, -1e100, 0.0, 1e308]
    lines = [tick(i, 10.0**i, Loss__G__loss=value, ReGAN__lr=abs(value)) for i, value in enumerate(values)]
    make_run(tmp_path / "few-shot" / "stylegan2-obama-seed0" / "00000-a", lines)
    assert outcome("report", tmp_path / "few-shot" / "stylegan2-obama-seed0" / "00000-a") == "done"
