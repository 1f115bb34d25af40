"""What is known about the files that a data set comes in, as frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

__all__ = ["Archive", "Limits", "normalised"]

_GB = 10**9


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to at most; more is taken for a bomb.

    Args:
        files: number of members.
        bytes: total size of what comes out.
        ratio: size of what comes out over the size of the archive.
    """

    files: int = 200_000
    bytes: int = 4 * _GB
    ratio: float = 100


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Args:
        filename: what it is called on disk.
        url: where it is.
        offered_by: who has it there, for a reader.
        size: in bytes, as published; None where nobody published it.
        md5: hash in hexadecimal, as published; None where nobody published it.
        sha256: hash in hexadecimal, as published; None where nobody published it.
        max_bytes: a download longer than this is broken off.
        limits: for unpacking; None for a file that is kept as it is.
        shared: whether several sets lie in it, each in a folder or zip of its name.
    """

    filename: str
    url: str = ""
    offered_by: str = ""
    size: Optional[int] = None
    md5: Optional[str] = None
    sha256: Optional[str] = None
    max_bytes: int = 4 * _GB
    limits: Optional[Limits] = None
    shared: bool = False


def normalised(name: str) -> str:
    """``name`` as it is compared: small letters, hyphens only."""
    return re.sub(r"[\s_-]+", "-", name.strip().lower())
