"""CIFAR-10's archive of pickles, read without letting the pickles run anything."""

from __future__ import annotations

import importlib
import io
import pickle
import tarfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from PIL import Image

from ...support.errors import UserError
from ..containers import Container
from ..entries import Entry, Found
from ..request import Request
from .folder import Folder

__all__ = ["Cifar10"]

_BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_FOLDER = "cifar-10-batches-py"
_MAX_BATCH = 1 << 26  # bytes; a batch has 31 million
# What numpy's arrays need to be rebuilt. Newer numpy keeps the first in another module.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
# Of the archive, of the pickles as their documentation has it, and of arrays that are not what they should be.
_BROKEN = (
    tarfile.TarError, EOFError, OSError, zlib.error, pickle.UnpicklingError, AttributeError, ImportError, IndexError,
    KeyError, ValueError, TypeError, OverflowError,
)  # fmt: skip


class Cifar10(Folder):
    """Batches of pickled arrays."""

    source = "cifar-10-python.tar.gz"

    @contextmanager
    def opened(self, request: Request, split: str) -> Iterator[Found]:
        """The images of "train" or "test", in the order of the batches."""
        yield Found(_entries(Path(request.source), split))

    def everything(self, path: Path) -> Tuple[List[Entry], Optional[Container]]:
        """Those of the archive, or of a folder or zip that was made of it."""
        if path.name.lower().endswith((".tar.gz", ".tgz")):
            return [entry for split in _BATCHES for entry in _entries(path, split)], None
        return super().everything(path)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"names {module}.{name}, which no array needs")
        if name == "_reconstruct":
            module = "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
        return getattr(importlib.import_module(module), name)


def _batches(path: Path, names: List[str]) -> Dict[str, bytes]:
    """Content of the batches of these names, from the archive or from a folder that it was unpacked into."""
    found: Dict[str, bytes] = {}
    if path.is_dir():
        for name in names:
            for file in (path / name, path / _FOLDER / name):
                if file.is_file() and file.stat().st_size <= _MAX_BATCH:
                    found[name] = file.read_bytes()
        return found
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            name = member.name.split("/")[-1]
            if name in names and member.isreg() and member.size <= _MAX_BATCH:
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file has one
                found[name] = stream.read()
    return found


def _entries(path: Path, split: str) -> List[Entry]:
    """The images of a part, from cifar-10-python.tar.gz or the folder that it was unpacked into."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    entries: List[Entry] = []
    try:
        batches = _batches(path, _BATCHES[split])
        for name in _BATCHES[split]:
            if name not in batches:
                raise UserError(f"{path} has no {name}; it is not CIFAR-10's archive for Python")
            values = _ArraysOnly(io.BytesIO(batches[name]), encoding="latin1").load()
            pixels = np.asarray(values["data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            if len(values["labels"]) != len(pixels):
                raise ValueError(f"{name} has {len(pixels)} images and {len(values['labels'])} labels")
            for number, label in enumerate(values["labels"]):
                entries.append(_entry(f"{name}/{number:05d}", pixels[number], int(label)))
    except _BROKEN as err:
        raise UserError(f"{path} cannot be read as CIFAR-10's archive for Python ({err})") from err
    return entries


def _entry(name: str, pixels: "np.ndarray[Any, Any]", label: int) -> Entry:
    return Entry(name, lambda whole: Image.fromarray(np.ascontiguousarray(pixels)), label)
