"""The values of a metric over a run, as its metric-*.jsonl grows, and what counts of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from training_hooks.core.best import best, direction, is_candidate

from ..runs.folder import of_one_protocol, points_of
from ..support.errors import UserError
from ..support.reading import read_lines

__all__ = ["Objective", "Point", "failure"]

_PART = re.compile(r"_(precision|recall|mean|std)$")


@dataclass(frozen=True)
class Point:
    """A value of the metric, of the snapshot at ``kimg``."""

    kimg: int
    value: float


@dataclass(frozen=True)
class Objective:
    """What is made best.

    Args:
        metric: name of the value, such as fid5k_full or pr5k3_full_recall.
        of: "best" or "last" of the snapshots.
    """

    metric: str
    of: str = "best"

    @classmethod
    def parse(cls, metric: str, of: str = "best") -> "Objective":
        """Read the name of a metric or of one of its values.

        Raises:
            UserError: it is no name, or the metric has several values of which none is the obvious one.
        """
        if re.fullmatch(r"[a-z]\w*", metric) is None or metric == "none":
            raise UserError(f"--metric: {metric!r} is no metric; one has to be named, such as fid5k_full")
        if metric.endswith("_std"):
            raise UserError(f"--metric: {metric} is a deviation, which is nothing to make best")
        if re.match(r"pr\d", metric) and not _PART.search(metric):
            raise UserError(f"--metric: {metric} has two values: give {metric}_precision or {metric}_recall")
        score = re.match(r"is\d", metric) is not None and not _PART.search(metric)
        return cls(f"{metric}_mean" if score else metric, of)

    @property
    def host_metric(self) -> str:
        """The metric as ``--metrics`` has it."""
        return _PART.sub("", self.metric)

    @property
    def is_larger_better(self) -> bool:
        return direction(self.metric) == "higher"

    @property
    def direction(self) -> str:
        """As Optuna has it."""
        return "maximize" if self.is_larger_better else "minimize"

    def choose(self, points: Sequence[Point]) -> Optional[Point]:
        """The value that counts; None where there is none."""
        if self.of == "last":
            return points[-1] if points else None
        return best(points, "higher" if self.is_larger_better else "lower")

    def points(self, folders: Iterable[Path]) -> List[Point]:
        """The values in the run folders of one run, oldest first; where a part was repeated, the later ones."""
        found: Dict[int, Point] = {}
        for folder in folders:
            found.update({point.kimg: point for point in _points(_records(folder, self.host_metric), self.metric)})
        return [found[kimg] for kimg in sorted(found)]


def _points(records: Sequence[Mapping[str, Any]], metric: str) -> List[Point]:
    """The values in the lines of a metric-*.jsonl, in their order.

    Left out: a metric that failed, what is no finite number, another protocol than the first, and snapshots that cannot be the
    best, see ``training_hooks.core.best``.
    """
    found = [point for record in of_one_protocol(records) for point in points_of(record) if point.name == metric]
    return [Point(int(p.kimg), p.value) for p in found if is_candidate(p.kimg) and math.isfinite(p.value)]


def failure(folders: Iterable[Path], metric: str) -> Optional[str]:
    """What the metric failed of the last time that it failed; None where it did not."""
    errors = [record.get("error") for folder in folders for record in _records(folder, metric)]
    return next((str(error) for error in reversed(errors) if error), None)


def _records(folder: Path, metric: str) -> List[Mapping[str, Any]]:
    """The lines of the metric's file; a last one that is still being written is left out."""
    return read_lines(folder / f"metric-{metric}.jsonl")[0]
