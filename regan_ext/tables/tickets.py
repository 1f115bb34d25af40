"""Cells that are tickets: the masks that are made between them, by what ``regan-ext tickets`` makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Optional, Sequence

from ..steps.making import Making
from ..steps.step import Step
from ..tickets.masks import Level
from ..tickets.plan import drawn_mask, magnitude_mask, one_shot_mask
from ..tickets.ticket import Rule, Ticket
from .command import Job
from .model import Cell, TicketOf

__all__ = ["TicketJob"]

_RULE = Rule()


@dataclass(frozen=True)
class TicketJob(Job):
    """A cell of a row that is a ticket."""

    @property
    def after(self) -> Sequence[Step]:
        """Its masks; without any, round 0, which writes the weights that all begin with."""
        made, first = self._masks(self._wanted), self._round(0)
        return (made,) if made is not None else () if first == self else (first,)

    def own_files(self) -> List[str]:
        made = self._masks(self._wanted)
        return [f"--ticket-init={self._ticket.init}", *([] if made is None else [f"--ticket-mask={made.path}"])]

    @property
    def _wanted(self) -> TicketOf:
        assert self.cell.row.ticket is not None
        return self.cell.row.ticket

    @property
    def _ticket(self) -> Ticket:
        place, first = self.place, self._round(0)
        return _CellsTicket(first.folder, (), (), str(place.data), place.host, place.gpus, place.trust, self)

    def _round(self, number: int) -> "TicketJob":
        """The cell whose run is a round of the search: the first with these masks."""
        row = next(row for row in self.cell.table.rows if row.ticket == TicketOf(number))
        return replace(self, cell=Cell(self.cell.table, row, self.cell.column))

    def _masks(self, wanted: TicketOf) -> Optional[Making]:
        """What makes the masks, and before them those of the rounds before; None of a dense run."""
        if wanted.round == 0:
            return None
        level, ticket = Level(wanted.round), self._ticket
        if wanted.kind == "one-shot":
            return one_shot_mask(ticket, _RULE, level, f"one-shot-{level}", [self._round(0)])
        if wanted.kind == "random":
            return drawn_mask(ticket, _RULE, level, self.seed, "total", f"random-{level}", [self._round(0)])
        before = self._masks(TicketOf(wanted.round - 1))
        return magnitude_mask(ticket, _RULE, wanted.round, [*filter(None, [before]), self._round(wanted.round - 1)])


@dataclass(frozen=True)
class _CellsTicket(Ticket):
    """A ticket whose rounds are cells; the folder of round 0 has the weights and all masks of a column and a seed."""

    job: Optional[TicketJob] = None

    def round(self, number: int) -> Path:
        assert self.job is not None
        return self.job._round(number).folder
