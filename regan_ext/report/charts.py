"""What a report draws: every chart's lines and labels, without drawing them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from training_hooks.core.schedule import Phase
from training_hooks.methods.method import Statistic, methods
from training_hooks.nvidia.metrics import direction
from training_hooks.sparsity.anatomy import ROLES

from ..runs.cost import hook_percent
from ..runs.folder import Run, Tick
from ..runs.metric import series
from ..runs.phases import phases_of
from . import planned

__all__ = ["PHASE_LETTERS", "Chart", "Line", "PhaseBar", "charts", "label", "phase_bars"]

PHASE_LETTERS = {phase: phase.name[0] for phase in Phase}
_MOST_POINTS, _MOST_DOTS = 500, 60


@dataclass(frozen=True)
class Line:
    """One run's values over kimg.

    Args:
        run: its position in the report.
        xs: kimg of each value.
        ys: values, NaN where there is none; of a band the upper ones.
        lows: lower values of a band; empty where it is a line.
        dots: kimg and value of measurements to be drawn beside a line that is not made of them.
    """

    run: int
    xs: Tuple[float, ...]
    ys: Tuple[float, ...]
    lows: Tuple[float, ...] = ()
    dots: Tuple[Tuple[float, float], ...] = ()

    @property
    def only(self) -> Optional[Tuple[float, float]]:
        """Kimg and value of the one value that there is; None where there are more."""
        known = [(x, y) for x, y in zip(self.xs, self.ys) if math.isfinite(y)]
        return known[0] if len(known) == 1 else None


@dataclass(frozen=True)
class PhaseBar:
    """One run's phases: kind, begin and end in kimg.

    Where sparse and dense phases are too many to be told apart, ``turns`` are the begin and end of the stretches in which they
    alternate, and ``spans`` has every ``every``-th sparse one of them.
    """

    run: int
    spans: Tuple[Tuple[Phase, float, float], ...]
    turns: Tuple[Tuple[float, float], ...] = ()
    every: int = 1


@dataclass(frozen=True)
class Chart:
    """One quantity over kimg, a line for each run that has it."""

    name: str
    title: str
    axis: str
    lines: Tuple[Line, ...] = ()
    log: bool = False
    steps: bool = False
    from_zero: bool = False

    @property
    def is_drawn(self) -> bool:
        """Whether any run has more than one value: a lone dot says less than its number."""
        return any(line.only is None for line in self.lines)

    def describe(self) -> str:
        """The chart in words, for those who do not see it."""
        ends = [f"run {label(line.run)} ends at {_last(line.ys):.3g}" for line in self.lines]
        return f"{self.title} over training progress: {', '.join(ends)}."


@dataclass(frozen=True)
class _Quantity:
    """A chart without lines, the value of a tick, and the course that is known without ticks."""

    chart: Chart
    value: Callable[[Run, Tick], float] = field(repr=False)
    planned: Callable[[Run], List[planned.Step]] = field(default=lambda run: [], repr=False)
    scale: float = 1.0


def _stat(name: str, scale: float = 1.0) -> Callable[[Run, Tick], float]:
    return lambda run, tick: tick.get(name) * scale


def _share(statistic: Statistic) -> Callable[[Run, Tick], float]:
    """What is left of a share that came back to 0 by steps is rounding."""
    return lambda run, tick: round(tick.get(statistic.name) * statistic.factor, 9)


def _augmentation(run: Run, tick: Tick) -> float:
    """The host notes a p of 0 also where it does not augment at all."""
    without = bool(run.options) and not run.options.get("augment_kwargs")
    value = tick.get("Progress/augment")
    return math.nan if without and value == 0 else 100 * value


def _mask_change(name: str) -> Callable[[Run, Tick], float]:
    """Not of the first pruning, before which nothing was pruned: its change is 1 by definition."""
    return lambda run, tick: 100 * tick.get(name) if tick.get("ReGAN/cycle") > 1 else math.nan


def _unless_startup(value: Callable[[Run, Tick], float]) -> Callable[[Run, Tick], float]:
    return lambda run, tick: math.nan if tick.is_startup else value(run, tick)


_LOSSES = (
    _Quantity(Chart("loss-G", "Generator loss", "loss (no unit)"), _stat("Loss/G/loss")),
    _Quantity(Chart("loss-D", "Discriminator loss", "loss (no unit)"), _stat("Loss/D/loss")),
    _Quantity(Chart("r1-penalty", "R1 penalty", "penalty (no unit)", from_zero=True), _stat("Loss/r1_penalty")),
    _Quantity(Chart("pl-penalty", "Path length penalty", "penalty (no unit)", from_zero=True), _stat("Loss/pl_penalty")),
)
# Courses that are known without ticks, and values that are not simply those of a statistic.
_PLANNED = {"ReGAN/lr": planned.learning_rate, "ReGAN/sparsity": planned.sparsity}
_VALUES = {name: _mask_change(name) for name in ("ReGAN/mask_change", *(f"ReGAN/mask_change/{role}" for role in ROLES))}
_OF_RUNS = (
    _Quantity(Chart("augment", "Augmentation p", "probability (%)", from_zero=True), _augmentation),
    _Quantity(
        Chart("sec-per-kimg", "Measured time per kimg", "time (s/kimg)", from_zero=True),
        _unless_startup(_stat("Timing/sec_per_kimg")),
    ),
    _Quantity(
        Chart("hook-cost", "Measured cost of the hook", "share of an iteration (%)", from_zero=True),
        _unless_startup(hook_percent),
    ),
)


def _of_methods() -> List[_Quantity]:
    """A chart for each statistic that a method wants drawn."""
    return [_of_statistic(each) for method in methods() for each in method.statistics if each.is_drawn]


def _of_statistic(statistic: Statistic) -> _Quantity:
    chart = Chart(
        re.sub(r"[^a-z0-9]+", "-", statistic.name.lower()),
        statistic.label,
        f"{statistic.axis} ({statistic.unit})" if statistic.unit else statistic.axis,
        log=statistic.log,
        steps=statistic.steps,
        from_zero=statistic.from_zero,
    )
    value = _VALUES.get(statistic.name, _share(statistic) if statistic.unit == "%" else _stat(statistic.name, statistic.factor))
    return _Quantity(chart, value, _PLANNED.get(statistic.name, lambda run: []), statistic.factor)


def label(position: int) -> str:
    """The letter that stands for a run: A to Z, then A2 and so on."""
    return chr(ord("A") + position % 26) + (str(position // 26 + 1) if position >= 26 else "")


def charts(runs: Sequence[Run]) -> List[Chart]:
    """Charts of all quantities that any run has values of."""
    rest = (*_of_methods(), *_OF_RUNS)
    found = [*(_of_quantity(q, runs) for q in _LOSSES), *_of_metrics(runs), *(_of_quantity(q, runs) for q in rest)]
    return [chart for chart in found if chart.lines]


def phase_bars(runs: Sequence[Run]) -> List[PhaseBar]:
    """The phases of each run that has some, up to where it stands."""
    bars = []
    for position, run in enumerate(runs):
        phases = phases_of(run)
        if phases is not None:
            spans = tuple((phase, run.in_kimg(start), run.in_kimg(stop)) for phase, start, stop in phases.spans)
            turns = tuple((run.in_kimg(start), run.in_kimg(stop)) for start, stop in phases.turns)
            bars.append(PhaseBar(position, spans, turns, phases.every))
    return bars


def _of_quantity(quantity: _Quantity, runs: Sequence[Run]) -> Chart:
    lines = []
    for position, run in enumerate(runs):
        points = [(tick.kimg, quantity.value(run, tick)) for tick in run.ticks]
        line = _line(position, points)
        steps = quantity.planned(run) if line is not None else []
        if steps:
            line = _stepped(position, run, steps, quantity.scale, _finite(points))
        if line is not None:
            lines.append(line)
    log = quantity.chart.log and all(y > 0 for line in lines for y in (*line.ys, *line.lows) if math.isfinite(y))
    return replace(quantity.chart, lines=tuple(lines), log=log)


def _of_metrics(runs: Sequence[Run]) -> List[Chart]:
    names: Dict[str, None] = {point.name: None for run in runs for point in run.metrics}
    drawn: List[Chart] = []
    for name in names:
        better = direction(name)
        axis = "value (no unit)" if better is None else f"{better} is better (no unit)"
        points = [[(p.kimg, p.value) for p in series(run.metrics, name)] for run in runs]
        lines = [_line(position, of_run) for position, of_run in enumerate(points)]
        chart = Chart(f"metric-{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[:100]}", name, axis)
        if any(other.name == chart.name for other in drawn):
            chart = replace(chart, name=f"{chart.name}-{len(drawn)}")
        drawn.append(replace(chart, lines=tuple(line for line in lines if line is not None)))
    return drawn


def _line(run: int, points: Sequence[Tuple[float, float]]) -> Optional[Line]:
    """The values of one run; None without a finite one."""
    if not _finite(points):
        return None
    kept = _thin(points)
    return Line(run, tuple(x for x, _ in kept), tuple(y for _, y in kept))


def _stepped(
    position: int, run: Run, steps: Sequence[planned.Step], scale: float, measured: Sequence[Tuple[float, float]]
) -> Line:
    """The course that the schedule sets, with measurements as dots."""
    xs = [*(run.in_kimg(step.start) for step in steps), run.in_kimg(steps[-1].stop)]
    ys, lows = ([scale * value for value in values] for values in zip(*((s.high, s.low) for s in (*steps, steps[-1]))))
    dots = measured[:: math.ceil(len(measured) / _MOST_DOTS)] if measured else []
    return Line(position, tuple(xs), tuple(ys), tuple(lows) if ys != lows else (), tuple(dots))


def _finite(points: Sequence[Tuple[float, float]]) -> List[Tuple[float, float]]:
    return [point for point in points if math.isfinite(point[1])]


def _thin(points: Sequence[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """At most about ``_MOST_POINTS`` of the points: the lowest and the highest of each stretch, so that the shape stays."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretch = -(-2 * len(points) // _MOST_POINTS)
    kept = []
    for first in range(0, len(points), stretch):
        part = range(first, min(first + stretch, len(points)))
        finite = [i for i in part if math.isfinite(points[i][1])] or [part[0]]
        ends = {min(finite, key=lambda i: points[i][1]), max(finite, key=lambda i: points[i][1])}
        kept += [points[i] for i in sorted(ends)]
    return kept


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)
