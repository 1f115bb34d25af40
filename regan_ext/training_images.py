"""A look at the training images before anything starts: the host trips over some later, and reads others wrongly."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import List, Optional, Tuple

from .data.images import Unreadable, decode
from .data.sources import image_names, open_container
from .errors import UserError

__all__ = ["check_images"]

_LOOKED_AT = 200  # images; a zip of a hundred thousand is not to take a minute


def check_images(path: str) -> None:
    """Look at the headers of some images, spread over the whole data set.

    Args:
        path: zip or folder; what is neither is left to the host.

    Raises:
        UserError: one cannot be read, or they are not all square, of one size and all RGB or all grey.
    """
    if not Path(path).exists():
        return
    try:
        problem = _problem(Path(path))
    except UserError as err:
        raise UserError(f"--data: {err.message}") from err
    if problem is not None:
        remedy = f"regan-ext data prepare my-images {shlex.quote(path)} OUT.zip mends that"
        raise UserError(f"--data: {path}: {problem}; {remedy}")


def _problem(path: Path) -> Optional[str]:
    container = open_container(path)
    names = image_names(container)
    first: Optional[Tuple[str, Tuple[int, int], str]] = None
    for name in names[:: max(1, len(names) // _LOOKED_AT)]:
        try:
            image = decode(container.read(name), False)
        except Unreadable as err:
            return f"{name} cannot be read ({err})"
        width, height = image.size
        if width != height or width & (width - 1):
            return f"{name} is {width}x{height}, not a square with a power of two as its side"
        if image.mode not in _modes(name):
            return f"{name} is {image.mode}, not RGB or grey"
        if first is None:
            first = name, image.size, image.mode
        elif image.size != first[1]:
            return f"{first[0]} is {first[1][0]}x{first[1][1]} and {name} {width}x{height}"
        elif (image.mode == "L") != (first[2] == "L"):
            return f"{first[0]} is {first[2]} and {name} {image.mode}"
    return None


def _modes(name: str) -> List[str]:
    """Pillow's names of the pixel formats that the host reads as they are: pyspng, where it is there, unfolds palettes."""
    unfolds = name.lower().endswith(".png") and importlib.util.find_spec("pyspng") is not None
    return ["L", "RGB", "P"] if unfolds else ["L", "RGB"]
