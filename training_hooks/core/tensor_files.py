"""Files of tensors and plain values: written whole or not at all, checked when they are read, and no code in them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Mapping

import torch

from .files import whole_file

__all__ = ["TensorFileError", "checksum", "load_tensors", "save_tensors"]


def checksum(tensor: torch.Tensor, begin: int = 0) -> int:
    """A number that differs, but for chance, where any bit of a tensor differs.

    Args:
        tensor: of any dtype, shape and device.
        begin: checksum of what comes before.
    """
    whole = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(whole.view(torch.uint8).numpy().data, begin)


class TensorFileError(ValueError):
    """A file that cannot be used. The message names it and what is wrong with it."""


def save_tensors(content: Mapping[str, Any], path: "str | Path") -> None:
    """Write a file whole or not at all.

    Args:
        content: tensors and plain values, nested as one likes; with "format", what the file is known by.
        path: the file to make or to replace.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with whole_file(Path(path), durable=True) as file:
            torch.save(dict(content), file)
    except RuntimeError as err:
        if isinstance(err.__context__, OSError):  # torch's writer hides a failed write behind its own error
            raise err.__context__ from err
        raise


def load_tensors(path: "str | Path", format: str, what: str) -> Dict[str, Any]:
    """Read what ``save_tensors`` has written, all tensors on the CPU.

    Args:
        path: the file.
        format: what its "format" has to be.
        what: such a file is called in messages, such as "state file".

    Raises:
        TensorFileError: it is missing, damaged (every record's checksum is verified) or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise TensorFileError(f"{path}: there is no such {what}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = None if damaged is not None else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        # zipfile, zlib, pickle and torch each have their own ways of failing on damaged bytes
        raise TensorFileError(f"{path}: not a {what}, or a damaged one ({type(err).__name__})") from err
    if damaged is not None:
        raise TensorFileError(f"{path}: the {what} is damaged (checksum of {damaged})")
    if not isinstance(content, dict) or content.get("format") != format:
        raise TensorFileError(f"{path}: not a {what} of regan-ext")
    return content
