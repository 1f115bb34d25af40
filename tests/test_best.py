"""The best snapshot of a run is one and the same for all that name it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Dict, List

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.host_loops import end_tick
from support.run_folders import add_metric, make_run, ticks_of_one_kimg

from regan_ext.cli import main
from regan_ext.runs.chain import last_run
from regan_ext.runs.folder import read_run
from regan_ext.runs.metric import MetricPoint
from regan_ext.tune.objective import Objective
from training_hooks.core.best import best, is_better
from training_hooks.nvidia.metrics import direction

NOISE_IS_BEST = {0: 33.4, 2: 60.0, 4: 38.2, 6: 50.0}


def test_noise_at_0_kimg_is_nobodys_best(tmp_path: Path) -> None:
    run = add_values(tmp_path / "few-shot" / "stylegan2-obama-seed0" / "00000-a", NOISE_IS_BEST)
    for kimg, value in NOISE_IS_BEST.items():
        snapshot = run / f"network-snapshot-{kimg:06d}.pkl"
        snapshot.write_text(f"{kimg}")
        end_tick(snapshot, {"fid5k_full": value}, 1000 * kimg + 16)
    assert (run / "network-best-fid5k_full-dense.pkl").read_text() == "4"
    objective = Objective.parse("fid5k_full")
    chosen = objective.choose(objective.points(last_run(run.parent)))
    assert chosen is not None and (chosen.kimg, chosen.value) == (4, 38.2)
    assert re.search(r"38\.20 +50\.00", show(tmp_path))  # best, last
    assert CliRunner().invoke(main, ["report", str(run)]).exit_code == 0
    page = (run / "report.html").read_text("utf-8")
    assert "38.2 (network-snapshot-000004.pkl)" in page and "33.4 (" not in page


def show(out: Path) -> str:
    result = CliRunner().invoke(main, ["tables", "show", "few-shot", f"--out={out}"])
    assert result.exit_code == 0, result.output
    return result.output


def add_values(folder: Path, values: Dict[int, float]) -> Path:
    run = make_run(folder, ticks_of_one_kimg(9))
    add_metric(run, "fid5k_full", values)
    return run


def test_a_run_that_only_noise_was_measured_of_has_no_best(tmp_path: Path) -> None:
    run = add_values(tmp_path / "few-shot" / "stylegan2-obama-seed0" / "00000-a", {0: 33.4})
    (row,) = [line for line in show(tmp_path).splitlines() if line.startswith("StyleGAN2 ") and "33.40" in line]
    assert re.search(r"–  +33\.40", row)  # no best, but a last
    assert len(read_run(run).metrics) == 1


@pytest.mark.parametrize(
    "metric, better",
    [
        ("fid50k_full", "lower"), ("kid5k_full", "lower"), ("ppl2_wend", "lower"), ("is50k_mean", "higher"),
        ("is50k_std", "lower"), ("pr50k3_full_recall", "higher"), ("eqt50k_int", "higher"), ("isolation", None), ("mine", None),
    ],
)  # fmt: skip
def test_the_direction_of_a_metric(metric: str, better: "str | None") -> None:
    assert direction(metric) == better


def test_a_metric_of_unknown_direction_has_no_best(tmp_path: Path) -> None:
    snapshot = tmp_path / "network-snapshot-000003.pkl"
    snapshot.write_text("x")
    end_tick(snapshot, {"mine": 3.0}, 3000)
    assert [path.name for path in tmp_path.iterdir()] == [snapshot.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"value": null}', '{"value": "x"}'])
def test_a_damaged_note_does_not_end_the_training(content: str, tmp_path: Path) -> None:
    snapshot, note = tmp_path / "network-snapshot-000003.pkl", tmp_path / "network-best-fid1k-dense.json"
    snapshot.write_text("x")
    note.write_text(content)
    end_tick(snapshot, {"fid1k": 3.0}, 3000)
    assert json.loads(note.read_text())["value"] == 3.0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(allow_nan=True, allow_infinity=True)), max_size=8),
    st.sampled_from(["lower", "higher"]),
)
def test_no_candidate_is_better_than_the_best(points: "List[tuple[int, float]]", which: str) -> None:
    series = [MetricPoint("m", float(kimg), value, "") for kimg, value in points]
    found = best(series, which)
    candidates = [p for p in series if p.kimg > 0 and math.isfinite(p.value)]
    assert (found is None) == (not candidates)
    assert found is None or (found in candidates and not any(is_better(p.value, found.value, which) for p in candidates))
    assert best(series, None) is None
