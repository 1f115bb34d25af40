"""The rows of a table against its baseline, seed by seed: how large the differences are, and whether they matter."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from scipy import stats

from training_hooks.core.best import is_candidate

from ..support.errors import UserError
from .model import Cell, Measure, Table
from .results import Result
from .sheet import Grid, Sheet
from .show import about, last_value, number, runs, spread

__all__ = ["Arm", "Comparison", "Difference", "Pair", "compare", "difference", "dumps", "sheet_of"]

_MARGIN = 0.1  # differences below this share of the baseline's mean do not matter
_ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """What pairs say of a row.

    Args:
        mean: of value less baseline.
        low, high: ends of its 95 % interval, by Student's t.
        margin: a tenth of the baseline's mean.
        p: larger p-value of the two one-sided t-tests that the mean is above -margin, and below margin.
        verdict: "equivalent" where p < 0.05; else "better" or "worse" where the interval is without 0; else "undecided".
    """

    mean: float
    low: float
    high: float
    margin: float
    p: float
    verdict: str


@dataclass(frozen=True)
class Pair:
    """Two runs of one seed.

    Args:
        seed: of both.
        kimg: of the checkpoints that count, which both have.
        value, baseline: means over those checkpoints.
    """

    seed: int
    kimg: Tuple[float, ...]
    value: float
    baseline: float


@dataclass(frozen=True)
class Arm:
    """A cell against the baseline in its column.

    Args:
        cell, measure: what is compared.
        pairs: in the order of their seeds, two at least.
        difference: what they say.
        beside: title of a statistic → its mean over the last quarter of each of the row's runs that has it.
    """

    cell: Cell
    measure: Measure
    pairs: Tuple[Pair, ...]
    difference: Difference
    beside: Mapping[str, Tuple[float, ...]]


@dataclass(frozen=True)
class Comparison:
    """Rows against one of them.

    Args:
        table: whose rows they are.
        baseline: name of the row that the others are held against.
        last: so many checkpoints of each run count, the last ones, or fewer where there are fewer.
        arms: one at least.
    """

    table: Table
    baseline: str
    last: int
    arms: Tuple[Arm, ...]

    @property
    def title(self) -> str:
        """The baseline's, for readers."""
        return next(row.title for row in self.table.rows if row.name == self.baseline)


def difference(values: Sequence[float], baseline: Sequence[float], better: str) -> Difference:
    """Hold values against the baseline's, pair by pair.

    Args:
        values, baseline: as many of each, two at least; those at one position are a pair.
        better: which values are better, "lower" or "higher".

    Raises:
        ValueError: fewer than two pairs, or values without a partner.
    """
    if len(values) != len(baseline) or len(values) < 2:
        raise ValueError(f"{len(values)} values and {len(baseline)} of the baseline are no two pairs")
    each = [value - other for value, other in zip(values, baseline)]
    mean, margin = statistics.fmean(each), _MARGIN * abs(statistics.fmean(baseline))
    error, student = statistics.stdev(each) / math.sqrt(len(each)), stats.t(len(each) - 1)
    half = float(student.ppf(1 - _ALPHA / 2)) * error

    def above(bound: float) -> float:
        """P-value of the test that the mean is above ``bound``. Differences that are all the same leave no doubt."""
        return float(student.sf((mean - bound) / error)) if error else float(mean <= bound)

    low, high, p = mean - half, mean + half, max(above(-margin), 1 - above(margin))
    if p < _ALPHA:
        verdict = "equivalent"
    elif low > 0 or high < 0:
        verdict = "better" if (mean < 0) == (better == "lower") else "worse"
    else:
        verdict = "undecided"
    return Difference(mean, low, high, margin, p, verdict)


def compare(table: Table, results: Sequence[Result], baseline: Optional[str], last: int) -> Comparison:
    """Hold against the baseline every row that shares two seeds with the baseline, in every column, by every metric.

    Runs that have not reached their budget do not count.

    Args:
        table: of the rows.
        results: what was measured.
        baseline: name of a row; None for the table's own.
        last: of the checkpoints that both runs of a pair have, so many of the last count, or fewer where there are fewer.

    Raises:
        UserError: there is no baseline, or no row shares two seeds with it.
    """
    name, cells = table.baseline if baseline is None else baseline, table.cells()
    names = list(dict.fromkeys(cell.row.name for cell in cells))
    if name is None or name not in names:
        wrong = f"{table.name} has no baseline" if name is None else f"--baseline={name}: no such row in {table.name}"
        raise UserError(f"{wrong}; --baseline can be {', '.join(names) or 'nothing: no row can be run'}")
    ended = {(result.cell, result.seed): result for result in results if result.finished}
    arms = []
    for cell in cells:
        other = f"{name}-{cell.column.name}"
        seeds = sorted(seed for of, seed in ended if of == cell.name and (other, seed) in ended)
        both = [(ended[cell.name, seed], ended[other, seed]) for seed in seeds]
        for measure in table.measures if cell.row.name != name else ():
            arm = _arm(cell, measure, both, last)
            arms += [] if arm is None else [arm]
    if not arms:
        raise UserError(f"no row of {table.name} has two finished seeds that {name} has too; train them first")
    return Comparison(table, name, last, tuple(arms))


def _arm(cell: Cell, measure: Measure, both: Sequence[Tuple[Result, Result]], last: int) -> Optional[Arm]:
    """The pairs of a cell by a metric; None by a statistic, and where there are no two."""
    if measure.metric is None or measure.better is None:
        return None
    pairs = tuple(pair for pair in (_pair(one, other, measure, last) for one, other in both) if pair is not None)
    if len(pairs) < 2:
        return None
    told = difference([pair.value for pair in pairs], [pair.baseline for pair in pairs], measure.better)
    return Arm(cell, measure, pairs, told, _beside(cell.table, [one for one, _ in both]))


def _pair(one: Result, other: Result, measure: Measure, last: int) -> Optional[Pair]:
    """Two runs of a seed; None where they share no checkpoint."""
    ours, theirs = ({p.kimg: p.value for p in run.points(measure) if is_candidate(p.kimg)} for run in (one, other))
    kimg = tuple(sorted(ours.keys() & theirs.keys())[-last:])
    if not kimg:
        return None
    return Pair(one.seed, kimg, *(statistics.fmean(values[at] for at in kimg) for values in (ours, theirs)))


def _beside(table: Table, results: Sequence[Result]) -> Dict[str, Tuple[float, ...]]:
    told = {}
    for measure in table.measures:
        if measure.statistic is not None:
            found = [points for points in (result.points(measure) for result in results) if points]
            told[measure.title] = tuple(last_value(points, measure) for points in found)
    return told


def sheet_of(comparison: Comparison, results: Sequence[Result]) -> Sheet:
    """The comparison for readers, with what is said of the table's runs."""
    table, arms = comparison.table, comparison.arms
    told: List["str | Grid"] = [*about(table), *runs(table, results), _how(comparison), _verdicts(arms), _each(arms)]
    paired = {comparison.baseline, *(arm.cell.row.name for arm in arms)}
    rest = dict.fromkeys(cell.row.title for cell in table.cells() if cell.row.name not in paired)
    if rest:
        told.append(f"Fewer than two pairs so far: {'; '.join(rest)}.")
    return Sheet(f"{table.title}, seed by seed against {comparison.title}", tuple(told))


def _how(comparison: Comparison) -> str:
    return (
        f"A run counts with the mean of its last checkpoints, {comparison.last} at most; a difference is of two runs of one "
        "seed. Equivalent: two one-sided t-tests at 5 % put the mean difference within ±10 % of the baseline's mean. Better or "
        "worse: they do not, and the 95 % interval, by Student's t, is without 0. Nothing is corrected for the number of rows. "
        "Statistics are means over the last quarter of the runs."
    )


def _verdicts(arms: Sequence[Arm]) -> Grid:
    beside = list(arms[0].beside)
    rows = []
    for arm in arms:
        told = arm.difference
        rows.append(
            (
                arm.cell.row.title,
                arm.cell.column.title,
                arm.measure.title,
                spread([pair.baseline for pair in arm.pairs]),
                spread([pair.value for pair in arm.pairs]),
                _signed(told.mean),
                f"{_signed(told.low)} to {_signed(told.high)}",
                f"±{number(told.margin)}",
                f"{told.p:.2g}",
                told.verdict,
                f"{len(arm.pairs)}",
                *(spread(arm.beside[title]) for title in beside),
            )
        )
    header = ("method", "data", "measure", "baseline", "value", "difference", "95 % interval", "margin", "p of equivalence",
              "verdict", "pairs", *beside)  # fmt: skip
    return Grid("Mean ± standard deviation over seeds, and the mean difference:", header, tuple(rows))


def _each(arms: Sequence[Arm]) -> Grid:
    rows = [
        (arm.cell.row.title, arm.cell.column.title, arm.measure.title, f"{pair.seed}", ", ".join(f"{at:g}" for at in pair.kimg),
         number(pair.baseline), number(pair.value), _signed(pair.value - pair.baseline))
        for arm in arms for pair in arm.pairs
    ]  # fmt: skip
    header = ("method", "data", "measure", "seed", "checkpoints, kimg", "baseline", "value", "difference")
    return Grid("Each pair:", header, tuple(rows))


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def dumps(comparison: Comparison) -> str:
    """The comparison as JSON."""
    arms: List[Dict[str, Any]] = [
        {
            "row": arm.cell.row.name,
            "column": arm.cell.column.name,
            "measure": arm.measure.result,
            **asdict(arm.difference),
            "pairs": [asdict(pair) for pair in arm.pairs],
            "statistics": {title: list(values) for title, values in arm.beside.items() if values},
        }
        for arm in comparison.arms
    ]
    told = {"table": comparison.table.name, "baseline": comparison.baseline, "last": comparison.last, "arms": arms}
    return json.dumps(told, indent=2) + "\n"
