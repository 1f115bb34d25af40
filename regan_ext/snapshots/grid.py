"""A picture of real images beside samples of two snapshots."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from PIL import Image, ImageDraw, ImageFont

from ..hosts.embedded_train import host_module
from ..support.pickles import open_pickle, unpickle
from ..support.pictures import contact_sheet, write_png
from .sample import sample

__all__ = ["load_generator", "make_grid"]

_ROWS, _CELL, _GAP, _HEADING, _MARGIN = 3, 64, 16, 36, 96  # rows of each block; sizes in pixels
_CARD, _INK = (27, 31, 36), (225, 228, 232)  # readable on a light page and on a dark one


def load_generator(snapshot: Path, which: str = "G_ema") -> Any:
    """A network of a snapshot that this process wrote or trusts, on the CPU. Unpickling runs the code in the file."""
    host_module("dnnlib")  # makes the host's modules importable, which the pickle names
    with open_pickle(snapshot) as file:
        return unpickle(file, snapshot)[which]


def _reals(data: Path) -> "Tuple[List[int], List[Image.Image]]":
    """The classes, and the first images of each, one class a column."""
    with zipfile.ZipFile(data) as archive:
        classes: Dict[int, List[str]] = {}
        for name, label in json.loads(archive.read("dataset.json"))["labels"]:
            classes.setdefault(label, []).append(name)
        columns = sorted(classes)
        names = [classes[column][row] for row in range(_ROWS) for column in columns]
        return columns, [Image.open(io.BytesIO(archive.read(name))) for name in names]


def make_grid(data: Path, snapshots: Sequence[Tuple[str, Path]], path: Path) -> None:
    """Draw real images of the zip ``data`` over samples of snapshots, on a dark card; each column is a class of the data.

    Args:
        data: zip of the host's form, with classes.
        snapshots: title and network pickle of each block of rows. All get the same latents.
        path: the PNG, which is written whole or not at all.
    """
    columns, reals = _reals(data)
    blocks = [("real", reals)]
    for title, snapshot in snapshots:
        samples = sample(load_generator(snapshot), len(columns) * _ROWS)
        blocks.append((title, [Image.fromarray(each) for each in samples]))
    block = _ROWS * (_CELL + 2)
    size = (_MARGIN + len(columns) * (_CELL + 2) + _GAP, _HEADING + len(blocks) * (block + _GAP))
    picture = Image.new("RGB", size, _CARD)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=18)
    for place, column in enumerate(columns):
        middle = _MARGIN + place * (_CELL + 2) + _CELL // 2
        pen.text((middle, _HEADING // 2), str(column), fill=_INK, font=font, anchor="mm")
    for number, (title, images) in enumerate(blocks):
        top = _HEADING + number * (block + _GAP)
        pen.multiline_text((_GAP, top + block // 2), title, fill=_INK, font=font, anchor="lm")
        large = [image.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC) for image in images]
        picture.paste(contact_sheet(large, len(large), len(columns), gap=2, paper=_CARD), (_MARGIN, top))
    write_png(picture, path)
