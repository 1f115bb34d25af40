"""A table's runs as a figure: a metric over training, and the differences from a baseline."""

from __future__ import annotations

import math
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from training_hooks.core.best import is_candidate
from training_hooks.core.files import whole_file
from training_hooks.core.schedule import Phase
from training_hooks.methods.method import find

from ..report.charts import PhaseBar
from ..report.drawing import ON_WHITE, STYLE, band_style, colour_of, dash, draw_bands, log_scale, require_matplotlib
from ..support.errors import UserError, writing
from ..train import options
from .estimate import values_of
from .model import Cell, Measure, Table
from .paired import Arm, Comparison, compare
from .results import Result

__all__ = ["draw"]

_ONE, _BOTH = (6.0, 4.4), (10.0, 4.4)  # inches
_PIXELS = 160  # an inch


@dataclass(frozen=True)
class _Curve:
    """The runs of a cell: each seed's kimg and values, without the snapshot of the beginning."""

    cell: Cell
    runs: Tuple[Tuple[Tuple[float, float], ...], ...]

    @property
    def mean(self) -> List[Tuple[float, float]]:
        """Over the seeds, at the checkpoints that all of them have."""
        found = [dict(run) for run in self.runs]
        return [(kimg, statistics.fmean(of[kimg] for of in found)) for kimg in found[0] if all(kimg in of for of in found)]


def draw(
    table: Table,
    cells: Sequence[Cell],
    title: Optional[str],
    results: Sequence[Result],
    baseline: Optional[str],
    last: int,
    path: Path,
) -> List[str]:
    """Draw the values of cells over kimg, every seed and their mean, with the phases behind them; beside it, where two seeds of
    a row and of the baseline are finished, the mean differences with their intervals, every pair as a dot.

    Args:
        table: of the cells.
        cells: which; those without a value are left out.
        title: of a metric of the table; None = the first one.
        results: what was measured.
        baseline: name of a row; None = the table's own, without the second part where there is none.
        last: of the checkpoints that both runs of a pair have, so many of the last count.
        path: PNG file, written whole or not at all.

    Returns:
        Lines that say what is shown.

    Raises:
        UserError: there is nothing to show, matplotlib is missing, or the file cannot be written.
    """
    require_matplotlib()
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: the figure is a PNG; give it a name that ends in .png")
    metrics = [measure for measure in table.measures if measure.metric is not None]
    measure = next((each for each in metrics if title in (None, each.title)), None)
    if measure is None:
        known = ", ".join(each.title for each in metrics) or "nothing: no metric of it is measured"
        raise UserError(f"--measure={title} is no metric of {table.name}; it can be {known}")
    curves = [curve for curve in (_curve(cell, measure, results) for cell in cells) if curve is not None]
    if not curves:
        raise UserError(f"no run of {table.name} has a {measure.title} after its beginning; --only, --measure and --out choose")
    shown = [curve.cell.name for curve in curves]
    comparison = _comparison(table, results, baseline, last)
    arms = (
        [arm for arm in comparison.arms if arm.measure == measure and arm.cell.name in shown] if comparison is not None else []
    )
    _save(curves, measure, arms, "" if comparison is None else comparison.title, _bands(results, shown), path)
    return [f"{_title(curve.cell)}: {len(curve.runs)} {'seed' if len(curve.runs) == 1 else 'seeds'}" for curve in curves]


def _comparison(table: Table, results: Sequence[Result], baseline: Optional[str], last: int) -> Optional[Comparison]:
    """With the baseline; None where none was asked for and there are no pairs yet."""
    try:
        return compare(table, results, baseline, last)
    except UserError:
        if baseline is not None:
            raise
        return None


def _curve(cell: Cell, measure: Measure, results: Sequence[Result]) -> Optional[_Curve]:
    """Of a cell; None where nothing was measured."""
    series = [result.points(measure) for result in results if result.cell == cell.name]
    runs = [tuple((p.kimg, p.value) for p in points if is_candidate(p.kimg)) for points in series]
    return _Curve(cell, tuple(run for run in runs if run)) if any(runs) else None


def _bands(results: Sequence[Result], names: Sequence[str]) -> Optional[PhaseBar]:
    """The phases of all these cells' runs that have any; None where they are not the same."""
    found = set()
    for result in results:
        if result.cell in names and result.arguments is not None:
            values = values_of(result.arguments)
            batch, kimg = int(values["batch"]), float(values["kimg"])
            total = math.ceil(kimg * 1000 / batch)
            for name, settings in options.resolve(values).methods.items():
                method = find(name)
                schedule = None if method is None else options.configuration(method, settings, batch).schedule(total)
                if schedule is not None:
                    each = batch / 1000
                    spans = ((s.phase, s.start * each, (s.stop or total) * each) for s in schedule.spans(total))
                    found.add(PhaseBar(0, tuple(spans)))
    return found.pop() if len(found) == 1 else None


def _title(cell: Cell) -> str:
    return cell.row.title if len(cell.table.columns) == 1 else f"{cell.row.title}, {cell.column.title}"


def _save(
    curves: Sequence[_Curve],
    measure: Measure,
    arms: Sequence[Arm],
    baseline: str,
    bands: Optional[PhaseBar],
    path: Path,
) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_BOTH if arms else _ONE, layout="constrained")
        left, *right = figure.subplots(1, 2, width_ratios=[3, 2]) if arms else [figure.subplots()]
        _draw_curves(left, curves, measure, bands)
        for axes in right:
            _draw_differences(axes, arms, baseline, [curve.cell for curve in curves])
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        with writing(path), whole_file(path) as file:
            figure.savefig(file, format="png", dpi=_PIXELS)


def _draw_curves(axes: Any, curves: Sequence[_Curve], measure: Measure, bands: Optional[PhaseBar]) -> None:
    """Every seed as a thin line and their mean as a thick one."""
    if bands is not None:
        draw_bands(axes, bands, ON_WHITE)
        for phase in sorted({phase for phase, _, _ in bands.spans} - {Phase.DENSE}):
            axes.fill_between([], [], label=phase.title, **{**band_style(phase, ON_WHITE), "linewidth": 0})
    for number, curve in enumerate(curves):
        style = {"color": colour_of(number), "linestyle": dash(number)}
        for run in curve.runs if len(curve.runs) > 1 else ():
            axes.plot(*zip(*run), linewidth=0.6, alpha=0.45, **style)
        seeds = "" if len(curve.runs) == 1 else f" (mean of {len(curve.runs)} seeds, and each)"
        axes.plot(*zip(*curve.mean), linewidth=1.8, label=f"{_title(curve.cell)}{seeds}", **style)
    if all(value > 0 for curve in curves for run in curve.runs for _, value in run):
        log_scale(axes)
    axes.set_xlim(0, max(kimg for curve in curves for run in curve.runs for kimg, _ in run))
    axes.set_xlabel("training progress (kimg)")
    axes.set_ylabel(measure.title)
    axes.grid(axis="y", color=ON_WHITE.grid, linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_differences(axes: Any, arms: Sequence[Arm], baseline: str, cells: Sequence[Cell]) -> None:
    """A row for each arm: every pair as a dot, the mean with its interval, and within what a difference does not matter."""
    for row, arm in enumerate(arms):
        told, colour = arm.difference, colour_of(cells.index(arm.cell))
        axes.barh(row, 2 * told.margin, left=-told.margin, height=0.7, color=ON_WHITE.sparse, linewidth=0)
        pairs = [pair.value - pair.baseline for pair in arm.pairs]
        axes.plot(pairs, [row + 0.18] * len(pairs), "o", markersize=3, color=colour, alpha=0.6)
        axes.errorbar(
            told.mean,
            row,
            xerr=[[told.mean - told.low], [told.high - told.mean]],
            fmt="D",
            color=colour,
            capsize=3,
            markersize=5,
        )
    axes.axvline(0, color=ON_WHITE.text, linewidth=0.8)
    axes.set_yticks(range(len(arms)), ["\n".join(textwrap.wrap(_title(arm.cell), 26)) for arm in arms], fontsize=8)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{arms[0].measure.title} less that of {baseline}\n(mean, 95 % interval, pairs; shaded: ±10 %)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
