"""``regan-ext metrics floors``: what distances real images have among themselves, so that one of a generator can be read.

No generator can be nearer to images that it has not seen than other real images are. So four distances stand beside the middle
and the 95 % interval of what chance alone makes of as many real images:

train    the training images against the rest; where it leaves the interval, they are not drawn from the same images
halves   two halves of the rest: nothing but chance
blurred  one half, blurred, against the other: what a loss of detail costs
noise    random pixels against a half: as far away as it gets

The kernel distance is unbiased: its middle is 0, and the floor is the width of the interval. A Fréchet distance has a bias that
depends on the number of images and on nothing that a generator could do: its middle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.table import Table

from ..data.containers import open_container
from ..data.decoding import Unreadable
from ..data.entries import entry_of
from ..data.hashes import hashes
from ..data.host_view import host_names
from ..data.images import HOST_MODES
from ..data.layouts.folder import chosen
from ..hosts.download_cache import dnnlib_cache
from ..support.errors import UserError
from ..support.text import terminal, three_digits
from .check import check_detector, check_place
from .content import read_content
from .distances import Distances
from .features import Describe, feature_function
from .protocol import detector_name

__all__ = ["Chance", "Floor", "Wanted", "measure", "show"]

_BATCH = 32
_FEWEST = 8  # images of each part
_Draw = Tuple[Any, Any]  # rows of one part, and of the other


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Args:
        data: zip or folder of the training images.
        metricdata: zip or folder of images that are not trained on.
        detector: TorchScript file of the feature network.
        most: take so many images of either at most.
        draws: how often chance is asked.
        seed: of draws, choices and noise.
        device: "cpu" or "cuda".
    """

    data: Path
    metricdata: Path
    detector: Path
    most: int
    draws: int
    seed: int
    device: str


@dataclass(frozen=True)
class Chance:
    """Distances of random draws of real images: their mean, and the interval that 95 % of them lie in."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Floor:
    """One comparison.

    Args:
        floor: "train", "halves", "blurred" or "noise".
        images: how many, of both parts.
        kid: kernel distance.
        kid_chance: those of as many real images.
        fid: Fréchet distance.
        fid_chance: those of as many real images; their mean is its bias.
        protocol: what was measured with what.
    """

    floor: str
    images: Tuple[int, int]
    kid: float
    kid_chance: Chance
    fid: float
    fid_chance: Chance
    protocol: Dict[str, Any]

    def to_dict(self) -> Dict[str, Any]:
        """As JSON can hold it, numbers with six digits."""
        return _rounded(asdict(self))


def measure(wanted: Wanted, tick: Callable[[int, int], None] = lambda done, total: None) -> List[Floor]:
    """Compute the four floors.

    Args:
        wanted: images, feature network and numbers.
        tick: takes the number of images done, and of all.

    Raises:
        UserError: something is wrong with the images or the feature network.
    """
    places = (("DATA", wanted.data), ("--metricdata", wanted.metricdata))
    for option, path in places:
        check_place(option, str(path))
    train, rest = (_images(option, path, wanted) for option, path in places)
    if train.shape[1:] != rest.shape[1:]:
        sizes = " and ".join("x".join(map(str, part.shape[1:])) for part in (train, rest))
        raise UserError(f"--metricdata: its images and those of {wanted.data} have different shapes: {sizes}")
    check_detector(wanted.detector, side=train.shape[1])
    random = np.random.default_rng(wanted.seed)
    n, m = len(train), len(rest)
    half = m // 2
    one, other = np.split(n + random.permutation(m)[: 2 * half], 2)
    noise = random.integers(0, 256, (half, *train.shape[1:]), dtype=np.uint8)
    everything = np.concatenate([train, rest, _blurred(rest[one - n]), noise])
    distances = Distances.of(_described(everything, feature_function(wanted.detector, torch.device(wanted.device)), tick))
    blurred, noisy = (n + m + k * half + np.arange(half) for k in (0, 1))
    real, held_out = np.arange(n + m), np.arange(n, n + m)
    as_train = _chance(distances, [_drawn(random, real, n, m) for _ in range(wanted.draws)])
    as_half = _chance(distances, [_drawn(random, held_out, half, half) for _ in range(wanted.draws)])
    protocol = _protocol(wanted)
    return [
        Floor(name, (len(a), len(b)), distances.kernel(a, b), chance[0], distances.frechet(a, b), chance[1], protocol)
        for name, a, b, chance in (
            ("train", np.arange(n), held_out, as_train),
            ("halves", one, other, as_half),
            ("blurred", blurred, other, as_half),
            ("noise", noisy, other, as_half),
        )
    ]


def show(floors: List[Floor]) -> None:
    """Print them as a table, the kernel distance first."""
    table = Table(box=None, padding=(0, 2, 0, 0))  # fits 80 columns
    for title in ("", "images", "KID x 1000", "by chance", "Fréchet", "by chance", "its bias"):
        table.add_column(title, justify="left" if title in ("", "images") else "right", no_wrap=True)
    for floor in floors:
        kid = Chance(*(1000 * value for value in asdict(floor.kid_chance).values()))
        table.add_row(
            floor.floor, "{}, {}".format(*floor.images), three_digits(1000 * floor.kid), _interval(kid),
            three_digits(floor.fid), _interval(floor.fid_chance), three_digits(floor.fid_chance.mean),
        )  # fmt: skip
    terminal().print(table)


def _images(option: str, path: Path, wanted: Wanted) -> "np.ndarray[Any, Any]":
    """The images of a data set, or some of them: uint8 [N, H, W, C]."""
    container = open_container(path)
    names = host_names(container)
    if len(names) > wanted.most:
        names = [names[number] for number in chosen(len(names), wanted.most, wanted.seed)]
    if len(names) < _FEWEST:
        raise UserError(f"{option}: {path} has {len(names)} images, and floors need {_FEWEST}")
    found: List[np.ndarray[Any, Any]] = []
    for name in names:
        try:
            image = entry_of(container, name).load(True)
        except Unreadable as err:
            raise UserError(f"{option}: {name} of {path} cannot be used ({err})") from err
        pixels = np.asarray(image)[..., None] if image.mode == "L" else np.asarray(image)
        if image.mode not in HOST_MODES or (found and pixels.shape != found[0].shape):
            raise UserError(f"{option}: {name} of {path} has not the shape of the others; regan-ext data prepare mends that")
        found.append(pixels)
    return np.stack(found)


def _blurred(images: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """By a Gaussian of a standard deviation of a 32nd of the side, in pixels: one at 32x32."""
    blur = ImageFilter.GaussianBlur(images.shape[1] / 32)
    grey = images.shape[-1] == 1
    made = [np.asarray(Image.fromarray(image[..., 0] if grey else image).filter(blur)) for image in images]
    return np.stack(made).reshape(images.shape)


def _described(
    images: "np.ndarray[Any, Any]", describe: Describe, tick: Callable[[int, int], None]
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    def parts() -> Iterator[torch.Tensor]:
        for begin in range(0, len(images), _BATCH):
            yield describe(torch.from_numpy(images[begin : begin + _BATCH].transpose(0, 3, 1, 2).copy()))
            tick(min(begin + _BATCH, len(images)), len(images))

    found: np.ndarray[Any, np.dtype[np.float32]] = torch.cat(list(parts())).numpy()
    if not np.isfinite(found).all():
        raise UserError("--metric-detector: it gives features that are no finite numbers")
    return found


def _drawn(random: np.random.Generator, rows: Any, some: int, others: int) -> _Draw:
    order = random.permutation(rows)
    return order[:some], order[some : some + others]


def _chance(distances: Distances, draws: List[_Draw]) -> Tuple[Chance, Chance]:
    """Kernel and Fréchet distances of the draws."""
    kernel, frechet = ([distance(*draw) for draw in draws] for distance in (distances.kernel, distances.frechet))
    return _summed(kernel), _summed(frechet)


def _summed(values: List[float]) -> Chance:
    low, high = np.quantile(values, [0.025, 0.975])
    return Chance(float(low), float(np.mean(values)), float(high))


def _protocol(wanted: Wanted) -> Dict[str, Any]:
    notes = dnnlib_cache() / "gan-metrics"
    names = {"data": wanted.data, "metricdata": wanted.metricdata}
    return {
        **{option: path.name for option, path in names.items()},
        **{f"{option}_sha256": read_content(path, notes).sha256 for option, path in names.items()},
        "detector": detector_name(str(wanted.detector)),
        "detector_sha256": hashes(wanted.detector)["sha256"],
        "most": wanted.most,
        "draws": wanted.draws,
        "seed": wanted.seed,
    }


def _interval(chance: Chance) -> str:
    return f"{three_digits(chance.low)} .. {three_digits(chance.high)}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
