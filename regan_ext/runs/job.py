"""The job behind a run folder: what it said of itself last, whether its process still is, and from where it can go on."""

from __future__ import annotations

import math
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Set

import psutil

from training_hooks.core.status import STATUS_FILE

from ..support.reading import Damaged, number, read_json, whole

__all__ = ["Job", "kimgs_of", "read_job", "with_states"]

_QUIET = 3.0  # seconds; a job that trains writes its status more often, or with every iteration


@dataclass(frozen=True)
class Job:
    """What the status file tells; a plain run of the host has none.

    Args:
        is_known: there is a status.
        iteration: the iteration that it was at; -1 where that is not known.
        sec_per_iteration: mean since its start, or NaN.
        has_ended: its process is gone. False also where this machine cannot tell.
    """

    is_known: bool
    iteration: int
    sec_per_iteration: float
    has_ended: bool


def read_job(folder: Path) -> Job:
    """Read the status file of a run folder."""
    try:
        status = read_json(folder / STATUS_FILE)
    except Damaged:
        status = None
    if not isinstance(status, dict):
        return Job(False, -1, math.nan, False)
    iteration = whole(status.get("iteration"), least=0)
    pace = number(status.get("sec_per_iteration"))
    return Job(True, -1 if iteration is None else iteration, pace, _has_ended(status))


def kimgs_of(folder: Path, pattern: str) -> Set[int]:
    """The kimg in the names of the files that match, such as "network-snapshot-*.pkl"."""
    found = (re.search(r"-(\d{6,})\.\w+$", path.name) for path in folder.glob(pattern))
    return {int(match[1]) for match in found if match}


def with_states(folder: Path) -> Set[int]:
    """The kimg of all snapshots that have a state file."""
    return kimgs_of(folder, "network-snapshot-*.pkl") & kimgs_of(folder, "regan-state-*.pt")


def _has_ended(status: Mapping[str, Any]) -> bool:
    """Whether the process is gone; unknown, and so False, on another machine than its own.

    A container may share this machine's name but not its process numbers, so a job that still writes has not ended.
    """
    pid, written = whole(status.get("pid")), number(status.get("time"))
    if status.get("host") != socket.gethostname() or pid is None:
        return False
    pace = number(status.get("sec_per_iteration"))
    patience = _QUIET if math.isnan(pace) else max(_QUIET, 3 * pace)
    return time.time() - written > patience and not _is_alive(pid, written)


def _is_alive(pid: int, written: float) -> bool:
    """Whether the process that had this number at the time ``written`` is there."""
    try:
        return bool(psutil.Process(pid).create_time() <= written)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
