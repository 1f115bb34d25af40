"""``regan-ext metrics nearest``: generated images beside the training images that are nearest to them.

A Fréchet distance to few training images is smallest for a generator that copies them. The sheet lets a person see whether it
does; the share that is printed says how often a generated image lies closer to a training image than that image's nearest
neighbour among the training images does. Images that were not trained on tell what the share is without any copying.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from PIL import Image

from training_hooks.core.files import refuse_own_input

from ..data.containers import open_container
from ..data.host_view import host_names
from ..snapshots.sample import to_uint8
from ..support.errors import UserError
from ..support.pictures import contact_sheet, write_png
from .check import check_data, check_detector
from .features import Describe, feature_function
from .prepare import Prepared, Wanted, absolute, prepare

__all__ = ["nearest_to", "run", "share_of_close"]

_BATCH = 32
_SIDE = 32  # pixels to which images are reduced where pixels are compared
_CELL, _GAP, _ACROSS = 64, 12, 4


def run(wanted: Wanted, out: Path, count: int, neighbours: int) -> List[str]:
    """Draw the sheet.

    Args:
        wanted: snapshot and images.
        out: PNG file to write.
        count: generated images.
        neighbours: training images beside each.

    Returns:
        Lines that say what it shows, and the shares.

    Raises:
        UserError: something is wrong with the options, the snapshot or the data.
    """
    if out.suffix.lower() != ".png" or not out.absolute().parent.is_dir():
        raise UserError(f"--out: {out} is not a .png in a folder that is there")
    prepared = prepare(wanted)
    construct = sys.modules["dnnlib"].util.construct_class_by_name
    metricdata, detector, path = absolute(wanted.metricdata), absolute(wanted.detector), prepared.dataset_kwargs["path"]
    try:
        refuse_own_input(out, [Path(read) for read in (path, metricdata, detector) if read])
    except ValueError as err:
        raise UserError(f"--out: {err}") from err
    if metricdata is not None:
        check_data(metricdata, prepared.dataset_kwargs, construct)
    if detector is not None:
        check_detector(Path(detector), side=prepared.generator.img_resolution)
    if len(prepared.dataset) < 2:
        raise UserError(f"--data: {path} has fewer than two images")
    space, describe = _space(detector, prepared)
    images = _generate(prepared, count, wanted.seed)
    generated = _described(images.split(_BATCH), describe)
    training = _described(_batches(prepared.dataset, "--data", path), describe)
    order = nearest_to(generated, training, min(neighbours, len(training)))
    found = share_of_close(generated, training)
    lines = [
        f"{out}: {count} generated images of {wanted.which}, each left of its {order.shape[1]} nearest of "
        f"{len(training)} training images, by {space}",
        "Closer to a training image than that image's nearest other training image:",
        f"  {found:.1%} of the generated images",
    ]
    if metricdata is not None:
        other = construct(**{**prepared.dataset_kwargs, "path": metricdata, "max_size": None, "use_labels": False})
        held_out = share_of_close(_described(_batches(other, "--metricdata", metricdata), describe), training)
        lines.append(f"  {held_out:.1%} of the {len(other)} images of {Path(metricdata).name}")
    _draw(out, images, order, prepared.dataset)
    return lines


def nearest_to(points: torch.Tensor, others: torch.Tensor, count: int) -> torch.Tensor:
    """Numbers of the ``count`` nearest rows of ``others`` for every row of ``points``, nearest first."""
    return torch.cdist(points, others).topk(count, dim=1, largest=False).indices


def share_of_close(points: torch.Tensor, training: torch.Tensor) -> float:
    """Share of ``points`` that lie closer to their nearest row of ``training`` than that row's nearest other row does.

    As in "authenticity" of Alaa et al., How Faithful is your Synthetic Data? (ICML 2022); there it is one minus this share.
    """
    close = 0
    for part in points.split(1024):
        distance, index = torch.cdist(part, training).min(dim=1)
        among = torch.cdist(training[index], training)
        among[torch.arange(len(index)), index] = torch.inf
        close += int((distance < among.min(dim=1).values).sum())
    return close / len(points)


def _space(detector: Optional[str], prepared: Prepared) -> Tuple[str, Describe]:
    """What distances are between, in words, and the function that gives it for uint8 images [N, C, H, W]."""
    if detector is None:
        side = min(_SIDE, prepared.generator.img_resolution)

        def pixels(images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(images.float(), side).flatten(1)

        return f"their pixels at {side}x{side}", pixels
    return f"the features of {Path(detector).name}", feature_function(Path(detector), prepared.device)


def _described(batches: "Iterator[torch.Tensor] | Sequence[torch.Tensor]", describe: Describe) -> torch.Tensor:
    return torch.cat([describe(batch) for batch in batches])


def _batches(dataset: Any, option: str, path: str) -> Iterator[torch.Tensor]:
    """All images of the host's data set at ``path``, which was given with ``option``: uint8 [N, C, H, W], some at a time."""
    images = []
    for number in range(len(dataset)):
        try:
            images.append(dataset[number][0])
        except Exception as err:  # decoders fail in many ways
            name = host_names(open_container(Path(path)))[dataset.get_details(number).raw_idx]
            said = (str(err).splitlines() or ["its size or its channels are not those of the first image"])[0][:160]
            raise UserError(f"{option}: {name} of {path} cannot be used ({said})") from err
        if len(images) == _BATCH or number == len(dataset) - 1:
            yield torch.from_numpy(np.stack(images))
            images = []


def _generate(prepared: Prepared, count: int, seed: int) -> torch.Tensor:
    """Images of random latents, noise and labels of the data set, uint8 [count, C, H, W]."""
    numbers, noise = np.random.RandomState(seed % 2**32), torch.Generator(prepared.device).manual_seed(seed)
    generator, images = prepared.generator.to(prepared.device), []
    with torch.random.fork_rng(devices=[0] if prepared.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for begin in range(0, count, _BATCH):
            size = min(_BATCH, count - begin)
            z = torch.randn([size, generator.z_dim], generator=noise, device=prepared.device)
            labels = [prepared.dataset.get_label(numbers.randint(len(prepared.dataset))) for _ in range(size)]
            c = torch.from_numpy(np.stack(labels)).to(prepared.device)
            with torch.no_grad():
                made = generator(z, c, **prepared.G_kwargs)
            images.append(to_uint8(made).cpu())
    return torch.cat(images)


def _picture(image: np.ndarray) -> Image.Image:
    pixels = image.transpose(1, 2, 0)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3]).convert("RGB")


def _draw(out: Path, images: torch.Tensor, order: torch.Tensor, dataset: Any) -> None:
    """Groups of a generated image, a line, and its nearest training images, several groups in a row of the sheet."""
    columns = min(_ACROSS, len(images))
    groups = (_group([images[number].numpy(), *(dataset[i][0] for i in near)]) for number, near in enumerate(order.tolist()))
    write_png(contact_sheet(groups, len(images), columns, _GAP, paper="white"), out)


def _group(images: Sequence[np.ndarray]) -> Image.Image:
    """Images [C, H, W] in a row, the first set off by a red line."""
    row = Image.new("RGB", (len(images) * _CELL + 4, _CELL), (220, 60, 40))
    for position, image in enumerate(images):
        cell = _picture(image).resize((_CELL, _CELL), Image.Resampling.LANCZOS)
        row.paste(cell, (position * _CELL + (4 if position else 0), 0))
    return row
