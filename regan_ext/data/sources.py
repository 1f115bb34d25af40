"""The images of a folder, a zip or CIFAR-10's archive, one by one, with their labels."""

from __future__ import annotations

import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from PIL import Image

from ..errors import UserError
from .archive import FILTER_KEY, one_line
from .images import SUFFIXES, Unreadable, decode
from .manifest import DataSet

__all__ = [
    "Container", "Entry", "Folder", "Label", "Zipped", "entries_of", "entry_of", "filter_named", "filter_of", "image_names",
    "labels_of", "open_container",
]  # fmt: skip

Label = Union[int, List[float]]  # a class from 0, or a vector

MAX_FILE = 1 << 29  # bytes; no single image of a data set is larger


@dataclass(frozen=True)
class Entry:
    """An image that can be loaded.

    Args:
        name: path inside its folder or archive.
        load: decodes it, with the pixels where the argument is true; raises ``Unreadable``.
        label: None where there is none.
        path: its file, where it is one of its own.
    """

    name: str
    load: Callable[[bool], Image.Image]
    label: Optional[Label] = None
    path: Optional[Path] = None


class Folder:
    """The files below a folder, links followed to files but not to folders.

    Attributes:
        names: of the files, sorted, without litter.
        all_names: of litter too.
        links: names of the links to folders.

    Raises:
        UserError: a folder cannot be read; its images would be missing without a word.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all_names: List[str] = []
        self.links: List[str] = []
        for root, folders, files in os.walk(path, onerror=_refuse):
            here = Path(root).relative_to(path)
            self.all_names += [(here / name).as_posix() for name in files]
            self.links += [(here / name).as_posix() for name in folders if os.path.islink(os.path.join(root, name))]
        self.names = sorted(name for name in self.all_names if not _is_litter(name))

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            Unreadable: the system will not give it, or it is far too large for an image.
        """
        file = self.path / name
        try:
            if file.stat().st_size > MAX_FILE:
                raise Unreadable("too large for an image")
            return file.read_bytes()
        except OSError as err:
            raise Unreadable(err.strerror or str(err)) from err

    def file(self, name: str) -> Optional[Path]:
        """The file itself."""
        return self.path / name


class Zipped:
    """The members of a zip, read without unpacking it; ``names``, ``all_names`` and ``links`` as of a ``Folder``."""

    links: Tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, UnicodeDecodeError, NotImplementedError) as err:
            raise UserError(f"{path} is not a zip that can be read ({err})") from err
        self.all_names = sorted({name for name in self._zip.namelist() if not name.endswith("/")})
        self.names = [name for name in self.all_names if not _is_litter(name)]

    def read(self, name: str) -> bytes:
        """Content of a member.

        Raises:
            Unreadable: broken, encrypted, or far too large for an image.
        """
        try:
            if self._zip.getinfo(name).file_size > MAX_FILE:
                raise Unreadable("too large for an image")
            return self._zip.read(name)
        except Unreadable:
            raise
        except Exception as err:  # zipfile raises nearly anything over broken members
            raise Unreadable(f"broken in the zip: {err}") from err

    def file(self, name: str) -> Optional[Path]:
        """None: members are not files."""
        return None


Container = Union[Folder, Zipped]


def _refuse(err: OSError) -> None:
    raise UserError(f"{err.filename} cannot be read: {err.strerror}") from err


def _is_litter(name: str) -> bool:
    """Hidden files, and what macOS adds to zips."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def open_container(path: Path) -> Container:
    """The folder or zip at ``path``.

    Raises:
        UserError: it is neither.
    """
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is neither a folder nor a zip")
    return Zipped(path)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def image_names(container: Container) -> List[str]:
    """Names of the images in it, sorted as the host sorts them."""
    return [name for name in container.names if _is_image(name)]


def entry_of(container: Container, name: str, label: Optional[Label] = None) -> Entry:
    """An image of the container."""
    return Entry(name, lambda whole: decode(container.read(name), whole), label, container.file(name))


def _misfit(labels: Dict[str, Any]) -> Optional[str]:
    """What of the labels the host's loader cannot make one array of, in words, or None."""
    length = next((len(label) for label in labels.values() if isinstance(label, list)), None)
    for name, label in labels.items():
        if length is None:
            fits = type(label) is int and label >= 0  # JSON's true is an int to isinstance
        else:
            fits = isinstance(label, list) and len(label) == length and all(type(part) in (int, float) for part in label)
        if not fits:
            found = json.dumps(label)[:40]
            return f"{one_line(name)} has {found}; labels are whole numbers from 0, or lists of equally many numbers"
    return None


def labels_of(container: Container) -> Dict[str, Label]:
    """Image name → label, from a ``dataset.json`` at the top; empty where there is none.

    Raises:
        UserError: there is one, and it is not of the host's form, or the host could not train with such labels.
    """
    if "dataset.json" not in container.names:
        return {}
    try:
        rows = json.loads(container.read("dataset.json").decode("utf-8"))["labels"]
        labels = {str(name): label for name, label in rows} if rows is not None else {}
        misfit = _misfit(labels)
    except (Unreadable, ValueError, KeyError, TypeError, RecursionError) as err:
        raise UserError(
            f'{container.path}: dataset.json is not of the form {{"labels": [["name.png", 0], ...]}} ({err})'
        ) from err
    if misfit is not None:
        raise UserError(f"{container.path}: dataset.json cannot be used: {misfit}")
    return labels


def filter_of(container: Container) -> Optional[str]:
    """The filter that images were scaled with, where a ``dataset.json`` at the top names one; it is no fault if not."""
    try:
        return filter_named(container.read("dataset.json"))
    except Unreadable:
        return None


def filter_named(content: bytes) -> Optional[str]:
    """``filter_of`` the content of a ``dataset.json``."""
    try:
        found = json.loads(content)[FILTER_KEY]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def entries_of(data_set: DataSet, container: Container, split: str) -> Tuple[List[Entry], List[Tuple[str, str]]]:
    """The images of a part of a data set, in an order that does not depend on the machine.

    Args:
        data_set: what it is.
        container: where it lies.
        split: one of the names of its parts.

    Returns:
        The images, and what else lies there: name, and why it is none.
    """
    if data_set.layout == "tiny-imagenet":
        return _tiny_imagenet(container, split), []
    if data_set.layout == "flowers":
        return _flowers(container), []
    labels = labels_of(container)
    entries = [entry_of(container, name, labels.get(name)) for name in image_names(container)]
    others = [name for name in container.names if not _is_image(name) and name != "dataset.json"]
    strays = [(name, "not an image by its name") for name in others]
    return entries, strays + [(name, "a link to a folder, which is not followed") for name in container.links]


def _tiny_imagenet(container: Container, split: str) -> List[Entry]:
    """Labels are the ranks of the sorted names of the classes."""
    found: List[Tuple[str, str]] = []
    classes = set()
    for name in container.names:
        match = re.search(r"(?:^|/)train/(n\d+)/images/[^/]+$", name)
        if match and _is_image(name):
            classes.add(match.group(1))
            if split == "train":
                found.append((name, match.group(1)))
    if split == "val":
        found = _tiny_imagenet_val(container)
        lists = [name for name in container.names if name.split("/")[-1] == "wnids.txt"]
        classes |= {name for _, name in found}
        for name in lists:
            classes |= set(_text(container, name).split())
    ranks = {name: rank for rank, name in enumerate(sorted(classes))}
    return [entry_of(container, name, ranks[wnid]) for name, wnid in found]


def _text(container: Container, name: str) -> str:
    try:
        return container.read(name).decode("utf-8")
    except (Unreadable, UnicodeDecodeError) as err:
        raise UserError(f"{container.path}: {name} cannot be read as text ({err})") from err


def _tiny_imagenet_val(container: Container) -> List[Tuple[str, str]]:
    table = [name for name in container.names if re.search(r"(?:^|/)val/val_annotations\.txt$", name)]
    if not table:
        raise UserError(f"{container.path} has no val/val_annotations.txt")
    base = table[0][: -len("val_annotations.txt")] + "images/"
    rows = [line.split("\t") for line in _text(container, table[0]).splitlines() if "\t" in line]
    present = set(container.names)
    return sorted((base + row[0], row[1]) for row in rows if base + row[0] in present)


def _flowers(container: Container) -> List[Entry]:
    """Labels are in a file of MATLAB's beside the images or beside their folder; without it there are none."""
    names = [name for name in container.names if re.search(r"(?:^|/)image_\d{5}\.jpg$", name)]
    labels: List[int] = []
    for file in (container.path / "imagelabels.mat", container.path.parent / "imagelabels.mat"):
        if file.is_file():
            labels = _matlab_labels(file)
            break
    entries = []
    for name in names:
        number = int(name[-9:-4])
        entries.append(entry_of(container, name, labels[number - 1] if 1 <= number <= len(labels) else None))
    return entries


def _matlab_labels(file: Path) -> List[int]:
    from scipy.io import loadmat

    try:
        return [int(label) - 1 for label in loadmat(str(file))["labels"].ravel()]
    except Exception as err:  # the reader raises nearly anything over broken files
        raise UserError(f"{file} cannot be read as the labels of the flowers ({err}); delete it to do without") from err
