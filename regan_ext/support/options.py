"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, TypeVar

import click

from .numbers import Int
from .paths import UserPath

__all__ = ["added", "of_runs"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def added(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """A decorator that gives a command these of click's options and arguments, in their order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def of_runs(what: str) -> Callable[[_Command], _Command]:
    """What a command is given that makes several runs of ``train`` in one folder.

    Args:
        what: the folder is of, in words.
    """
    folder = f"Folder of {what}, with one for each run."
    return added(
        click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="TRAIN_OPTION..."),
        click.option("--outdir", type=UserPath(path_type=Path), required=True, metavar="DIR", help=folder),
        click.option("--data", type=UserPath(), metavar="ZIP", help="Training images.  [default: as DIR was begun]"),
        click.option("--host", type=UserPath(), metavar="DIR", help="Checkout to train with.  [default: as train finds it]"),
        click.option("--gpus", type=Int(1, 256), metavar="INT", help="GPUs of each run.  [default: 1]"),
        click.option("-n", "--dry-run", is_flag=True, help="Print what would be done, and how long it takes if that is known."),
        click.option(
            "--trust", is_flag=True, help="Also open snapshots in DIR that none of your own runs wrote on this machine."
        ),
    )
