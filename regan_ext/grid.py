"""A picture of real images beside samples of two snapshots."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training_hooks.files import whole_file

from .hosts.embedded_train import host_module
from .support.pickles import open_pickle, unpickle

__all__ = ["load_generator", "make_grid", "sample"]

_COLUMNS, _ROWS, _CELL, _GAP, _HEADING = 10, 6, 64, 32, 36


def load_generator(snapshot: Path, which: str = "G_ema") -> Any:
    """A network of a snapshot that this process wrote or trusts, on the CPU. Unpickling runs the code in the file."""
    host_module("dnnlib")  # makes the host's modules importable, which the pickle names
    with open_pickle(snapshot) as file:
        return unpickle(file, snapshot)[which]


def sample(generator: Any, count: int, seed: int = 0) -> np.ndarray:
    """``count`` images as uint8 [count, H, W, C], fixed noise, no truncation; conditional ones cycle through classes."""
    import torch

    latents = torch.from_numpy(np.random.RandomState(seed).randn(count, generator.z_dim)).float()
    labels = torch.zeros([count, generator.c_dim])
    if generator.c_dim:
        labels[torch.arange(count), torch.arange(count) % generator.c_dim] = 1
    with torch.no_grad():
        images = generator(latents, labels, noise_mode="const", force_fp32=True)
    images = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return images.permute(0, 2, 3, 1).numpy()


def _block(images: "List[Image.Image]") -> Image.Image:
    """The images in rows of ``_COLUMNS``, each enlarged to ``_CELL`` pixels with a thin line around it."""
    block = Image.new("RGB", (_COLUMNS * _CELL, _ROWS * _CELL), (48, 48, 48))
    for index, image in enumerate(images):
        large = image.convert("RGB").resize((_CELL - 2, _CELL - 2), Image.Resampling.LANCZOS)
        block.paste(large, (index % _COLUMNS * _CELL + 1, index // _COLUMNS * _CELL + 1))
    return block


def _reals(data: Path) -> "List[Image.Image]":
    """The first images of each class, one class a column."""
    with zipfile.ZipFile(data) as archive:
        classes: Dict[int, List[str]] = {}
        for name, label in json.loads(archive.read("dataset.json"))["labels"]:
            classes.setdefault(label, []).append(name)
        names = [classes[column][row] for row in range(_ROWS) for column in range(_COLUMNS)]
        return [Image.open(io.BytesIO(archive.read(name))) for name in names]


def make_grid(data: Path, dense: Path, sparse: Path, path: Path) -> None:
    """Draw real images of the zip ``data``, samples of the snapshot ``dense`` and of ``sparse`` side by side.

    The data has ten classes; a column shows one. Both snapshots get the same latents. The picture is written whole or not
    at all.
    """
    blocks = [("real", _reals(data))]
    for title, snapshot in (("dense", dense), ("sparse", sparse)):
        images = sample(load_generator(snapshot), _COLUMNS * _ROWS)
        blocks.append((f"{title} ({snapshot.stem})", [Image.fromarray(i.squeeze(-1)) for i in images]))
    drawn = [(title, _block(images)) for title, images in blocks]
    width = sum(block.width for _, block in drawn) + _GAP * (len(drawn) - 1)
    picture = Image.new("RGB", (width, drawn[0][1].height + _HEADING), "white")
    pen, font, left = ImageDraw.Draw(picture), ImageFont.load_default(size=20), 0
    for title, block in drawn:
        pen.text((left, 4), title, fill="black", font=font)
        picture.paste(block, (left, _HEADING))
        left += block.width + _GAP
    with whole_file(path) as file:
        picture.save(file, format="png")
