"""How far a cell has come, read from its folder."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from training_hooks.core.files import whole_file

from ..runs.chain import last_run
from ..runs.folder import Run
from ..runs.metric import MetricPoint
from ..support.process import module_command
from ..support.reading import Damaged, mapping, read_json
from .command import Job
from .model import Measure

__all__ = [
    "DIFFERS", "FINISHED", "FRESH", "INTERRUPTED", "UNMEASURED", "Standing", "note_settings", "noted",
    "read_standing", "settings_of",
]  # fmt: skip

FRESH, INTERRUPTED, FINISHED, UNMEASURED, DIFFERS = "fresh", "interrupted", "finished", "unmeasured", "differs"
_SETTINGS_FILE = "cell.json"


@dataclass(frozen=True)
class Standing:
    """What there is of a cell, read from its folder once.

    Args:
        job: cell and seed.
        kind: FRESH: nothing that could be gone on with; INTERRUPTED: --resume goes on; FINISHED: trained and measured;
            UNMEASURED: trained, but a metric has no value; DIFFERS: begun with other arguments.
        detail: where it stands, or what is wrong.
        run: last run in the folder, with the parts that it went on from; None where there is none.
    """

    job: Job
    kind: str
    detail: str = ""
    run: Optional[Run] = None

    def points(self, measure: Measure) -> List[MetricPoint]:
        """The values of a measure, in the order of their kimg."""
        return [] if self.run is None or measure.result is None else measure.points(self.run)

    @property
    def unmeasured(self) -> List[str]:
        """The metrics that have no value. A statistic that has none is of a method that the run does without."""
        missing = [
            measure for measure in self.job.cell.table.measures if measure.metric is not None and not self.points(measure)
        ]
        return list(dict.fromkeys(str(measure.metric) for measure in missing))

    @property
    def measuring(self) -> Optional[List[str]]:
        """The command that measures a trained cell's last snapshot by what has no value; None where there is no way."""
        if self.kind != UNMEASURED or self.run is None or not self.unmeasured or not self.run.last_snapshot.is_file():
            return None
        return self.job.measuring(self.run.last_snapshot, self.unmeasured)


def read_standing(job: Job) -> Standing:
    """How far the job has come."""
    before = settings_of(noted(job.folder))
    if before is not None and before != job.settings:
        was = " ".join(option for option in before if option not in job.settings)
        now = " ".join(option for option in job.settings if option not in before)
        differs = f"was begun with {was or 'less'}, now {now or 'less'}: choose another --out, or delete its folder"
        return Standing(job, DIFFERS, differs)
    run = last_run(job.folder)
    if run is None:
        return Standing(job, FRESH)
    if not run.is_finished:
        return Standing(job, INTERRUPTED, f"at {run.starts[-1][0]} kimg", run) if run.starts else Standing(job, FRESH, run=run)
    trained = Standing(job, FINISHED, f"{run.kimg:g} kimg", run)
    if not trained.unmeasured:
        return trained
    missing = ", ".join(trained.unmeasured)
    return replace(trained, kind=UNMEASURED, detail=f"is trained, but {missing} has no value in {run.folder}")


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


def noted(folder: Path) -> Dict[str, Any]:
    """What is written down of the cell in ``folder``; empty where nothing is."""
    try:
        return mapping(read_json(folder / _SETTINGS_FILE))
    except Damaged:
        return {}


def settings_of(note: Mapping[str, Any]) -> Optional[Tuple[str, ...]]:
    """The arguments that the cell was begun with; None where they are not known."""
    arguments = note.get("arguments")
    return tuple(map(str, arguments)) if isinstance(arguments, list) else None
