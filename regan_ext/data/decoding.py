"""Bytes into images, safely: only decoders that start no other program, and one exception for whatever is wrong."""

from __future__ import annotations

import functools
import io
import warnings
from typing import List, Mapping

from PIL import Image

__all__ = ["Unreadable", "decode", "load_pixels", "suffixes"]

# Pillow tries every decoder it has, whatever the suffix says; others are tried of a file that has their suffix.
_COMMON = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
# Those that start other programs, and those that only tell what a file is.
_NO_PIXELS = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}


class Unreadable(Exception):
    """A file that holds no image that can be used; the message says why."""


@functools.cache
def suffixes() -> Mapping[str, str]:
    """Suffixes of the image files that can be read, in small letters with the dot → Pillow's name of the format."""
    known = Image.registered_extensions()
    opens = {*Image.OPEN, "MPO"} - _NO_PIXELS  # its decoder of JPEG opens MPO
    return {suffix: form for suffix, form in known.items() if form in opens}


def _formats(suffix: str) -> List[str]:
    own = suffixes().get(suffix.lower(), "PNG")
    return [form for form in dict.fromkeys((*_COMMON, "JPEG" if own == "MPO" else own)) if form in Image.OPEN]


def decode(data: bytes, whole: bool = True, suffix: str = "") -> Image.Image:
    """The image in ``data``.

    Args:
        data: content of a file.
        whole: decode the pixels too, not only the header.
        suffix: of its name, with the dot; rare formats are tried of those files only that say so.

    Raises:
        Unreadable: no image, a broken one, or one too large to be decoded safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is told or mended here
            image: Image.Image = Image.open(io.BytesIO(data), formats=_formats(suffix))
    except Image.UnidentifiedImageError as err:
        raise Unreadable("not an image") from err
    except Image.DecompressionBombError as err:
        raise Unreadable("too many pixels to be decoded safely") from err
    except Exception as err:  # decoders of broken files raise nearly anything
        raise Unreadable(f"broken: {' '.join(str(err).split())}") from err
    return load_pixels(image) if whole else image


def load_pixels(image: Image.Image) -> Image.Image:
    """The same image, with its pixels decoded.

    Raises:
        Unreadable: they are broken or end too early.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Exception as err:  # decoders of broken files raise nearly anything
        raise Unreadable(f"broken or cut short: {' '.join(str(err).split())}") from err
    return image
