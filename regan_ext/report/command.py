"""``regan-ext report``: one page about one run, or about several beside each other, that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

from training_hooks.core.files import refuse_own_input, whole_file

from ..runs.chain import read_runs
from ..support.errors import UserError
from . import drawing as chart_drawing
from .charts import charts, phase_bars
from .page import page
from .pictures import collect

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
    parts = {part.run.folder for run in runs for part in run.parts}
    try:
        refuse_own_input(target, (path for folder in parts for path in folder.iterdir() if path.suffix != ".html"))
    except ValueError as err:
        raise UserError(f"--out: {err}") from err
    bars, found = phase_bars(runs), charts(runs)
    drawn = [chart for chart in found if chart.is_drawn]
    svgs = [(chart, chart_drawing.draw_svg(chart, bars)) for chart in drawn]
    text = page(runs, svgs, [chart for chart in found if not chart.is_drawn], bars, collect(runs))
    try:
        written = [_write(target, text.encode("utf-8", "replace"))]
        if png:
            folder = target.with_name(f"{target.stem}-charts")
            folder.mkdir(exist_ok=True)
            written += [_write(folder / f"{chart.name}.png", chart_drawing.draw_png(chart, bars)) for chart in drawn]
    except OSError as err:
        raise UserError(f"{target} cannot be written: {err.strerror or err}") from err
    return written


def _write(path: Path, content: bytes) -> Path:
    with whole_file(path) as file:
        file.write(content)
    return path
