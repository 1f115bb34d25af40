"""What the scripts of this folder share with the tests and the benchmarks, and a small data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]

from support.digits import write_small_digits  # noqa: E402
from support.networks import load_networks  # noqa: E402
from support.processes import run_fresh_python  # noqa: E402
from support.runs import SCHEDULE, SMALL, Run, finished_run, stopped_run, wait_for_iteration  # noqa: E402

from regan_ext.support.machine import describe  # noqa: E402

__all__ = [
    "SCHEDULE", "SMALL", "TESTS", "Run", "describe", "finished_run", "host_folder", "load_networks", "run_fresh_python",
    "stopped_run", "train_command", "wait_for_iteration", "write_small_digits",
]  # fmt: skip


def host_folder(host: str) -> Path:
    """Where the modules lie that a snapshot of ``host`` ("embedded" or a checkout) needs."""
    from regan_ext.hosts import embedded

    return embedded.obtain() if host == "embedded" else Path(host).expanduser().resolve()


def train_command(host: str, outdir: Path, data: Path, *options: str) -> List[str]:
    """Arguments of Python for a run of ``SMALL`` networks; later ``options`` win."""
    where = host if host == "embedded" else str(host_folder(host))
    return ["-m", "regan_ext", "train", f"--host={where}", f"--outdir={outdir}", f"--data={data}", *SMALL, *options]
