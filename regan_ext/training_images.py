"""A look at the training images before anything starts: the host trips over some later, and reads others wrongly."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Optional, Tuple

from .data.images import HOST_MODES, Unreadable, decode, fits_host
from .data.mending import how_to_mend
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
        raise UserError(f"--data: {path}: {problem}; {how_to_mend(Path(path))}")


def _problem(path: Path) -> Optional[str]:
    container = open_container(path)
    names = image_names(container)
    unfolds = importlib.util.find_spec("pyspng") is not None  # reads PNG files for the host, and unfolds palettes
    first: Optional[Tuple[str, Tuple[int, int], str]] = None
    for name in names[:: max(1, len(names) // _LOOKED_AT)]:
        try:
            image = decode(container.read(name), False)
        except Unreadable as err:
            return f"{name} cannot be read ({err})"
        width, height = image.size
        if not fits_host(image.size):
            return f"{name} is {width}x{height}, not a square with a power of two as its side"
        if image.mode not in HOST_MODES and not (image.mode == "P" and unfolds and name.lower().endswith(".png")):
            return f"{name} is {image.mode}, not RGB or grey"
        if first is None:
            first = name, image.size, image.mode
        elif image.size != first[1]:
            return f"{first[0]} is {first[1][0]}x{first[1][1]} and {name} {width}x{height}"
        elif (image.mode == "L") != (first[2] == "L"):
            return f"{first[0]} is {first[2]} and {name} {image.mode}"
    return None
