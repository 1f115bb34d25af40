"""A folder of one's own: what is no image is told, and labels come from ``dataset.json`` or from the folders."""

from __future__ import annotations

import posixpath
from collections import Counter
from typing import Dict, List, Sequence, Tuple

from ...support.errors import UserError
from ...support.text import counted, printable
from ..containers import Container, image_names
from ..dataset_json import Label, file_of, labels_of, matched, too_many_classes
from ..entries import Found, entry_of
from ..request import Request
from .folder import Folder, left_out, strays

__all__ = ["Own"]


class Own(Folder):
    """Images that nothing is known of."""

    def found(self, container: Container, request: Request, split: str) -> Found:
        """All images, with the labels that ``request.labels`` asks for."""
        images = image_names(container)
        labels, notes = _labelled(container, images, request.labels)
        entries = [entry_of(container, name, labels.get(name)) for name in images]
        return Found(entries, strays(container), notes + left_out(container))


def _labelled(container: Container, images: Sequence[str], how: str) -> Tuple[Dict[str, Label], List[str]]:
    """The labels of the images, and what there is to say of them. "auto" takes those of a dataset.json, else the folders where
    every image lies in one of several; "folders" takes the folders; "none" takes none."""
    if how == "none":
        return {}, []
    file = file_of(container)
    if how == "auto" and file is not None:
        return _from_file(container, file, images)
    folders = _folders(images)
    classes: "Counter[str]" = Counter() if "" in folders else Counter(folders)
    # Two folders at least, and two images in each on average: else they are an order of another kind.
    if how == "auto" and (len(classes) < 2 or len(images) < 2 * len(classes)):
        return {}, []
    if len(classes) < 2:
        raise UserError(f"--labels=folders: {container.path} has not two folders or more that all its images lie in")
    shown = ", ".join(
        f"{rank} {printable(name)} ({counted(count, 'file')})" for rank, (name, count) in enumerate(sorted(classes.items())[:5])
    )
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    ranks = {name: rank for rank, name in enumerate(sorted(classes))}
    note = f"{len(classes)} classes from the folders: {shown}{more}; train takes them with --cond=1, --labels=none takes none."
    return {name: ranks[folder] for name, folder in zip(images, folders)}, [note]


def _folders(images: Sequence[str]) -> List[str]:
    """The first folder of each image below the one that all lie in, "" where there is none."""
    common = posixpath.commonpath([posixpath.dirname(name) for name in images]) if images else ""
    inside = [name[len(common) + 1 if common else 0 :] for name in images]
    return [name.split("/")[0] if "/" in name else "" for name in inside]


def _from_file(container: Container, file: str, images: Sequence[str]) -> Tuple[Dict[str, Label], List[str]]:
    labels = labels_of(container, file)
    if not labels:
        return {}, []
    found, left = matched(labels, images)
    where = f"{container.path}: {printable(file)}"
    without = next((name for name in images if name not in found), None)
    if left and without is not None:
        raise UserError(
            f"{where} has a label for {printable(left[0])}, which is no image here in any spelling ({len(left)} such labels), "
            f"and none for {printable(without)}; correct it, or --labels=none leaves it out"
        )
    problem = too_many_classes(found)
    if problem is not None:
        raise UserError(f"{where} cannot be used: {problem}")
    notes = []
    otherwise = sum(name not in labels for name in found)
    if otherwise:
        notes.append(f"{otherwise} labels of {file} were found by another spelling of the names.")
    if left:
        notes.append(f"{len(left)} labels of {file} are for images that are not here, the first for {printable(left[0])}.")
    if found and min(map(_class, found.values())) == 1 and len({*found.values()}) == max(map(_class, found.values())):
        found = {name: _class(label) - 1 for name, label in found.items()}
        notes.append("The classes were counted from 1, and are now from 0, as the host counts.")
    return found, notes


def _class(label: Label) -> int:
    return label if isinstance(label, int) else 0
