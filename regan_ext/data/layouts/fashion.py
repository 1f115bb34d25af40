"""Fashion-MNIST's files in the IDX format: grey 28x28 pictures, and their classes."""

from __future__ import annotations

import gzip
import math
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np

from ...support.errors import UserError
from ..containers import Container
from ..entries import Entry, Found
from ..request import Request
from .digits import OfClasses
from .mnist import padded_entry

__all__ = ["Fashion"]

_PARTS = {"train": "train", "test": "t10k"}
_BYTES = 8  # the code of uint8 in the format
_MAX_FILE = 1 << 27  # bytes; the largest of the files has 47 million


class Fashion(OfClasses):
    """Two files a part, packed with gzip or not, in one folder."""

    source = "/usr/share/datasets/fashion-mnist"  # of Debian's package

    @contextmanager
    def opened(self, request: Request, split: str) -> Iterator[Found]:
        """The images of "train" or "test", in the order of the file. The source is the folder, or one of the files in it."""
        yield Found(_entries(Path(request.source), split))

    def everything(self, path: Path) -> Tuple[List[Entry], Optional[Container]]:
        """Those of a folder of IDX files, or of a folder or zip that was made of it."""
        if any(_file(path, f"{part}-images-idx3-ubyte") is not None for part in _PARTS.values()):
            return [entry for split in _PARTS for entry in _entries(path, split)], None
        return super().everything(path)


def _entries(source: Path, split: str) -> List[Entry]:
    part = _PARTS[split]
    images, labels = _read(source, f"{part}-images-idx3-ubyte", 3), _read(source, f"{part}-labels-idx1-ubyte", 1)
    if images.shape[1:] != (28, 28) or len(labels) != len(images):
        raise UserError(
            f"{source}: {len(images)} images of {images.shape[1]}x{images.shape[2]} and {len(labels)} labels of {part}"
        )
    return [padded_entry(f"{split} {row}", image, int(label)) for row, (image, label) in enumerate(zip(images, labels))]


def _file(source: Path, name: str) -> Optional[Path]:
    folder = source if source.is_dir() else source.parent
    return next((folder / known for known in (f"{name}.gz", name) if (folder / known).is_file()), None)


def _read(source: Path, name: str, dimensions: int) -> Any:
    """An IDX file as an array uint8."""
    path = _file(source, name)
    if path is None:
        raise UserError(f"{source} has no {name}.gz" if source.exists() else f"{source} does not exist")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(_MAX_FILE)
        head = 4 + 4 * dimensions
        if content[:4] != bytes((0, 0, _BYTES, dimensions)) or len(content) < head:
            raise ValueError(f"its first bytes are not those of {dimensions} dimensions of bytes")
        shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
        if len(content) != head + math.prod(shape):
            raise ValueError(f"{len(content)} bytes, expected {head + math.prod(shape)}")
    except (OSError, EOFError, zlib.error, ValueError) as err:
        raise UserError(f"{path} cannot be read as an IDX file ({err})") from err
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
