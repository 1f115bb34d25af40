"""Runs the cells of a table, one after the other."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from training_hooks.core.own_snapshots import is_own_file

from ..runs.chain import chain
from ..support.errors import UserError
from ..support.pickles import TRUST, foreign
from ..support.process import Supervisor
from ..support.text import clock, echo
from .command import Job, Place, needs
from .model import Cell, how_to_get
from .state import (
    DIFFERS,
    FINISHED,
    FRESH,
    INTERRUPTED,
    UNMEASURED,
    State,
    locked,
    note_settings,
    points,
    read_state,
    unmeasured,
)

__all__ = ["dry_run", "jobs_of", "run"]

LOG_FILE = "train.log"
Say = Callable[[str], None]


def jobs_of(cells: Sequence[Cell], seeds: Optional[Sequence[int]], place: Place) -> List[Job]:
    """The cells with each of the seeds; None are the table's own."""
    return [Job(cell, seed, place) for cell in cells for seed in (cell.table.seeds if seeds is None else seeds)]


def dry_run(jobs: Sequence[Job]) -> None:
    """Print the commands that ``run`` would execute, and nothing else; on stderr, why others are left out."""
    for job in jobs:
        with locked(job.folder, create=False) as mine:
            state, reason = _look(job) if mine is not None else (None, "another process is at it")
        if state is None or reason is not None:
            echo(f"{job.name}: {reason}", err=True)
        else:
            measuring = _measuring(job) if state.kind == UNMEASURED else None
            echo(shlex.join(measuring) if measuring else job.shell(state.kind == INTERRUPTED))


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
    failures = [(job, reason) for job, reason in progress.failures if read_state(job).kind != FINISHED]
    for job, reason in failures:
        say(f"not finished: {job.name}: {reason}")
    return 1 if failures else 0


def _check_files(jobs: Sequence[Job]) -> None:
    missing = dict.fromkeys(path for job in jobs if read_state(job).kind != FINISHED for path in job.files if not path.exists())
    if missing:
        steps = dict.fromkeys(how_to_get(path.name, path.parent) for path in missing)
        raise UserError(f"there is no {', '.join(map(str, missing))}; make it with: {'; '.join(steps)}")


def _look(job: Job) -> Tuple[Optional[State], Optional[str]]:
    """The job's state, and why it is not to be run; None where it is."""
    state, snapshot = read_state(job), None
    if state.kind == INTERRUPTED:
        snapshot = _newest(job)
        state = State(FRESH) if snapshot is None else state
    if state.kind == FINISHED:
        return state, f"finished, {state.detail}"
    unknown = needs(job)
    if unknown:
        return state, f"needs {', '.join(unknown)}, which train of this version does not have"
    if state.kind == DIFFERS or (state.kind == UNMEASURED and _measuring(job) is None):
        return state, f"{state.detail} ({job.folder})"
    if state.kind == UNMEASURED:
        snapshot = _last(job)
    if snapshot is not None and not job.place.trust and not is_own_file(snapshot):
        return state, f"{foreign(snapshot)}; {TRUST}"
    return state, None


def _newest(job: Job) -> Optional[Path]:
    """The snapshot to go on from: its state is whole and is its own, which the names do not tell; None without one."""
    from ..train.resume import newest_pair

    try:
        return newest_pair(job.folder).snapshot
    except UserError:
        return None


def _last(job: Job) -> Path:
    """The last snapshot of a trained cell, where it is."""
    run = chain(job.folder)[-1]
    return run.folder / f"network-snapshot-{run.whole_kimg:06d}.pkl"


def _measuring(job: Job) -> Optional[List[str]]:
    """The command that measures what a trained cell has no value of, on its last snapshot; None where there is no way."""
    missing, snapshot = unmeasured(job), _last(job)
    return job.measuring(snapshot, missing) if missing and snapshot.is_file() else None


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
                self._leave_out(job, label, "another process is at it")
                return
            state, reason = _look(job)
            if state is not None and state.kind == FINISHED:
                self.say(f"{label}: {reason}")
            elif state is None or reason is not None:
                self._leave_out(job, label, str(reason))
            else:
                self._work(job, label, state, mine)

    def _leave_out(self, job: Job, label: str, reason: str) -> None:
        self.failures.append((job, reason))
        self.say(f"{label}: {reason}")

    def _work(self, job: Job, label: str, state: State, handles: Tuple[int, ...]) -> None:
        """Train, and measure what training has not."""
        log = job.folder / LOG_FILE
        begin, wrong = time.monotonic(), None
        if state.kind != UNMEASURED:
            going_on = state.kind == INTERRUPTED
            note_settings(job)
            self.say(f"{label}: {f'goes on, {state.detail}' if going_on else 'starts'}; output in {log}")
            wrong = self.supervisor.run(job.command(going_on), log, handles)
        command = _measuring(job) if read_state(job).kind == UNMEASURED else None
        if command is not None:
            self.say(f"{label}: is trained; measures {', '.join(unmeasured(job))}")
            wrong = self.supervisor.run(command, log, handles)
        after = read_state(job)
        spent = clock(time.monotonic() - begin)
        if after.kind == FINISHED:
            self.say(f"{label}: finished after {spent}; {_values(job)}")
        elif not self.supervisor.was_signalled:
            reason = wrong or after.detail or "ended without training to the end"
            self._leave_out(job, label, f"{reason} ({spent})")


def _values(job: Job) -> str:
    """The job's last values."""
    runs = chain(job.folder)
    told = []
    for measure in job.cell.table.measures:
        found = points(runs, measure) if measure.result is not None else []
        told += [f"{measure.title} {found[-1].value:.5g}"] if found else []
    return ", ".join(told)
