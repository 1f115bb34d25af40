"""A small data set of real images."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["write_small_digits"]


def write_small_digits(path: Path, side: int = 16, mode: str = "L", count: int = 64) -> None:
    """``count`` of 1797 real handwritten digits of ``side`` pixels, grey unless ``mode`` is "RGB", with labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = []
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            image = Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).resize((side, side)).convert(mode)
            encoded = io.BytesIO()
            image.save(encoded, format="png")
            archive.writestr(f"{index:05d}.png", encoded.getvalue())
            labels.append([f"{index:05d}.png", int(digits.target[index])])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
