"""The handwritten digits that scikit-learn carries, as a data set of the hosts' format."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, List, Tuple

import click

from training_hooks.core.files import whole_file

__all__ = ["RESOLUTION", "load", "write_digits"]

RESOLUTION = 32


def load() -> Any:
    """scikit-learn's 1797 digits: ``images`` uint8 [1797, 8, 8] and ``target``, their classes.

    Raises:
        click.ClickException: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as err:
        raise click.ClickException('the digits come with scikit-learn: pip install "regan-ext[demo]"') from err
    digits = load_digits()
    digits.images = (digits.images * (255 / 16)).round().astype("uint8")  # of 17 levels
    return digits


def write_digits(path: Path, per_class: int = 10, resolution: int = RESOLUTION) -> None:
    """Write ``per_class`` images of each digit into the zip ``path``, whole or not at all.

    The images are the first of each class of the UCI test set (8x8 pixels, 16 grey levels), scaled with a bicubic filter, as
    grey PNGs; ``dataset.json`` holds their classes.

    Raises:
        click.ClickException: scikit-learn is missing, or there are fewer images of a class.
    """
    from PIL import Image

    digits = load()
    chosen: List[int] = []
    for digit in range(10):
        indices = (digits.target == digit).nonzero()[0][:per_class]
        if len(indices) < per_class:
            raise click.ClickException(f"there are only {len(indices)} images of the digit {digit}")
        chosen += [int(index) for index in indices]
    labels: List[Tuple[str, int]] = []
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, index in enumerate(chosen):
            image = Image.fromarray(digits.images[index]).resize((resolution, resolution), Image.Resampling.BICUBIC)
            encoded = io.BytesIO()
            image.save(encoded, format="png")
            name = f"img{number:08d}.png"
            archive.writestr(name, encoded.getvalue())
            labels.append((name, int(digits.target[index])))
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
