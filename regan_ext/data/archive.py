"""The zip that the hosts train from: PNGs and dataset.json, the same bytes for the same images, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from training_hooks.core.files import whole_file

from ..support.errors import UserError, writing
from ..support.locks import passing_folder
from ..support.text import printable

__all__ = [
    "FILTER_KEY", "ImageZip", "beside", "check_file", "check_target", "image_zip", "indices_path", "member_name", "numbered",
    "same", "same_target", "write_list",
]  # fmt: skip

FILTER_KEY = "resize_filter"  # of dataset.json; the hosts read its "labels" only

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can name


def member_name(number: int) -> str:
    """What the host's dataset_tool.py calls image ``number``, from 0."""
    return f"{number // 1000:05d}/img{number:08d}.png"


def indices_path(out: Path) -> Path:
    """Where the images that were chosen for ``out`` are listed, beside it."""
    return out.with_name(out.stem + ".indices.txt")


def same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, there already or not, by way of links and ``..`` too."""
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, RuntimeError):  # only one of them is there; links that go round in a circle
        return False


def same_target(one: Path, other: Path) -> bool:
    """Whether two zips to write, or the lists beside them, are one file."""
    return same(one, other) or same(indices_path(one), indices_path(other))


def check_file(path: Path, *sources: Path) -> None:
    """Refuse a file that cannot be written or would replace what is read, and make its folder where it is missing.

    Raises:
        UserError: it is a folder or a device, its folder cannot be made, or it is one of ``sources``.
    """
    with writing(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} cannot be written: it is {'a folder' if path.is_dir() else 'no regular file'}")
    if any(same(path, source) for source in sources):
        raise UserError(f"{path} cannot be written: it is what is read")


def check_target(path: Path, *sources: Path, listed: bool = False) -> None:
    """``check_file`` for a zip, and for its list of images where it is to be ``listed``.

    Raises:
        UserError: the name does not end in .zip, or one of the files cannot be written.
    """
    if path.suffix.lower() != ".zip":
        raise UserError(f"{path}: the name of the data set to write has to end in .zip")
    for file in (path, indices_path(path)) if listed else (path,):
        check_file(file, *sources)


@contextlib.contextmanager
def beside(out: Path, prefix: str) -> Iterator[Path]:
    """A new folder beside ``out``, for as long as the block runs.

    Raises:
        UserError: it, or something in it, cannot be written.
    """
    with writing(out), passing_folder(out.resolve().parent, prefix) as temporary:
        yield temporary


class ImageZip:
    """A zip of images that is being written; see ``image_zip``.

    Attributes:
        count: images so far.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        self.count = 0

    def add(self, name: str, data: bytes) -> None:
        """Write one member."""
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o600 << 16
        info.create_system = 3  # Unix; otherwise the bytes would depend on the machine
        self._zip.writestr(info, data)
        self.count += name != "dataset.json"

    def add_labels(self, labels: Sequence[Tuple[str, Any]], resize: Optional[str] = None) -> None:
        """Write ``dataset.json``: the labels where every image has one, as the host wants it, else null; and the filter that
        images were scaled with, where any was."""
        whole = [[name, label] for name, label in labels if label is not None]
        named = {} if resize is None else {FILTER_KEY: resize}
        self.add("dataset.json", json.dumps({"labels": whole if len(whole) == len(labels) else None, **named}).encode())


@contextlib.contextmanager
def image_zip(path: Path) -> Iterator[ImageZip]:
    """A zip that gets its name when the block ends without an exception, and is deleted otherwise.

    Raises:
        UserError: it cannot be written.
    """
    with writing(path), whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield ImageZip(archive)


def numbered(number: int, name: str) -> str:
    """How a list names an image by its number, for a program, with its name for a reader."""
    return f"{number}  # {printable(name)}"


def write_list(path: Path, head: List[str], rows: Sequence[str]) -> None:
    """Write a text file of printable rows below comment lines; whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    lines = [*(f"# {printable(line)}" for line in head), *rows]
    with writing(path), whole_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
