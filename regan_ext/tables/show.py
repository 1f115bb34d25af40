"""The paper's numbers beside ours."""

from __future__ import annotations

import math
import statistics
from typing import Dict, List, Optional, Sequence, Tuple

from training_hooks.core.best import best

from ..runs.metric import MetricPoint
from .model import Cell, Measure, Row, Table
from .results import Result
from .sheet import Grid, Sheet

__all__ = ["NONE", "about", "last_value", "number", "runs", "sheet_of", "spread"]

NONE = "–"


def sheet_of(table: Table, results: Sequence[Result]) -> Sheet:
    """The table with those results of it."""
    parts: List["str | Grid"] = [*about(table), *_paper_only(table)]
    if any(row.paper for row in table.rows):
        parts.append(_paper(table))
    parts += runs(table, results)
    found = _found(table, results)
    return Sheet(table.title, tuple([*parts, _ours(table, found)] if found else parts))


def about(table: Table) -> List[str]:
    """Source, protocol, and what a reader of the numbers has to know."""
    return [f"Source: {table.source}. Protocol: {table.protocol}.", *table.about]


def runs(table: Table, results: Sequence[Result]) -> List[str]:
    """How much of the table has been run, with what other arguments, and where; nothing of one that cannot be run."""
    cells, found = table.cells(), _found(table, results)
    told = [f"Run here: {len(found) or 'none'} of {len(cells)} cells."] if cells else []
    return [*told, *_other_arguments(found), *_machines(found)]


def _found(table: Table, results: Sequence[Result]) -> List[Tuple[Cell, List[Result]]]:
    """The cells that have results."""
    found = [(cell, [result for result in results if result.cell == cell.name]) for cell in table.cells()]
    return [(cell, seeds) for cell, seeds in found if seeds]


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
        rows.append((row.title, *(_printed(row, measure, column) for column, measure in across)))
    better = "; ".join(f"{m.title}, {m.better} is better" for m in table.measures if m.key in ("fid", "is"))
    return Grid(f"The paper's numbers ({better}):", ("method", *header), tuple(rows))


def _printed(row: Row, measure: Measure, column: int) -> str:
    """The paper's number, with the deviation that it prints with it."""
    number, spread = (of.get(measure.key, [None] * (column + 1))[column] for of in (row.paper, row.spread))
    return NONE if number is None else str(number) if spread is None else f"{number} ± {spread}"


def _other_arguments(found: Sequence[Tuple[Cell, List[Result]]]) -> List[str]:
    """Says where the runs had other arguments than the table."""
    others: Dict[str, int] = {}
    for cell, results in found:
        for result in results:
            if result.arguments is None:
                continue
            given = [a for a in result.arguments if a != f"--seed={result.seed}" and a not in cell.options]
            missing = [option for option in cell.options if option not in result.arguments]
            told = " ".join([*given, *(["without", *missing] if missing else [])])
            if told:
                others[told] = others.get(told, 0) + 1
    return [f"Folders begun with other arguments than the table's, {count}: {told}." for told, count in others.items()]


def _machines(found: Sequence[Tuple[Cell, List[Result]]]) -> List[str]:
    """On what the runs were made, as far as it was noted."""
    noted = [result.machine for _, results in found for result in results if result.machine]
    if not noted:
        return []
    each = dict.fromkeys(f"{m.get('machine')}; PyTorch {m.get('torch')}, Python {m.get('python')}" for m in noted)
    dates = sorted({str(m.get("date")) for m in noted})
    return [f"Machine: {', or '.join(each)}; {dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'}."]


def _ours(table: Table, found: Sequence[Tuple[Cell, List[Result]]]) -> Grid:
    caption = "Ours, mean ± standard deviation over seeds; the difference is our best checkpoint less the paper's number:"
    header = (
        *("method", "data", "measure", "paper", "best checkpoint", "last checkpoint", "difference"),
        *("best at kimg", "trained kimg", "hours, measured", "seeds"),
    )
    rows = [_row(cell, measure, seeds) for cell, seeds in found for measure in table.measures if measure.result is not None]
    return Grid(caption, header, tuple(rows))


def _row(cell: Cell, measure: Measure, seeds: Sequence[Result]) -> Tuple[str, ...]:
    each = [found for found in (seed.points(measure) for seed in seeds) if found]
    chosen = [] if measure.statistic is not None else [best(found, measure.better) for found in each]
    winners = [point for point in chosen if point is not None]
    paper = cell.paper(measure)
    difference = statistics.fmean(p.value for p in winners) - float(paper) if winners and paper is not None else None
    finished = sum(seed.finished for seed in seeds)
    return (
        cell.row.title,
        cell.column.title,
        measure.title,
        NONE if paper is None else str(paper),
        spread([point.value for point in winners]),
        spread([last_value(found, measure) for found in each]),
        NONE if difference is None else f"{difference:+.2f}",
        _range([point.kimg for point in winners]),
        _range([seed.kimg for seed in seeds]),
        spread([seed.hours for seed in seeds]),
        f"{len(seeds)}" if finished == len(seeds) else f"{len(seeds)}, {finished} finished",
    )


def last_value(found: Sequence[MetricPoint], measure: Measure) -> float:
    """The last of a run's values, one at least; of a statistic their mean over the last quarter of the run."""
    if measure.statistic is None:
        return found[-1].value
    return statistics.fmean(point.value for point in found if point.kimg >= 0.75 * found[-1].kimg)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of those that are finite; NONE without any."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NONE
    mean = statistics.fmean(known)
    return number(mean) if len(known) == 1 else f"{number(mean)} ± {number(statistics.stdev(known), mean)}"


def number(value: float, like: Optional[float] = None) -> str:
    """Two decimals, or three significant digits of what is less than 1."""
    size = abs(value if like is None else like)
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.{2 - math.floor(math.log10(size))}f}"


def _range(values: Sequence[float]) -> str:
    if not values:
        return NONE
    low, high = min(values), max(values)
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f}–{high:.0f}"
