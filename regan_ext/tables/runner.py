"""Runs the cells of a table, one after the other."""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..steps import runner
from ..steps.runner import dry_run
from ..steps.step import FINISHED, Say
from ..support.errors import UserError
from .command import Job, Place
from .model import Cell, how_to_get

__all__ = ["dry_run", "jobs_of", "run"]


def jobs_of(cells: Sequence[Cell], seeds: Optional[Sequence[int]], place: Place) -> List[Job]:
    """The cells with each of the seeds; None are the table's own."""
    return [_job(cell, seed, place) for cell in cells for seed in (cell.table.seeds if seeds is None else seeds)]


def _job(cell: Cell, seed: int, place: Place) -> Job:
    if cell.row.ticket is None:
        return Job(cell, seed, place)
    from .tickets import TicketJob  # imports torch

    return TicketJob(cell, seed, place)


def run(jobs: Sequence[Job], say: Say) -> int:
    """``steps.runner.run``, once all data files are there.

    Raises:
        UserError: some are missing; nothing is started then.
    """
    begun = [job for job in jobs if job.standing().kind != FINISHED]
    missing = dict.fromkeys(path for job in begun for path in job.files if not path.exists())
    if missing:
        steps = dict.fromkeys(how_to_get(path.name, path.parent) for path in missing)
        raise UserError(f"there is no {', '.join(map(str, missing))}; make it with: {'; '.join(steps)}")
    return runner.run(jobs, say)
