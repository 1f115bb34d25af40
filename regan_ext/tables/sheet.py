"""Text with tables in it, for a terminal, as Markdown and as an HTML page."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Sequence, Tuple

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


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "caption{text-align:left;padding:.5em 0}th,td{border-bottom:1px solid #8888;padding:.3em .8em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
)


def page(sheet: Sheet) -> str:
    """As an HTML page that needs no other file."""
    title = html.escape(sheet.title)
    body: List[str] = [f"<h1>{title}</h1>"]
    for part in sheet.parts:
        body.append(f"<p>{html.escape(part)}</p>" if isinstance(part, str) else _html_grid(part))
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>{_STYLE}</style>'
    return "\n".join(["<!doctype html>", '<html lang="en">', head, *body, "</html>"]) + "\n"


def _html_grid(grid: Grid) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    caption = f"<caption>{html.escape(grid.caption)}</caption>"
    return "\n".join(["<table>", caption, line(grid.header, "th"), *(line(row, "td") for row in grid.rows), "</table>"])


FORMATS: Dict[str, Callable[[Sheet], str]] = {"text": text, "markdown": markdown, "html": page}
