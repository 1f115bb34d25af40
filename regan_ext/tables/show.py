"""The paper's numbers beside ours."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from ..runs import MetricPoint, Run
from .model import Cell, Measure, Table
from .sheet import Grid, Sheet
from .state import chain, points, settings_of

__all__ = ["sheet_of"]

_NONE = "–"


@dataclass(frozen=True)
class _Seed:
    """What was measured in the folder of one seed."""

    runs: Tuple[Run, ...]
    hours: float

    @property
    def is_finished(self) -> bool:
        return self.runs[-1].is_finished


def sheet_of(table: Table, out: Path) -> Sheet:
    """The table with what the folder ``out`` holds of it."""
    parts: List["str | Grid"] = [f"Source: {table.source}. Protocol: {table.protocol}.", *table.about, *_paper_only(table)]
    if any(row.paper for row in table.rows):
        parts.append(_paper(table))
    cells = table.cells()
    if cells:
        found = [(cell, _seeds(cell, out)) for cell in cells]
        run = [(cell, seeds) for cell, seeds in found if seeds]
        count = "none" if not run else f"{len(run)}"
        parts.append(f"Run here: {count} of {len(cells)} cells.")
        if run:
            parts += [*_other_arguments(table, [cell for cell, _ in run], out), _ours(table, run)]
    return Sheet(table.title, tuple(parts))


def _paper_only(table: Table) -> List[str]:
    """Which rows cannot be run, and why; which have another source."""
    reasons: Dict[str, List[str]] = {}
    sources: Dict[str, List[str]] = {}
    for row in table.rows:
        if row.paper_only is not None:
            reasons.setdefault(row.paper_only, []).append(row.title)
        if row.source is not None:
            sources.setdefault(row.source, []).append(row.title)
    told = [f"Other source, {source}: {'; '.join(titles)}." for source, titles in sources.items()]
    for reason, titles in reasons.items():
        told.append(f"Not to be run, {reason}: {'all' if len(titles) == len(table.rows) else '; '.join(titles)}.")
    return told


def _paper(table: Table) -> Grid:
    """Method × data set, or × measure, or × both."""
    across = [(column, measure) for column in range(len(table.columns)) for measure in table.measures]
    header = []
    for column, measure in across:
        names = [table.columns[column].title] if len(table.columns) > 1 or len(table.measures) == 1 else []
        header.append(", ".join(names + ([measure.title] if len(table.measures) > 1 else [])))
    rows = []
    for row in table.rows:
        numbers = [row.paper.get(measure.key, [None] * (column + 1))[column] for column, measure in across]
        rows.append((row.title, *(_NONE if number is None else str(number) for number in numbers)))
    better = "; ".join(f"{m.title}, {m.better} is better" for m in table.measures if m.key in ("fid", "is"))
    return Grid(f"The paper's numbers ({better}):", ("method", *header), tuple(rows))


# ---------------------------------------------------------------- ours


def _seeds(cell: Cell, out: Path) -> List[_Seed]:
    """The seeds that were run, as far as they have a tick."""
    found = []
    for folder in _folders(cell, out):
        runs = chain(folder)
        if runs and runs[-1].ticks:
            found.append(_Seed(tuple(runs), _hours(runs)))
    return found


def _folders(cell: Cell, out: Path) -> List[Path]:
    return sorted((out / cell.table.name).glob(f"{cell.name}-seed[0-9]*"))


def _hours(runs: Sequence[Run]) -> float:
    """Measured time of all jobs of a run."""
    return math.fsum(run.ticks[-1].get("Timing/total_sec") for run in runs if run.ticks) / 3600


def _other_arguments(table: Table, cells: Sequence[Cell], out: Path) -> List[str]:
    """Says where the runs had other arguments than the table."""
    others: Dict[str, int] = {}
    for cell in cells:
        for folder in _folders(cell, out):
            given = [a for a in settings_of(folder) or [] if not a.startswith("--seed=") and a not in cell.options]
            if given:
                others[" ".join(given)] = others.get(" ".join(given), 0) + 1
    return [
        f"Folders begun with other arguments than the table's, {count}: {arguments}." for arguments, count in others.items()
    ]


def _ours(table: Table, found: Sequence[Tuple[Cell, List[_Seed]]]) -> Grid:
    caption = "Ours, mean ± standard deviation over seeds; the difference is our best checkpoint less the paper's number:"
    header = (
        *("method", "data", "measure", "paper", "best checkpoint", "last checkpoint", "difference"),
        *("best at kimg", "trained kimg", "hours, measured", "seeds"),
    )
    rows = [_row(cell, measure, seeds) for cell, seeds in found for measure in table.measures if measure.result is not None]
    return Grid(caption, header, tuple(rows))


def _row(cell: Cell, measure: Measure, seeds: Sequence[_Seed]) -> Tuple[str, ...]:
    each = [found for found in (points(seed.runs, measure) for seed in seeds) if found]
    best = [] if measure.statistic is not None else [_best(found, measure) for found in each]
    paper = cell.paper(measure)
    difference = statistics.fmean(p.value for p in best) - float(paper) if best and paper is not None else None
    finished = sum(seed.is_finished for seed in seeds)
    return (
        cell.row.title,
        cell.column.title,
        measure.title,
        _NONE if paper is None else str(paper),
        _spread([point.value for point in best]),
        _spread([_last(found, measure) for found in each]),
        _NONE if difference is None else f"{difference:+.2f}",
        _range([point.kimg for point in best]),
        _range([seed.runs[-1].kimg for seed in seeds]),
        _spread([seed.hours for seed in seeds]),
        f"{len(seeds)}" if finished == len(seeds) else f"{len(seeds)}, {finished} finished",
    )


def _best(found: Sequence[MetricPoint], measure: Measure) -> MetricPoint:
    choose = min if measure.better == "lower" else max
    return choose(found, key=lambda point: point.value)


def _last(found: Sequence[MetricPoint], measure: Measure) -> float:
    """The last value; of a statistic the mean over the last quarter of the run."""
    if measure.statistic is None:
        return found[-1].value
    return statistics.fmean(point.value for point in found if point.kimg >= 0.75 * found[-1].kimg)


def _spread(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return _NONE
    mean = statistics.fmean(known)
    return _number(mean) if len(known) == 1 else f"{_number(mean)} ± {_number(statistics.stdev(known), mean)}"


def _number(value: float, like: Optional[float] = None) -> str:
    """Two decimals, or three significant digits of what is less than 1."""
    size = abs(value if like is None else like)
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.{2 - math.floor(math.log10(size))}f}"


def _range(values: Sequence[float]) -> str:
    if not values:
        return _NONE
    low, high = min(values), max(values)
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f}–{high:.0f}"
