"""A grid of images, and a walk through latent space as a video."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence

import click
import numpy as np
import torch
from PIL import Image

from ..snapshots.open import Snapshot
from ..snapshots.sample import check_trunc, codes, draw, has_styles, image_channels, labels, latents, pixels
from ..support.errors import UserError
from ..support.pictures import contact_sheet
from ..support.text import echo

__all__ = ["Picture", "write_images", "write_video"]

_BATCH = 8
_GIF_FPS = 50
_AVERAGED = 10_000


@dataclass(frozen=True)
class Picture:
    """What to show.

    Args:
        seeds: one image each, the same as in the host's ``generate.py``.
        trunc: truncation psi, 1 for none.
        label: class of all images; None cycles through the classes.
    """

    seeds: Sequence[int]
    trunc: float = 1.0
    label: Optional[int] = None

    def check(self, generator: Any) -> None:
        """Raises UserError where ``generator`` cannot show this."""
        if self.label is not None and not generator.c_dim:
            raise UserError("--class: this network knows no classes")
        if self.label is not None and not 0 <= self.label < generator.c_dim:
            raise UserError(f"--class must be from 0 to {generator.c_dim - 1}, got {self.label}")
        check_trunc(generator, self.trunc)
        if image_channels(generator) not in (1, 3, 4):
            raise UserError(f"images of {image_channels(generator)} channels cannot be drawn, only of 1, 3 or 4")

    def codes(self, generator: Any) -> torch.Tensor:
        """What the images of all seeds are drawn from, [seeds, ...]."""
        if self.trunc != 1 and not bool(generator.mapping.w_avg.isfinite().all()):
            _measure_average(generator)
        classes = labels(generator, len(self.seeds), self.label)
        return codes(generator, latents(generator, 1, self.seeds), classes, self.trunc)


def _measure_average(generator: Any) -> None:
    """Set the average that truncation draws styles to.

    The host lets a batch of uninitialised memory into it when it starts training, and what is not a number stays.
    """
    styles = codes(generator, latents(generator, _AVERAGED, [0]), labels(generator, _AVERAGED))
    generator.mapping.w_avg.copy_(styles[:, 0].mean(0))
    echo(f"Truncation: the snapshot's w_avg is not finite; using the mean of {_AVERAGED} styles instead")


def _images(generator: Any, given: torch.Tensor) -> Iterator[np.ndarray]:
    """uint8 images [H, W] or [H, W, channels] of codes, with fixed noise, a few at a time."""
    for batch in given.split(_BATCH):
        images = draw(generator, batch)
        if not bool(images.isfinite().all()):
            raise UserError("the network gives images that are not finite; its training has diverged")
        yield from pixels(images)


def write_images(snapshot: Snapshot, path: Path, which: str, picture: Picture, cols: Optional[int]) -> List[str]:
    """Draw one image per seed into a PNG, row by row. Returns what to tell the user."""
    generator = snapshot.network(which).eval()
    picture.check(generator)
    count = len(picture.seeds)
    cycles = picture.label is None and 1 < generator.c_dim <= 16
    columns = min(count, cols or (generator.c_dim if cycles else 8))
    size, images = generator.img_resolution, map(Image.fromarray, _images(generator, picture.codes(generator)))
    contact_sheet(images, count, columns).save(path, format="png")
    return [f"{which}: {count} images of {size}x{size} pixels in {columns} columns, {_said(generator, picture)}"]


def _said(generator: Any, picture: Picture) -> str:
    said = f"truncation {picture.trunc:g}" if has_styles(generator) else "latents as they are"
    if generator.c_dim:
        last = min(generator.c_dim, len(picture.seeds)) - 1
        said += f", class {picture.label}" if picture.label is not None else f", classes 0 to {last} in turn"
    return said


def _walk(given: torch.Tensor, frames: int) -> torch.Tensor:
    """A smooth closed curve through all codes at an even pace; frame 0 is the first of them."""
    from scipy.interpolate import CubicSpline

    closed = torch.cat([given, given[:1]]).numpy()
    curve = CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")
    return torch.from_numpy(curve(np.arange(frames) * (len(given) / frames))).float()


def write_video(snapshot: Snapshot, path: Path, which: str, picture: Picture, seconds: Optional[float], fps: int) -> List[str]:
    """Draw a loop through the seeds' images as MP4 or GIF, by the suffix of ``path``. Returns what to tell the user."""
    generator = snapshot.network(which).eval()
    picture.check(generator)
    if image_channels(generator) == 4:
        raise UserError("--to=video: images with an alpha channel cannot be filmed")
    if path.suffix == ".gif" and fps > _GIF_FPS:
        raise UserError(f"--fps: viewers show GIFs at {_GIF_FPS} frames per second at most, got {fps}")
    frames = round((len(picture.seeds) if seconds is None else seconds) * fps)
    if frames < 2:
        raise UserError(f"--seconds: {seconds:g} s at {fps} frames per second make less than 2 frames")
    drawn = _images(generator, _walk(picture.codes(generator), frames))
    with click.progressbar(drawn, length=frames, label=f"{frames} frames", file=sys.stderr) as images:
        (_write_gif if path.suffix == ".gif" else _write_mp4)(iter(images), path, fps)
    size = generator.img_resolution
    return [
        f"{which}: {frames} frames of {size}x{size} pixels, {frames / fps:g} s, a loop through {len(picture.seeds)} seeds, "
        + _said(generator, picture)
    ]


def _write_gif(images: Iterator[np.ndarray], path: Path, fps: int) -> None:
    # A GIF counts hundredths of a second: round the times, not the durations, so that the length is right.
    def duration(index: int) -> int:
        return 10 * (round(100 * (index + 1) / fps) - round(100 * index / fps))

    pictures = [Image.fromarray(image) for image in images]
    durations = [duration(index) for index in range(len(pictures))]
    pictures[0].save(path, format="gif", save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _write_mp4(images: Iterator[np.ndarray], path: Path, fps: int) -> None:
    imageio = importlib.import_module("imageio")  # optional
    with imageio.get_writer(path, format="FFMPEG", mode="I", fps=fps, codec="libx264", macro_block_size=2, quality=8) as writer:
        for image in images:
            writer.append_data(image)
