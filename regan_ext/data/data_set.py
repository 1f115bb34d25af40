"""What is known about a data set, as frozen values. The table itself is ``table``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from ..support.errors import UserError
from .layouts.folder import Folder
from .manifest import Archive

__all__ = ["DataSet"]


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        name: what the command line calls it.
        aliases: other names of it, and of its folder or zip inside a shared archive.
        splits: name of a part → number of its images; the first is the one to train on.
        resolution: side of the prepared images, in pixels.
        licence: what its owners state, in our words.
        archives: files to download; empty where nothing can be fetched without a person.
        pages: (address, what to do there) where a person gets it, in order; also the way out where a download fails.
        raw_size: side of the original images, in pixels; None where they vary.
        resize: filter for scaling, "box", "lanczos" or "bicubic".
        layout: how the images lie in what was downloaded.
        notes: what often goes wrong with it.
        count: images to choose out of the first split; None for all.
        others: images that lie in its archives and are of no part.
        mode: pixel format of the prepared images, "RGB" or "L".
        own: a folder of the reader's own, of which nothing is known before.
    """

    name: str
    aliases: Tuple[str, ...]
    splits: Tuple[Tuple[str, int], ...]
    resolution: int
    licence: str
    archives: Tuple[Archive, ...] = ()
    pages: Tuple[Tuple[str, str], ...] = ()
    raw_size: Optional[int] = None
    resize: str = "lanczos"
    layout: Folder = field(default_factory=Folder)
    notes: Tuple[str, ...] = ()
    count: Optional[int] = None
    others: int = 0
    mode: str = "RGB"
    own: bool = False

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
