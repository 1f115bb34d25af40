"""Files that are written whole or not at all, and failures to write them that a training run outlives."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, Iterable, Iterator, Optional, Set

__all__ = ["copy_whole", "make_durable", "refuse_own_input", "tolerate_write_failure", "whole_file", "whole_path"]

_told: Set[str] = set()


@contextlib.contextmanager
def whole_path(path: Path, durable: bool = False, suffix: str = ".tmp") -> Iterator[Path]:
    """A new empty file to write, which gets the name ``path`` when the block ends well and is deleted when it does not.

    A file that is there already is replaced; its permissions, its owner where this process may give files away, and its
    extended attributes stay. Of a symbolic link the file that it leads to is replaced. Processes that write one file at once
    do not meet: that of the last to end stays.

    Args:
        path: the file to make or to replace.
        durable: have it on the disk before it gets its name, so that a crash of the machine leaves the old file or the new.
        suffix: what the temporary name ends in. It begins with a dot, so that no pattern for ``path``'s name matches.

    Raises:
        OSError: it cannot be written, or ``path`` is a folder, a device, a pipe or a file that is write-protected.
    """
    target, before = _regular(path)
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else 0o600))
        yield temporary
        if before is not None:
            _take_over(target, before, temporary)
        if durable:
            make_durable(temporary)
        os.replace(temporary, target)
        if durable:
            _keep_name(target)
    finally:
        with contextlib.suppress(OSError):  # a folder that has gone has no file left in it, and why it failed is being told
            temporary.unlink()


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """``whole_path``, opened to write bytes.

    Raises:
        OSError: as ``whole_path``.
    """
    with whole_path(path, durable) as temporary, open(temporary, "wb") as file:
        yield file


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file's content, whole or not at all.

    Raises:
        OSError: one cannot be read, or the other not be written.
    """
    with open(source, "rb") as content, whole_file(target) as file:
        shutil.copyfileobj(content, file)


def make_durable(path: Path) -> None:
    """Have the content of a file on the disk, whoever wrote it.

    Raises:
        OSError: it is not there, or the disk fails.
    """
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def refuse_own_input(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read, by whatever name, link or hard link.

    Args:
        out: the file to write.
        inputs: what is read: files, or folders with all that is in them. One that is not there is no obstacle.

    Raises:
        ValueError: ``out`` is one of ``inputs`` or lies in one.
    """
    place = Path(os.path.realpath(out))
    for path in inputs:
        with contextlib.suppress(OSError):
            if path.is_dir() and any(parent.exists() and os.path.samefile(parent, path) for parent in place.parents):
                raise ValueError(f"{out} lies in {path}, which is read")
            if os.path.samefile(out, path):
                raise ValueError(f"{out} is {'what is read' if out == path else f'the same file as {path}, which is read'}")


@contextlib.contextmanager
def tolerate_write_failure(what: str) -> Iterator[None]:
    """A full disk costs a file, not the run: tell on stderr that ``what`` could not be written, once for each ``what``."""
    try:
        yield
    except OSError as err:
        if what not in _told:
            _told.add(what)
            name = what if what.isprintable() else ascii(what)  # a terminal would obey what else is in it
            print(f"{name} could not be written ({err.strerror or err}); training goes on.", file=sys.stderr, flush=True)


def _regular(path: Path) -> "tuple[Path, Optional[os.stat_result]]":
    """The file that ``path`` leads to, and its status where it is there."""
    try:
        before = os.stat(path)
    except FileNotFoundError:
        return Path(os.path.realpath(path)), None
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return Path(os.path.realpath(path)), before


def _take_over(target: Path, before: os.stat_result, temporary: Path) -> None:
    """Give ``temporary`` owner, permissions and extended attributes of ``target``, as far as this process may."""
    now = os.stat(temporary)
    if hasattr(os, "chown") and (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.chown(temporary, before.st_uid, before.st_gid)
    os.chmod(temporary, stat.S_IMODE(before.st_mode))
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):  # a file system without them
            for name in os.listxattr(target):
                with contextlib.suppress(OSError):  # those of the system are not ours to set
                    os.setxattr(temporary, name, os.getxattr(target, name))


def _keep_name(path: Path) -> None:
    """Have the entry of ``path`` in its folder on the disk, where the system knows how."""
    with contextlib.suppress(OSError):
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
