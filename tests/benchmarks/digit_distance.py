"""What the digits tables' distances mean: ``python tests/benchmarks/digit_distance.py DETECTOR.pt TRAINED.zip OTHERS.zip``.

Prints one JSON line of Fréchet distances to the digits of OTHERS: of the training images themselves, of one half of OTHERS to
the other half, and of uniform noise.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import click
import numpy as np
import scipy.linalg
import torch
from PIL import Image

from regan_ext.support.machine import describe


def images_of(path: Path) -> torch.Tensor:
    """All images of a zip, uint8 [N, 3, H, W]."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of two sets of features [N, C]."""
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root))


@click.command()
@click.argument("detector", type=click.Path(path_type=Path, exists=True))
@click.argument("trained", type=click.Path(path_type=Path, exists=True))
@click.argument("others", type=click.Path(path_type=Path, exists=True))
def main(detector: Path, trained: Path, others: Path) -> None:
    """Print the distances as one JSON line."""
    network = torch.jit.load(str(detector))
    random = torch.Generator().manual_seed(0)
    rest, noise = (
        images_of(others),
        torch.randint(0, 256, (2000, 1, 32, 32), generator=random, dtype=torch.uint8).repeat(1, 3, 1, 1),
    )
    with torch.no_grad():
        seen, unseen, nothing = (network(x, return_features=True).double().numpy() for x in (images_of(trained), rest, noise))
    order = torch.randperm(len(unseen), generator=random).numpy()
    halves = np.array_split(order, 2)
    result = {
        "benchmark": "digit_distance",
        "trained": round(distance(seen, unseen), 2),
        "halves": round(distance(unseen[halves[0]], unseen[halves[1]]), 2),
        "noise": round(distance(nothing, unseen), 2),
        **describe("cpu"),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
