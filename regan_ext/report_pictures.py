"""The host's sample pictures, cut and reduced until they fit into a page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from PIL import Image, ImageChops

from training_hooks.schedule import Phase

from .runs import Run
from .support.reading import Damaged, read_picture

__all__ = ["Picture", "RunPictures", "collect"]

_MOST, _BUDGET = 6, 1_600_000  # pictures over time of a run; bytes of all pictures of a page
_SIZES = (256, 192, 128, 96, 64, 48)  # width to try, in pixels


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    png: bytes
    caption: str
    size: Tuple[int, int]

    @property
    def url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class RunPictures:
    """The samples of a run over time, and its dense and sparse samples side by side (one picture, or one of each)."""

    over_time: Tuple[Picture, ...]
    pair: Tuple[Picture, ...]


def collect(runs: Sequence[Run]) -> List[RunPictures]:
    """The pictures of each run, as large as fits; what cannot be read is left out."""
    for size in _SIZES:
        pictures = [_of_run(run, size) for run in runs]
        if sum(len(p.png) for of_run in pictures for p in of_run.over_time + of_run.pair) <= _BUDGET:
            break
    return pictures


def _of_run(run: Run, size: int) -> RunPictures:
    fakes = _fakes(run.folder)
    phases = {int(t.kimg + 1e-6): int(t.get("ReGAN/phase")) for t in run.ticks if t.get("ReGAN/phase") in tuple(Phase)}
    words = {kimg: f" ({_word(phase)})" for kimg, phase in phases.items()}
    over_time = [
        _cut(fakes[kimg], f"{kimg} kimg{words.get(kimg, '')}", run.resolution, size) for kimg in _spread(sorted(fakes))
    ]
    pair = [_whole(run.folder / "demo-grid.png", size)]
    if pair == [None]:
        last = {phase: kimg for kimg, phase in sorted(phases.items()) if kimg in fakes}
        if Phase.DENSE in last and Phase.SPARSE in last:
            chosen = ((Phase.DENSE, last[Phase.DENSE]), (Phase.SPARSE, last[Phase.SPARSE]))
            pair = [_cut(fakes[kimg], f"{_word(phase)}, at {kimg} kimg", run.resolution, size) for phase, kimg in chosen]
    return RunPictures(tuple(p for p in over_time if p), tuple(p for p in pair if p))


def _word(phase: int) -> str:
    return {Phase.WARMUP: "warm-up", Phase.SPARSE: "sparse", Phase.DENSE: "dense"}[Phase(phase)]


def _fakes(folder: Path) -> Dict[int, Path]:
    """The host's sample pictures by kimg."""
    names = ((re.fullmatch(r"fakes(\d{6,})\.png", path.name), path) for path in folder.glob("fakes*.png"))
    return {int(match[1]): path for match, path in names if match}


def _spread(kimgs: List[int]) -> List[int]:
    """At most ``_MOST`` of them, evenly, the first and the last among them."""
    if len(kimgs) <= _MOST:
        return kimgs
    return [kimgs[round(i * (len(kimgs) - 1) / (_MOST - 1))] for i in range(_MOST)]


def _cut(path: Path, caption: str, resolution: Optional[int], size: int) -> Optional[Picture]:
    """The top-left samples of a grid: 8 in a row of small ones, 4 or 2 of large ones."""
    try:
        image = read_picture(path)
    except Damaged:
        return None
    cell = min(resolution or 64, 4096)
    side = cell * (8 if cell <= 32 else 4 if cell <= 256 else 2)
    return _encode(image.crop((0, 0, min(side, image.width), min(side, image.height))), caption, size)


def _whole(path: Path, size: int) -> Optional[Picture]:
    caption = "real images, dense generator, sparse generator with the same latents; a column is a class"
    try:
        return _encode(read_picture(path), caption, 5 * size)
    except Damaged:
        return None


def _encode(image: Image.Image, caption: str, side: int) -> Picture:
    """At most ``side`` pixels wide and high."""
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if image.mode == "RGB" and _is_grey(image):
        image = image.convert("L")
    output = io.BytesIO()
    image.save(output, format="png", optimize=True)
    return Picture(output.getvalue(), caption, image.size)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))
