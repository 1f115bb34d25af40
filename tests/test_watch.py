"""``regan-ext watch``: what it shows is what the job has written."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Dict

import pytest
from click.testing import CliRunner, Result
from conftest import Run
from run_folders import HOOK, add_metric, make_run, stat, tick, ticks_of_one_kimg

from regan_ext import watch
from regan_ext.cli import main
from regan_ext.runs import read_run


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["watch", *map(str, arguments)])


def rows(result: Result) -> Dict[str, str]:
    """The lines of a printed frame by their headings."""
    assert result.exit_code == 0, result.output
    lines = [line.strip("│ ") for line in result.output.splitlines()]
    return {name: rest.strip() for name, _, rest in (line.partition("  ") for line in lines) if rest}


def write_status(folder: Path, iteration: int) -> None:
    status = {"iteration": iteration, "total": 900, "batch_size": 10, "pid": 1, "sec_per_iteration": 7.0, "time": time.time()}
    (folder / "regan-status.json").write_text(json.dumps(status))


def test_finished_run(regan_run: Run) -> None:
    shown = rows(command(regan_run.folder))
    assert shown["phase"] == "finished" and shown["trained"] == "1.0 of 1 kimg, iteration 63 of 63"
    assert shown["sparsity"] == "0.0% zeros, measured at 1.0 kimg" and "next switch" not in shown and "time left" not in shown
    last = regan_run.stats[-1]
    assert shown["losses"] == f"G {last['Loss/G/loss']['mean']:.3g}, D {last['Loss/D/loss']['mean']:.3g}"


def test_running_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5, ReGAN__sparsity=0.25), HOOK)
    write_status(run, 430)
    add_metric(run, "kid50k", {3: 0.5})
    add_metric(run, "fid50k", {1: 90.0, 2: 70.0})
    shown = rows(command(run, "--once"))
    # Warm-up to 100, sparse to 300, dense to 500; the ticks between 0.01 and 4.01 kimg took 35 s: 0.0875 s an iteration.
    assert shown["phase"] == "dense, cycle 1" and shown["trained"] == "4.3 of 9 kimg, iteration 430 of 900"
    assert shown["next switch"] == "sparse in 70 iterations, about 0.1 minutes"
    assert shown["time left"] == "about 0.7 minutes" and shown["pace"] == "10 sec/kimg in the last tick"
    assert shown["sparsity"] == "25.0% zeros, measured at 4.0 kimg" and shown["losses"] == "G 1.5, D 0.5"
    assert shown["metric"] == "fid50k 70 at 2 kimg" and shown["status"].startswith("written 0 s ago")


def test_last_phase_has_no_next_switch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK)
    write_status(run, 850)
    assert rows(command(run, "--once"))["next switch"] == "none before the end"


def test_before_the_first_tick_the_status_tells(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    write_status(run, 30)
    shown = rows(command(run, "--once"))
    assert shown["phase"] == "warm-up" and shown["next switch"] == "sparse in 70 iterations, about 8.2 minutes"
    assert shown["time left"] == "about 1.7 hours" and shown["statistics"] == "no tick was finished yet"


def test_run_that_has_written_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    (run / "stats.jsonl").unlink()
    shown = rows(command(run, "--once"))
    assert shown["trained"] == "0.0 of 9 kimg, iteration 0 of 900" and shown["time left"] == "time not known yet"
    assert shown["status"] == "the job has written nothing yet"


def test_plain_run_of_the_host(tmp_path: Path) -> None:
    shown = rows(command(make_run(tmp_path / "run", ticks_of_one_kimg(5)), "--once"))
    assert shown["phase"] == "none: a plain run of the host" and "next switch" not in shown and "sparsity" not in shown
    assert shown["trained"] == "4.0 of 9 kimg, iteration 401 of 900" and shown["time left"] == "about 0.7 minutes"


@pytest.mark.parametrize("hook, sec_per_kimg, silence", [(HOOK, 10.0, 61), (None, 10.0, 61), (None, 100.0, 301)])
def test_silent_job_is_stale(tmp_path: Path, hook: Any, sec_per_kimg: float, silence: int) -> None:
    run = make_run(tmp_path / "run", [tick(n, n + 1.0, 1.0, sec_per_kimg) for n in range(3)], hook)
    if hook is not None:
        write_status(run, 430)

    def age(seconds: float) -> str:
        for path in run.glob("*s*.json*"):
            os.utime(path, (time.time() - seconds, time.time() - seconds))
        return rows(command(run, "--once"))["status"]

    assert age(silence - 5) == f"written {silence - 5} s ago"
    assert age(silence) == f"stale: the job wrote nothing for {silence} s"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"iteration": null, "sec_per_iteration": NaN}'])
def test_unreadable_status_is_none(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK)
    (run / "regan-status.json").write_text(content)
    assert rows(command(run, "--once"))["trained"] == "4.0 of 9 kimg, iteration 401 of 900"


def test_nan_in_the_last_tick(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(5)
    for name in ("Loss/G/loss", "Timing/sec_per_kimg", "Timing/total_sec", "ReGAN/sparsity"):
        lines[-1][name] = stat(math.nan)
    shown = rows(command(make_run(tmp_path / "run", lines, HOOK), "--once"))
    assert shown["losses"] == "G –, D 0.5" and shown["pace"] == "– sec/kimg in the last tick" and "sparsity" not in shown


def test_it_ends_when_the_run_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        with open(run / "stats.jsonl", "a") as file:
            file.write(json.dumps(tick(4 + len(naps), 5.01 if len(naps) == 1 else 9.0)) + "\n")

    monkeypatch.setattr(watch.time, "sleep", nap)
    result = command(run)
    assert len(naps) == 2 and rows(result)["phase"] == "finished"


def test_ctrl_c_ends_it_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    result = command(make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK))
    assert result.exit_code == 0 and "Stopped watching; the run goes on." in result.output


def test_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    result = command(tmp_path, "--once")
    assert result.exit_code == 2 and "is no run folder" in result.output and len(result.output.strip().splitlines()) == 1


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "[red]x[bold]", ticks_of_one_kimg(3))
    add_metric(run, "fid[/red]", {1: 3.0})
    shown = rows(command(run, "--once"))
    assert shown["run"] == "[red]x[bold]" and shown["metric"] == "fid[/red] 3 at 1 kimg"


def test_standing_of_a_real_run_in_its_middle(regan_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "training_options.json").write_text(json.dumps(regan_run.options))
    (run / "stats.jsonl").write_text(json.dumps(regan_run.stats[0]) + "\n")
    (run / "regan-status.json").write_text(json.dumps({"iteration": 34, "sec_per_iteration": 0.5}))
    now = watch.standing(read_run(run), time.time())
    assert now.phase is not None and (now.phase.phase.name, now.phase.cycle, now.next_switch) == ("SPARSE", 2, 6)
    assert now.kimg == pytest.approx(0.544) and now.seconds_left == pytest.approx(29 * 0.5) and not now.is_finished
