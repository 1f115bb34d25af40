"""The host's sample pictures, cut and reduced until they fit into a page."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set, Tuple

from PIL import Image, ImageChops

from training_hooks.core.schedule import Phase, Span

from ..runs.folder import Run
from ..runs.job import grids
from ..support.reading import Damaged, read_picture

__all__ = ["Picture", "RunPictures", "collect"]

_MOST, _BUDGET = 6, 1_600_000  # pictures over time of a run; bytes of all pictures of a page
_SIZES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48)  # longer side to try, in pixels
_GRID = "real images, dense generator, sparse generator with the same latents; a column is a class"
_Titled = Tuple[Image.Image, str]


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
    """The pictures of a run.

    Args:
        over_time: samples in the order of training.
        pair: samples of a dense and a sparse generator, one phase apart, of the same latents.
        undrawn: the newest pair of snapshots, where it has no pictures.
    """

    over_time: Tuple[Picture, ...]
    pair: Tuple[Picture, ...]
    undrawn: Tuple[Path, ...] = ()


def collect(runs: Sequence[Run]) -> List[RunPictures]:
    """The pictures of each run, as large as fits; what cannot be read is left out."""
    read = [_read(run) for run in runs]
    for size in _SIZES:
        left, pictures = _BUDGET, []
        for over_time, pair, undrawn in read:
            drawn = [tuple(_encode(image, caption, size) for image, caption in images) for images in (over_time, pair)]
            pictures.append(RunPictures(drawn[0], drawn[1], undrawn))
            left -= sum(len(picture.png) for part in drawn for picture in part)
            if left < 0 and size != _SIZES[-1]:
                break
        else:
            break
    return pictures


def _read(run: Run) -> Tuple[List[_Titled], List[_Titled], Tuple[Path, ...]]:
    """The images over time, those of a pair, and what has none."""
    pair, undrawn = _pair(run)
    over_time = _cut_all(_over_time(run), run.resolution)
    try:
        grid = [(read_picture(run.folder / "demo-grid.png"), _GRID)]
    except Damaged:
        grid = []
    return over_time, [*grid, *_cut_all(pair, run.resolution)], undrawn


def _over_time(run: Run) -> List[Tuple[Path, str]]:
    """Some of the run's grids with their captions."""
    fakes: Dict[int, Path] = {}
    for part in run.parts:
        fakes.update({kimg: path for kimg, path in grids(part.run.folder).items() if kimg <= part.until})
    phases = {int(t.kimg + 1e-6): int(t.get("ReGAN/phase")) for t in run.ticks if t.get("ReGAN/phase") in tuple(Phase)}
    words = {kimg: f" ({Phase(phase).title})" for kimg, phase in phases.items()}
    return [(fakes[kimg], f"{kimg} kimg{words.get(kimg, '')}") for kimg in _spread(sorted(fakes))]


def _pair(run: Run) -> Tuple[List[Tuple[Path, str]], Tuple[Path, ...]]:
    """Pictures of the newest pair with their captions; or, where it has none, its pickles."""
    for folder in (part.run.folder for part in reversed(run.parts)):
        for kimg in sorted(_kimgs_of_pairs(folder), reverse=True):
            pictures, pickles = _members(folder, "fakes-pair", kimg, "png"), _members(folder, "network-pair", kimg, "pkl")
            if len(pictures) == 2:
                captions = _captions(run, kimg)
                return [(pictures[kind], captions[kind]) for kind in captions], ()
            if len(pickles) == 2:
                return [], tuple(pickles.values())
    return [], ()


def _kimgs_of_pairs(folder: Path) -> Set[int]:
    """The kimg of the switches that the run folder has a member of."""
    found = (re.fullmatch(r"(?:network|fakes)-pair-(\d{6,9})-.*", path.name) for path in folder.glob("*-pair-*"))
    return {int(match[1]) for match in found if match}


def _members(folder: Path, name: str, kimg: int, form: str) -> Dict[str, Path]:
    paths = {kind: folder / f"{name}-{kimg:06d}-{kind}.{form}" for kind in ("dense", "sparse")}
    return {kind: path for kind, path in paths.items() if path.is_file()}


def _captions(run: Run, kimg: int) -> Dict[str, str]:
    """What the members of the pair of the switch at ``kimg`` are, the first one first."""
    span = _switch(run, kimg)
    if span is None:
        return {kind: f"{kind}, of the switch at {kimg} kimg" for kind in ("dense", "sparse")}
    kinds = ("dense", "sparse") if span.phase == Phase.SPARSE else ("sparse", "dense")
    done = run.iteration_at(run.kimg)
    end = run.in_kimg(done if span.stop is None else min(span.stop, done))
    first = f"{kinds[0]}, at {run.in_kimg(span.start):g} kimg, right before the switch"
    return {kinds[0]: first, kinds[1]: f"{kinds[1]}, at {end:g} kimg, the end of the phase that it began"}


def _switch(run: Run, kimg: int) -> Optional[Span]:
    """The last phase that begins within that kimg."""
    if run.schedule is None or not run.batch:
        return None
    span = run.schedule.span((kimg + 1) * 1000 // run.batch)
    if span.start * run.batch // 1000 > kimg:
        span = run.schedule.span(span.start - 1)
    return span if span.cycle > 0 and span.start * run.batch // 1000 == kimg else None


def _spread(kimgs: List[int]) -> List[int]:
    """At most ``_MOST`` of them, evenly, the first and the last among them."""
    if len(kimgs) <= _MOST:
        return kimgs
    return [kimgs[round(i * (len(kimgs) - 1) / (_MOST - 1))] for i in range(_MOST)]


def _cut_all(grids: Sequence[Tuple[Path, str]], resolution: Optional[int]) -> List[_Titled]:
    """The top-left samples of grids: 8 in a row of small ones, 4 or 2 of large ones."""
    cell = min(resolution or 64, 4096)
    side = cell * (8 if cell <= 32 else 4 if cell <= 256 else 2)
    cut = []
    for path, caption in grids:
        with contextlib.suppress(Damaged):
            image = read_picture(path)
            cut.append((image.crop((0, 0, min(side, image.width), min(side, image.height))), caption))
    return cut


def _encode(image: Image.Image, caption: str, side: int) -> Picture:
    """At most ``side`` pixels wide and high."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if image.mode == "RGB" and _is_grey(image):
        image = image.convert("L")
    output = io.BytesIO()
    image.save(output, format="png")
    return Picture(output.getvalue(), caption, image.size)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))
