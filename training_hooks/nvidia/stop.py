"""Ends a run early, with a snapshot, when a signal or the clock asks for it.

The hosts look at ``abort_fn`` only when a tick ends. A request therefore makes the current tick end with the current
iteration. Several ranks have to do so at the same one: rank 0 names an iteration two ahead in a note that all of them look
for; synchronised gradients keep them less than one iteration apart.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Any, Dict, List, Optional, Union

from .board import Board, Files, Store
from .host_loop import HostLoop

__all__ = [
    "OutliveSignals", "Requests", "Stopper", "at_iteration", "diverge", "diverged", "end_after_iteration",
    "end_loader", "install", "remember_loader", "requested", "signals",
]  # fmt: skip

_GRACE = 30.0
_SAME = 0.1  # seconds within which a signal that comes twice is one: ``timeout`` and shells that close send it twice
_PASSED_ON = 10.0  # the same where a launcher's agent sends its processes what all of a job are sent
_loader: "Optional[weakref.ref[Any]]" = None
_requested = _diverged = False
_shared: Optional[Board] = None  # where ranks agree; None in a run of one process


def signals() -> List[signal.Signals]:
    """Those that stop a run: SIGINT (Ctrl-C), SIGTERM, SIGUSR1, which SLURM can be asked to send before its limit, and SIGHUP.

    SIGHUP, which comes when the terminal closes, is left out where it is ignored: ``nohup`` means that the run goes on.
    """
    names = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    found = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [each for each in found if each.name != "SIGHUP" or signal.getsignal(each) is not signal.SIG_IGN]


class Requests:
    """Hears the signals that stop a process, and tells when one means to end at once: the second SIGINT or SIGTERM.

    SIGUSR1 and SIGHUP only ever ask for an end with a snapshot, so they may be sent to a process whatever it has got before.

    Args:
        same: seconds within which a signal that comes twice is one.
    """

    def __init__(self, same: float = _SAME) -> None:
        self._same = same
        self._first: Optional[float] = None

    def is_urgent(self, number: int) -> bool:
        """Hear a signal; returns whether it means to end at once."""
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if number not in (signal.SIGINT, signal.SIGTERM):
            return False
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return now - self._first > self._same


def _leave_terminal() -> None:
    """Let vanish what is printed from now on to a terminal: it is closing, and to write there would fail."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


_requests = Requests()


def install(shared: Union[str, Board, None]) -> None:
    """Let the signals stop the run of this process.

    Args:
        shared: where the processes of a run of several agree: a board, or the path of one of files; None for one process.
    """
    global _requested, _requests, _diverged, _shared
    _requested, _diverged = False, False
    _shared = Files(shared) if isinstance(shared, str) else shared
    _requests = Requests(_PASSED_ON if isinstance(shared, Store) else _SAME)
    for number in signals():
        signal.signal(number, _handle)


def requested() -> bool:
    """Whether this run has been asked to stop (on a rank: and has come to the iteration that all agreed on)."""
    return _requested or _noted("request") is not None


def diverge(loop: HostLoop) -> None:
    """End the run with the tick that is being finished, because its weights or losses are not finite. Every rank has to."""
    global _diverged
    _diverged = True
    if _shared is not None and loop.rank == 0:
        _shared.put("diverged")
    loop.end_now()


def end_after_iteration() -> None:
    """End the run with the iteration that is being trained, and with a snapshot. Every rank has to, at the same one. Outside of
    a host's loop nothing happens."""
    global _requested
    loop = HostLoop.find()
    if loop is not None:
        _requested = True
        loop.end_tick_now()


def diverged() -> bool:
    """Whether this run has been ended by ``diverge``."""
    return _diverged or _noted("diverged") is not None


def _noted(name: str) -> Optional[str]:
    """What the ranks have told each other: of a "request", of what they have "agreed" on, and that they have "diverged"."""
    return None if _shared is None else _shared.get(name)


def _handle(number: int, frame: Optional[FrameType]) -> None:
    global _requested
    loop = HostLoop.find(frame)
    if _requests.is_urgent(number) or (loop is None and _shared is None):
        _end_at_once(number)
    if requested():
        return
    print("\nStopping after this iteration, with a snapshot. Ctrl-C now would stop it without.", file=sys.stderr, flush=True)
    if _shared is not None:
        _shared.put("request")
    else:
        assert loop is not None
        _requested = True
        loop.end_tick_now()


def _end_at_once(number: int) -> None:
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    os._exit(128 + number)


def at_iteration() -> None:
    """End the tick with this iteration if the ranks have agreed on it. Called by every rank when an iteration begins."""
    global _requested
    loop = None if _shared is None else HostLoop.find()
    if _shared is None or loop is None:
        return
    agreed, now = _noted("agreed"), loop.iteration
    if agreed is None and loop.rank == 0 and _noted("request") is not None:
        agreed = str(now + 2)
        _shared.put("agreed", agreed)
    if agreed is not None and now >= int(agreed):
        _requested = True
        loop.end_tick_now()


class Stopper(Dict[str, Any]):
    """The host's ``abort_fn``. A dict, because the host prints its arguments as JSON."""

    def __call__(self) -> bool:
        return _requested


class OutliveSignals(Dict[str, Any]):
    """``worker_init_fn`` of the data loader: what stops a run reaches its whole process group, and must not kill these first.

    SIGTERM also is how Python ends workers that were left over, so it is obeyed, after ``_GRACE`` seconds, and with success:
    the loader takes anything else for a crash.
    """

    def __call__(self, worker: int) -> None:
        for number in signals():
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _exit_later)


def remember_loader(iterator: Any) -> None:
    """Note the loop's data iterator, for ``end_loader``."""
    global _loader
    _loader = None if iterator is None else weakref.ref(iterator)


def end_loader() -> None:
    """End the data loader's processes, should something still hold on to the iterator: a failure's traceback does.

    Otherwise the interpreter waits for them at exit.
    """
    iterator = None if _loader is None else _loader()
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def _exit_later(number: int, frame: Optional[FrameType]) -> None:
    timer = threading.Timer(_GRACE, os._exit, [0])
    timer.daemon = True
    timer.start()
