"""What finding and training tickets takes, as steps: runs, and the files that are made between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from ..steps.making import Making
from ..steps.shared import SharedRun
from ..steps.step import Step
from ..support.reading import mapping, read_json
from . import masks
from .masks import Level
from .ticket import Rule, Ticket

__all__ = [
    "SmallDense", "TicketRun", "drawn_mask", "magnitude", "magnitude_mask", "of_mask", "one_shot", "one_shot_mask",
    "random", "small_dense",
]  # fmt: skip


@dataclass(frozen=True)
class TicketRun(SharedRun):
    """A run of a ticket, in a folder of its own.

    Args:
        ticket: that it is of.
        title: its name, and that of its folder.
        files: arguments that name its initial weights and masks.
        needs: steps that make these.
    """

    ticket: Ticket
    title: str
    files: Tuple[str, ...] = ()
    needs: Tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        return self.title

    @property
    def shared(self) -> Ticket:
        return self.ticket

    @property
    def after(self) -> Sequence[Step]:
        return self.needs

    def own_options(self) -> List[str]:
        return list(self.files)


@dataclass(frozen=True)
class SmallDense(TicketRun):
    """A run of dense networks with less capacity, which a file says.

    Args:
        cbase: the capacity, where the file is yet to be made; None = not known.
    """

    cbase: Optional[int] = None

    def own_options(self) -> List[str]:
        (making,) = self.needs
        assert isinstance(making, Making)
        return [f"--cbase={mapping(read_json(making.path)).get('cbase') if making.path.exists() else self.cbase}"]


def _round_0(ticket: Ticket) -> TicketRun:
    """The dense run, which writes the initial weights where there are none."""
    return TicketRun(ticket, "round-0", (f"--ticket-init={ticket.init}",))


def _of_mask(ticket: Ticket, title: str, made: Making) -> TicketRun:
    return TicketRun(ticket, title, (f"--ticket-init={ticket.init}", f"--ticket-mask={made.path}"), (made,))


def of_mask(ticket: Ticket, mask: Path, init: Path, transfer: bool) -> TicketRun:
    """A run of somebody's mask.

    Args:
        ticket: of the run.
        mask: file of the mask.
        init: file of the initial weights; with ``transfer`` the run writes it where it is not there.
        transfer: whether the mask may come from other initial weights.
    """
    moved = ("--ticket-transfer=true",) if transfer else ()
    return TicketRun(ticket, mask.stem, (f"--ticket-init={init}", f"--ticket-mask={mask}", *moved))


def magnitude(ticket: Ticket, rule: Rule, rounds: int) -> TicketRun:
    """Iterative magnitude pruning with rewinding: the run of the last round, which needs all before it."""
    run = _round_0(ticket)
    for number in range(1, rounds + 1):
        run = _of_mask(ticket, f"round-{number}", magnitude_mask(ticket, rule, number, [*run.needs, run]))
    return run


def one_shot(ticket: Ticket, rule: Rule, level: Level) -> TicketRun:
    """A ticket that is pruned at once, from the end of round 0."""
    title = f"one-shot-{level}"
    return _of_mask(ticket, title, one_shot_mask(ticket, rule, level, title, [_round_0(ticket)]))


def random(ticket: Ticket, rule: Rule, level: Level, seed: int = 0, like: str = "total") -> TicketRun:
    """A ticket that is drawn at random, of the parameters that round 0 has.

    Args:
        ticket, rule: whose.
        level: how many weights it keeps.
        seed: of the draw.
        like: see ``masks.find_random``; "counts" takes the rounds up to that of ``level``.
    """
    first, title = _round_0(ticket), f"random-{level}{'-counts' if like == 'counts' else ''}-seed{seed}"
    counted = magnitude(ticket, rule, level.round).needs if like == "counts" and level.round is not None else ()
    return _of_mask(ticket, title, drawn_mask(ticket, rule, level, seed, like, title, [first, *counted]))


def magnitude_mask(ticket: Ticket, rule: Rule, number: int, needs: Sequence[Step]) -> Making:
    """The masks of a round, from the end of the one before.

    Args:
        ticket, rule: whose.
        number: of the round, at least 1.
        needs: the run of the round before, and what its masks were made by.
    """
    path, before = ticket.mask(str(number)), None if number == 1 else ticket.mask(str(number - 1))
    check = partial(masks.check_mask, path, masks.rule_of("magnitude", rule, share=rule.share), before)
    how = f"from the end of {ticket.round(number - 1).name}"
    return Making(path, partial(masks.find_next, ticket, rule, number), check, how, tuple(needs))


def one_shot_mask(ticket: Ticket, rule: Rule, level: Level, title: str, needs: Sequence[Step]) -> Making:
    """Masks that are pruned at once, from the end of round 0, which ``needs`` has; ``title`` is in the file's name."""
    path = ticket.mask(title)
    check = partial(masks.check_mask, path, masks.rule_of("one-shot", rule))
    how = f"from the end of {ticket.round(0).name}"
    return Making(path, partial(masks.find_one_shot, ticket, rule, level, path), check, how, tuple(needs))


def drawn_mask(ticket: Ticket, rule: Rule, level: Level, seed: int, like: str, title: str, needs: Sequence[Step]) -> Making:
    """Masks that are drawn at random, see ``random``; ``needs`` has round 0, ``title`` is in the file's name."""
    path = ticket.mask(title)
    check = partial(masks.check_mask, path, masks.rule_of("random", rule, seed=seed, like=like))
    return Making(path, partial(masks.find_random, ticket, rule, level, seed, like, path), check, "at random", tuple(needs))


def small_dense(ticket: Ticket, rule: Rule, level: Level) -> SmallDense:
    """A dense run of as many parameters as a ticket has, of those that round 0 has."""
    title = f"small-dense-{level}"
    path = ticket.folder / f"{title}.json"
    make = partial(masks.find_capacity, ticket, rule, level, path)
    made = Making(path, make, partial(masks.check_capacity, path), "by counting parameters", (_round_0(ticket),))
    return SmallDense(ticket, title, (), (made,))
