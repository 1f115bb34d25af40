"""Which network pickles this user's own runs wrote on this machine, so that nobody has to be asked before they are opened.

A pickle runs code when it is opened, and anything that lies in a folder may have come with the folder. So what is known about a
pickle lies elsewhere: its SHA-256 in a list in the user's own state folder. A copy of a pickle is known, whatever it is called;
one that was changed is not.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

__all__ = ["is_own", "is_own_file", "list_path", "remember"]


def list_path() -> Path:
    """The list: ``regan-ext/own-snapshots`` in $XDG_STATE_HOME, else in ``~/.local/state``; one hash a line.

    Raises:
        OSError: there is no home folder.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser(os.path.join("~", ".local", "state"))
    if not os.path.isabs(base):
        raise FileNotFoundError("there is no home folder")
    return Path(base) / "regan-ext" / "own-snapshots"


def remember(path: "str | Path") -> None:
    """Note a pickle that this process has just written. Reads the whole file.

    Raises:
        OSError: the pickle cannot be read, or the list not be written.
    """
    with open(path, "rb") as file:
        line = f"{_sha256(file)}\n".encode()
    target = list_path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(target, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as known:
        known.write(line)


def is_own(file: IO[bytes]) -> bool:
    """Whether an open file holds what has been noted.

    False also where the list cannot be read, belongs to somebody else, or could be written by others.

    Args:
        file: at its beginning, where it is again afterwards.
    """
    try:
        with open(list_path(), "rb") as known:
            about = os.fstat(known.fileno())
            if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
                return False
            hashes = known.read().split()
    except OSError:
        return False
    found = _sha256(file).encode()
    file.seek(0)
    return found in hashes


def is_own_file(path: "str | Path") -> bool:
    """The same of the file at ``path``; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return is_own(file)
    except OSError:
        return False


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
