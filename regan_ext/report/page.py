"""What a report's page says. How it looks is in page.html and page.css beside this file."""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from markupsafe import Markup

from training_hooks.core.best import best
from training_hooks.core.schedule import Phase
from training_hooks.methods.regan.config import IN_TURN
from training_hooks.nvidia.metrics import direction

from .. import __version__
from ..runs.cost import COUNTS, Efficiency, Pace, measure
from ..runs.folder import Run
from ..runs.metric import MetricPoint, series
from ..support.page import render
from ..support.text import duration, three_digits
from . import masks
from .charts import Chart, PhaseBar, label
from .drawing import dashes_of
from .options import all_options, differing_options, method_names, run_name
from .pictures import RunPictures

__all__ = ["page"]

_LONGEST, _MOST_OPTIONS = 160, 1000  # characters of an option's value, and options, that are shown
_THEORY, _MEASURED = Markup('<span class="counted">theory</span>'), Markup('<span class="tag">measured</span>')
_Rows = List[Tuple[str, List[str]]]  # a name, and a cell for each column


def page(
    runs: Sequence[Run],
    drawn: Sequence[Tuple[Chart, str]],
    single: Sequence[Chart],
    bars: Sequence[PhaseBar],
    pictures: Sequence[RunPictures],
) -> str:
    """The whole page.

    Args:
        runs: at least one.
        drawn: charts and their SVG.
        single: charts that no run has two values of.
        bars: phases of the runs.
        pictures: of each run.
    """
    letters, costs = [label(i) for i in range(len(runs))], [measure(run) for run in runs]
    names = [run_name(run, letter) for run, letter in zip(runs, letters)]
    of_masks = masks.masks_of(runs, names)
    options = all_options(runs[0]) if len(runs) == 1 else {}
    return render(
        Path(__file__).with_name("page.html"),
        title=f"Training report: {runs[0].name}" if len(runs) == 1 else f"Training report of {len(runs)} runs",
        version=__version__,
        when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        runs=runs,
        names=names,
        dashes_of=dashes_of,
        facts=_facts(runs),
        notes=_notes(runs, letters),
        cost=_cost(runs, costs),
        untimed=[f"run {x}" for x, run, cost in zip(letters, runs, costs) if run.has_method and not cost.is_timed],
        channels=_channels(letters, costs),
        layers=[(letter, _layers(cost)) for letter, cost in zip(letters, costs) if cost.theory.layers],
        counts=list(COUNTS),
        masks=masks.layers(of_masks),
        overlaps=masks.overlaps(of_masks),
        has_ticks=any(run.ticks for run in runs),
        phases=[phase for phase in Phase if any(phase == found for bar in bars for found, _, _ in bar.spans)],
        has_turns=any(bar.turns for bar in bars),
        chart_notes=_chart_notes(drawn, bars),
        drawn=drawn,
        single=_single(single),
        metrics=_metrics(runs, letters),
        pictures=list(zip(runs, letters, pictures)),
        quote=shlex.quote,
        count=len(options),
        options=_options(options) if len(runs) == 1 else _differing(runs),
    )


# ---------------------------------------------------------------- tables


def _facts(runs: Sequence[Run]) -> _Rows:
    facts: Dict[str, Callable[[Run], str]] = {
        "folder": lambda run: run.name,
        **({"went on from": _earlier} if any(run.earlier for run in runs) else {}),
        "method": _method,
        "data": lambda run: run.data + ("" if run.images is None else f", {run.images} images"),
        "resolution": lambda run: "unknown" if run.resolution is None else f"{run.resolution} × {run.resolution} pixels",
        "trained": _trained,
        "batch": lambda run: "unknown" if run.batch is None else f"{run.batch} images an iteration",
    }
    return [(name, [fact(run) for run in runs]) for name, fact in facts.items()]


def _notes(runs: Sequence[Run], letters: Sequence[str]) -> List[str]:
    other = "its Re-GAN settings are not of this version of regan-ext; phases are not shown"
    unknown = [f"run {letter}: {other}" for run, letter in zip(runs, letters) if run.has_method and run.schedule is None]
    turns = [f"run {x}: {IN_TURN}" for run, x in zip(runs, letters) if run.config and run.config.phases_d == "in-turn"]
    return [f"run {letter}: {note}" for run, letter in zip(runs, letters) for note in run.notes] + unknown + turns


def _cost(runs: Sequence[Run], costs: Sequence[Efficiency]) -> _Rows:
    method, plain = any(run.has_method for run in runs), any(not run.has_method for run in runs)
    planned = any(math.isfinite(cost.theory.dense_gmacs) for cost in costs)
    rows: List[Tuple[bool, str, Markup, Callable[[Efficiency], str]]] = [
        (planned, "forward pass of G in a sparse phase, GMACs", _THEORY,
         lambda c: _part(c.theory.sparse_gmacs, c.theory.dense_gmacs)),
        (any(cost.theory.d_sparse_over_dense < 1 for cost in costs), "forward pass of D in a sparse phase, GMACs", _THEORY,
         lambda c: _part(c.theory.d_sparse_gmacs, c.theory.d_dense_gmacs)),
        (planned, "planned run, PFLOPs", _THEORY, lambda c: _part(c.theory.run_pflops, c.theory.dense_run_pflops)),
        (True, "forward passes so far, dense = 1", _THEORY, lambda c: three_digits(c.flops_ratio)),
        (method, "warm-up, s per iteration", _MEASURED, lambda c: _pace(c.paces[Phase.WARMUP])),
        (method, "sparse phases, s per iteration", _MEASURED, lambda c: _pace(c.paces[Phase.SPARSE])),
        (method, "dense phases, s per iteration", _MEASURED, lambda c: _pace(c.paces[Phase.DENSE])),
        (plain, "without Re-GAN, s per iteration", _MEASURED, lambda c: _pace(c.paces[None])),
        (method, "sparse iteration, dense = 1", _MEASURED, lambda c: three_digits(c.sparse_over_dense)),
        (True, "all phases, s/kimg", _MEASURED, lambda c: three_digits(c.sec_per_kimg)),
        (method, "hook, % of an iteration", _MEASURED, lambda c: three_digits(c.hook_percent)),
        (True, "total time of the jobs", _MEASURED, lambda c: duration(c.total_sec)),
    ]  # fmt: skip
    return [(name, [kind, *map(value, costs)]) for shown, name, kind, value in rows if shown]


def _channels(letters: Sequence[str], costs: Sequence[Efficiency]) -> Optional[Tuple[List[str], _Rows]]:
    """How many channels of each feature map sparse phases compute with: head and rows; None where no run knows."""
    shown = [(letter, cost.theory.channels) for letter, cost in zip(letters, costs) if cost.theory.channels]
    names = dict.fromkeys(name for _, channels in shown for name in channels)
    rows = [(name, [channels.get(name, "–") for _, channels in shown]) for name in names]
    return (["feature map", *[f"run {letter}" for letter, _ in shown]], rows) if shown else None


def _layers(cost: Efficiency) -> _Rows:
    """The operations of each layer."""
    layers = cost.theory.layers
    counts = [*layers.items(), ("all layers", tuple(map(math.fsum, zip(*layers.values()))))]
    return [(name, [three_digits(count) for count in of_layer]) for name, of_layer in counts]


def _chart_notes(drawn: Sequence[Tuple[Chart, str]], bars: Sequence[PhaseBar]) -> List[str]:
    few = "has too many phases to be told apart: one in"
    notes = [f"Run {label(b.run)} {few} {b.every} sparse phases is drawn, on a lighter shade." for b in bars if b.turns]
    has_dots = any(line.dots for chart, _ in drawn for line in chart.lines)
    return [*notes, *(["Learning rate and sparsity: lines by the schedule, dots as measured at ticks."] if has_dots else [])]


def _single(charts: Sequence[Chart]) -> _Rows:
    """What has one value alone."""
    rows: _Rows = []
    for chart in charts:
        unit = chart.axis[chart.axis.rindex("(") :].strip("()")
        for line in chart.lines:
            if line.only is not None:
                kimg, value = line.only
                said = three_digits(value) + ("" if unit == "no unit" else f" {unit}")
                rows.append((chart.title, [f"run {label(line.run)}", said, f"{kimg:g}"]))
    return rows


def _metrics(runs: Sequence[Run], letters: Sequence[str]) -> _Rows:
    rows: _Rows = []
    for run, letter in zip(runs, letters):
        for name in dict.fromkeys(point.name for point in run.metrics):
            points = series(run.metrics, name)
            if points:
                rows.append((name, [f"run {letter}", _point(best(points, direction(name))), _point(points[-1])]))
    return rows


def _options(options: Dict[str, str]) -> _Rows:
    return [(name, [_shortened(value)]) for name, value in sorted(options.items())[:_MOST_OPTIONS]]


def _differing(runs: Sequence[Run]) -> _Rows:
    return [(name, [_shortened(v) or "–" for v in values]) for name, values in differing_options(runs)][:_MOST_OPTIONS]


# ---------------------------------------------------------------- cells


def _earlier(run: Run) -> str:
    return Markup("<br>").join(f"{part.run.name} (up to {part.until:g} kimg)" for part in reversed(run.earlier)) or "–"


def _method(run: Run) -> str:
    return "; ".join(method_names(run)) or "none (the plain host)"


def _trained(run: Run) -> str:
    text = f"{run.kimg:g} of {run.total_kimg:g} kimg" if math.isfinite(run.total_kimg) else f"{run.kimg:g} kimg"
    if run.has_stopped:
        return f"stopped at {text}"
    return text if run.is_finished else f"{text} (not finished)"


def _point(point: Optional[MetricPoint]) -> str:
    return "–" if point is None else f"{point.value:.4g} ({point.snapshot})"


def _part(part: float, whole: float) -> str:
    known = math.isfinite(part) and whole > 0
    return f"{three_digits(part)} of {three_digits(whole)} ({part / whole:.1%})" if known else "–"


def _pace(pace: Pace) -> str:
    if not pace.ticks:
        return "–"
    spread = f"; {three_digits(pace.fastest)} to {three_digits(pace.slowest)}" if pace.ticks > 1 else ""
    return f"{three_digits(pace.sec_per_iteration)} ({pace.iterations} iterations{spread})"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
