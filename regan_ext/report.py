"""``regan-ext report``: one page about one run, or about several beside each other, that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

from training_hooks.files import refuse_own_input, whole_file

from . import chart_drawing
from .charts import charts, phase_bars
from .errors import UserError
from .parts import read_runs
from .report_page import page
from .report_pictures import collect
from .runs import Run

__all__ = ["report"]


def report(folders: Sequence[str], out: Optional[str] = None, png: bool = False) -> List[Path]:
    """Write the page about the run folders.

    Args:
        folders: the runs, at least one; parts of one run, and a folder that is named twice, make one.
        out: the page's file; None = report.html in the run folder of one run, in the current folder for several.
        png: also write the charts as PNG files into a folder next to the page.

    Returns:
        The files written, the page first.

    Raises:
        UserError: a folder that is no run, no matplotlib, or a place that cannot be written to.
    """
    chart_drawing.require_matplotlib()
    runs = read_runs(folders)
    target = Path(out) if out is not None else (runs[0].folder if len(runs) == 1 else Path()) / "report.html"
    read = (path for run in runs for path in run.folder.iterdir() if path.suffix != ".html")
    try:
        refuse_own_input(target, read)
    except ValueError as err:
        raise UserError(f"--out: {err}") from err
    try:
        written = [_write(target, _page(runs).encode("utf-8", "replace"))]
        if png:
            written += _write_charts(target.with_name(f"{target.stem}-charts"), runs)
    except OSError as err:
        raise UserError(f"{target} cannot be written: {err.strerror or err}") from err
    return written


def _page(runs: Sequence[Run]) -> str:
    bars, found = phase_bars(runs), charts(runs)
    drawn = [(chart, chart_drawing.draw_svg(chart, bars)) for chart in found if chart.is_drawn]
    return page(runs, drawn, [chart for chart in found if not chart.is_drawn], bars, collect(runs))


def _write_charts(folder: Path, runs: Sequence[Run]) -> List[Path]:
    folder.mkdir(exist_ok=True)
    bars = phase_bars(runs)
    return [
        _write(folder / f"{chart.name}.png", chart_drawing.draw_png(chart, bars)) for chart in charts(runs) if chart.is_drawn
    ]


def _write(path: Path, content: bytes) -> Path:
    with whole_file(path) as file:
        file.write(content)
    return path
