"""One image: what is wrong with it for training, and how that is mended."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import List, Tuple

import numpy as np
from PIL import Image

from .decoding import Unreadable
from .deep import is_deep, to_eight_bits

__all__ = [
    "FILTERS", "HOST_MODES", "encode", "fit", "fits_host", "is_grey", "mend", "pixel_hash", "what_is_done", "what_is_wrong",
]  # fmt: skip

FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
HOST_MODES = ("L", "RGB")  # Pillow's names of the pixel formats that the hosts read as they are
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_SQUARED = {"crop": "not square, the middle cut out", "pad": "not square, filled up with white"}
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
            # The other frames of an MPO are previews and depths of the same photo.
            return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is broken; only the first is of use
        return 1


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def fits_host(size: Tuple[int, int]) -> bool:
    """Whether the hosts can train on images of this width and height: squares with a power of two from 4 on as their side."""
    width, height = size
    return width == height and width >= 4 and width & (width - 1) == 0


def what_is_done(image: Image.Image, resolution: int, mode: str, shape: str = "crop") -> List[str]:
    """What makes an ordinary image one for training, in words: no fault, and nothing is lost that was wanted.

    Args:
        image: as ``decode`` returned it.
        resolution: side wanted, in pixels.
        mode: "RGB" or "L", the same for the whole set.
        shape: how it becomes square, "crop" or "pad".
    """
    done = []
    width, height = image.size
    deep = is_deep(image)  # which reading EXIF may make unknown
    if _orientation(image) in _UPRIGHT:
        done.append("turned upright (as its EXIF says)")
    if deep:
        done.append("scaled to 8 bits (from more)")
    elif image.mode in ("P", "PA"):
        done.append("its palette converted")
    elif image.mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa"):
        done.append(f"converted to {mode} (from {image.mode})")
    if width != height:
        done.append(f"{_SQUARED[shape]} (of {width}x{height})")
    side = _side(image.size, shape)
    if side > resolution:
        done.append(f"reduced to {resolution}x{resolution} (from {side}x{side})")
    return done


def what_is_wrong(image: Image.Image, resolution: int, mode: str, shape: str = "crop") -> List[str]:
    """The faults of an image that can be mended with a loss or a guess, each with what is done about it, in words.

    Args:
        image, resolution, mode, shape: as of ``what_is_done``.
    """
    found = []
    if _frames(image) > 1:
        found.append(f"animated ({_frames(image)} frames): the first is used")
    if _has_transparency(image):
        found.append("transparent: put on white")
    if mode == "RGB" and is_grey(image):
        found.append("grey among colour images: converted to RGB")
    side = _side(image.size, shape)
    if side < resolution:
        found.append(f"too small ({side}x{side}): enlarged to {resolution}x{resolution}")
    return found


def _side(size: Tuple[int, int], shape: str) -> int:
    return min(size) if shape == "crop" else max(size)


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or (values.size and (values.min() < 0 or values.max() > 65535)):
        raise Unreadable(f"{image.mode} pixels whose white level is not known; save it as PNG with 8 or 16 bits")
    return Image.fromarray(to_eight_bits(values, bits))


def mend(image: Image.Image, mode: str, bits: int = 16) -> Image.Image:
    """The image upright, opaque, and of ``mode`` "RGB" or "L"; of the size it had.

    Args:
        image: with its pixels decoded.
        mode: wanted.
        bits: of the white level, where the image has more than 8.

    Raises:
        Unreadable: its pixels have no known white level.
    """
    turn, transparent = _UPRIGHT.get(_orientation(image)), _has_transparency(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, bits)
    if transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _square(image: Image.Image, shape: str) -> Image.Image:
    """The largest square in the middle, or the smallest that holds the image, filled up with white."""
    width, height = image.size
    side = _side(image.size, shape)
    left, top = (width - side) // 2, (height - side) // 2
    if width == height:
        return image
    if shape == "crop":
        return image.crop((left, top, left + side, top + side))
    padded = Image.new(image.mode, (side, side), "white")
    padded.paste(image, (-left, -top))
    return padded


def fit(image: Image.Image, resolution: int, resize: str, shape: str = "crop") -> Image.Image:
    """The image as a square of ``resolution`` pixels a side."""
    image = _square(image, shape)
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
