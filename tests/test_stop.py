"""Signals and the clock end a run early, with everything that is needed to go on."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, List

import pytest
from support.networks import assert_same
from support.processes import run_python
from support.runs import SCHEDULE, SMALL, Run, begin, drive, finished_run, resumed, stopped_run, wait_for_iteration

from training_hooks.nvidia import state as states


def last_state(run: Run) -> Any:
    return states.load(sorted(run.folder.glob("regan-state-*.pt"))[-1])


def test_stopped_anywhere_and_resumed_equals_uninterrupted(whole: Run, tiny_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    process = begin(tiny_zip, tmp_path / "a", "--kimg=3", "--tick=50")
    wait_for_iteration(tmp_path / "a", 15, process)
    process.send_signal(signal.SIGINT)
    run = stopped_run(tmp_path / "a", process)
    state = last_state(run)
    assert 15 <= state["batch_idx"] < 94 and run.snapshot(state["cur_nimg"] // 1000).is_file()
    assert f"--resume={run.folder} goes on" in run.output and "Traceback" not in run.output
    again = resumed(whole, run.folder, tmp_path / "b", [*SCHEDULE, "--kimg=3"])
    assert_same_but_ticks(whole, again, host_dir)


def assert_same_but_ticks(a: Run, b: Run, host: Path) -> None:
    """Where a run was stopped by hand its ticks are counted differently; nothing else may be."""
    paths = [states.state_path(run.snapshot(3)) for run in (a, b)]
    before = [path.read_bytes() for path in paths]  # other tests look at these runs too
    try:
        for path in paths:
            states.save({**states.load(path), "cur_tick": 0}, path)
        assert_same(a, b, 3, host)
    finally:
        for path, content in zip(paths, before):
            path.write_bytes(content)


def test_a_second_signal_ends_at_once(tiny_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    process = begin(tiny_zip, tmp_path, "--kimg=100", "--tick=50", "--batch=512", "--batch-gpu=256")
    wait_for_iteration(tmp_path, 0, process)  # an iteration of this size takes seconds
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, output[-2000:]
    assert not list(tmp_path.glob("*/regan-state-*.pt"))


def test_the_last_tick_of_a_stopped_run_has_the_methods_statistics(tiny_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from regan_ext.train.attach import attach; from regan_ext.hosts import embedded_train\n"
        "attach(vars(embedded_train), hooks=[{'class_name': 'support.probes.Terminator', 'at': 20}])\n"
        "embedded_train.main.main(args=sys.argv[1:])"
    )
    arguments = [f"--outdir={tmp_path}", f"--data={tiny_zip}", *SMALL, *SCHEDULE, "--kimg=100", "--tick=50", "--states=false"]
    run = finished_run(tmp_path, run_python(["-c", code, *arguments]))
    assert [line["Progress/kimg"]["mean"] for line in run.stats] == pytest.approx([0.032, 21 * 0.032])
    assert [line["ReGAN/phase"]["mean"] for line in run.stats] == [0.0, 1.0]
    assert run.stats[-1]["ReGAN/sparsity"]["mean"] == pytest.approx(0.3, abs=0.01)
    assert f"Stopped, with a snapshot in {run.folder}." in run.output  # nothing to go on from in the folder


def test_two_ranks_stop_at_the_same_iteration(tiny_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    process = begin(tiny_zip, tmp_path, "--kimg=100", "--tick=50", "--gpus=2")
    wait_for_iteration(tmp_path, 3, process)
    process.send_signal(signal.SIGUSR1)  # to the parent alone, as SLURM does before its limit
    run = stopped_run(tmp_path, process)
    assert len(last_state(run)["ranks"]) == 2 and "ReGAN/phase" in run.stats[-1]


def test_time_limit(tiny_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    options: List[str] = ["--kimg=100", "--tick=50", "--max-hours=0.001"]
    arguments = [f"--outdir={tmp_path}", f"--data={tiny_zip}", *SMALL, *options]
    run = finished_run(tmp_path, drive("off", *arguments))
    assert "The time of --max-hours=0.001 is up." in run.output
    assert f"Stopped by --max-hours=0.001. The same command with --resume={run.folder} goes on." in run.output
    assert last_state(run)["batch_idx"] > 0
