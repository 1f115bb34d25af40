"""Metrics: the names of their values, the files that they are noted in, and their series over a run.

Which values are better is in ``training_hooks.nvidia.metrics``, which of them is the best of a run in ``core.best``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from training_hooks.nvidia.metrics import KINDS

from ..support.reading import mapping, number, read_lines, unless_read

__all__ = [
    "PARTS", "MetricPoint", "last_error", "metric_file", "metric_of", "points_of", "read_metrics", "read_series", "series",
]  # fmt: skip

#: Endings of a metric's values by the beginning of its name; a metric that is not here has one value, of its own name.
PARTS: Mapping[str, Sequence[str]] = {name: kind.parts for name, kind in KINDS.items() if kind.parts != ("",)}
_MOST = 40  # names of values that are read of a run


@dataclass(frozen=True)
class MetricPoint:
    """One value of one metric.

    Args:
        name: value's name, such as fid5k_full or pr5k3_full_recall.
        kimg: training progress of the snapshot that was measured.
        value: the number, NaN where it is none.
        snapshot: file name of that snapshot.
    """

    name: str
    kimg: float
    value: float
    snapshot: str


def metric_of(name: str) -> str:
    """The metric, as ``--metrics`` has it, that has a value of that name."""
    return re.sub(f"({'|'.join(part for parts in PARTS.values() for part in parts)})$", "", name)


def series(points: Iterable[MetricPoint], name: str) -> List[MetricPoint]:
    """The finite values of that name in the order of their kimg, one for each kimg, the last that there is."""
    found = {point.kimg: point for point in points if point.name == name and math.isfinite(point.value)}
    return [found[kimg] for kimg in sorted(found)]


def last_values(points: Sequence[MetricPoint]) -> Dict[str, float]:
    """Name → the last finite value, in the order in which the names come first."""
    found = {name: series(points, name) for name in dict.fromkeys(point.name for point in points)}
    return {name: of_name[-1].value for name, of_name in found.items() if of_name}


def metric_file(folder: Path, metric: str) -> Path:
    """Where the host notes a metric in a run folder."""
    return folder / f"metric-{metric}.jsonl"


def read_metrics(folder: Path) -> Tuple[List[MetricPoint], List[str]]:
    """All values in a run folder, and what could not be read."""
    points: List[MetricPoint] = []
    notes: List[str] = []
    for path in sorted(folder.glob("metric-*.jsonl")):
        records, unread = read_series(path)
        points += [point for record in records for point in points_of(record)]
        notes += unread
    names = list(dict.fromkeys(point.name for point in points))
    if len(names) > _MOST:
        notes.append(f"{len(names)} values of metrics, of which the first {_MOST} are read")
        points = [point for point in points if point.name in names[:_MOST]]
    return points, notes


@unless_read
def read_series(path: Path) -> Tuple[List[Mapping[str, Any]], List[str]]:
    """The lines of a metric's file that make one series, and what could not be read.

    They are those of its first protocol, with any seed, and those without a protocol.
    """
    records, notes = read_lines(path)
    protocols = [{k: v for k, v in mapping(record.get("protocol")).items() if k != "seed"} for record in records]
    first = next(filter(None, protocols), {})
    kept = [record for record, protocol in zip(records, protocols) if protocol in ({}, first)]
    if len(kept) < len(records):
        left = f"{len(records) - len(kept)} of {len(records)} lines have another protocol than the first"
        notes.append(f"{path.name}: {left}, and were left out")
    return kept, notes


def points_of(record: Mapping[str, Any]) -> List[MetricPoint]:
    """The values in one line of a metric's file."""
    snapshot = str(record.get("snapshot_pkl") or "")
    match = re.search(r"(\d{1,9})\.pkl$", snapshot)
    results = mapping(record.get("results"))
    return [MetricPoint(n, float(match[1]), number(v), Path(snapshot).name) for n, v in results.items() if match]


def last_error(folder: Path, metric: str) -> Optional[str]:
    """What a metric failed of the last time that it failed; None where it did not."""
    errors = [record.get("error") for record in read_lines(metric_file(folder, metric))[0]]
    return next((str(error) for error in reversed(errors) if error), None)
