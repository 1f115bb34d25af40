"""The last sample grids of a table's runs, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from PIL import Image, ImageDraw, ImageFont

from training_hooks.core.files import refuse_own_input

from ..runs.chain import last_run
from ..runs.job import grids
from ..support.errors import UserError
from ..support.pictures import contact_sheet, write_png
from ..support.reading import Damaged, read_picture
from .model import Cell, Table

__all__ = ["draw"]

_COLUMNS, _ROWS, _ACROSS = 6, 10, 5  # images of a run, and runs beside each other
_TILE, _GAP, _HEADING, _LINE = 64, 16, 22, 14  # pixels


def draw(table: Table, cells: Sequence[Cell], seed: int, out: Path, path: Path) -> List[str]:
    """Draw the real images and the first generated ones of each cell's last grid: upper left corners of the host's own grids.

    Args:
        cells: which cells; those without a grid are left out.
        seed: of the runs.
        out: folder of the tables' results.
        path: PNG file, written whole or not at all.

    Returns:
        Lines that say what is shown.

    Raises:
        UserError: there is nothing to show, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: the picture is a PNG; give it a name that ends in .png")
    blocks: List[Tuple[str, Image.Image]] = []
    read: List[Path] = []
    told = []
    for cell in cells:
        grid = _last_grid(out / table.name / f"{cell.name}-seed{seed}")
        if grid is None:
            continue
        reals = grid.with_name(f"reals{grid.suffix}")
        read += [grid, reals]
        if not blocks:
            blocks.append(("real", _corner(reals, cell.column.resolution)))
        title = cell.row.title if len(table.columns) == 1 else f"{cell.row.title}, {cell.column.title}"
        blocks.append((title, _corner(grid, cell.column.resolution)))
        told.append(f"{title}: {grid}")
    if not blocks:
        raise UserError(f"no run of {table.name} with seed {seed} in {out} has a sample grid; --seed and --out choose others")
    try:
        refuse_own_input(path, read)
    except ValueError as err:
        raise UserError(str(err)) from err
    write_png(_sheet(blocks), path)
    return told


def _last_grid(folder: Path) -> Optional[Path]:
    run = last_run(folder)
    found = [item for part in run.parts for item in grids(part.run.folder).items()] if run is not None else []
    return max(found, default=(0, None))[1]


def _corner(path: Path, resolution: int) -> Image.Image:
    """The first images of a grid, no larger than ``_TILE`` each."""
    try:
        grid = read_picture(path)
    except Damaged as err:
        raise UserError(f"{path} {err}") from err
    columns, rows = min(_COLUMNS, grid.width // resolution), min(_ROWS, grid.height // resolution)
    if not columns or not rows:
        raise UserError(f"{path} is of {grid.width} × {grid.height} pixels, smaller than one image of {resolution}")
    corner = grid.crop((0, 0, columns * resolution, rows * resolution))
    side = min(resolution, _TILE)
    return corner.resize((columns * side, rows * side), Image.Resampling.LANCZOS) if side < resolution else corner


def _sheet(blocks: Sequence[Tuple[str, Image.Image]]) -> Image.Image:
    font = ImageFont.load_default(size=11)
    width = max(image.width for _, image in blocks) + _GAP
    titles = [_wrapped(title, width - _GAP, font) for title, _ in blocks]
    heading = _HEADING + _LINE * max(title.count("\n") for title in titles)
    size = (width - _GAP, heading + max(image.height for _, image in blocks))
    mode = "L" if all(image.mode == "L" for _, image in blocks) else "RGB"
    cells = []
    for title, (_, image) in zip(titles, blocks):
        cells.append(Image.new(mode, size, "white"))
        ImageDraw.Draw(cells[-1]).text((0, 0), title, fill="black", font=font)
        cells[-1].paste(image, (0, heading))
    return contact_sheet(cells, len(cells), min(len(cells), _ACROSS), _GAP, _GAP, "white")


def _wrapped(title: str, width: int, font: Any) -> str:
    """``title`` in as many lines as it takes to stay within ``width`` pixels."""
    lines: List[str] = []
    for word in title.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
