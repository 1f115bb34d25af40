"""One image: what is wrong with it for training, and how that is mended."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from typing import Any, Callable, List, Mapping, Optional, Tuple

import numpy as np
from PIL import Image

__all__ = [
    "FILTERS",
    "HOST_MODES",
    "Unreadable",
    "decode",
    "deep_values",
    "encode",
    "fit",
    "fits_host",
    "is_grey",
    "load_pixels",
    "load_shallow",
    "mend",
    "pixel_hash",
    "square",
    "suffixes",
    "what_is_done",
    "what_is_wrong",
    "white_level",
]

FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
HOST_MODES = ("L", "RGB")  # Pillow's names of the pixel formats that the hosts read as they are
# Pillow tries every decoder it has, whatever the suffix says; others are tried of a file that has their suffix.
_COMMON = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
# Those that start other programs, and those that only tell what a file is.
_NO_PIXELS = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
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
    is_deep = image.mode in ("I", "F") or image.mode.startswith("I;16") or _is_deep_colour(image)
    if _orientation(image) in _UPRIGHT:
        done.append("turned upright (as its EXIF says)")
    if is_deep:
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


# ---------------------------------------------------------------- more than 8 bits


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
    shallow = Image.fromarray(_to_eight_bits(values, bits))
    shallow.info = dict(image.info)
    return shallow


def _to_eight_bits(values: "np.ndarray[Any, Any]", bits: int) -> "np.ndarray[Any, Any]":
    return (values.astype(np.float64) * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8)


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or (values.size and (values.min() < 0 or values.max() > 65535)):
        raise Unreadable(f"{image.mode} pixels whose white level is not known; save it as PNG with 8 or 16 bits")
    return Image.fromarray(_to_eight_bits(values, bits))


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


def square(image: Image.Image, shape: str) -> Image.Image:
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
    image = square(image, shape)
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
