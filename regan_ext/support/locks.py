"""Files and folders by which processes keep each other away. A lock goes with the processes that hold it."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, Optional, Tuple

__all__ = ["locked", "locked_file", "passing_folder"]

_IN_FOLDER, _PASSING = ".lock", "lock"


def _take(handle: int) -> Optional[bool]:
    """Lock an open file; returns whether it is this process's now, None where the system or the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[Optional[Tuple[int, ...]]]:
    """Hold a lock on the file ``path``, made where it is missing, while the block runs, and as long as a process
    lives that inherits it.

    Yields:
        Handles for a child process to inherit; None where another process has it. Without locks nobody is kept away.

    Raises:
        OSError: the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield None if _take(handle) is False else (handle,)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, create: bool = True) -> Iterator[Optional[Tuple[int, ...]]]:
    """``locked_file`` of a file in a folder, for all that is in it.

    Args:
        folder: what is kept from others.
        create: make it where it is missing; otherwise there is nothing to keep from others then.

    Yields:
        As ``locked_file``.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        yield ()
        return
    with locked_file(folder / _IN_FOLDER) as mine:
        yield mine


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
    for left in parent.glob(f"{glob.escape(prefix)}*/{_PASSING}"):
        with contextlib.suppress(OSError), open(left) as lock:
            if _take(lock.fileno()):
                shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        unseen = folder / "unlocked"
        with open(unseen, "w") as held:
            if _take(held.fileno()):
                unseen.rename(folder / _PASSING)  # once it is held: others take one that is not for a dead process's
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
