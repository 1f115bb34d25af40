"""Tiny ImageNet's folders: classes by folder in the training part, by a table in the other."""

from __future__ import annotations

import re
from typing import List, Tuple

from ...support.errors import UserError
from ..containers import Container, is_image
from ..decoding import Unreadable
from ..entries import Found, entry_of
from ..request import Request
from .folder import Folder

__all__ = ["TinyImageNet"]


class TinyImageNet(Folder):
    """Labels are the ranks of the sorted names of the classes."""

    def found(self, container: Container, request: Request, split: str) -> Found:
        """The images of "train" or "val"."""
        matches = [re.search(r"(?:^|/)train/(n\d+)/images/[^/]+$", name) for name in container.names if is_image(name)]
        found = [(match.string, match[1]) for match in matches if match]
        classes = {wnid for _, wnid in found}
        if split == "val":
            found = _val(container)
            classes.update(wnid for _, wnid in found)
            for name in container.names:
                if name.split("/")[-1] == "wnids.txt":
                    classes.update(_text(container, name).split())
        ranks = {name: rank for rank, name in enumerate(sorted(classes))}
        return Found([entry_of(container, name, ranks[wnid]) for name, wnid in found])


def _text(container: Container, name: str) -> str:
    try:
        return container.read(name).decode("utf-8")
    except (Unreadable, UnicodeDecodeError) as err:
        raise UserError(f"{container.path}: {name} cannot be read as text ({err})") from err


def _val(container: Container) -> List[Tuple[str, str]]:
    table = [name for name in container.names if re.search(r"(?:^|/)val/val_annotations\.txt$", name)]
    if not table:
        raise UserError(f"{container.path} has no val/val_annotations.txt")
    base = table[0][: -len("val_annotations.txt")] + "images/"
    rows = [line.split("\t") for line in _text(container, table[0]).splitlines() if "\t" in line]
    present = set(container.names)
    return sorted((base + row[0], row[1]) for row in rows if base + row[0] in present)
