"""Which value of a metric is the best of a run, and which snapshots can have it: one rule for everything that asks."""

from __future__ import annotations

import math
from typing import Iterable, Optional, Protocol, TypeVar

__all__ = ["Measured", "best", "is_better", "is_candidate"]

_FIRST = 1.0  # kimg


class Measured(Protocol):
    """A value of a metric, and the kimg of the snapshot that it was measured on."""

    @property
    def kimg(self) -> float: ...

    @property
    def value(self) -> float: ...


_Point = TypeVar("_Point", bound=Measured)


def is_candidate(kimg: float) -> bool:
    """Whether a snapshot at ``kimg`` can be the best of its run.

    The host's first one, named 0 kimg, has been trained for one batch: noise can be the best of a short run.
    """
    return kimg >= _FIRST


def is_better(value: float, other: float, which: Optional[str]) -> bool:
    """Whether ``value`` is better than ``other``: any number is better than NaN, none is where ``which`` is None."""
    if which is None or math.isnan(value):
        return False
    return math.isnan(other) or (value > other if which == "higher" else value < other)


def best(points: Iterable[_Point], which: Optional[str]) -> Optional[_Point]:
    """The first of the points with the best value.

    Args:
        points: values of one metric of one run, in any order.
        which: "higher" or "lower", as ``nvidia.metrics.direction`` has it; None where neither is known to be better.

    Returns:
        None without a finite value of a candidate, and without a direction.
    """
    candidates = [point for point in points if is_candidate(point.kimg) and math.isfinite(point.value)]
    if which is None or not candidates:
        return None
    return (max if which == "higher" else min)(candidates, key=lambda point: point.value)
