"""Options that several commands have."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

__all__ = ["added"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def added(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """A decorator that gives a command these of click's options and arguments, in their order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
