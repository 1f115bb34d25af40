"""Images with more than 8 bits a channel: the values that are in the file, and how many bits of them are used."""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np
from PIL import Image

from .decoding import load_pixels

__all__ = ["deep_values", "is_deep", "load_shallow", "to_eight_bits", "white_level"]


def is_deep(image: Image.Image) -> bool:
    """Whether it has more than 8 bits a channel; its pixels are not decoded yet."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or _is_deep_colour(image)


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether it is a PNG of 16 bits a channel in colour, of which Pillow gives the upper 8; its pixels are not decoded yet."""
    kinds = {str(tile[3]) for tile in getattr(image, "tile", [])} if image.format == "PNG" else set()
    return kinds in ({"RGB;16B"}, {"RGBA;16B"})


def deep_values(load: Callable[[bool], Image.Image]) -> "Optional[np.ndarray[Any, Any]]":
    """The values of an image with more than 8 bits a channel: integers [H, W] or [H, W, C]; None of any other image.

    Args:
        load: of an ``Entry``.

    Raises:
        Unreadable: the pixels are broken.
    """
    image = load(False)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return np.asarray(load_pixels(image))
    if not _is_deep_colour(image):
        return None
    lower = load(False)
    # Read with the bytes of each value swapped, the upper 8 bits are the lower ones.
    lower.tile = [(*tile[:3], tile[3].replace("16B", "16L")) for tile in lower.tile]  # type: ignore[attr-defined]
    return np.asarray(load_pixels(image)).astype(np.int32) << 8 | np.asarray(load_pixels(lower))


def white_level(values: "np.ndarray[Any, Any]") -> int:
    """The fewest bits that scanners and cameras have and that hold all values, 8 to 16; 0 where 16 do not."""
    largest = int(values.max()) if values.size else 0
    return next((bits for bits in (8, 10, 12, 14, 16) if values.size and values.min() >= 0 and largest < 1 << bits), 0)


def load_shallow(load: Callable[[bool], Image.Image], bits: int) -> Image.Image:
    """The image with its pixels decoded; deep colours, which Pillow would cut to the upper 8 of 16 bits, from ``bits`` bits."""
    image = load(False)
    values = deep_values(load) if bits < 16 and _is_deep_colour(image) else None
    load_pixels(image)
    if values is None:
        return image
    shallow = Image.fromarray(to_eight_bits(values, bits))
    shallow.info = dict(image.info)
    return shallow


def to_eight_bits(values: "np.ndarray[Any, Any]", bits: int) -> "np.ndarray[Any, Any]":
    """Values of ``bits`` bits as uint8, white as white."""
    return (values.astype(np.float64) * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8)
