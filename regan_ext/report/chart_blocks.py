"""The charts of a report's page: one legend, what was thinned, the drawings, and single values as numbers."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from training_hooks.core.schedule import Phase

from ..runs.folder import Run
from .charts import PHASE_LETTERS, Chart, PhaseBar, label
from .elements import number, swatch, table, text

__all__ = ["charts_section"]


def charts_section(
    runs: Sequence[Run], drawn: Sequence[Tuple[Chart, str]], single: Sequence[Chart], bars: Sequence[PhaseBar]
) -> str:
    """HTML of the section.

    Args:
        runs: the report's.
        drawn: charts and their SVG.
        single: charts that no run has two values of.
        bars: phases of the runs.
    """
    if not any(run.ticks for run in runs):
        return "<p>No tick was finished, so there is nothing to draw.</p>\n"
    figures = [f"<figure>\n<figcaption>{text(chart.title)}</figcaption>\n{svg}\n</figure>\n" for chart, svg in drawn]
    grid = f'<div class="charts">\n{"".join(figures)}</div>\n' if figures else ""
    return _legend(runs, bars) + _notes(drawn, bars) + grid + _single(single)


def _legend(runs: Sequence[Run], bars: Sequence[PhaseBar]) -> str:
    entries = [f"{swatch(i)}run {label(i)}" for i in range(len(runs))] if len(runs) > 1 else []
    shown = {phase for bar in bars for phase, _, _ in bar.spans}
    entries += [
        f'<i class="phase {phase.name.lower()}"></i>{PHASE_LETTERS[phase]} {phase.title}' for phase in Phase if phase in shown
    ]
    if any(bar.turns for bar in bars):
        entries.append('<i class="phase turns"></i>S/D in turn')
    return f'<p class="legend">{"".join(f"<span>{entry}</span>" for entry in entries)}</p>\n' if entries else ""


def _notes(drawn: Sequence[Tuple[Chart, str]], bars: Sequence[PhaseBar]) -> str:
    notes = [
        f"Run {label(bar.run)} has too many phases to be told apart: one in {bar.every} sparse phases is drawn, on a lighter "
        "shade."
        for bar in bars
        if bar.turns
    ]
    if any(line.dots for chart, _ in drawn for line in chart.lines):
        notes.append("Learning rate and sparsity: lines by the schedule, dots as measured at ticks.")
    return "".join(f'<p class="soft">{note}</p>\n' for note in notes)


def _single(charts: Sequence[Chart]) -> str:
    """What has one value alone."""
    rows: List[Tuple[str, List[str]]] = []
    for chart in charts:
        for line in chart.lines:
            if line.only is not None:
                kimg, value = line.only
                unit = chart.axis[chart.axis.rindex("(") :].strip("()")
                said = f"{number(value)}{'' if unit == 'no unit' else f' {text(unit)}'}"
                rows.append((text(chart.title), [f"run {label(line.run)}", said, f"{kimg:g}"]))
    return f"<h3>Single values</h3>\n{table(['', 'run', 'value', 'at kimg'], rows)}" if rows else ""
