"""A run folder in place of a snapshot, and a folder of runs in place of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Dict, Optional

import pytest
from click.testing import CliRunner
from support.run_folders import add_snapshot, make_run, ticks_of_one_kimg

from regan_ext.cli import main
from regan_ext.runs.find import chosen_snapshot, find_runs
from regan_ext.runs.job import by_kimg, grids
from regan_ext.support.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "runs" / "00000-a", ticks_of_one_kimg(3))
    for kimg in (4, 1000000, 200000):
        add_snapshot(folder, kimg)
    os.utime(folder / "network-snapshot-000004.pkl", (2e9, 2e9))  # as a copy or a clock that was set leaves it
    for name in ("network-snapshot-000900-sparse.pkl", "network-snapshot-x.pkl", "network-pair-2000000-dense.pkl"):
        (folder / name).touch()
    return folder


def add_best(folder: Path, metric: str, kinds: Dict[str, float], kimg: float = 4) -> None:
    for kind, value in kinds.items():
        target = folder / f"network-best-{metric}-{kind}.pkl"
        target.touch()
        target.with_suffix(".json").write_text(json.dumps({"metric": metric, "value": value, "kimg": kimg, "kind": kind}))


def refusal(path: Path, best: Optional[str] = None) -> str:
    with pytest.raises(UserError) as caught:
        chosen_snapshot(path, best)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_run_folder_stands_for_the_snapshot_of_the_most_kimg(run: Path) -> None:
    assert [path.name[17:-4] for path in by_kimg(run).values()] == ["000004", "200000", "1000000"]
    assert chosen_snapshot(run) == run / "network-snapshot-1000000.pkl"
    assert chosen_snapshot(run / "network-snapshot-000004.pkl") == run / "network-snapshot-000004.pkl"


def test_grids_are_found_in_either_format(tmp_path: Path) -> None:
    for name in ("fakes000004.jpg", "fakes000000.jpg", "fakes_init.jpg", "fakes000008.png", "fakes-pair-000004-dense.png"):
        (tmp_path / name).touch()
    assert [path.name for path in grids(tmp_path).values()] == ["fakes000000.jpg", "fakes000004.jpg", "fakes000008.png"]


def test_a_folder_without_snapshots_says_what_to_name(run: Path, tmp_path: Path) -> None:
    assert f"name one of the 1 runs in it, such as {run}" in refusal(run.parent)
    assert refusal(tmp_path).endswith("holds no network-snapshot-NNNNNN.pkl")


def test_the_best_is_the_better_of_both_kinds(run: Path) -> None:
    add_best(run, "fid5k_full", {"sparse": 20.0, "dense": 30.0})
    assert chosen_snapshot(run, "").name == "network-best-fid5k_full-sparse.pkl"
    assert chosen_snapshot(run, "fid5k_full-dense").name == "network-best-fid5k_full-dense.pkl"
    add_best(run, "pr5k3_full_recall", {"sparse": 0.2, "dense": 0.3})
    assert chosen_snapshot(run, "pr5k3_full_recall").name == "network-best-pr5k3_full_recall-dense.pkl"
    assert "the best by fid5k_full, pr5k3_full_recall; name one, as in --best=fid5k_full" in refusal(run, "")
    assert "--best=kid5k_full: " in refusal(run, "kid5k_full")
    assert "takes the best snapshot of a run folder" in refusal(run / "network-snapshot-000004.pkl", "")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"value": NaN, "kimg": 4}', '{"value": 1, "kimg": 0}', "[" * 9999, "pipe"])
def test_a_note_that_says_nothing_is_no_best_one(run: Path, note: str) -> None:
    """One at 0 kimg is noise, which older runs counted."""
    (run / "network-best-fid5k_full-dense.pkl").touch()
    path = run / "network-best-fid5k_full-dense.json"
    os.mkfifo(path) if note == "pipe" else path.write_text(note)
    assert "holds no network-best-*.pkl" in refusal(run, "")


def test_a_folder_of_runs_stands_for_all_of_them(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "runs" / "00001-a-resumed", ticks_of_one_kimg(2))
    (tmp_path / "runs" / "notes").mkdir()
    assert find_runs(run.parent) == [run, other]
    assert find_runs(run) == [run]
    assert find_runs(tmp_path) == [tmp_path] and find_runs(tmp_path / "none") == [tmp_path / "none"]


def test_report_takes_a_folder_of_runs(run: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "00001-other", ticks_of_one_kimg(2), kimg=7)
    out = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", str(tmp_path / "runs"), f"--out={out}"])
    assert result.exit_code == 0, result.output
    assert "00000-a" in out.read_text() and "00001-other" in out.read_text()
