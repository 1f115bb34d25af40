"""Folders that are there for as long as something is made in them, and those that killed processes left."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

__all__ = ["passing_folder"]

_LOCK = "lock"


@contextlib.contextmanager
def passing_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder for as long as the block runs. What killed processes left of the same kind is deleted first.

    Args:
        parent: folder to make it in.
        prefix: what its name begins with, and that of no other folder.

    Yields:
        The folder. It holds a file "lock", by which other processes see that this one lives.

    Raises:
        OSError: it cannot be made.
    """
    for left in parent.glob(f"{glob.escape(prefix)}*/{_LOCK}"):
        if _is_abandoned(left):
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        unseen = folder / "unlocked"
        with open(unseen, "w") as held:
            with contextlib.suppress(ImportError, OSError):  # a system or a file system without locks: nothing is deleted there
                import fcntl

                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unseen.rename(folder / _LOCK)  # once it is held: others take one that is not for a dead process's
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(lock: Path) -> bool:
    """Whether its owner has ended; False where that cannot be known."""
    try:
        import fcntl

        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (ImportError, OSError):
        return False
