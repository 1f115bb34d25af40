"""The HTML of a report. Every text that comes from a file goes through ``text``."""

from __future__ import annotations

import math
import shlex
import time
from typing import Callable, List, Optional, Sequence, Tuple

from training_hooks.core.best import best
from training_hooks.core.schedule import Phase
from training_hooks.nvidia.metrics import direction

from .. import __version__
from ..runs.cost import COUNTS, Efficiency, Pace, measure
from ..runs.folder import Run
from ..runs.metric import MetricPoint, series
from .chart_blocks import charts_section
from .charts import Chart, PhaseBar, label
from .elements import number, section, swatch, table, text
from .options import all_options, differing_options, method_names
from .pictures import Picture, RunPictures
from .style import CSS

__all__ = ["page"]

_COST_NOTE = """Theory counts multiply–accumulates (MACs, two FLOPs each) for one image, from the shapes of the networks.
Pruned single weights are stored as zeros and save no time by themselves; whole channels are left out of the computation. s
per iteration: the mean, regularisation included, snapshots and metrics not (of how many iterations; lowest to highest mean of
a tick), – where there is none; the first tick, a single batch with the start-up in it, is left out. The total time includes
start-up, snapshots and metrics. Times of different machines cannot be compared."""
_LONGEST, _MOST_OPTIONS = 160, 1000  # characters of an option's value, and options, that are shown


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
    title = f"Training report: {runs[0].name}" if len(runs) == 1 else f"Training report of {len(runs)} runs"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    parts = [
        section("Runs", _facts(runs) + _notes(runs)),
        section("Cost", _cost(runs)),
        section("Charts", charts_section(runs, drawn, single, bars)),
        section("Metrics", _metrics(runs)),
        section("Samples over time", _samples(runs, pictures)),
        section("Dense beside sparse", _pairs(runs, pictures)),
    ]
    parts.append(section("Options", _options(runs)) if len(runs) == 1 else section("Options that differ", _differing(runs)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{text(title)}</h1>\n<p class="soft">Written by regan-ext {__version__} on {when}</p>\n</header>\n'
        f"<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


# ---------------------------------------------------------------- sections


def _facts(runs: Sequence[Run]) -> str:
    facts: List[Tuple[str, Callable[[Run], str]]] = [
        ("folder", lambda run: text(run.name)),
        *([("went on from", _earlier)] if any(run.earlier for run in runs) else []),
        ("method", lambda run: text(_method(run))),
        ("data", lambda run: text(run.data) + ("" if run.images is None else f", {run.images} images")),
        ("resolution", lambda run: "unknown" if run.resolution is None else f"{run.resolution} × {run.resolution} pixels"),
        ("trained", lambda run: text(_trained(run))),
        ("batch", lambda run: "unknown" if run.batch is None else f"{run.batch} images an iteration"),
    ]
    rows = [(name, [fact(run) for run in runs]) for name, fact in facts]
    return table(["", *[f"{swatch(i)}run&nbsp;{label(i)}" for i in range(len(runs))]], rows)


def _notes(runs: Sequence[Run]) -> str:
    notes = [f"run {label(i)}: {note}" for i, run in enumerate(runs) for note in run.notes]
    notes += [
        f"run {label(i)}: its Re-GAN settings are not of this version of regan-ext; phases are not shown"
        for i, run in enumerate(runs)
        if run.has_method and run.schedule is None
    ]
    return "".join(f"<p><strong>Note.</strong> {text(note)}</p>\n" for note in notes)


def _cost(runs: Sequence[Run]) -> str:
    costs = [measure(run) for run in runs]
    theory, measured = '<span class="counted">theory</span>', '<span class="tag">measured</span>'

    def row(name: str, kind: str, value: Callable[[Efficiency], str], shown: bool = True) -> List[Tuple[str, List[str]]]:
        return [(name, [kind, *[value(cost) for cost in costs]])] if shown else []

    method, plain = any(run.has_method for run in runs), any(not run.has_method for run in runs)
    planned = any(math.isfinite(cost.theory.dense_gmacs) for cost in costs)
    rows = (
        row(
            "forward pass of G in a sparse phase, GMACs",
            theory,
            lambda c: _part(c.theory.sparse_gmacs, c.theory.dense_gmacs),
            planned,
        )
        + row("planned run, PFLOPs", theory, lambda c: _part(c.theory.run_pflops, c.theory.dense_run_pflops), planned)
        + row("G's forward passes so far, dense = 1", theory, lambda c: number(c.flops_ratio))
        + row("warm-up, s per iteration", measured, lambda c: _pace(c.paces[Phase.WARMUP]), method)
        + row("sparse phases, s per iteration", measured, lambda c: _pace(c.paces[Phase.SPARSE]), method)
        + row("dense phases, s per iteration", measured, lambda c: _pace(c.paces[Phase.DENSE]), method)
        + row("without the method, s per iteration", measured, lambda c: _pace(c.paces[None]), plain)
        + row("sparse iteration, dense = 1", measured, lambda c: number(c.sparse_over_dense), method)
        + row("all phases, s/kimg", measured, lambda c: number(c.sec_per_kimg))
        + row("hook, % of an iteration", measured, lambda c: number(c.hook_percent), method)
        + row("total time of the jobs", measured, lambda c: duration(c.total_sec))
    )
    cells = table(["", "how it is known", *[f"run {label(i)}" for i in range(len(runs))]], rows)
    untimed = [f"run {label(i)}" for i, run in enumerate(runs) if run.has_method and not costs[i].is_timed]
    note = _COST_NOTE + (
        f" Without a timer: {', '.join(untimed)}, by the ticks that lie wholly inside a phase." if untimed else ""
    )
    return f'<div class="box">\n{cells}<p class="soft">{note}</p>\n</div>\n{_channels(costs)}{_layers(costs)}'


def _channels(costs: Sequence[Efficiency]) -> str:
    """How many channels of each feature map sparse phases compute with."""
    shown = [(label(i), cost.theory.channels) for i, cost in enumerate(costs) if cost.theory.channels]
    names = dict.fromkeys(name for _, channels in shown for name in channels)
    rows = [(text(name), [text(channels.get(name, "–")) for _, channels in shown]) for name in names]
    head = ["feature map of G", *[f"run {letter}" for letter, _ in shown]]
    return f"<h3>Channels that sparse phases keep</h3>\n{table(head, rows, 'numbers')}" if shown else ""


def _layers(costs: Sequence[Efficiency]) -> str:
    """The operations of each layer, folded up."""
    parts = []
    for position, layers in enumerate(cost.theory.layers for cost in costs):
        if layers:
            counts = [*layers.items(), ("all layers", tuple(map(math.fsum, zip(*layers.values()))))]
            rows = [(text(name), [number(count) for count in of_layer]) for name, of_layer in counts]
            cells = table(["layer of G", *COUNTS], rows, "numbers")
            title = f"Run {label(position)}: theoretical MMACs of each layer of G, for one image"
            parts.append(f"<details>\n<summary>{title}</summary>\n{cells}</details>\n")
    if parts:
        note = "With the style's affine. Weights, channels: with such pruned, at the run's ratio; weights as if without zeros."
        parts.append(f'<p class="soft">{note}</p>\n')
    return "".join(parts)


def _metrics(runs: Sequence[Run]) -> str:
    rows = []
    for position, run in enumerate(runs):
        for name in dict.fromkeys(point.name for point in run.metrics):
            points = series(run.metrics, name)
            if points:
                row = [f"run {label(position)}", _point(best(points, direction(name))), _point(points[-1])]
                rows.append((text(name), row))
    if not rows:
        return "<p>No metric was evaluated.</p>\n"
    warning = '<p class="soft">Values of metrics with different names, data or detectors cannot be compared.</p>\n'
    return table(["metric", "run", "best (snapshot)", "last (snapshot)"], rows) + warning


def _samples(runs: Sequence[Run], pictures: Sequence[RunPictures]) -> str:
    parts = []
    for position, (run, of_run) in enumerate(zip(runs, pictures)):
        parts.append(f"<h3>Run {label(position)}</h3>\n")
        parts.append(_figures(of_run.over_time, run, "over-time") or "<p>The run folder holds no sample pictures.</p>\n")
    return (
        '<p class="soft">The top-left part of the host\'s sample grids, the same latents throughout. A click enlarges.</p>\n'
        + "".join(parts)
    )


def _pairs(runs: Sequence[Run], pictures: Sequence[RunPictures]) -> str:
    parts = []
    for position, (run, of_run) in enumerate(zip(runs, pictures)):
        body = _figures(of_run.pair, run, "pair")
        if of_run.undrawn:
            commands = "".join(
                f"<br><code>regan-ext export {text(shlex.quote(str(path)))} --to=images</code>" for path in of_run.undrawn
            )
            body += f"<p>The pair of snapshots of the last switch has no pictures here. These draw them:{commands}</p>\n"
        parts.append(f"<h3>Run {label(position)}</h3>\n{body}" if body else "")
    return "".join(parts) or (
        "<p>No run has the two members of a switch (network-pair-*.pkl), which runs with Re-GAN write at their last one.</p>\n"
    )


def _options(runs: Sequence[Run]) -> str:
    """All options of a single run, folded up."""
    options = all_options(runs[0])
    rows = [(text(name), [text(_shortened(value))]) for name, value in sorted(options.items())[:_MOST_OPTIONS]]
    more = f"<p>And {len(options) - len(rows)} more.</p>\n" if len(options) > len(rows) else ""
    if not rows:
        return "<p>They are not known.</p>\n"
    cells = table(["option", "value"], rows)
    return f"<details open>\n<summary>{len(options)} options of the loop</summary>\n{cells}{more}</details>\n"


def _differing(runs: Sequence[Run]) -> str:
    rows = [(text(name), [text(_shortened(v)) if v else "–" for v in values]) for name, values in differing_options(runs)]
    rows = rows[:_MOST_OPTIONS]
    if not rows:
        return "<p>None: the options of these runs are the same.</p>\n"
    return table(["option", *[f"run {label(i)}" for i in range(len(runs))]], rows)


# ---------------------------------------------------------------- words


def duration(seconds: float) -> str:
    """As "1 h 02 min" or "3 min 04 s"; "–" for NaN."""
    if not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _earlier(run: Run) -> str:
    parts = [f"{text(part.run.name)} (up to {part.until:g} kimg)" for part in run.earlier]
    return "<br>".join(reversed(parts)) or "–"


def _method(run: Run) -> str:
    return "; ".join(method_names(run)) or "none (the plain host)"


def _trained(run: Run) -> str:
    text = f"{run.kimg:g} of {run.total_kimg:g} kimg" if math.isfinite(run.total_kimg) else f"{run.kimg:g} kimg"
    if run.has_stopped:
        return f"stopped at {text}"
    return text if run.is_finished else f"{text} (not finished)"


def _point(point: Optional[MetricPoint]) -> str:
    return "–" if point is None else f"{point.value:.4g} ({text(point.snapshot)})"


def _part(part: float, whole: float) -> str:
    return f"{number(part)} of {number(whole)} ({part / whole:.1%})" if math.isfinite(part) and whole > 0 else "–"


def _pace(pace: Pace) -> str:
    if not pace.ticks:
        return "–"
    spread = f"; {number(pace.fastest)} to {number(pace.slowest)}" if pace.ticks > 1 else ""
    return f"{number(pace.sec_per_iteration)} ({pace.iterations} iterations{spread})"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


# ---------------------------------------------------------------- elements


def _figures(pictures: Sequence[Picture], run: Run, kind: str) -> str:
    figures = []
    for picture in pictures:
        width, height = picture.size
        alt, wide = f"{run.name}: {picture.caption}", " class=wide" if width > 1.3 * height else ""
        figures.append(
            f'<figure{wide}><label class="zoom"><input type="checkbox" aria-label="enlarge: {text(alt)}">'
            f'<img src="{picture.url}" width="{width}" height="{height}" alt="{text(alt)}"></label>'
            f"<figcaption>{text(picture.caption)}</figcaption></figure>\n"
        )
    return f'<div class="{kind}">\n{"".join(figures)}</div>\n' if figures else ""
