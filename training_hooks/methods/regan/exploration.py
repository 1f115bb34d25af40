"""Whether regrown weights can get past the pruning threshold, or are bound to be pruned again. An estimate.

A regrown weight starts at 0, and Adam moves it by about the learning rate a step, whatever the size of its gradient. StyleGAN2
draws its weights from the standard normal distribution and scales them in each layer (those of the mapping network are 100
times as large), so the magnitude below which fresh weights are pruned follows from the ratio alone. Gradients that change their
sign get a weight less far than the estimate says.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Optional

__all__ = ["fresh_threshold", "movement", "reach", "shortest_interval"]


def fresh_threshold(ratio: float) -> float:
    """The magnitude below which the share ``ratio`` (of 0 to 1, without 1) of standard normal numbers lies."""
    return NormalDist().inv_cdf((1 + ratio) / 2)


def movement(steps: int, lr: float, beta2: float, forgotten: bool) -> float:
    """How far Adam without momentum moves a weight whose gradient is the same in all ``steps`` steps.

    Args:
        steps: how many.
        lr: learning rate.
        beta2: decay of the second moment, below 1.
        forgotten: the second moment begins at 0 and is not corrected for that, as it is of a weight that has long been pruned:
            the first step is 1 / sqrt(1 - beta2) times the nominal one.
    """
    total, decay, step = 0.0, beta2, 0
    while forgotten and step < steps and decay > 1e-4:
        total += 1 / math.sqrt(1 - decay)
        decay *= beta2
        step += 1
    return lr * (total + steps - step)


def reach(interval: int, lr: float, beta2: float, reg_interval: Optional[int], is_forgotten: bool) -> float:
    """How far a regrown weight gets in a dense phase at most, see :func:`movement`.

    Args:
        interval: iterations of a dense phase.
        lr, beta2: of the optimizer as configured, the factor of dense phases included. With lazy regularisation every r
            iterations (``reg_interval``; None where it is off) the host multiplies lr by r / (r + 1), raises beta2 to that
            power, and makes one step more in r iterations.
        is_forgotten: see :func:`movement`.
    """
    share = 1.0 if reg_interval is None else reg_interval / (reg_interval + 1)
    return movement(round(interval / share), lr * share, beta2**share, is_forgotten)


def shortest_interval(ratio: float, lr: float, beta2: float, reg_interval: Optional[int], is_forgotten: bool) -> int:
    """The least number of iterations of a dense phase in which regrown weights get past the threshold of ``ratio``, at most
    2**40; see :func:`reach`."""
    threshold, low, high = fresh_threshold(ratio), 0, 2**40
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = reach(middle, lr, beta2, reg_interval, is_forgotten) >= threshold
        low, high = (low, middle) if is_enough else (middle, high)
    return high
