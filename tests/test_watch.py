"""``regan-ext watch``: what it shows is what the job has written."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import psutil
import pytest
from click.testing import CliRunner, Result
from support.run_folders import HOOK, add_metric, add_snapshot, ended_job, make_run, stat, tick, ticks_of_one_kimg, write_status
from support.runs import Run, begin, stopped_run, wait_for_iteration

from regan_ext.cli import main
from regan_ext.report import watch
from regan_ext.runs import job
from regan_ext.runs.folder import read_run


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["watch", *map(str, arguments)])


def rows(result: Result) -> Dict[str, str]:
    """The lines of a printed frame by their headings."""
    assert result.exit_code == 0, result.output
    lines = [line.strip("│ ") for line in result.output.splitlines()]
    return {name: rest.strip() for name, _, rest in (line.partition("  ") for line in lines) if rest}


def test_finished_run(regan_run: Run) -> None:
    shown = rows(command(regan_run.folder))
    assert shown["phase"] == "finished" and shown["trained"] == "1.0 of 1 kimg, iteration 63 of 63"
    assert (
        shown["sparsity"] == "0.0% zeros among selected weights, measured at 1.0 kimg"
        and "next switch" not in shown
        and "time left" not in shown
    )
    last = regan_run.stats[-1]
    assert shown["losses"] == f"G {last['Loss/G/loss']['mean']:#.3g}, D {last['Loss/D/loss']['mean']:#.3g}"


def test_running_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5, ReGAN__sparsity=0.25), HOOK)
    write_status(run, 430)
    add_metric(run, "kid50k", {3: 0.5})
    add_metric(run, "fid50k", {1: 90.0, 2: 70.0})
    shown = rows(command(run, "--once"))
    # Warm-up to 100, sparse to 300, dense to 500; the ticks between 0.01 and 4.01 kimg took 35 s: 0.0875 s an iteration.
    assert shown["phase"] == "dense, cycle 1" and shown["trained"] == "4.3 of 9 kimg, iteration 430 of 900"
    assert shown["next switch"] == "sparse in 70 iterations, about 6 s"
    assert shown["time left"] == "about 41 s" and shown["pace"] == "10.0 sec/kimg in the last tick"
    assert (
        shown["sparsity"] == "25.0% zeros among selected weights, measured at 4.0 kimg" and shown["losses"] == "G 1.50, D 0.500"
    )
    assert shown["metric"] == "fid50k 70 at 2 kimg" and shown["status"].startswith("written 0 s ago")


def test_last_phase_has_no_next_switch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK)
    write_status(run, 850)
    assert rows(command(run, "--once"))["next switch"] == "none before the end"


def test_before_the_first_tick_the_status_tells(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    write_status(run, 30, sec_per_iteration=7.0)
    shown = rows(command(run, "--once"))
    assert shown["phase"] == "warm-up" and shown["next switch"] == "sparse in 70 iterations, about 8 min 10 s"
    assert shown["time left"] == "about 1 h 41 min" and shown["statistics"] == "no tick was finished yet"


def test_run_that_has_written_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    (run / "stats.jsonl").unlink()
    shown = rows(command(run, "--once"))
    assert shown["trained"] == "0.0 of 9 kimg, iteration 0 of 900" and shown["time left"] == "time not known yet"
    assert shown["status"] == "the job has written nothing yet"


def test_plain_run_of_the_host(tmp_path: Path) -> None:
    shown = rows(command(make_run(tmp_path / "run", ticks_of_one_kimg(5)), "--once"))
    assert shown["phase"] == "none: a plain run of the host" and "next switch" not in shown and "sparsity" not in shown
    assert shown["trained"] == "4.0 of 9 kimg, iteration 401 of 900" and shown["time left"] == "about 44 s"


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
    assert shown["losses"] == "G –, D 0.500" and shown["pace"] == "– sec/kimg in the last tick" and "sparsity" not in shown


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
    now = watch.sight(read_run(run), time.time())
    assert now.phase is not None and (now.phase.phase.name, now.phase.cycle, now.next_switch) == ("SPARSE", 2, 6)
    assert now.kimg == pytest.approx(0.544) and now.seconds_left == pytest.approx(29 * 0.5) and not now.is_finished


# ---------------------------------------------------------------- a job that has ended


def last_line(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output.splitlines()[-1]


def half_run(folder: Path, stopped_after: float = 0.5) -> Path:
    """Ticks up to 4.01 kimg and a last one that ended early, that much later."""
    return make_run(folder, [*ticks_of_one_kimg(5), tick(5, 4.01 + stopped_after, stopped_after)], HOOK)


def test_stopped_run(tmp_path: Path) -> None:
    run = half_run(tmp_path / "run")
    write_status(run, 450, age=10, **ended_job())
    add_snapshot(run, 4)
    result = command(run)  # without --once: there is nothing to wait for
    shown = rows(result)
    assert shown["phase"] == "the job has ended" and shown["trained"] == "4.5 of 9 kimg, iteration 451 of 900"
    assert "next switch" not in shown and "time left" not in shown and "stale" not in result.output
    assert last_line(result) == f"stopped at 4.5 kimg; `--resume={run}` goes on"
    write_status(run, 451, age=10, **ended_job())  # it had begun the next iteration
    assert last_line(command(run)) == f"ended at 4.5 kimg without a snapshot of it; `--resume={run}` goes on from 4 kimg"
    write_status(run, 450, age=10, **ended_job())
    (run / "regan-state-000004.pt").unlink()
    assert last_line(command(run)) == "stopped at 4.5 kimg; its snapshot has no state file"
    add_snapshot(run, 2)
    expected = f"stopped at 4.5 kimg; its snapshot has no state file; `--resume={run}` goes on from 2 kimg"
    assert last_line(command(run)) == expected


def test_run_that_was_killed(tmp_path: Path) -> None:
    run = half_run(tmp_path / "run")
    write_status(run, 480, age=10, **ended_job())
    add_snapshot(run, 4, with_state=False)
    assert last_line(command(run)) == "ended at 4.8 kimg without a snapshot of it"
    add_snapshot(run, 2)
    assert last_line(command(run)) == f"ended at 4.8 kimg without a snapshot of it; `--resume={run}` goes on from 2 kimg"


def test_run_that_was_killed_in_its_first_tick(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    write_status(run, 30, age=10, **ended_job())
    assert last_line(command(run)) == "ended at 0.3 kimg without a snapshot of it"


def test_run_that_was_killed_between_snapshots(tmp_path: Path) -> None:
    run = half_run(tmp_path / "run", stopped_after=1.0)
    write_status(run, 500, age=10, **ended_job())  # the tick of 5.01 kimg is the last thing it did
    add_snapshot(run, 4)
    assert last_line(command(run)).startswith("ended at 5.0 kimg without a snapshot of it")


def test_finished_run_is_not_called_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*ticks_of_one_kimg(5), tick(5, 9.0, 5.0)], HOOK)
    write_status(run, 899, age=10, **ended_job())
    result = command(run)
    assert rows(result)["phase"] == "finished" and "ended" not in result.output and "stopped" not in result.output


ALIVE: List[Dict[str, Any]] = [
    {"pid": 1, "host": socket.gethostname()},
    {"host": "another-" + socket.gethostname()},
    {"host": None},
    {"age": 1.0},
    {"age": 25.0, "sec_per_iteration": 9.0},
    {"pid": "x"},
    {"pid": 0},
    {"pid": -1},
    {"pid": 10**30},
]


@pytest.mark.parametrize("fields", ALIVE, ids=range(len(ALIVE)))  # some of their values are of this process
def test_job_that_may_still_be_there_has_not_ended(tmp_path: Path, fields: Dict[str, Any]) -> None:
    run = half_run(tmp_path / "run")
    write_status(run, 450, **{"age": 10.0, **ended_job(), **fields})
    shown = rows(command(run, "--once"))
    assert shown["phase"] == "dense, cycle 1" and "time left" in shown


def test_process_of_somebody_else_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    run = half_run(tmp_path / "run")
    write_status(run, 450, age=10, **ended_job())
    monkeypatch.setattr(job.psutil, "Process", forbid)
    assert not read_run(run).has_stopped


def test_another_process_with_the_number_of_the_job_is_not_the_job(tmp_path: Path) -> None:
    run = half_run(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        write_status(run, 450, age=10, pid=later.pid, host=socket.gethostname())
        assert read_run(run).has_stopped
        later.communicate(b"\n")


def test_it_ends_when_the_job_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = half_run(tmp_path / "run")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(job, "_QUIET", 0.0)
    write_status(run, 455, pid=process.pid, host=socket.gethostname(), sec_per_iteration=0.0)
    naps = []

    def nap(seconds: float) -> None:
        assert len(naps) < 3, "it went on waiting"
        naps.append(seconds)
        if len(naps) == 2:
            process.communicate(b"\n")

    monkeypatch.setattr(watch.time, "sleep", nap)
    assert last_line(command(run)) == "ended at 4.5 kimg without a snapshot of it" and len(naps) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_real_run_that_a_signal_ends(
    data_zip: Path, host_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(job, "_QUIET", 0.0)
    process = begin(data_zip, tmp_path, "--kimg=100", "--tick=50")
    wait_for_iteration(tmp_path, 5, process)
    (folder,) = tmp_path.iterdir()
    assert not read_run(folder).has_stopped
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.communicate(timeout=120)
        line = last_line(command(folder))
        assert line.startswith("ended at 0.") and f"without a snapshot of it; `--resume={folder}` goes on from 0 kimg" in line
    else:
        run = stopped_run(tmp_path, process)
        kimg = run.stats[-1]["Progress/kimg"]["mean"]
        assert last_line(command(folder)) == f"stopped at {kimg:.1f} kimg; `--resume={folder}` goes on"
