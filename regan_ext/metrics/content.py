"""Hashes by content: of a file, and of the images of a data set, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

from PIL import Image

from training_hooks.core.files import tolerate_write_failure, whole_file

from ..data.containers import open_container
from ..data.dataset_json import filter_named, filter_of
from ..support.errors import UserError

__all__ = ["Content", "file_sha256", "images_of", "read_content", "resize_filter"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """Number of images of a data set, and a hash of them in their order: the same for a folder and for its zip."""

    images: int
    sha256: str


def file_sha256(path: "str | Path") -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def images_of(path: Path) -> "List[Tuple[str, Callable[[], bytes]]]":
    """Name and reader of every image in a folder or zip, in the host's order (names sorted, endings known to Pillow).

    A zip stays open for as long as one of its readers is there.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    Image.init()
    if path.is_dir():
        found = (os.path.join(root, name) for root, _, names in os.walk(path) for name in names)
        relative = sorted(os.path.relpath(name, path) for name in found if _is_image(name))
        return [(name, (path / name).read_bytes) for name in relative]
    archive = zipfile.ZipFile(path)
    return [(name, partial(archive.read, name)) for name in sorted(set(archive.namelist())) if _is_image(name)]


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in Image.EXTENSION


def read_content(path: Path, notes: Optional[Path] = None) -> Content:
    """Hash the images of a folder or zip.

    Args:
        path: the folder or zip.
        notes: folder where the result is noted, so that the images are read again only after the data set has changed: its
            size or the time of its last change, for a folder those of any file in it.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    state = "" if notes is None else _state(path)
    key = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
    note = None if notes is None else notes / f"regan-content-{key}.json"
    known = None if note is None else _read_note(note, state)
    if known is not None:
        return known
    images = images_of(path)
    digest = hashlib.sha256()
    for _, read in images:
        digest.update(hashlib.sha256(read()).digest())
    content = Content(len(images), digest.hexdigest())
    if note is not None:
        with tolerate_write_failure(str(note)):
            note.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(note) as file:
                file.write(json.dumps({"state": state, "images": content.images, "sha256": content.sha256}).encode())
    return content


def _read_note(note: Path, state: str) -> Optional[Content]:
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        return Content(int(values["images"]), str(values["sha256"])) if values["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state(path: Path) -> str:
    """Sizes and times of last change, hashed."""
    digest = hashlib.sha256()
    for name in sorted(_files(path)):
        found = os.stat(name) if os.path.exists(name) else os.lstat(name)  # a link to nothing may lie beside the images
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
    for root, _, names in os.walk(path):
        for name in names:
            yield os.path.join(root, name)


def resize_filter(path: Path) -> Optional[str]:
    """The filter that a data set's images were scaled with, where its dataset.json names one."""
    try:
        if path.is_dir():  # without a look at what else lies there, which may be a hundred thousand files
            return filter_named((path / "dataset.json").read_bytes())
        return filter_of(open_container(path))
    except (OSError, UserError):
        return None
