"""Text with tables in it, for a terminal, as Markdown and as an HTML page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Sequence, Tuple

from ..support.page import render

__all__ = ["FORMATS", "Grid", "Sheet"]


@dataclass(frozen=True)
class Grid:
    """A caption, column headers, and rows of as many texts. The first column holds names, the others values."""

    caption: str
    header: Tuple[str, ...]
    rows: Tuple[Tuple[str, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """A title, and paragraphs and grids in order."""

    title: str
    parts: Tuple["str | Grid", ...] = field(default_factory=tuple)


def text(sheet: Sheet) -> str:
    """For a terminal."""
    return _joined(f"{sheet.title}\n{'=' * len(sheet.title)}", sheet, _text_grid)


def _joined(heading: str, sheet: Sheet, drawn: Callable[[Grid], str]) -> str:
    return "\n\n".join([heading, *(part if isinstance(part, str) else drawn(part) for part in sheet.parts)]) + "\n"


def _text_grid(grid: Grid) -> str:
    lines = [grid.header, *grid.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(grid.header))]

    def aligned(line: Sequence[str]) -> str:
        first, *rest = (cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        return "  ".join([first, *rest]).rstrip()

    rule = "-" * len("  ".join("-" * width for width in widths))
    return "\n".join([grid.caption, aligned(grid.header), rule, *map(aligned, grid.rows)])


def markdown(sheet: Sheet) -> str:
    """As Markdown, below a heading of the third level."""
    return _joined(f"### {sheet.title}", sheet, _markdown_grid)


def _markdown_grid(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = f"|{'---|' * len(grid.header)}"
    return "\n".join([f"{grid.caption}\n", line(grid.header), rule, *map(line, grid.rows)])


def page(sheet: Sheet) -> str:
    """As an HTML page that needs no other file."""
    return render(Path(__file__).with_name("sheet.html"), sheet=sheet)


FORMATS: Dict[str, Callable[[Sheet], str]] = {"text": text, "markdown": markdown, "html": page}
