"""What ``regan-ext data prepare`` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The arguments of the command; None means the data set's own value.

    Args:
        name: of the data set, or "my-images".
        source: folder or archive; "-" for the digits.
        out: zip to write.
        resolution: side in pixels, a power of two.
        resize: "box", "lanczos" or "bicubic".
        split: part of the data set.
        only: images of this class alone, without labels.
        count: choose so many images.
        seed: which ones.
        rest: zip for the images that were not chosen.
        strict: write nothing where there is a fault.
        keep_duplicates: my-images: keep copies.
        any_count: take a known set with more or fewer images than it has.
        labels: my-images: "auto" (a dataset.json, else the folders), "folders" or "none".
        fit: how images become square, "crop" or "pad".
        verbose: tell of every file, and not of some with a fault only.
        quiet: tell of no file.
    """

    name: str
    source: str
    out: Path
    resolution: Optional[int] = None
    resize: Optional[str] = None
    split: Optional[str] = None
    only: Optional[int] = None
    count: Optional[int] = None
    seed: Optional[int] = None
    rest: Optional[Path] = None
    strict: bool = False
    keep_duplicates: bool = False
    any_count: bool = False
    labels: str = "auto"
    fit: str = "crop"
    verbose: bool = False
    quiet: bool = False
