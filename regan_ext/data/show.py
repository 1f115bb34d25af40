"""Progress bars on stderr, where a person looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Callable, Iterator, Optional

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ..support.text import terminal

__all__ = ["bytes_bar", "images_bar"]


def _progress(*columns: ProgressColumn) -> Progress:
    console = terminal(stderr=True)
    # The bar passes lines that are printed meanwhile on to its own stream, where a file or pipe would miss them.
    pass_on = sys.stdout.isatty()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal, redirect_stdout=pass_on)


@contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, Optional[int]], None]]:
    """A bar over bytes; what it yields takes those done, and all where they are known."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _progress(*columns) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def images_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over images; what it yields takes those done, and all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _progress(*columns) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
