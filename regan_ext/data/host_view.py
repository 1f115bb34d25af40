"""A folder or zip as the hosts' data set class takes it: which files, and what it would trip over, now or hours into a run."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, TypeVar

import numpy as np
from PIL import Image

from ..support.text import printable
from . import dataset_json
from .containers import Container, Zipped, image_names, run_folder_of
from .decoding import Unreadable, decode
from .images import HOST_MODES, fits_host

__all__ = ["NO_IMAGES", "View", "as_the_host", "host_names", "view"]

_Value = TypeVar("_Value")
_Look = Tuple[Tuple[int, int], str]  # (width, height) in pixels, and Pillow's name of the pixel format


NO_IMAGES = "it holds no images"


@dataclass
class View:
    """What there is to say of it.

    Args:
        broken: (name, reason) of images that cannot be read.
        problems: why else the host cannot train from it, each in words.
        notes: what it can do with and is seldom meant.
    """

    broken: List[Tuple[str, str]] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)


def host_names(container: Container) -> List[str]:
    """The files that the host takes for images, in its order: by their suffix alone, hidden ones too."""
    Image.init()  # registers every suffix
    return sorted(name for name in container.all_names if os.path.splitext(name)[1].lower() in Image.EXTENSION)


def view(container: Container) -> View:
    """Look at the header of every image, its end and the labels; 0.3 s for a thousand images.

    Pixels are decoded only where a header or an end raises doubt.

    Args:
        container: a folder or a zip.
    """
    found = View()
    if isinstance(container, Zipped) and container.path.suffix.lower() != ".zip":
        found.problems.append("its name does not end in .zip")
    names = host_names(container)
    wanted = set(image_names(container))
    images = [name for name in names if name in wanted]
    found.problems += _strays([name for name in names if name not in wanted], container)
    if not images:
        found.problems.append(NO_IMAGES)
        return found
    looks: Dict[str, _Look] = {}
    for name in images:
        try:
            looks[name] = _look(container, name)
        except Unreadable as err:
            found.broken.append((name, str(err)))
    problems, found.notes = dataset_json.host_problem(container, images)
    found.problems += _sizes(looks) + _modes(looks) + problems
    return found


def _strays(strays: Sequence[str], container: Container) -> List[str]:
    """What the host takes for images and nobody else does."""
    of_runs = [name for name in strays if run_folder_of(name, container.runs) is not None]
    others = [name for name in strays if name not in set(of_runs)]
    problems = []
    if of_runs:
        run = run_folder_of(of_runs[0], container.runs)
        problems.append(f"the host takes {len(of_runs)} pictures of a run's folder ({printable(str(run))}) for training images")
    if others:
        problems.append(f"the host takes {len(others)} other files for images, the first is {printable(others[0])}")
    return problems


def _look(container: Container, name: str) -> _Look:
    head, tail, size = container.ends(name)
    suffix = os.path.splitext(name)[1].lower()
    try:
        image = decode(head, False, suffix)
    except Unreadable:
        if size <= len(head):
            raise
        image = decode(container.read(name), False, suffix)
    if not fits_host(image.size) or image.mode not in (HOST_MODES if not _unfolds(suffix) else (*HOST_MODES, "P")):
        return image.size, image.mode
    if _is_plain(image, head, tail, size, suffix):
        return image.size, image.mode
    pixels = as_the_host(container.read(name), suffix)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels, image.mode)
    return image.size, mode if pixels.dtype == np.uint8 else f"{mode} of {8 * pixels.itemsize} bits"


def _is_plain(image: Image.Image, head: bytes, tail: bytes, size: int, suffix: str) -> bool:
    """Whether header and end leave no doubt of what the host gets."""
    if image.mode not in HOST_MODES or "transparency" in image.info:
        return False
    if image.format == "PNG":
        return tail[-8:-4] == b"IEND" and head[24] <= 8
    if _unfolds(suffix):  # what reads PNG for the host reads nothing else
        return False
    if image.format == "JPEG":
        return b"\xff\xd9" in tail[-64:]
    return image.format == "WEBP" and int.from_bytes(head[4:8], "little") + 8 <= size


@functools.cache
def _has_pyspng() -> bool:
    """Whether the host has it read PNG files."""
    return importlib.util.find_spec("pyspng") is not None


def _unfolds(suffix: str) -> bool:
    """Whether the host gets colours of a file with a palette, and not their numbers."""
    return suffix == ".png" and _has_pyspng()


def as_the_host(data: bytes, suffix: str) -> "np.ndarray[Any, Any]":
    """The pixels [H, W] or [H, W, C] that the host gets of a file, of whatever type.

    Raises:
        Unreadable: it gets none.
    """
    if not _unfolds(suffix):
        return np.asarray(decode(data, True, suffix))
    try:
        return np.asarray(importlib.import_module("pyspng").load(data))
    except Exception as err:  # its errors are of any type
        raise Unreadable(f"not a PNG that pyspng reads: {' '.join(str(err).split())}") from err


def _sizes(looks: Dict[str, _Look]) -> List[str]:
    sizes = Counter(size for size, _ in looks.values())
    if len(sizes) > 1:
        shown, is_first_rare = _two({name: size for name, (size, _) in looks.items()}, _times)
        decides = "; the host takes the size of all from the first" if is_first_rare else ""
        return [f"the images have {len(sizes)} different sizes: {shown}{decides}"]
    if all(map(fits_host, sizes)):
        return []
    first = next(iter(looks))
    return [f"{printable(first)} is {_times(looks[first][0])}, not a square with a power of two as its side"]


def _times(size: Tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _modes(looks: Dict[str, _Look]) -> List[str]:
    modes = Counter(mode for _, mode in looks.values())
    unfit = [name for name, (_, mode) in looks.items() if mode not in HOST_MODES]
    if unfit:
        mode = looks[unfit[0]][1]
        more = f", and {len(unfit) - 1} others are not" if unfit[1:] else ""
        return [f"{printable(unfit[0])} is {mode}, not RGB or grey{more}"]
    if len(modes) > 1:
        shown, _ = _two({name: mode for name, (_, mode) in looks.items()}, str)
        return [f"the images are not all RGB or all grey: {shown}"]
    return []


def _two(values: Mapping[str, _Value], say: Callable[[_Value], str]) -> Tuple[str, bool]:
    """The first image and the first that differs from it, in words, and whether the first is one of few."""
    first = next(iter(values))
    other = next(name for name, value in values.items() if value != values[first])
    counts = Counter(values.values())
    usual, count = counts.most_common()[0]
    many = f"; {count} of {len(values)} are {say(usual)}" if len(values) > 2 else ""
    shown = f"{printable(first)} is {say(values[first])} and {printable(other)} {say(values[other])}{many}"
    return shown, counts[values[first]] < count
