"""How far a cell has come, read from its folder."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from training_hooks.core.files import whole_file

from ..runs.chain import chain
from ..runs.folder import MetricPoint, Run
from ..runs.job import resumable
from ..support.locks import locked_file
from ..support.process import module_command
from ..support.reading import Damaged, mapping, read_json
from .command import Job
from .model import Measure

__all__ = [
    "DIFFERS", "FINISHED", "FRESH", "INTERRUPTED", "UNMEASURED", "State", "locked", "machine_of",
    "note_settings", "points", "read_state", "settings_of", "unmeasured",
]  # fmt: skip

FRESH, INTERRUPTED, FINISHED, UNMEASURED, DIFFERS = "fresh", "interrupted", "finished", "unmeasured", "differs"
_SETTINGS_FILE, _LOCK_FILE = "cell.json", ".lock"


@dataclass(frozen=True)
class State:
    """What there is of a cell.

    Args:
        kind: FRESH: nothing that could be gone on with; INTERRUPTED: --resume goes on; FINISHED: trained and measured;
            UNMEASURED: trained, but something has no value; DIFFERS: begun with other arguments.
        detail: where it stands, or what is wrong.
    """

    kind: str
    detail: str = ""


def points(runs: Sequence[Run], measure: Measure) -> List[MetricPoint]:
    """The values of a measure over a run, in the order of their kimg; where a part was repeated, the later ones."""
    found: Dict[float, MetricPoint] = {}
    for run in runs:
        if measure.statistic is None:
            here = [point for point in run.metrics if point.name == measure.result]
        else:
            here = [MetricPoint(measure.statistic, t.kimg, t.get(measure.statistic), "") for t in run.ticks]
        found.update({point.kimg: point for point in here if math.isfinite(point.value)})
    return [found[kimg] for kimg in sorted(found)]


def read_state(job: Job) -> State:
    """How far the job has come."""
    before = settings_of(job.folder)
    if before is not None and before != list(job.settings):
        was = " ".join(option for option in before if option not in job.settings)
        now = " ".join(option for option in job.settings if option not in before)
        return State(
            DIFFERS, f"was begun with {was or 'less'}, now {now or 'less'}: choose another --out, or delete its folder"
        )
    runs = chain(job.folder)
    if not runs:
        return State(FRESH)
    if runs[-1].is_finished:
        missing = [m.result for m in job.cell.table.measures if m.result is not None and not points(runs, m)]
        if not missing:
            return State(FINISHED, f"{runs[-1].kimg:g} kimg")
        return State(UNMEASURED, f"is trained, but {', '.join(map(str, missing))} has no value in {runs[-1].folder}")
    states = [kimg for kimg in (resumable(run.folder) for run in runs) if kimg is not None]
    return State(INTERRUPTED, f"at {states[-1]} kimg") if states else State(FRESH)


def unmeasured(job: Job) -> List[str]:
    """The metrics of the table that have no value in the job's folder."""
    runs = chain(job.folder)
    return list(dict.fromkeys(m.metric for m in job.cell.table.measures if m.metric is not None and not points(runs, m)))


def note_settings(job: Job) -> None:
    """Write down what the cell is begun with, and on what machine."""
    content = {"arguments": list(job.settings), "machine": _this_machine()}
    with whole_file(job.folder / _SETTINGS_FILE) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


@cache
def _this_machine() -> Dict[str, Any]:
    """Asked in another process, so that this one takes no memory of a GPU; it is not for Ctrl-C to end."""
    command = module_command("regan_ext.support.machine")
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=os.name == "posix")
    content: Dict[str, Any] = json.loads(said.stdout)
    return content


def settings_of(folder: Path) -> Optional[List[str]]:
    """The arguments that the cell in ``folder`` was begun with; None where that is not known."""
    arguments = _noted(folder).get("arguments")
    return [str(argument) for argument in arguments] if isinstance(arguments, list) else None


def machine_of(folder: Path) -> Dict[str, Any]:
    """The machine on which the cell in ``folder`` was last worked at, versions and date; empty where that is not known."""
    machine = _noted(folder).get("machine")
    return machine if isinstance(machine, dict) else {}


def _noted(folder: Path) -> Dict[str, Any]:
    try:
        return mapping(read_json(folder / _SETTINGS_FILE))
    except Damaged:
        return {}


@contextlib.contextmanager
def locked(folder: Path, create: bool = True) -> Iterator[Optional[Tuple[int, ...]]]:
    """Keep other processes away from the folder while the block runs, and as long as a process lives that inherits the lock.

    Args:
        folder: of a cell.
        create: make it where it is missing.

    Yields:
        Handles for a child process to inherit; None where another process has the folder.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        yield ()
        return
    with locked_file(folder / _LOCK_FILE) as mine:
        yield mine
