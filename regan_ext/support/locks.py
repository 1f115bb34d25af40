"""Files by which processes keep each other away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator, Optional, Tuple

__all__ = ["locked_file"]


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[Optional[Tuple[int, ...]]]:
    """Hold a lock on the file ``path``, made where it is missing, while the block runs, and as long as a process
    lives that inherits it.

    Yields:
        Handles for a child process to inherit, none where the system has no such locks; None where another process has it.

    Raises:
        OSError: the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nobody is kept away
        yield ()
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine: Optional[Tuple[int, ...]] = (handle,)
    except BlockingIOError:
        mine = None
    except OSError:  # a file system without locks
        mine = (handle,)
    try:
        yield mine
    finally:
        os.close(handle)
