"""Cells that are tickets: the masks that are made between them, by what ``regan-ext tickets`` makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, List, Tuple

from ..steps.making import Making
from ..steps.step import Step
from ..tickets.masks import Level
from ..tickets.plan import drawn_mask, magnitude_mask, one_shot_mask
from ..tickets.ticket import Rule, Ticket
from .command import Job
from .model import Cell, TicketOf

__all__ = ["files", "needs"]

_RULE = Rule()


@dataclass(frozen=True)
class _CellsTicket(Ticket):
    """A ticket whose rounds are cells; the folder of round 0 has the initial weights and all masks of a column and a seed."""

    job: Any = None  # any of the cells

    def round(self, number: int) -> Path:
        return _round(self.job, number).folder


def needs(job: Job) -> Tuple[Step, ...]:
    """What comes before a cell that is a ticket: its masks; round 0, which writes the initial weights."""
    wanted = _wanted(job)
    if wanted.round:
        return (_making(job, wanted),)
    first = _round(job, 0)
    return () if first == job else (first,)


def files(job: Job) -> List[str]:
    """The options of ``train`` that name a ticket's files."""
    wanted, ticket = _wanted(job), _ticket(job)
    return [f"--ticket-init={ticket.init}", *([f"--ticket-mask={_making(job, wanted).path}"] if wanted.round else [])]


def _wanted(job: Job) -> TicketOf:
    assert job.cell.row.ticket is not None
    return job.cell.row.ticket


def _ticket(job: Job) -> Ticket:
    place = job.place
    return _CellsTicket(_round(job, 0).folder, (), (), str(place.data), place.host, place.gpus, place.trust, job)


def _round(job: Job, number: int) -> Job:
    """The cell whose run is a round of the search: the first with these masks."""
    table = job.cell.table
    row = next(row for row in table.rows if row.ticket == TicketOf(number))
    return replace(job, cell=Cell(table, row, job.cell.column))


def _making(job: Job, wanted: TicketOf) -> Making:
    ticket, level = _ticket(job), Level(wanted.round)
    if wanted.kind == "one-shot":
        return one_shot_mask(ticket, _RULE, level, f"one-shot-{level}", [_round(job, 0)])
    if wanted.kind == "random":
        return drawn_mask(ticket, _RULE, level, job.seed, "total", f"random-{level}", [_round(job, 0)])
    before = [_making(job, TicketOf(wanted.round - 1))] if wanted.round > 1 else []
    return magnitude_mask(ticket, _RULE, wanted.round, [*before, _round(job, wanted.round - 1)])
