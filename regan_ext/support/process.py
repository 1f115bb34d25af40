"""Training processes under this one, apart from the terminal: what ends this one, or kills it, ends them with a snapshot."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Type

from training_hooks.nvidia import stop

from .supervised import ASK, environment

__all__ = ["Supervisor", "error_of", "module_command"]

_GRACE = 600.0  # seconds that a process has for its last snapshot and metric, before it is ended at once
_POLL = 2.0


def module_command(module: str, *arguments: str) -> List[str]:
    """The command that runs a module with this Python, which does not look for any module in the current folder.

    Args:
        module: name of the module, as ``python -m`` has it.
        arguments: of the module.
    """
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module, *arguments]
    code = f"import sys; sys.path.remove(''); import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", code, *arguments]


def error_of(output: str) -> str:
    """What a command ended with: its error, which may have several lines, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it says nothing"]
    errors = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    last = lines[errors[-1] :][:4] if errors else lines[-1:]
    return " ".join(last).removeprefix("Error: ")


class _Process:
    """A training process, apart from this terminal, so that Ctrl-C reaches it once: through us. Its output goes into a log."""

    def __init__(self, command: Sequence[str], log: Path, handles: Sequence[int], variables: Mapping[str, str]):
        # Threads that spin while they wait crawl as soon as another program uses the cores; those that never spin are slow.
        inherited = {"GOMP_SPINCOUNT": "10000", **os.environ, **environment()}
        options: Dict[str, Any] = {"env": {**inherited, **variables}, "stdin": subprocess.DEVNULL}
        if os.name == "posix":
            options.update(start_new_session=True, pass_fds=tuple(handles))
        self._log = log
        with open(log, "ab") as output:
            self._begin = output.tell()  # what stands before it is of other processes
            self._child = subprocess.Popen(list(command), stdout=output, stderr=subprocess.STDOUT, **options)
        self._asked: Optional[float] = None

    def watch(self, look: Callable[[], None], every: float) -> int:
        """Wait for its end, and call ``look`` every so many seconds meanwhile; returns its exit code."""
        while True:
            try:
                return self._child.wait(every)
            except subprocess.TimeoutExpired:
                look()
            if self._asked is not None and time.monotonic() - self._asked > _GRACE:
                self.kill()

    def stop(self) -> None:
        """Ask it to end with a snapshot. Returns at once, and may be called again."""
        if self._asked is None:
            self._asked = time.monotonic()
        self._child.send_signal(ASK)

    def kill(self) -> None:
        """End it at once, with all processes that it has started."""
        if os.name != "posix":
            self._child.kill()
        elif self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def last_line(self) -> str:
        """What it said last, or what its error was."""
        with open(self._log, "rb") as file:
            file.seek(self._begin)
            return error_of(file.read().decode(errors="replace"))


class Supervisor:
    """Runs training processes, and ends those that run, with a snapshot, when a signal asks for it. ``run`` may be called by
    several threads at once.

    As a context manager, of the main thread, it listens to what stops a run (``training_hooks.nvidia.stop.signals``). A second
    Ctrl-C or SIGTERM ends the processes at once.

    Args:
        say: tells the user a line.

    Attributes:
        was_signalled: a signal has come; nothing is started any more.
    """

    def __init__(self, say: Callable[[str], None]):
        self.was_signalled = False
        self._say = say
        self._processes: List[_Process] = []
        self._requests = stop.Requests()
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "Supervisor":
        self._before = {number: signal.signal(number, self._handle) for number in stop.signals()}
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(
        self,
        command: Sequence[str],
        log: Path,
        handles: Sequence[int] = (),
        look: Callable[[], None] = lambda: None,
        every: float = _POLL,
        variables: Optional[Mapping[str, str]] = None,
    ) -> Optional[str]:
        """Run a command to its end, unless a signal has come.

        Args:
            command: of the process.
            log: file that its output is added to.
            handles: that it inherits.
            look: called meanwhile.
            every: seconds between two calls of it.
            variables: of its environment, beside those of this process.

        Returns:
            What went wrong: its exit code and its error; None where that is 0.
        """
        if self.was_signalled:
            return None
        process = _Process(command, log, handles, variables or {})
        self._processes.append(process)
        if self.was_signalled:
            process.stop()  # the signal came before there was a process to pass it on to
        code: Optional[int] = None
        try:
            code = process.watch(look, every)
            return f"exit code {code}: {process.last_line()}" if code else None
        finally:
            self._processes.remove(process)
            if code is None:  # this one fails: nobody would watch it any more
                process.stop()

    def stop(self) -> bool:
        """Ask what runs to end with a snapshot; returns whether anything did."""
        processes = list(self._processes)
        for process in processes:
            process.stop()
        return bool(processes)

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        urgent, again, self.was_signalled = self._requests.is_urgent(number), self.was_signalled, True
        processes = list(self._processes)
        if not processes:
            return
        for process in processes:
            process.kill() if urgent else process.stop()
        if urgent:
            self._say("Ended at once, without a snapshot.")
        elif not again:
            what, them = ("process writes", "it") if len(processes) == 1 else ("processes write", "them")
            self._say(f"Stopping: the training {what} a snapshot first. Ctrl-C now would stop {them} without.")
