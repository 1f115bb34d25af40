"""Run folders as arguments: which of a run's snapshots is meant, and which runs a folder holds."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import List, Optional, Sequence

from training_hooks.core.best import best, is_candidate
from training_hooks.nvidia.metrics import direction

from ..support.errors import UserError
from ..support.reading import Damaged, mapping, number, read_json
from .job import by_kimg
from .metric import MetricPoint

__all__ = ["best_snapshot", "chosen_snapshot", "find_runs"]

_RUN_FILES = ("training_options.json", "stats.jsonl")


def find_runs(path: Path) -> List[Path]:
    """The run folders that ``path`` stands for: itself, or those right below it in the order of their names.

    Itself too where there are none, for whatever reads it to say what is wrong.
    """
    if _is_run(path) or not path.is_dir():
        return [path]
    return sorted(inner for inner in path.glob("*") if _is_run(inner)) or [path]


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _RUN_FILES)


def chosen_snapshot(path: Path, best: Optional[str] = None) -> Path:
    """The network pickle that an argument means.

    Args:
        path: a pickle, or a run folder, which stands for its newest snapshot.
        best: the best one of a run folder instead: name of a metric, with or without "-sparse" or "-dense"; "" = of the only
            metric.

    Raises:
        UserError: there is no such snapshot.
    """
    if not path.is_dir():
        if best is not None:
            raise UserError(f"--best takes the best snapshot of a run folder, and {path} is none")
        return path
    if best is not None:
        return best_snapshot([path], best)
    found = list(by_kimg(path).values())
    if not found:
        runs = [inner.name for inner in find_runs(path) if inner != path]
        more = f"; name one of the {len(runs)} runs in it, such as {path / runs[-1]}" if runs else ""
        raise UserError(f"{path} holds no network-snapshot-NNNNNN.pkl{more}")
    return found[-1]


def best_snapshot(folders: Sequence[Path], wanted: str = "", option: str = "--best") -> Path:
    """The best of the snapshots that the parts of a run have kept.

    Args:
        folders: of the parts, at least one, in order.
        wanted: see ``chosen_snapshot``.
        option: that asks for it.

    Raises:
        UserError: there is none, or several metrics have one.
    """
    folder = folders[-1]
    found = [point for part in folders for path in sorted(part.glob("network-best-*.json")) for point in _noted(path)]
    if not found:
        raise UserError(f"{option}: {folder} holds no network-best-*.pkl; a run with --metrics keeps them")
    fitting = [point for point in found if wanted in ("", point.name) or Path(point.snapshot).stem == f"network-best-{wanted}"]
    metrics = list(dict.fromkeys(point.name for point in fitting))
    if len(metrics) != 1:
        names = ", ".join(dict.fromkeys(point.name for point in found))
        given = f"{option}={wanted}" if wanted else option
        remedy = f"name one, as in --best={found[0].name}" if option == "--best" else "give --metrics one alone"
        raise UserError(f"{given}: {folder} knows the best by {names}; {remedy}")
    return Path((best(fitting, direction(metrics[0])) or fitting[0]).snapshot)


def _noted(path: Path) -> List[MetricPoint]:
    """The value in the note beside a ``network-best-METRIC-KIND.pkl``; none where it does not count."""
    match, snapshot = re.fullmatch(r"network-best-(.+)-(?:sparse|dense)", path.stem), path.with_suffix(".pkl")
    try:
        content = mapping(read_json(path))
    except Damaged:
        return []
    value, kimg = number(content.get("value")), number(content.get("kimg"))
    if match is None or not snapshot.is_file() or not math.isfinite(value) or not is_candidate(kimg):
        return []
    return [MetricPoint(match[1], kimg, value, str(snapshot))]
