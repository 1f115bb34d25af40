"""Images that can be loaded one by one, with their labels, wherever they lie."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Tuple

from PIL import Image

from .containers import Container
from .dataset_json import Label
from .decoding import decode

__all__ = ["Entry", "Found", "entry_of"]


@dataclass(frozen=True)
class Entry:
    """An image that can be loaded.

    Args:
        name: path inside its folder or archive.
        load: decodes it, with the pixels where the argument is true; raises ``Unreadable``.
        label: class or vector; None where there is none.
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
