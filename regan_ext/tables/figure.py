"""A table's runs as a figure: a metric over training, and the differences from a baseline."""

from __future__ import annotations

import math
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import click

from training_hooks.core.best import is_candidate
from training_hooks.core.files import whole_file
from training_hooks.core.schedule import Phase, Schedule
from training_hooks.methods.method import find

from ..report.charts import PhaseBar
from ..report.drawing import ON_WHITE, STYLE, band_style, colour_of, dash, draw_bands, log_scale, require_matplotlib
from ..runs.phases import phases_of_schedule
from ..support.errors import UserError, writing
from ..train import options
from .estimate import values_of
from .model import Cell, Measure, Table
from .paired import Arm, Comparison, compare
from .results import Result

__all__ = ["draw"]

_ONE, _BOTH = (6.0, 4.4), (10.0, 4.4)  # inches
_HEIGHT, _LINE, _ARM = 3.6, 0.18, 0.45  # inches: of the curves, of a line of the legend, of a row of differences
_LETTERS = 64  # of a line of the legend
_DECADE = 10  # a range that a logarithmic scale is for
_PIXELS = 160  # an inch


@dataclass(frozen=True)
class _Curve:
    """The runs of a cell: each seed's kimg and values, at least one, without the snapshot of the beginning."""

    cell: Cell
    runs: Tuple[Tuple[Tuple[float, float], ...], ...]

    @property
    def mean(self) -> List[Tuple[float, float]]:
        """Over the seeds, at the checkpoints that all of them have."""
        found = [dict(run) for run in self.runs]
        return [(kimg, statistics.fmean(of[kimg] for of in found)) for kimg in found[0] if all(kimg in of for of in found)]

    @property
    def label(self) -> str:
        """For the legend."""
        seeds = "" if len(self.runs) == 1 else f" ({len(self.runs)} seeds{'' if self.mean else ', no checkpoint in common'})"
        return _title(self.cell) + seeds


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
        if not metrics:
            raise UserError(f"{table.name} has no metric to draw")
        known = ", ".join(each.title for each in metrics)
        raise UserError(f"--measure={title} is no metric of {table.name}; it can be {known}")
    curves = [curve for curve in (_curve(cell, measure, results) for cell in cells) if curve is not None]
    if not curves:
        raise UserError(f"no run of {table.name} has a {measure.title} after its beginning; --only, --measure and --out choose")
    shown = [curve.cell.name for curve in curves]
    comparison = _comparison(table, results, baseline, last)
    held = () if comparison is None else comparison.arms
    arms = [arm for arm in held if arm.measure == measure and arm.cell.name in shown]
    if baseline is not None and not arms:
        raise UserError(f"no row that is drawn has two finished seeds with a {measure.title} that {baseline} has too")
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
    series = {result.seed: result.points(measure) for result in results if result.cell == cell.name}
    runs = [tuple((p.kimg, p.value) for p in points if is_candidate(p.kimg)) for points in series.values()]
    return _Curve(cell, tuple(run for run in runs if run)) if any(runs) else None


def _bands(results: Sequence[Result], names: Sequence[str]) -> Optional[PhaseBar]:
    """The phases of all these cells' runs that have any; None where they are not the same, or not known of each."""
    found = {bar for result in results if result.cell in names for bar in _phases(result.arguments)}
    return found.pop() if len(found) == 1 else None


def _phases(arguments: Optional[Sequence[str]]) -> List[Optional[PhaseBar]]:
    """The phases of each method of a run that has some; None where they cannot be told from its arguments."""
    if arguments is None:
        return [None]
    try:
        values = values_of(arguments)
        batch, kimg = int(values["batch"]), float(values["kimg"])
        given = [(find(name), settings) for name, settings in options.resolve(values).methods.items()]
        configs = [options.configuration(method, settings, batch) for method, settings in given if method is not None]
        schedules = [config.schedule(math.ceil(kimg * 1000 / batch)) for config in configs]
    except (click.ClickException, ValueError, LookupError, ArithmeticError):  # of another release, or without its files
        return [None]
    return [_bar(schedule, math.ceil(kimg * 1000 / batch), batch / 1000) for schedule in schedules if schedule is not None]


def _bar(schedule: Schedule, total: int, each: float) -> PhaseBar:
    """The phases of ``total`` iterations of ``each`` kimg."""
    phases = phases_of_schedule(schedule, total)
    spans = tuple((phase, start * each, stop * each) for phase, start, stop in phases.spans)
    return PhaseBar(0, spans, tuple((start * each, stop * each) for start, stop in phases.turns), phases.every)


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
        _draw_legend(figure, left, len(arms))
        with writing(path), whole_file(path) as file:
            figure.savefig(file, format="png", dpi=_PIXELS)


def _draw_legend(figure: Any, axes: Any, arms: int) -> None:
    """What the lines and shades of ``axes`` are, below a figure that is made as high as this and the rows beside need."""
    handles, labels = axes.get_legend_handles_labels()
    wrapped, columns = ["\n".join(textwrap.wrap(label, _LETTERS)) for label in labels], 2 if arms else 1
    figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    lines = sum(label.count("\n") + 1 for label in wrapped)
    figure.set_figheight(max(_HEIGHT, _ARM * arms + 1) + _LINE * math.ceil(lines / columns))


def _draw_curves(axes: Any, curves: Sequence[_Curve], measure: Measure, bands: Optional[PhaseBar]) -> None:
    """Every seed as a thin line and their mean as a thick one; a lone value as a dot."""
    if bands is not None:
        draw_bands(axes, bands, ON_WHITE)
        for phase in sorted({phase for phase, _, _ in bands.spans} - {Phase.DENSE}):
            title = "sparse and dense in turn" if bands.turns and phase == Phase.SPARSE else phase.title
            axes.fill_between([], [], label=title, **{**band_style(phase, ON_WHITE), "linewidth": 0})
    for number, curve in enumerate(curves):
        style = {"color": colour_of(number), "linestyle": dash(number), "clip_on": False}
        for run in curve.runs if len(curve.runs) > 1 else ():
            _draw_line(axes, run, linewidth=0.6, alpha=0.45, markersize=3, **style)
        _draw_line(axes, curve.mean, linewidth=1.8, markersize=5, label=curve.label, **style)
    values = [value for curve in curves for run in curve.runs for _, value in run]
    if min(values) > 0 and max(values) >= _DECADE * min(values):
        log_scale(axes)
    axes.set_xlim(0, max(kimg for curve in curves for run in curve.runs for kimg, _ in run))
    several = any(len(curve.runs) > 1 for curve in curves)
    axes.set_xlabel("training progress (kimg)" + ("\n(thin: each seed; thick: their mean)" if several else ""))
    axes.set_ylabel(measure.title)
    axes.grid(axis="y", color=ON_WHITE.grid, linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_line(axes: Any, points: Sequence[Tuple[float, float]], **style: Any) -> None:
    axes.plot([kimg for kimg, _ in points], [value for _, value in points], marker="o" if len(points) == 1 else "", **style)


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
