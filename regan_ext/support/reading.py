"""Bounded readers of files that others wrote, which may be damaged, endless or no files at all.

What cannot be read is a :class:`Damaged` with the reason; nothing waits, and nothing takes more memory than its bound.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar

from rich import filesize

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "JSON_BYTES", "LINES_BYTES", "Damaged", "mapping", "number", "parse", "read_bytes", "read_json", "read_lines",
    "read_picture", "read_text", "unless_read", "whole",
]  # fmt: skip

JSON_BYTES, LINES_BYTES = 4_000_000, 128_000_000
_PICTURE_BYTES, _PIXELS = 100_000_000, 64_000_000  # the host's own grids have at most 33 million pixels
_LINE, _NAMED = 1_000_000, 5  # characters of a line of JSON; line numbers that a note names
_DEEPEST, _DIGITS = 64, 300
_MOST_WHOLE, _MOST_NUMBER = 10**15, 1e100
_KEPT = 16  # files whose content is remembered
_Content = TypeVar("_Content")


class Damaged(ValueError):
    """A file that cannot be read. The message is the reason, to follow the file's name, such as "is no JSON"."""


# ---------------------------------------------------------------- files


def read_bytes(path: "str | Path", most: int = JSON_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: file, or a link to one.
        most: bytes that are accepted.

    Raises:
        Damaged: there is none, it is a folder, pipe or device, or it is larger.
    """
    try:
        with open(path, "rb", opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise Damaged(f"has {filesize.decimal(size)}, and no more than {filesize.decimal(most)} are read")
            return file.read(size)
    except Damaged:
        raise
    except (OSError, ValueError) as err:
        raise Damaged(f"cannot be read ({getattr(err, 'strerror', None) or err})") from err


def read_text(path: "str | Path", most: int = JSON_BYTES) -> str:
    """The same as text, in UTF-8; what is none is replaced.

    Raises:
        Damaged: as :func:`read_bytes`.
    """
    return read_bytes(path, most).decode("utf-8-sig", errors="replace")


def read_json(path: "str | Path", most: int = JSON_BYTES) -> Any:
    """The JSON value in a file, see :func:`parse`.

    Raises:
        Damaged: as :func:`read_bytes` and :func:`parse`.
    """
    return parse(read_text(path, most))


def read_lines(path: Path) -> Tuple[List[Mapping[str, Any]], List[str]]:
    """The JSON objects in a file of one a line, and notes about what is none."""
    try:
        text = read_text(path, LINES_BYTES)
    except Damaged as err:
        return [], [f"{path.name} {err} and was left out"]
    lines = [line for line in text.split("\n") if line.strip()]
    records: List[Mapping[str, Any]] = []
    unread = []
    for position, line in enumerate(lines, 1):
        try:
            record = parse(line) if len(line) <= _LINE else None
        except Damaged:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unread.append(position)
    notes = []
    if unread and unread[-1] == len(lines):
        unread.pop()
        notes.append(f"{path.name}: the last line is cut off, as by a killed job, and was left out")
    named = [f"{path.name}: line {position} is no JSON object and was left out" for position in unread[:_NAMED]]
    more = [f"{path.name}: {len(unread) - _NAMED} more lines are no JSON objects"] if len(unread) > _NAMED else []
    return records, [*named, *more, *notes]


def unless_read(read: Callable[[Path], _Content]) -> Callable[[Path], _Content]:
    """``read``, which gives what it gave before where the file has neither grown nor been written anew. Not to be changed."""
    kept: Dict[Path, Tuple[Tuple[int, ...], _Content]] = {}

    @functools.wraps(read)
    def reader(path: Path) -> _Content:
        try:
            about = os.stat(path)
        except (OSError, ValueError):
            return read(path)
        stamp = (about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size)
        if path not in kept or kept[path][0] != stamp:
            if len(kept) >= _KEPT:
                kept.clear()
            kept[path] = stamp, read(path)
        return kept[path][1]

    return reader


def read_picture(path: Path) -> "Image.Image":
    """A PNG or JPEG file as an image of mode "L" or "RGB", decoded.

    Raises:
        Damaged: as :func:`read_bytes`, it is no such picture, or it has too many pixels.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read_bytes(path, _PICTURE_BYTES)), formats=["PNG", "JPEG"]) as image:
            if image.width * image.height > _PIXELS:
                raise Damaged(f"is of {image.width} × {image.height} pixels, too many to be shown")
            return image.convert("L" if image.mode in ("L", "1") else "RGB")
    except Damaged:
        raise
    except Exception as err:  # Pillow's decoders raise SyntaxError, struct.error, zlib.error and others on damaged files
        raise Damaged(f"is no picture that can be read ({err})") from err


def _open_regular(path: str, flags: int) -> int:
    """Opens nothing else: the opening of a pipe waits for its writer, that of a device may do anything."""
    _check_regular(os.stat(path))
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(os.fstat(handle))
    except Damaged:
        os.close(handle)
        raise
    return handle


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Damaged("is a folder" if stat.S_ISDIR(found.st_mode) else "is no regular file")


# ---------------------------------------------------------------- values


def parse(text: str) -> Any:
    """The JSON value in a text. Its integers are finite as floats, or become inf; its texts can be written as UTF-8.

    Raises:
        Damaged: it is none, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError as err:
        raise Damaged("is nested too deeply") from err
    except ValueError as err:
        raise Damaged("is no JSON") from err
    if text.count("[") + text.count("{") > _DEEPEST and _is_deep(value):
        raise Damaged("is nested too deeply")
    if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a pair of escapes is no character
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def mapping(value: Any) -> Dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float:
    """The value if it is a number from -10^100 to 10^100, so that sums and products of some stay finite; else NaN."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= _MOST_NUMBER else math.nan


def whole(value: Any, least: int = 1) -> Optional[int]:
    """The value if it is a whole number from ``least`` to 10^15, else None."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and least <= value <= _MOST_WHOLE else None


def _integer(digits: str) -> "int | float":
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, (dict, list)) for inner in level)
