"""A hash of the images of a data set, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

from training_hooks.core.files import tolerate_write_failure, whole_file

from ..data.containers import open_container
from ..data.host_view import host_names

__all__ = ["Content", "read_content"]


@dataclass(frozen=True)
class Content:
    """Number of images of a data set, and a hash of them in their order: the same for a folder and for its zip."""

    images: int
    sha256: str


def read_content(path: Path, notes: Path) -> Content:
    """Hash the images of a folder or zip.

    Args:
        path: the folder or zip.
        notes: folder where the result is noted, so that the images are read again only after the data set has changed: its
            size or the time of its last change, for a folder those of any file in it.

    Raises:
        UserError, Unreadable: it cannot be read.
    """
    key = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
    state, note = _state(path), notes / f"regan-content-{key}.json"
    known = _read_note(note, state)
    if known is not None:
        return known
    container, digest = open_container(path), hashlib.sha256()
    names = host_names(container)
    for name in names:
        digest.update(hashlib.sha256(container.read(name)).digest())
    content = Content(len(names), digest.hexdigest())
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
