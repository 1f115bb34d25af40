"""Images in the folders of a folder, zip or tar.gz, with the labels of a ``dataset.json``; what other layouts begin from."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from ...support.errors import UserError
from ...support.text import counted, printable
from ..archive import beside
from ..containers import Container, image_names, is_image, open_container, run_folder_of
from ..dataset_json import labels_of
from ..entries import Entry, Found, entry_of
from ..manifest import Limits
from ..request import Request
from ..unpack import is_archive, unpack

__all__ = ["Folder", "chosen"]

_VECTORS = "drawn of lines, or a document; save it as PNG"
_DRAWINGS = {
    **dict.fromkeys((".eps", ".ps", ".pdf", ".svg", ".ai", ".wmf", ".emf"), _VECTORS),
    **dict.fromkeys((".heic", ".heif"), "HEIC, which is not read here; save it as JPEG or PNG"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"), "a film; save its frames as PNG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw"), "a raw photo; develop it to JPEG or PNG"),
}


def chosen(total: int, count: int, seed: int) -> List[int]:
    """``count`` of the numbers below ``total``, sorted: the same on every machine, and a smaller choice lies in a larger one.

    Raises:
        UserError: there are not so many.
    """
    if not 1 <= count <= total:
        raise UserError(
            f"--count={count}: " + ("at least 1 image is needed" if count < 1 else f"{counted(total, 'image')} found")
        )
    # random() alone is promised to give the same numbers in every version of Python.
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(total)]
    return sorted(sorted(range(total), key=lambda index: (keys[index], index))[:count])


class Folder:
    """Any files below, in whatever folders."""

    source = "FOLDER"  # what hints name in the place of SRC

    @contextmanager
    def opened(self, request: Request, split: str) -> Iterator[Found]:
        """What lies in ``request.source`` of a part of the set, for as long as the block runs.

        Raises:
            UserError: it cannot be read, or has labels that cannot be used.
        """
        source = Path(request.source)
        if source.is_file() and is_archive(source) and source.suffix.lower() != ".zip":
            with beside(request.out, ".unpacked-") as temporary:
                unpack(source, temporary / "content", Limits())
                yield self.found(open_container(temporary / "content"), request, split)
            return
        container = open_container(source)
        if "." in container.runs:
            raise UserError(f"{source} is the folder of a training run; its pictures are no training images")
        yield self.found(container, request, split)

    def found(self, container: Container, request: Request, split: str) -> Found:
        """What lies in a container of a part of the set."""
        labels = labels_of(container) or {}
        entries = [entry_of(container, name, labels.get(name)) for name in image_names(container)]
        return Found(entries, notes=left_out(container))

    def everything(self, path: Path) -> Tuple[List[Entry], Optional[Container]]:
        """The images of all parts, and the container that they lie in; None where it is an archive of another kind.

        Raises:
            UserError: it cannot be read.
        """
        container = open_container(path)
        return [entry_of(container, name) for name in image_names(container)], container

    def choose(self, entries: Sequence[Entry], count: int, seed: Optional[int]) -> Tuple[List[int], str]:
        """Numbers of ``count`` of the entries, and how they were chosen, in words.

        Raises:
            UserError: there are not so many.
        """
        return chosen(len(entries), count, seed or 0), f"seed {seed or 0}"


def strays(container: Container) -> List[Tuple[str, str]]:
    """What lies among the images and is none: name, and why."""
    others = [name for name in container.names if not is_image(name) and os.path.basename(name) != "dataset.json"]
    return [
        *((name, _DRAWINGS.get(os.path.splitext(name)[1].lower(), "not an image by its name")) for name in others),
        *((name, "a link to a folder, which is not followed") for name in container.links),
    ]


def left_out(container: Container) -> List[str]:
    """What is left out in whole groups, a sentence each."""
    notes = []
    inside = [name for name in container.all_names if run_folder_of(name, container.runs) is not None]
    if inside:
        run = printable(container.runs[0])
        notes.append(f"Left out: the folder of a training run ({run}), {sum(map(is_image, inside))} pictures in all such.")
    hidden = sorted(set(container.all_names) - set(container.names) - set(inside))
    if hidden:
        files = counted(len(hidden), "file")
        notes.append(f"Left out: {files} that are hidden or left by file managers, such as {printable(hidden[0])}.")
    return notes
