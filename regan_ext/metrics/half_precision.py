"""Precision and recall of features of any length.

The hosts compare features in half precision, which those of their VGG-16 fit. Squared distances of longer ones overflow and of
shorter ones vanish, and then everything counts as near. Neither number changes when all features are multiplied by one factor.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Sequence

import numpy as np

__all__ = ["common_factor", "scaled"]

_LONGEST = 120.0  # squared distances of vectors up to this length are at most 4 * 120**2 = 57600; half precision ends at 65504


def common_factor(sets: Sequence[Any]) -> float:
    """What brings the longest feature vector of all sets, the host's FeatureStats, near the end of half precision.

    A power of two, so that no feature is rounded.

    Raises:
        ValueError: a feature is no finite number.
    """
    longest = max(float(np.linalg.norm(part.astype(np.float64), axis=1).max()) for stats in sets for part in stats.all_features)
    if not math.isfinite(longest):
        raise ValueError("the detector gives features that are no finite numbers")
    return float(2.0 ** math.floor(math.log2(_LONGEST / longest))) if longest else 1.0


def scaled(stats: Any, factor: float) -> Any:
    """The host's FeatureStats with all features multiplied."""
    other = copy.copy(stats)
    other.all_features = [(part.astype(np.float64) * factor).astype(np.float32) for part in stats.all_features]
    return other
