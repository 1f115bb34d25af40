"""A run that was stopped and gone on with: a folder for each time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import List

from ..support.errors import UserError
from .folder import Run, read_run

__all__ = ["chain"]

_RESUMED = "-resumed"


def chain(folder: Path) -> List[Run]:
    """The run folders of the cell's last run, oldest first: it and those that it went on from."""
    runs: List[Run] = []
    for path in sorted((path for path in folder.glob("[0-9]*-*") if path.is_dir()), reverse=True):
        with contextlib.suppress(UserError):
            runs.insert(0, read_run(path))
            if not path.name.endswith(_RESUMED):
                break
    return runs
