"""The job behind a run folder: what it said of itself last, whether its process still is, and from where it can go on."""

from __future__ import annotations

import math
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping

import psutil

from training_hooks.core.status import STATUS_FILE

from ..support.reading import Damaged, number, read_json, whole

__all__ = ["Job", "by_kimg", "grids", "read_job"]

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


def by_kimg(folder: Path, begin: str = "network-snapshot-", suffix: str = ".pkl") -> Dict[int, Path]:
    """The files of a run folder that are named after a kimg, in the order of kimg, such as network-snapshot-000300.pkl.

    Args:
        folder: run folder.
        begin: beginning of the names; snapshots by default.
        suffix: ending of the names.
    """
    found = ((re.fullmatch(r"\d{6,}", path.stem[len(begin) :]), path) for path in folder.glob(f"{begin}*{suffix}"))
    return dict(sorted((int(match[0]), path) for match, path in found if match))


def grids(folder: Path) -> Dict[int, Path]:
    """The grids of samples in a run folder, in the order of kimg: PNG files, or JPEG of some hosts."""
    return dict(sorted({**by_kimg(folder, "fakes", ".jpg"), **by_kimg(folder, "fakes", ".png")}.items()))


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
