"""Training runs in processes that have everything imported: forks of a server that has imported PyTorch and the host.

Half of the time of runs as small as the tests' is imports: their own, and those of the process that loads the images. The
server is Python's own, one a test process. A fork of it has nothing of another run in it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch

TESTS = Path(__file__).parents[1]
_context = multiprocessing.get_context("forkserver")


def _ensure_server() -> None:
    _context.set_forkserver_preload(["support.preloaded"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        forkserver.ensure_running()


def spawn(fn: Callable[..., None], args: Tuple[Any, ...], nprocs: int) -> None:
    """Do as ``torch.multiprocessing.spawn``: processes that begin with what they are given, pickled, and nothing else."""
    _ensure_server()
    torch.multiprocessing.start_processes(fn, args, nprocs, start_method="forkserver")


def drive(arguments: List[str], environment: Dict[str, str], timeout: float = 300) -> "subprocess.CompletedProcess[str]":
    """What ``python drive.py`` with these arguments does: its output, stdout and stderr together, and exit code."""
    _ensure_server()
    with tempfile.NamedTemporaryFile() as output:
        process = _context.Process(target=_drive, args=(arguments, environment, output.name))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout)
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, output.read().decode())


def _drive(arguments: List[str], environment: Dict[str, str], output: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(TESTS / "drive.py"), *arguments]
    import drive

    from . import preloaded

    multiprocessing.set_start_method(None, force=True)
    preloaded.fork_instead_of_spawn()
    drive.main()
