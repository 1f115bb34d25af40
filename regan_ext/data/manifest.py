"""What is known about a data set, as frozen values, and how its name is found. The table itself is ``table``."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from ..support.errors import UserError

__all__ = ["Archive", "DataSet", "Limits", "Source", "find", "normalised"]

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
    """

    filename: str
    sources: Tuple[Source, ...]
    size: Optional[int] = None
    md5: Optional[str] = None
    sha256: Optional[str] = None
    max_bytes: int = 4 * _GB
    limits: Optional[Limits] = None


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        name: what the command line calls it.
        aliases: other names of it, and of its folder or zip inside a shared archive.
        archives: files to download; empty where nothing can be fetched without a person.
        pages: where a person gets it, in order; also the way out where a download fails.
        splits: name of a part → number of its images; the first is the one to train on.
        resolution: side of the prepared images, in pixels.
        raw_size: side of the original images, in pixels; None where they vary.
        resize: filter for scaling, "box", "lanczos" or "bicubic".
        layout: how the images lie in what was downloaded, see ``sources``.
        count: images to choose out of the first split; None for all.
        licence: what its owners state, in our words.
        notes: what often goes wrong with it.
    """

    name: str
    aliases: Tuple[str, ...]
    archives: Tuple[Archive, ...]
    pages: Tuple[Source, ...]
    splits: Tuple[Tuple[str, int], ...]
    resolution: int
    raw_size: Optional[int]
    resize: str
    layout: str
    licence: str
    notes: Tuple[str, ...] = ()
    count: Optional[int] = None

    @property
    def images(self) -> int:
        """Images of the set as it is trained on."""
        return self.splits[0][1] if self.count is None else self.count

    def images_of(self, split: Optional[str]) -> Tuple[str, int]:
        """Name and number of images of a part; None is the first one.

        Raises:
            UserError: there is no such part.
        """
        numbers: Dict[str, int] = dict(self.splits)
        name = self.splits[0][0] if split is None else split
        if name not in numbers:
            raise UserError(f"--split={split}: {self.name} has only {', '.join(numbers)}")
        return name, numbers[name]


def normalised(name: str) -> str:
    """``name`` as it is compared: small letters, hyphens only."""
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def find(name: str, sets: Tuple[DataSet, ...]) -> DataSet:
    """The data set of that name or alias, in any spelling of hyphens, underscores and capitals.

    Raises:
        UserError: there is none.
    """
    wanted = normalised(name)
    for candidate in sets:
        if wanted in [normalised(known) for known in (candidate.name, *candidate.aliases)]:
            return candidate
    spellings = {normalised(known): known for candidate in sets for known in (candidate.name, *candidate.aliases)}
    near = [spellings[spelling] for spelling in difflib.get_close_matches(wanted, spellings, n=2, cutoff=0.8)]
    if near:
        hint = f"is {' or '.join(near)} meant?"
    elif os.path.exists(name):
        hint = f"for images of your own, my-images stands before {name}"
    else:
        hint = f"there are {', '.join(candidate.name for candidate in sets)}"
    raise UserError(f"{name} is not a data set known here; {hint}")
