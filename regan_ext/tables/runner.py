"""Runs the cells of a table, one after the other."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from training_hooks.core.own_snapshots import is_own_file

from ..support.errors import UserError
from ..support.locks import locked
from ..support.pickles import TRUST, foreign
from ..support.process import Supervisor
from ..support.text import clock, echo
from .command import Job, Place
from .model import Cell, how_to_get
from .state import DIFFERS, FINISHED, FRESH, INTERRUPTED, UNMEASURED, Standing, note_settings, read_standing

__all__ = ["dry_run", "jobs_of", "run"]

LOG_FILE = "train.log"
_BUSY = "another process is at it"
Say = Callable[[str], None]


def jobs_of(cells: Sequence[Cell], seeds: Optional[Sequence[int]], place: Place) -> List[Job]:
    """The cells with each of the seeds; None are the table's own."""
    return [Job(cell, seed, place) for cell in cells for seed in (cell.table.seeds if seeds is None else seeds)]


def dry_run(jobs: Sequence[Job]) -> None:
    """Print the commands that ``run`` would execute, and nothing else; on stderr, why others are left out."""
    for job in jobs:
        with locked(job.folder, create=False) as mine:
            now, reason = _look(job) if mine is not None else (None, _BUSY)
        if now is None or reason is not None:
            echo(f"{job.name}: {reason}", err=True)
        else:
            echo(shlex.join(now.measuring) if now.measuring else job.shell(now.kind == INTERRUPTED))


def run(jobs: Sequence[Job], say: Say) -> int:
    """Train what is missing, and go on with what was interrupted.

    What stops a run (Ctrl-C, SIGTERM, SIGUSR1, SIGHUP) stops the training process with a snapshot; then this ends too.

    Returns:
        Exit code: 0 all cells are finished, 1 some failed or could not be run, 130 stopped.

    Raises:
        UserError: data files are missing; nothing is started then.
    """
    _check_files(jobs)
    with Supervisor(say) as supervisor:
        progress = _Progress(len(jobs), say, supervisor)
        for number, job in enumerate(jobs, 1):
            if supervisor.was_signalled:
                break
            progress.run(number, job)
    if supervisor.was_signalled:
        say("Stopped. The same command goes on.")
        return 130
    # What another process was at may be finished by now.
    failures = [(job, reason) for job, reason in progress.failures if read_standing(job).kind != FINISHED]
    for job, reason in failures:
        say(f"not finished: {job.name}: {reason}")
    return 1 if failures else 0


def _check_files(jobs: Sequence[Job]) -> None:
    begun = [job for job in jobs if read_standing(job).kind != FINISHED]
    missing = dict.fromkeys(path for job in begun for path in job.files if not path.exists())
    if missing:
        steps = dict.fromkeys(how_to_get(path.name, path.parent) for path in missing)
        raise UserError(f"there is no {', '.join(map(str, missing))}; make it with: {'; '.join(steps)}")


def _look(job: Job) -> Tuple[Standing, Optional[str]]:
    """Where the job stands, and why it is not to be run; None where it is."""
    now, snapshot = read_standing(job), None
    if now.kind == INTERRUPTED:
        snapshot = _newest(job)
        now = replace(now, kind=FRESH) if snapshot is None else now
    if now.kind == FINISHED:
        return now, f"finished, {now.detail}"
    if now.kind == DIFFERS or (now.kind == UNMEASURED and now.measuring is None):
        return now, f"{now.detail} ({job.folder})"
    if now.kind == UNMEASURED and now.run is not None:
        snapshot = now.run.last_snapshot
    if snapshot is not None and not job.place.trust and not is_own_file(snapshot):
        return now, f"{foreign(snapshot)}; {TRUST}"
    return now, None


def _newest(job: Job) -> Optional[Path]:
    """The snapshot to go on from: its state is whole and is its own, which the names do not tell; None without one."""
    from ..train.resume import newest_pair

    try:
        return newest_pair(job.folder).snapshot
    except UserError:
        return None


@dataclass
class _Progress:
    """What has become of the jobs so far."""

    total: int
    say: Say
    supervisor: Supervisor
    failures: List[Tuple[Job, str]] = field(default_factory=list)

    def run(self, number: int, job: Job) -> None:
        """Run one job, if it has to be."""
        label = f"[{number}/{self.total}] {job.name}"
        with locked(job.folder) as mine:
            if mine is None:
                self._leave_out(job, label, _BUSY)
                return
            now, reason = _look(job)
            if now.kind == FINISHED:
                self.say(f"{label}: {reason}")
            elif reason is not None:
                self._leave_out(job, label, reason)
            else:
                self._work(label, now, mine)

    def _leave_out(self, job: Job, label: str, reason: str) -> None:
        self.failures.append((job, reason))
        self.say(f"{label}: {reason}")

    def _work(self, label: str, now: Standing, handles: Tuple[int, ...]) -> None:
        """Train, and measure what training has not."""
        job, log = now.job, now.job.folder / LOG_FILE
        begin, wrong = time.monotonic(), None
        if now.kind != UNMEASURED:
            going_on = now.kind == INTERRUPTED
            note_settings(job)
            self.say(f"{label}: {f'goes on, {now.detail}' if going_on else 'starts'}; output in {log}")
            wrong = self.supervisor.run(job.command(going_on), log, handles)
            now = read_standing(job)
        if now.measuring is not None:
            self.say(f"{label}: is trained; measures {', '.join(now.unmeasured)}")
            wrong = self.supervisor.run(now.measuring, log, handles)
            now = read_standing(job)
        spent = clock(time.monotonic() - begin)
        if now.kind == FINISHED:
            self.say(f"{label}: finished after {spent}; {_values(now)}")
        elif not self.supervisor.was_signalled:
            self._leave_out(job, label, f"{wrong or now.detail or 'ended without training to the end'} ({spent})")


def _values(now: Standing) -> str:
    """The last values."""
    found = [(measure, now.points(measure)) for measure in now.job.cell.table.measures]
    return ", ".join(f"{measure.title} {points[-1].value:.5g}" for measure, points in found if points)
