"""Draws charts with matplotlib: SVG that takes its colours from the page, or PNG on white."""

from __future__ import annotations

import html
import io
import math
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from training_hooks.core.schedule import Phase

from ..support.errors import UserError
from .charts import PHASE_LETTERS, Chart, PhaseBar, label

__all__ = [
    "ON_WHITE", "STYLE", "band_style", "colour_of", "dash", "dashes_of", "draw_bands", "draw_png", "draw_svg", "log_scale",
    "require_matplotlib",
]  # fmt: skip

_DASHES = ("", "6 2", "2 2", "8 2 2 2")  # of the lines of one colour, as SVG writes them
_PER_ROUND = 6
_SIZE, _STRIP = (4.8, 3.0), 0.17  # inches; _STRIP is the height of one run's row of phases
_HALF = 0.5  # opacity of the shade where sparse and dense phases alternate
STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,  # names come from files
    "svg.fonttype": "none",
    "svg.hashsalt": "regan-ext",
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class _Palette:
    paper: str
    text: str
    grid: str
    sparse: str
    warmup: str
    runs: Tuple[str, ...]


ON_WHITE = _Palette(
    "#ffffff", "#1c1c1c", "#d0d0d0", "#d3d9e2", "#9aa3b0", ("#0072b2", "#c04a00", "#007a5a", "#a6427f", "#806400", "#555555")
)  # fmt: skip
# Colours that occur nowhere else: the SVG gets the page's own in their place.
_MARKS = _Palette("#0a0b00", "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", tuple(f"#0a0c0{i}" for i in range(_PER_ROUND)))
_VARIABLES = {
    _MARKS.paper: "var(--paper)",
    _MARKS.text: "currentColor",
    _MARKS.grid: "var(--grid)",
    _MARKS.sparse: "var(--sparse)",
    _MARKS.warmup: "var(--warmup)",
    **{colour: f"var(--run{index})" for index, colour in enumerate(_MARKS.runs)},
}


def require_matplotlib() -> None:
    """Say in one line what to install.

    Raises:
        UserError: matplotlib cannot be imported.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as err:
        raise UserError(f'the charts need matplotlib ({err}); install it: pip install "regan-ext[report]"') from err


def draw_svg(chart: Chart, bars: Sequence[PhaseBar]) -> str:
    """The chart as an ``<svg>`` element for a page that sets --grid, --sparse, --warmup and --run0 to --run5."""
    text = _render(chart, bars, _MARKS, "svg").decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    for mark, variable in _VARIABLES.items():
        rest = rest.replace(mark, variable)
    rest = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{chart.name}-", rest)
    return f'<svg {view[0]} role="img" aria-label="{html.escape(chart.describe())}">{rest}'.strip()


def draw_png(chart: Chart, bars: Sequence[PhaseBar]) -> bytes:
    """The chart as a PNG file on white."""
    return _render(chart, bars, ON_WHITE, "png")


def _render(chart: Chart, bars: Sequence[PhaseBar], palette: _Palette, kind: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    output, limits = io.BytesIO(), _limits(chart, bars)
    bars = [bar for bar in bars if any(line.run == bar.run for line in chart.lines)]
    with matplotlib.rc_context(STYLE):
        height = _STRIP * len(bars)
        figure = Figure(figsize=(_SIZE[0], _SIZE[1] + height), layout="constrained")
        if bars:
            strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[height, _SIZE[1] - 0.7])
            _draw_strip(strip, bars, palette, limits)
        else:
            axes = figure.subplots()
        if len({(bar.spans, bar.turns) for bar in bars}) == 1:
            draw_bands(axes, bars[0], palette)
        _draw_lines(axes, chart, palette)
        _dress(axes, chart, palette, limits)
        if kind == "png":
            figure.suptitle(chart.title, color=palette.text, fontsize=10)
            _draw_legend(figure, chart, bars, palette)  # a page has one for all its charts
        metadata: Dict[str, Any] = {"Date": None} if kind == "svg" else {}
        figure.savefig(output, format=kind, dpi=160, transparent=kind == "svg", metadata=metadata)
    return output.getvalue()


def _limits(chart: Chart, bars: Sequence[PhaseBar]) -> Tuple[float, float]:
    ends = [x for line in chart.lines for x in line.xs] + [stop for bar in bars for _, _, stop in bar.spans]
    ends += [stop for bar in bars for _, stop in bar.turns]
    return 0.0, max(ends) or 1.0


def band_style(phase: Phase, palette: _Palette) -> Dict[str, Any]:
    """Sparse is shaded, dense blank, warm-up hatched: told apart without colour."""
    if phase == Phase.WARMUP:
        return dict(facecolor="none", edgecolor=palette.warmup, hatch="////")
    return dict(facecolor=palette.sparse if phase == Phase.SPARSE else "none", edgecolor="none")


def draw_bands(axes: Any, bar: PhaseBar, palette: _Palette) -> None:
    """The phases behind a chart."""
    for phase, start, stop in bar.spans:
        if phase != Phase.DENSE:
            axes.axvspan(start, stop, linewidth=0, zorder=0, **band_style(phase, palette))
    for start, stop in bar.turns:
        axes.axvspan(start, stop, linewidth=0, zorder=-1, alpha=_HALF, **band_style(Phase.SPARSE, palette))


def _draw_strip(axes: Any, bars: Sequence[PhaseBar], palette: _Palette, limits: Tuple[float, float]) -> None:
    """A row for each run above the chart: its phases, with their letters where there is room."""
    for row, bar in enumerate(bars):
        for phase, start, stop in bar.spans:
            axes.broken_barh([(start, stop - start)], (row - 0.42, 0.84), linewidth=0, **band_style(phase, palette))
            if not bar.turns or phase == Phase.WARMUP:
                axes.plot([start, start], [row - 0.42, row + 0.42], color=palette.grid, linewidth=0.5)
                _letter(axes, PHASE_LETTERS[phase], (start, stop), row, palette, limits, on_hatch=phase == Phase.WARMUP)
        for start, stop in bar.turns:
            style = {**band_style(Phase.SPARSE, palette), "alpha": _HALF}
            axes.broken_barh([(start, stop - start)], (row - 0.42, 0.84), linewidth=0, zorder=0, **style)
            _letter(axes, "S/D in turn", (start, stop), row, palette, limits)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), [label(bar.run) for bar in bars], color=palette.text, fontsize=7.5)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def _letter(
    axes: Any,
    text: str,
    span: Tuple[float, float],
    row: int,
    palette: _Palette,
    limits: Tuple[float, float],
    on_hatch: bool = False,
) -> None:
    """The name of a phase in its box, where there is room for it."""
    if span[1] - span[0] > 0.035 * len(text) ** 0.7 * (limits[1] - limits[0]):
        box = dict(facecolor=palette.paper, linewidth=0, pad=0.6) if on_hatch else None
        style: Dict[str, Any] = dict(ha="center", va="center_baseline", fontsize=7.5, color=palette.text, bbox=box)
        axes.text(sum(span) / 2, row, text, **style)


def _draw_lines(axes: Any, chart: Chart, palette: _Palette) -> None:
    for line in chart.lines:
        colour, shape = palette.runs[line.run % _PER_ROUND], "steps-post" if chart.steps else "default"
        style: Dict[str, Any] = dict(color=colour, linestyle=dash(line.run), linewidth=1.4, drawstyle=shape)
        is_of_ticks = not line.dots and sum(map(math.isfinite, line.ys)) <= 30
        # Not clipped, or half of each point on an axis is missing.
        axes.plot(line.xs, line.ys, marker="o" if is_of_ticks else "", markersize=2.6, clip_on=False, **style)
        if line.lows:
            axes.plot(line.xs, line.lows, clip_on=False, **style)
            axes.fill_between(
                line.xs, line.lows, line.ys, step="post" if chart.steps else None, color=colour, alpha=0.25, linewidth=0
            )
        if line.dots:
            axes.plot(*zip(*line.dots), "o", color=colour, markersize=2.6, clip_on=False)


def colour_of(run: int) -> str:
    """Of a run's lines, on white."""
    return ON_WHITE.runs[run % _PER_ROUND]


def dashes_of(run: int) -> str:
    """A run's dashes as SVG writes them. Neighbours differ in them too, for those who do not tell the colours apart; 24 lines
    are all different."""
    return _DASHES[(run + run // _PER_ROUND) % len(_DASHES)]


def dash(run: int) -> Any:
    """A run's dashes as matplotlib takes them, for a line of 1.4 points."""
    dashes = dashes_of(run)
    return (0, tuple(float(part) / 1.4 for part in dashes.split())) if dashes else "-"


def _dress(axes: Any, chart: Chart, palette: _Palette, limits: Tuple[float, float]) -> None:
    axes.set_xlim(*limits)
    axes.set_xlabel("training progress (kimg)", color=palette.text)
    axes.set_ylabel(chart.axis, color=palette.text)
    if chart.log:
        log_scale(axes)
    elif chart.from_zero:
        shown = [y for line in chart.lines for y in (*line.ys, *(y for _, y in line.dots)) if math.isfinite(y)]
        axes.set_ylim(0, max(shown) * 1.08 if max(shown) > 0 else 1)
    axes.grid(axis="y", which="major", color=palette.grid, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=palette.text, labelsize=8)
    axes.spines[:].set_color(palette.text)


def log_scale(axes: Any) -> None:
    """A logarithmic scale with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_legend(figure: Any, chart: Chart, bars: Sequence[PhaseBar], palette: _Palette) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: List[Any] = [
        Line2D([], [], color=palette.runs[line.run % _PER_ROUND], linestyle=dash(line.run), label=f"run {label(line.run)}")
        for line in chart.lines
    ]
    phases = sorted({phase for bar in bars for phase, _, _ in bar.spans})
    for phase in phases:
        style = {**band_style(phase, palette), "edgecolor": palette.warmup}
        handles.append(Patch(label=f"{PHASE_LETTERS[phase]} {Phase(phase).title}", linewidth=0.5, **style))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False, fontsize=8,
        labelcolor=palette.text, handlelength=2.2, columnspacing=0.9, handletextpad=0.5,
    )  # fmt: skip
