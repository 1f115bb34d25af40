"""What a run of runs is made of."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..runs.folder import Run
from ..support.process import Supervisor

__all__ = ["DIFFERS", "FINISHED", "FRESH", "INTERRUPTED", "UNMEASURED", "Say", "Standing", "Step", "with_needs"]

FRESH, INTERRUPTED, FINISHED, UNMEASURED, DIFFERS = "fresh", "interrupted", "finished", "unmeasured", "differs"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """How far a step has come, read from its folder once.

    Args:
        kind: FRESH: nothing that could be gone on with; INTERRUPTED: a training that --resume goes on with; FINISHED: nothing
            is left to do; UNMEASURED: trained, but a metric has no value; DIFFERS: what is there was made otherwise.
        detail: where it stands, or what is wrong.
        run: last run in the folder, with the parts that it went on from; None where there is none.
        unmeasured: metrics that have no value.
    """

    kind: str
    detail: str = ""
    run: Optional[Run] = None
    unmeasured: List[str] = field(default_factory=list)


class Step(abc.ABC):
    """One step: skipped where it is finished, begun or gone on with where it is not."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """For the user."""

    @property
    @abc.abstractmethod
    def folder(self) -> Path:
        """What other processes are kept from while this step is worked on."""

    @property
    def after(self) -> Sequence["Step"]:
        """Steps that have to be finished before this one can begin."""
        return ()

    @abc.abstractmethod
    def standing(self) -> Standing:
        """How far it has come."""

    def look(self) -> Tuple[Standing, Optional[str]]:
        """The same, looked at closely, and why nothing is to be done; None where something is."""
        now = self.standing()
        if now.kind == FINISHED:
            return now, f"finished, {now.detail}"
        return now, f"{now.detail} ({self.folder})" if now.kind == DIFFERS else None

    @abc.abstractmethod
    def preview(self, now: Standing) -> str:
        """What ``work`` would do, as a line for a shell."""

    @abc.abstractmethod
    def work(self, now: Standing, supervisor: Supervisor, handles: Sequence[int], say: Say) -> Optional[str]:
        """Do what is left.

        Args:
            now: as ``look`` has it.
            supervisor: runs processes.
            handles: for processes to inherit, so that they hold the folder's lock.
            say: tells the user a line about this step.

        Returns:
            What went wrong, if something says so. Whether it is finished is for ``standing`` to say.
        """

    def result(self, now: Standing) -> str:
        """What came out of it, once it is finished."""
        return now.detail


def with_needs(steps: Sequence[Step]) -> List[Step]:
    """The steps, each behind those that it needs, every one once; a step is known by its folder and name."""
    found: Dict[Tuple[Path, str], Step] = {}
    left = list(reversed(steps))
    while left:
        needed = [each for each in left[-1].after if (each.folder, each.name) not in found]
        if needed:
            left += reversed(needed)
        else:
            step = left.pop()
            found.setdefault((step.folder, step.name), step)
    return list(found.values())
