"""The one engine of a process: a host constructs its loss first and its optimizers after, each through a seam of its own."""

from __future__ import annotations

from typing import Optional

from ..core.engine import Engine

__all__ = ["engine", "engine_or_none", "set_engine"]

_engine: Optional[Engine] = None


def engine_or_none() -> Optional[Engine]:
    """The engine of this process; None in a run without hooks."""
    return _engine


def engine() -> Engine:
    """The engine of this process.

    Raises:
        RuntimeError: there is none, because the hooked loss was not constructed.
    """
    if _engine is None:
        raise RuntimeError("the hooked optimizer was constructed before the hooked loss; set loss_kwargs.class_name too")
    return _engine


def set_engine(engine: Optional[Engine]) -> None:
    """Make ``engine`` that of this process; None ends the run of the one before."""
    global _engine
    _engine = engine
