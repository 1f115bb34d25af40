"""Which mode the values of a metric ask for, and which values a run has: pure functions."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence

from ...nvidia.metrics import direction, kind_of

__all__ = ["chosen_metric", "signed", "wants_sparse"]


def wants_sparse(record: Sequence[float], weights: Sequence[float]) -> Optional[bool]:
    """Whether training should be sparse: the newest value is no worse than the weighted mean of the last ones, itself included.

    Args:
        record: values, oldest first, of which smaller ones are better.
        weights: of the last values, that of the newest last.

    Returns:
        None while there are fewer values than weights.
    """
    if len(record) < len(weights):
        return None
    last = record[-len(weights) :]
    return math.fsum(weight * (value - last[-1]) for weight, value in zip(weights, last)) >= 0  # exact where all are equal


def signed(name: str, value: float) -> float:
    """The value of a metric so that smaller is better."""
    return -value if direction(name) == "higher" else value


def chosen_metric(asked: str, measured: Sequence[str]) -> str:
    """Name of the value that decides.

    Args:
        asked: name of a metric or of one of its values; "" = the first.
        measured: names of the metrics of a run, or of their values.

    Raises:
        ValueError: none is measured, not that one, or it is not known which values of it are better.
    """
    if not measured:
        raise ValueError("metric is what the method goes by, and this run measures none; give --metrics=fid5k_full")
    names: List[str] = []
    for metric in measured:
        kind = kind_of(metric)
        is_value = kind is None or any(part and metric.endswith(part) for part in kind.parts)
        names += [metric] if kind is None or is_value else [metric + part for part in kind.parts]
    asked = asked or measured[0]
    found = next((name for name in names if name == asked or (asked in measured and name.startswith(asked))), None)
    if found is None:
        raise ValueError(f"metric {asked} is not measured in this run; there are: {', '.join(names)}")
    if direction(found) is None:
        raise ValueError(f"metric {found}: it is not known whether a higher or a lower value is better")
    return found
