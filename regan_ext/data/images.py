"""One image: what is wrong with it for training, and how that is mended."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import List, Tuple

import numpy as np
from PIL import Image

__all__ = [
    "FILTERS",
    "HOST_MODES",
    "SUFFIXES",
    "Unreadable",
    "crop",
    "decode",
    "encode",
    "fit",
    "fits_host",
    "is_grey",
    "load_pixels",
    "mend",
    "pixel_hash",
    "what_is_wrong",
]

FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
HOST_MODES = ("L", "RGB")  # Pillow's names of the pixel formats that the hosts read as they are
# Pillow tries every decoder it has, whatever the suffix says; some of those start other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_ORIENTATION = 0x0112  # EXIF tag
# What turns an image upright, by the value of that tag. Pillow's own function writes EXIF anew, and fails where it is broken.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A file that holds no image that can be used; the message says why."""


def decode(data: bytes, whole: bool = True) -> Image.Image:
    """The image in ``data``.

    Args:
        data: content of a file.
        whole: decode the pixels too, not only the header.

    Raises:
        Unreadable: no image, a broken one, or one too large to be decoded safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is told or mended here
            image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
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


def is_grey(image: Image.Image) -> bool:
    """Whether the header promises grey levels only."""
    return image.mode in _GREY


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to leave an image out
        return 1


def _frames(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is broken; only the first is of use
        return 1


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def fits_host(size: Tuple[int, int]) -> bool:
    """Whether the hosts can train on images of this width and height: squares with a power of two as their side."""
    width, height = size
    return width == height and width & (width - 1) == 0


def what_is_wrong(image: Image.Image, resolution: int, mode: str) -> List[str]:
    """What keeps an image from being used as it is, each with what is done about it, in words.

    Args:
        image: as ``decode`` returned it.
        resolution: side wanted, in pixels.
        mode: "RGB" or "L", the same for the whole set.
    """
    found = []
    if _orientation(image) in _UPRIGHT:
        found.append("lies on its side or is mirrored by EXIF: turned upright")
    if _frames(image) > 1:
        found.append(f"animated ({_frames(image)} frames): the first is used")
    if _has_transparency(image):
        found.append("transparent: put on white")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        found.append("more than 8 bits: scaled to 8")
    elif image.mode in ("P", "PA"):
        found.append("palette: converted")
    elif image.mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa"):
        found.append(f"{image.mode}: converted to {mode}")
    if mode == "RGB" and is_grey(image):
        found.append("grey among colour images: converted to RGB")
    width, height = image.size
    side = min(width, height)
    if width != height:
        found.append(f"not square ({width}x{height}): middle {side}x{side} cut out")
    if side < resolution:
        found.append(f"too small ({side}x{side}): enlarged to {resolution}x{resolution}")
    elif side > resolution:
        found.append(f"too large ({side}x{side}): reduced to {resolution}x{resolution}")
    return found


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or (values.size and (values.min() < 0 or values.max() > 65535)):
        raise Unreadable(f"{image.mode} pixels whose white level is not known; save it as PNG with 8 or 16 bits")
    return Image.fromarray(((values.astype(np.float64)) / 257).round().astype(np.uint8))


def mend(image: Image.Image, mode: str) -> Image.Image:
    """The image upright, opaque, and of ``mode`` "RGB" or "L"; of the size it had.

    Raises:
        Unreadable: its pixels have no known white level.
    """
    turn, transparent = _UPRIGHT.get(_orientation(image)), _has_transparency(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def crop(image: Image.Image) -> Image.Image:
    """The largest square in the middle."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def fit(image: Image.Image, resolution: int, resize: str) -> Image.Image:
    """The middle square of the image at ``resolution`` pixels a side."""
    image = crop(image)
    return image if image.width == resolution else image.resize((resolution, resolution), FILTERS[resize])


def encode(image: Image.Image) -> bytes:
    """A PNG of the pixels and nothing else, not compressed: quick to read, and the same bytes with every zlib."""
    plain = Image.frombytes(image.mode, image.size, image.tobytes())
    out = io.BytesIO()
    plain.save(out, format="png", compress_level=0, optimize=False)
    return out.getvalue()


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 over mode, size and decoded pixels: the same for a copy that was encoded anew without loss."""
    if image.mode in ("P", "PA"):  # numbers of colours say nothing without the palette
        image = image.convert("RGBA" if _has_transparency(image) else "RGB")
    width, height = image.size
    return hashlib.sha256(f"{image.mode} {width}x{height}\n".encode() + image.tobytes()).hexdigest()
