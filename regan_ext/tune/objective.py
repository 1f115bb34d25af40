"""What a search makes best: a value of a metric, and which snapshot of a run it is taken of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Literal, Optional, Sequence

from training_hooks.core.best import best, is_candidate
from training_hooks.nvidia.metrics import direction

from ..runs.folder import Run
from ..runs.metric import PARTS, MetricPoint, metric_of, series
from ..support.errors import UserError

__all__ = ["Objective"]


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
        kind = re.match(r"[a-z]+(?=\d)", metric)
        parts = PARTS.get(kind[0], ()) if kind is not None and metric_of(metric) == metric else ()
        wanted = [metric + part for part in parts if part != "_std"] or [metric]
        if len(wanted) > 1:
            raise UserError(f"--metric: {metric} has {len(wanted)} values: give {' or '.join(wanted)}")
        return cls(wanted[0], of)

    @property
    def host_metric(self) -> str:
        """The metric as ``--metrics`` has it."""
        return metric_of(self.metric)

    @property
    def better(self) -> str:
        """Which values are better, "higher" or "lower"; "lower" also where it is not known."""
        return direction(self.metric) or "lower"

    @property
    def direction(self) -> "Literal['maximize', 'minimize']":
        """As Optuna has it."""
        return "maximize" if self.better == "higher" else "minimize"

    def choose(self, points: Sequence[MetricPoint]) -> Optional[MetricPoint]:
        """The value that counts; None where there is none."""
        if self.of == "last":
            return points[-1] if points else None
        return best(points, self.better)

    def points(self, run: Optional[Run]) -> List[MetricPoint]:
        """The values over a run, in the order of their kimg, of the snapshots that can be the best of it."""
        return [] if run is None else [point for point in series(run.metrics, self.metric) if is_candidate(point.kimg)]
