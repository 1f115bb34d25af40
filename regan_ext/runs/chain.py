"""Runs that were stopped and gone on with: several folders, one run."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from ..support.errors import UserError
from .folder import Part, Run, Tick, read_run
from .metric import MetricPoint

__all__ = ["last_run", "read_runs"]

_MOST_PARTS = 1000
_RESUMED = "-resumed"
_SLACK = 1e-6  # kimg; what rounding may take away


def read_runs(folders: Sequence["str | Path"]) -> List[Run]:
    """The runs that the folders belong to, each once, with all parts that they went on from.

    A folder that is given twice, and one that another of them went on from, makes no run of its own.

    Raises:
        UserError: a folder is no run.
    """
    last = {run.folder: run for run in map(read_run, folders)}
    known = dict(last)  # each folder is read once, whoever went on from it
    chains = {folder: _chain(run, known) for folder, run in last.items()}
    inner = {part.folder for chain in chains.values() for part in chain[:-1]}
    return [_joined(chain) for folder, chain in chains.items() if folder not in inner]


def last_run(folder: Path) -> Optional[Run]:
    """The last run in a folder of run folders, with all parts that it went on from; None where there is none."""
    for path in sorted((path for path in folder.glob("[0-9]*-*") if path.is_dir()), reverse=True):
        with contextlib.suppress(UserError):
            return read_runs([path])[0]
    return None


def _chain(run: Run, known: Dict[Path, Run]) -> List[Run]:
    """The run and those that it went on from, oldest first."""
    chain = [run]
    while len(chain) < _MOST_PARTS:
        before = _previous(chain[0], known)
        if before is None or before.folder in {part.folder for part in chain}:
            break
        chain.insert(0, before)
    return chain


def _previous(run: Run, known: Dict[Path, Run]) -> Optional[Run]:
    """The run that this one went on from; None of a run that began, and where that one is not there."""
    snapshot = _resumed_snapshot(run)
    if snapshot is None:
        return None
    folder = Path(snapshot[0])
    for place in (run.folder.parent / folder.name, folder):  # folders may have been moved together
        try:
            found = known[place] = known.get(place) or read_run(place)
        except UserError:
            continue
        if found.folder != run.folder:
            return found
    return None


def _resumed_snapshot(run: Run) -> Optional[Tuple[str, int]]:
    """Folder and kimg of the snapshot that the run went on from; None of one that began from it, or from nothing."""
    match = re.fullmatch(r"(.+)[/\\]network-snapshot-(\d{6,9})\.pkl", str(run.options.get("resume_pkl") or ""))
    if match is None or "\0" in match[1]:
        return None
    kimg = int(match[2])
    goes_on = run.name.endswith(_RESUMED) or (bool(run.ticks) and run.ticks[0].kimg >= kimg >= 1)
    return (match[1], kimg) if goes_on else None


def _joined(chain: Sequence[Run]) -> Run:
    """The last of the parts with the ticks and metrics of all; what a later part trained anew replaces the earlier part's."""
    ticks: List[Tick] = []
    points: Dict[Tuple[str, float], MetricPoint] = {}
    notes: List[str] = []
    earlier: List[Part] = []
    seconds = 0.0
    for position, run in enumerate(chain):
        begin = _begin(run, ticks) if position else 0.0
        if position:
            earlier.append(Part(chain[position - 1], begin))
        ticks = [tick for tick in ticks if tick.kimg <= begin + _SLACK] + [_later(tick, seconds) for tick in run.ticks]
        points = {key: point for key, point in points.items() if point.kimg <= begin + _SLACK}
        points.update({(p.name, p.kimg): _in_folder(p, run) if len(chain) > 1 else p for p in run.metrics})
        seconds += run.total_sec if math.isfinite(run.total_sec) else 0.0
        notes += [f"{run.name}: {note}" if len(chain) > 1 else note for note in run.notes]
    missing = _resumed_snapshot(chain[0])
    if missing is not None:
        notes.append(f"{chain[0].name} went on from {missing[0]}, which is not there: the run begins at {missing[1]} kimg here")
    return replace(chain[-1], ticks=tuple(ticks), metrics=tuple(points.values()), notes=tuple(notes), earlier=tuple(earlier))


def _begin(run: Run, before: Sequence[Tick]) -> float:
    """The kimg from which the run went on: that of the tick that wrote the snapshot, whose name has its whole part."""
    snapshot = _resumed_snapshot(run)
    assert snapshot is not None
    written = [tick.kimg for tick in before if int(tick.kimg + _SLACK) == snapshot[1]]
    return written[-1] if written else float(snapshot[1])


def _later(tick: Tick, seconds: float) -> Tick:
    """The tick with the time of earlier jobs in its total."""
    total = tick.get("Timing/total_sec") + seconds
    return replace(tick, values={**tick.values, "Timing/total_sec": total}) if seconds else tick


def _in_folder(point: MetricPoint, run: Run) -> MetricPoint:
    return replace(point, snapshot=f"{run.name}/{point.snapshot}")
