"""The handwritten digits that scikit-learn carries: 1797 images of 8x8 pixels."""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import click
from PIL import Image

from ...support.errors import UserError
from ...support.text import counted
from ..entries import Entry, Found
from ..request import Request
from .folder import Folder

__all__ = ["Digits", "OfClasses", "load"]


def load() -> Any:
    """scikit-learn's 1797 digits: ``images`` uint8 [1797, 8, 8] and ``target``, their classes.

    Raises:
        click.ClickException: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as err:
        raise click.ClickException('the digits come with scikit-learn: pip install "regan-ext[demo]"') from err
    digits = load_digits()
    digits.images = (digits.images * (255 / 16)).round().astype("uint8")  # of 17 levels
    return digits


class Digits(Folder):
    """Nothing to get, and a choice that has equally many of each class."""

    source = "-"

    @contextmanager
    def opened(self, request: Request, split: str) -> Iterator[Found]:
        """All digits, in scikit-learn's order."""
        if request.source != self.source:
            raise UserError(f"{request.source}: the digits come with scikit-learn; the source of digits is -")
        digits = load()
        yield Found([_entry(pixels, int(label)) for pixels, label in zip(digits.images, digits.target)])

    def choose(self, entries: Sequence[Entry], count: int, seed: Optional[int]) -> Tuple[List[int], str]:
        """Equally many of each class; without a seed the first of each, for 100 those of regan-ext demo, in its order."""
        return of_each_class(entries, count, seed)


class OfClasses(Folder):
    """A choice that has equally many of each class, by a seed."""

    def choose(self, entries: Sequence[Entry], count: int, seed: Optional[int]) -> Tuple[List[int], str]:
        return of_each_class(entries, count, seed or 0)


def of_each_class(entries: Sequence[Entry], count: int, seed: Optional[int]) -> Tuple[List[int], str]:
    """Numbers of ``count`` entries, equally many of each class, and how they were chosen, in words.

    The lower classes have one more where it does not divide. Without a seed they are the first of each class.

    Raises:
        UserError: a class has not so many.
    """
    classes: Dict[int, List[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        classes[entry.label if isinstance(entry.label, int) else 0].append(index)
    numbers: List[int] = []
    generator = random.Random(seed)
    for rank, label in enumerate(sorted(classes)):
        members = classes[label]
        share = count // len(classes) + (rank < count % len(classes))
        if share > len(members):
            raise UserError(f"--count={count}: there are only {counted(len(members), 'image')} of the class {label}")
        if seed is not None:
            keys = {index: generator.random() for index in members}
            members = sorted(sorted(members, key=lambda index: (keys[index], index))[:share])
        numbers += members[:share]
    return numbers, "the first of each class" if seed is None else f"seed {seed}"


def _entry(pixels: Any, label: int) -> Entry:
    return Entry(f"a {label}", lambda whole: Image.fromarray(pixels), label)
