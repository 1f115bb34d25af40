"""Progress bars on stderr, where a person looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Any, Callable, ContextManager, Iterator, Optional

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


@contextmanager
def _bar(title: str, *columns: ProgressColumn) -> Iterator[Callable[[int, Optional[int]], None]]:
    console = terminal(stderr=True)
    # The bar passes lines that are printed meanwhile on to its own stream, where a file or pipe would miss them.
    passes_on = sys.stdout.isatty()
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    options: Any = {"transient": True, "disable": not console.is_terminal, "redirect_stdout": passes_on}
    with Progress(*shown, console=console, **options) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def bytes_bar(title: str) -> ContextManager[Callable[[int, Optional[int]], None]]:
    """A bar over bytes; what it yields takes those done, and all where they are known."""
    return _bar(title, DownloadColumn(), TransferSpeedColumn())


def images_bar(title: str) -> ContextManager[Callable[[int, int], None]]:
    """A bar over images; what it yields takes those done, and all."""
    return _bar(title, MofNCompleteColumn())
