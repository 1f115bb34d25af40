"""A step that makes a file, of what is there by then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple

from ..support.errors import UserError
from ..support.process import Supervisor
from .step import DIFFERS, FINISHED, FRESH, Say, Standing, Step

__all__ = ["ANEW", "Making"]

ANEW = "delete it to have it made anew"


@dataclass(frozen=True)
class Making(Step):
    """A file that is made by a function of what other steps have left, in this process.

    Args:
        path: of the file.
        make: makes it, whole or not at all.
        check: why the file that is there is another; None where it is the one.
        how: in words, what it is made from.
        needs: steps that come first.
        remedy: what to do about another one.
    """

    path: Path
    make: Callable[[], None]
    check: Callable[[], Optional[str]]
    how: str
    needs: Tuple[Step, ...] = ()
    remedy: str = ANEW

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def after(self) -> Sequence[Step]:
        return self.needs

    def standing(self) -> Standing:
        if not self.path.exists():
            return Standing(FRESH)
        wrong = self.check()
        return Standing(FINISHED, str(self.path)) if wrong is None else Standing(DIFFERS, f"{wrong}; {self.remedy}")

    def preview(self, now: Standing) -> str:
        return f"# {self.path} is made {self.how}"

    def work(self, now: Standing, supervisor: Supervisor, handles: Sequence[int], say: Say) -> Optional[str]:
        say(f"is made {self.how}")
        try:
            self.make()
        except (UserError, ValueError, OSError) as err:  # which say what is wrong with what was left
            return err.message if isinstance(err, UserError) else str(err)
        return None
