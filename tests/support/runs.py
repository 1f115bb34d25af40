"""Training runs of the embedded host, small and short, and what they leave."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from .processes import Program, run_python

__all__ = [
    "REGAN",
    "SCHEDULE",
    "SMALL",
    "Run",
    "begin",
    "drive",
    "finished_run",
    "resumed",
    "stopped_run",
    "wait_for_iteration",
]

_DRIVE = str(Path(__file__).with_name("drive.py"))

# Every run of the host uses these unless a test says otherwise: the smallest network that has every kind of layer, and
# few iterations: what they cost hardly depends on the batch. ADA would take a third of the time.
SMALL = ["--device=cpu", "--cbase=256", "--cmax=16", "--batch=64", "--kimg=1", "--tick=1", "--snap=1",
         "--metrics=none", "--aug=noaug"]  # fmt: skip
# A process beside these loads the images, as it does on a GPU.
REGAN = ["--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=10", "--batch=16", "--workers=1"]


# 94 iterations of 32 images: warm-up 0-12, sparse 13-32, dense 33-52, sparse 53-72, dense 73-92, sparse 93.
# Ticks end with iterations 0, 32 (at a switch), 64 (inside a sparse phase) and 93.
SCHEDULE = ["--regan-ratio=0.3", "--regan-interval=20", "--regan-warmup=13", "--regan-moments=restore", "--batch=32",
            "--workers=1", "--aug=ada"]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: Path
    output: str
    records: List[Dict[str, Any]]

    def snapshot(self, kimg: int) -> Path:
        return self.folder / f"network-snapshot-{kimg:06d}.pkl"

    @property
    def options(self) -> Dict[str, Any]:
        return json.loads((self.folder / "training_options.json").read_text())

    @property
    def plan(self) -> Dict[str, Any]:
        """What Re-GAN planned."""
        plan: Dict[str, Any] = json.loads((self.folder / "regan-plan.json").read_text())
        return dict(plan["methods"]["regan"])

    @property
    def stats(self) -> List[Dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "stats.jsonl").read_text().splitlines()]


def drive(mode: str, *arguments: str, env: Optional[Dict[str, str]] = None) -> "subprocess.CompletedProcess[str]":
    """Run the embedded host through ``drive.py``; see there for the modes."""
    return run_python([_DRIVE, mode, *arguments], env)


def finished_run(outdir: Path, result: "subprocess.CompletedProcess[str]") -> Run:
    """The one run folder below ``outdir`` of a run that has to have succeeded."""
    assert result.returncode == 0, result.stdout[-6000:]
    (folder,) = [path for path in outdir.iterdir() if path.is_dir()]
    records = []
    for path in sorted(folder.glob("records-*.jsonl")):
        records += [json.loads(line) for line in path.read_text().splitlines()]
    return Run(folder, result.stdout, records)


def resumed(whole: Run, snapshot: Path, outdir: Path, options: List[str]) -> Run:
    data = whole.options["training_set_kwargs"]["path"]
    arguments = [f"--outdir={outdir}", f"--data={data}", *SMALL, *options, f"--resume={snapshot}"]
    return finished_run(outdir, drive("off", *arguments))


# ---------------------------------------------------------------- while they run


Process = Union[Program, "subprocess.Popen[str]"]


def begin(data: Path, outdir: Path, *options: str) -> Program:
    return Program([_DRIVE, "off", f"--outdir={outdir}", f"--data={data}", *SMALL, *SCHEDULE, *options])


def wait_for_iteration(outdir: Path, least: int, process: Process) -> None:
    """Until the status file tells of iteration ``least``."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        for path in outdir.glob("*/regan-status.json"):
            if json.loads(path.read_text())["iteration"] >= least:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[0][-3000:])


def stopped_run(outdir: Path, process: Process) -> Run:
    output, _ = process.communicate(timeout=120)
    return finished_run(outdir, subprocess.CompletedProcess([], process.returncode, output))
