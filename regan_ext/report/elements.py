"""The elements that a report's page is made of. Texts that come from files go through ``text`` first."""

from __future__ import annotations

import html
import math
from typing import Iterable, List, Tuple

from .drawing import DASHES

__all__ = ["number", "section", "swatch", "table", "text"]


def text(value: str) -> str:
    return html.escape(value)


def section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}</section>\n"


def table(head: Iterable[str], rows: Iterable[Tuple[str, List[str]]], kind: str = "words") -> str:
    """A table of HTML cells, the first of each row its heading."""
    cells = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{c}</td>" for c in row)}</tr>\n' for name, row in rows)
    inner = f'<table class="{kind}">\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>'
    return f'<div class="scroll">{inner}</div>\n'


def swatch(position: int) -> str:
    """The line of a run's charts."""
    return (
        '<svg class="swatch" viewBox="0 0 24 7" aria-hidden="true"><line x1="0" y1="3.5" x2="24" y2="3.5" stroke-width="2.5" '
        f'stroke="var(--run{position % 6})" stroke-dasharray="{DASHES[position % len(DASHES)] or "none"}"/></svg>'
    )


def number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")
