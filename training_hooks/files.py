"""Files that are written whole or not at all, and failures to write them that a training run outlives."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import IO, Iterator, Set

__all__ = ["copy_whole", "tolerate_write_failure", "whole_file"]

_told: Set[str] = set()


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """A binary file to write, which gets the name ``path`` when the block ends well and leaves nothing when it fails.

    Args:
        path: the file; one that is there already is replaced. Until then its content has a hidden name, which no pattern for
            the beginning of ``path``'s name matches.
        durable: have it on the disk before it gets its name, so that a crash of the machine leaves the old file or the new.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # a folder that has gone has no file left in it, and why it failed is being told
            temporary.unlink()


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file's content, whole or not at all.

    Raises:
        OSError: one cannot be read, or the other not be written.
    """
    with open(source, "rb") as content, whole_file(target) as file:
        shutil.copyfileobj(content, file)


@contextlib.contextmanager
def tolerate_write_failure(what: str) -> Iterator[None]:
    """A full disk costs a file, not the run: tell on stderr that ``what`` could not be written, once for each ``what``."""
    try:
        yield
    except OSError as err:
        if what not in _told:
            _told.add(what)
            print(f"{what} could not be written ({err}); training goes on.", file=sys.stderr, flush=True)
