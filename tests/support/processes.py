"""Programs in processes of their own. Most are forks of a server that has imported PyTorch, SciPy and TensorBoard.

Importing those takes 4 seconds of a core, which is more than what most of the tests' programs do. A fork imports all of ours
and all of a host for itself. The server is Python's own, one a process that tests. Ranks are forks of it too, and have of the
process that starts them what a spawned process has; those that load images are forks of a rank. Where a test is about how a
process starts, it asks for a fresh one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple
from unittest import mock

__all__ = ["TESTS", "Program", "free_port", "run_command", "run_fresh_python", "run_python", "spawn"]

TESTS = Path(__file__).parents[1]
_TIMEOUT = 300  # seconds
_context = multiprocessing.get_context("forkserver")


def environment_with(env: Optional[Dict[str, str]]) -> Dict[str, str]:
    """Of a process that tests: networks this small gain nothing from a second thread, and lose much where cores are busy."""
    return {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", **(env or {})}


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_command(command: List[str], env: Optional[Dict[str, str]] = None, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program, stdout and stderr together."""
    return subprocess.run(
        command,
        env=environment_with(env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT,
        check=False,
        **kwargs,
    )


def run_fresh_python(
    arguments: List[str], env: Optional[Dict[str, str]] = None, cwd: Optional[Path] = None
) -> "subprocess.CompletedProcess[str]":
    """Run a Python that has imported nothing, stdout and stderr together."""
    return run_command([sys.executable, *arguments], env, cwd=cwd)


def run_python(
    arguments: List[str], env: Optional[Dict[str, str]] = None, cwd: Optional[Path] = None
) -> "subprocess.CompletedProcess[str]":
    """What ``python ARGUMENTS`` does, stdout and stderr together: ``-m``, ``-c`` or a script."""
    program = Program(arguments, env, cwd)
    output, _ = program.communicate()
    return subprocess.CompletedProcess(arguments, program.returncode or 0, output)


class Program:
    """``python ARGUMENTS`` while it runs; what is here means what it means with ``subprocess.Popen``."""

    def __init__(self, arguments: List[str], env: Optional[Dict[str, str]] = None, cwd: Optional[Path] = None):
        _ensure_server()
        self._arguments = arguments
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115
        where = (str(cwd or Path.cwd()), self._output.name)
        self._process = _context.Process(target=_run, args=(arguments, environment_with(env), *where))
        try:
            self._process.start()
        except EOFError as err:  # pytest-xdist would take it for the end of the process that tests
            raise RuntimeError("the server of forks has been killed") from err
        atexit.register(self._process.kill)  # it would be waited for

    @property
    def returncode(self) -> Optional[int]:
        return self._process.exitcode

    def poll(self) -> Optional[int]:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = _TIMEOUT) -> "tuple[str, None]":
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise subprocess.TimeoutExpired(self._arguments, timeout)
        with self._output:
            return self._output.read().decode(), None


def spawn(fn: Callable[..., None], args: Tuple[Any, ...], nprocs: int) -> None:
    """Do as ``torch.multiprocessing.spawn``: processes that begin with what they are given, pickled, and nothing else."""
    import torch

    _ensure_server()
    torch.multiprocessing.start_processes(fn, args, nprocs, start_method="forkserver")


def _ensure_server() -> None:
    _context.set_forkserver_preload(["support.preloaded"])
    with mock.patch.dict(os.environ, environment_with(None)):
        forkserver.ensure_running()


def _run(arguments: List[str], environment: Dict[str, str], folder: str, output: str) -> None:
    from . import preloaded

    preloaded.run(arguments, environment, folder, output)
