"""Contact sheets, and pictures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Tuple

from PIL import Image

from training_hooks.core.files import whole_file

from .errors import writing

__all__ = ["contact_sheet", "write_png"]


def contact_sheet(
    images: Iterable[Image.Image],
    count: int,
    columns: int,
    gap: int = 0,
    margin: int = 0,
    paper: "str | int | Tuple[int, ...]" = 0,
) -> Image.Image:
    """Images of one size and mode beside each other, row by row.

    Args:
        images: at least one.
        count: number of images.
        columns: images in a row.
        gap: pixels between two images.
        margin: pixels around all of them.
        paper: colour of what they leave free; 0 = black, or transparent where they have an alpha channel.
    """
    sheet = Image.new("L", (0, 0))
    for number, image in enumerate(images):
        width, height = image.width + gap, image.height + gap
        if number == 0:
            size = (columns * width - gap + 2 * margin, -(-count // columns) * height - gap + 2 * margin)
            sheet = Image.new(image.mode, size, paper)
        sheet.paste(image, (margin + number % columns * width, margin + number // columns * height))
    return sheet


def write_png(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with writing(path), whole_file(path) as file:
        picture.save(file, format="png")
