"""The images of a folder, a zip or CIFAR-10's archive, one by one, with their labels."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from PIL import Image

from ..support.errors import UserError
from ..support.text import counted, printable
from .containers import Container, image_names, is_image, run_folder_of
from .dataset_json import Label, labels_of
from .decoding import Unreadable, decode
from .labelling import labelled
from .manifest import DataSet
from .table import OWN

__all__ = ["Entry", "Found", "entries_of", "entry_of"]

_VECTORS = "drawn of lines, or a document; save it as PNG"
_DRAWINGS = {
    **dict.fromkeys((".eps", ".ps", ".pdf", ".svg", ".ai", ".wmf", ".emf"), _VECTORS),
    **dict.fromkeys((".heic", ".heif"), "HEIC, which is not read here; save it as JPEG or PNG"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"), "a film; save its frames as PNG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw"), "a raw photo; develop it to JPEG or PNG"),
}


@dataclass(frozen=True)
class Entry:
    """An image that can be loaded.

    Args:
        name: path inside its folder or archive.
        load: decodes it, with the pixels where the argument is true; raises ``Unreadable``.
        label: None where there is none.
    """

    name: str
    load: Callable[[bool], Image.Image]
    label: Optional[Label] = None


def entry_of(container: Container, name: str, label: Optional[Label] = None) -> Entry:
    """An image of the container."""
    suffix = os.path.splitext(name)[1]
    return Entry(name, lambda whole: decode(container.read(name), whole, suffix), label)


@dataclass(frozen=True)
class Found:
    """What lies in a source.

    Args:
        entries: the images, in an order that does not depend on the machine.
        strays: what else lies there: name, and why it is none.
        notes: what there is to say of it, a sentence each.
    """

    entries: List[Entry]
    strays: List[Tuple[str, str]] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)


def entries_of(data_set: DataSet, container: Container, split: str, labels: str = "auto") -> Found:
    """The images of a part of a data set.

    Args:
        data_set: what it is.
        container: where it lies.
        split: one of the names of its parts.
        labels: where those of one's own images come from, see ``labelling``.

    Raises:
        UserError: labels that cannot be used.
    """
    if data_set.layout == "tiny-imagenet":
        return Found(_tiny_imagenet(container, split))
    if data_set.layout == "flowers":
        return Found(_flowers(container))
    images = image_names(container)
    if data_set is OWN:
        by_name, notes = labelled(container, images, labels)
    else:
        by_name, notes = labels_of(container) or {}, []
    entries = [entry_of(container, name, by_name.get(name)) for name in images]
    return Found(entries, _strays(container), notes + _left_out(container))


def _strays(container: Container) -> List[Tuple[str, str]]:
    others = [name for name in container.names if not is_image(name) and os.path.basename(name) != "dataset.json"]
    return [
        *((name, _DRAWINGS.get(os.path.splitext(name)[1].lower(), "not an image by its name")) for name in others),
        *((name, "a link to a folder, which is not followed") for name in container.links),
    ]


def _left_out(container: Container) -> List[str]:
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


def _tiny_imagenet(container: Container, split: str) -> List[Entry]:
    """Labels are the ranks of the sorted names of the classes."""
    found: List[Tuple[str, str]] = []
    classes = set()
    for name in container.names:
        match = re.search(r"(?:^|/)train/(n\d+)/images/[^/]+$", name)
        if match and is_image(name):
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
