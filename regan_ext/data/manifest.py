"""What is known about the files that a data set comes in, as frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

__all__ = ["Archive", "Limits", "Source", "normalised"]

_GB = 10**9


@dataclass(frozen=True)
class Source:
    """A place that a data set can be had from.

    Args:
        url: address of the file, or of the page where a person gets it.
        direct: whether a plain GET of ``url`` answers with the file.
        steps: what to do on that page, or who offers the file.
    """

    url: str
    direct: bool
    steps: str


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
        sources: where it is, to be tried in this order.
        size, md5, sha256: as published, in bytes and hexadecimal; None where nobody published one.
        max_bytes: a download longer than this is broken off.
        limits: for unpacking; None for a file that is kept as it is.
        shared: whether several sets lie in it, each in a folder or zip of its name.
    """

    filename: str
    sources: Tuple[Source, ...]
    size: Optional[int] = None
    md5: Optional[str] = None
    sha256: Optional[str] = None
    max_bytes: int = 4 * _GB
    limits: Optional[Limits] = None
    shared: bool = False


def normalised(name: str) -> str:
    """``name`` as it is compared: small letters, hyphens only."""
    return re.sub(r"[\s_-]+", "-", name.strip().lower())
