"""How a training process under another one of ours learns that this one has been killed, which no signal tells it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Dict

__all__ = ["ASK", "end_with_supervisor", "environment"]

#: Asks for an end with a snapshot. A process may hear it however often, also after a signal that its whole group got.
ASK = getattr(signal, "SIGUSR1", signal.SIGTERM)

_VARIABLE = "REGAN_SUPERVISOR"
_POLL = 1.0


def environment() -> Dict[str, str]:
    """What a process has to find in its environment to end when this one does."""
    return {_VARIABLE: str(os.getpid())}


def end_with_supervisor() -> None:
    """Ask this process to end, once the one that has started it and watches over it is gone. Without such a one: nothing."""
    # Those that this process starts are not under it.
    if os.environ.pop(_VARIABLE, "") == str(os.getppid()):
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:  # Windows never tells of another parent
        time.sleep(_POLL)
    os.kill(os.getpid(), ASK)
