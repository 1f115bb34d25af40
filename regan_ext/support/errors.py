"""User mistakes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator

import click

__all__ = ["UserError", "writing"]


class UserError(click.ClickException):
    """A mistake that the user can correct: one line on stderr, exit code 2, nothing written."""

    exit_code = 2


@contextlib.contextmanager
def writing(path: "str | Path") -> Iterator[None]:
    """Tell the system's refusal to write ``path``, while the block runs, as a mistake of the user's.

    Raises:
        UserError: it cannot be written.
    """
    try:
        yield
    except OSError as err:
        if err.errno is None:  # not the system's: libraries derive other exceptions from this one
            raise
        raise UserError(f"{path} cannot be written: {err.strerror or err}") from err
