"""What a report draws: every chart's lines and labels, without drawing them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from training_hooks.best import direction
from training_hooks.schedule import Phase

from .efficiency import hook_percent
from .runs import Run, Tick

__all__ = ["PHASE_LETTERS", "Chart", "Line", "PhaseBar", "charts", "label", "phase_bars"]

PHASE_LETTERS = {Phase.WARMUP: "W", Phase.SPARSE: "S", Phase.DENSE: "D"}
_MOST_POINTS = 500
_MOST_PHASES = 150


@dataclass(frozen=True)
class Line:
    """One run's values; ``run`` is its position in the report."""

    run: int
    xs: Tuple[float, ...]
    ys: Tuple[float, ...]


@dataclass(frozen=True)
class PhaseBar:
    """One run's phases: kind, begin and end in kimg."""

    run: int
    spans: Tuple[Tuple[Phase, float, float], ...]


@dataclass(frozen=True)
class Chart:
    """One quantity over kimg, a line for each run that has it."""

    name: str
    title: str
    axis: str
    lines: Tuple[Line, ...]
    log: bool = False
    steps: bool = False
    from_zero: bool = False

    def describe(self) -> str:
        """The chart in words, for those who do not see it."""
        ends = [f"run {label(line.run)} ends at {_last(line.ys):.3g}" for line in self.lines]
        return f"{self.title} over training progress: {', '.join(ends)}."


@dataclass(frozen=True)
class _Quantity:
    name: str
    title: str
    axis: str
    value: Callable[[Run, Tick], float] = field(repr=False)
    log: bool = False
    steps: bool = False
    from_zero: bool = False


def _stat(name: str, scale: float = 1.0) -> Callable[[Run, Tick], float]:
    return lambda run, tick: tick.get(name) * scale


def _augmentation(run: Run, tick: Tick) -> float:
    """The host notes a p of 0 also where it does not augment at all."""
    without = bool(run.options) and not run.options.get("augment_kwargs")
    value = tick.get("Progress/augment")
    return math.nan if without and value == 0 else 100 * value


_LOSSES = (
    _Quantity("loss-G", "Generator loss", "loss (no unit)", _stat("Loss/G/loss")),
    _Quantity("loss-D", "Discriminator loss", "loss (no unit)", _stat("Loss/D/loss")),
    _Quantity("r1-penalty", "R1 penalty", "penalty (no unit)", _stat("Loss/r1_penalty"), from_zero=True),
    _Quantity("pl-penalty", "Path length penalty", "penalty (no unit)", _stat("Loss/pl_penalty"), from_zero=True),
)
_PROGRESS = (
    _Quantity("lr", "Learning rate", "learning rate (per step)", _stat("ReGAN/lr"), log=True, steps=True),
    _Quantity(
        "sparsity", "Measured sparsity", "zeros among selected weights (%)", _stat("ReGAN/sparsity", 100),
        steps=True, from_zero=True,
    ),
    _Quantity(
        "mask-change", "Mask change at the last pruning", "newly pruned weights (%)", _stat("ReGAN/mask_change", 100),
        steps=True, from_zero=True,
    ),
    _Quantity(
        "explored", "Explored share", "weights ever in a sparse net (%)", _stat("ReGAN/explored", 100),
        steps=True, from_zero=True,
    ),
    _Quantity("augment", "Augmentation p", "probability (%)", _augmentation, from_zero=True),
    _Quantity(
        "sec-per-kimg", "Measured time per kimg", "time (s/kimg)",
        lambda run, tick: math.nan if tick.is_startup else tick.get("Timing/sec_per_kimg"), from_zero=True,
    ),
    _Quantity(
        "hook-cost", "Measured cost of the hook", "share of an iteration (%)",
        lambda run, tick: math.nan if tick.is_startup else hook_percent(run, tick), from_zero=True,
    ),
)  # fmt: skip


def label(position: int) -> str:
    """The letter that stands for a run: A to Z, then A2 and so on."""
    return chr(ord("A") + position % 26) + (str(position // 26 + 1) if position >= 26 else "")


def charts(runs: Sequence[Run]) -> List[Chart]:
    """Charts of all quantities that any run has values of."""
    drawn = [_of_ticks(quantity, runs) for quantity in _LOSSES]
    drawn += _of_metrics(runs)
    drawn += [_of_ticks(quantity, runs) for quantity in _PROGRESS]
    return [chart for chart in drawn if chart is not None]


def phase_bars(runs: Sequence[Run]) -> List[PhaseBar]:
    """The phases of each run that has some, up to where it stands. Too many to be told apart: none."""
    bars = []
    for position, run in enumerate(runs):
        spans = [(s.phase, run.in_kimg(s.start), min(run.in_kimg(s.stop or s.start), run.kimg)) for s in run.spans]
        spans = [(phase, start, stop) for phase, start, stop in spans if start < stop]
        if 0 < len(spans) <= _MOST_PHASES:
            bars.append(PhaseBar(position, tuple(spans)))
    return bars


def _of_ticks(quantity: _Quantity, runs: Sequence[Run]) -> Optional[Chart]:
    points = [[(tick.kimg, quantity.value(run, tick)) for tick in run.ticks] for run in runs]
    q = quantity
    return _chart(Chart(q.name, q.title, q.axis, (), q.log, q.steps, q.from_zero), points)


def _of_metrics(runs: Sequence[Run]) -> List[Optional[Chart]]:
    names: Dict[str, None] = {point.name: None for run in runs for point in run.metrics}
    drawn = []
    for name in names:
        better = direction(name)
        axis = "value (no unit)" if better is None else f"{better} is better (no unit)"
        points = [sorted((p.kimg, p.value) for p in run.metrics if p.name == name) for run in runs]
        drawn.append(_chart(Chart("metric-" + re.sub(r"[^\w.-]", "_", name), name, axis, ()), points))
    return drawn


def _chart(empty: Chart, points: Sequence[Sequence[Tuple[float, float]]]) -> Optional[Chart]:
    """The chart with a line for each run that has finite points; None without any."""
    lines = []
    for position, of_run in enumerate(points):
        if any(math.isfinite(y) for _, y in of_run):
            kept = _thin(of_run)
            lines.append(Line(position, tuple(x for x, _ in kept), tuple(y for _, y in kept)))
    if not lines:
        return None
    log = empty.log and all(y > 0 for line in lines for y in line.ys if math.isfinite(y))
    return Chart(empty.name, empty.title, empty.axis, tuple(lines), log, empty.steps, empty.from_zero)


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
