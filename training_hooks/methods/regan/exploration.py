"""Whether the masks of a run will change from one pruning to the next. An estimate, made before the run.

The model: weights of a role (convolution, affine, mapping) begin with a normal distribution, and Adam moves each by about the
learning rate a step in a direction that is as good as random, so that its displacement is normal too and grows with the root of
the number of steps. What is pruned moves in dense phases alone, what is kept in both. A sample of such weights is pruned, moved
and pruned again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Optional

import torch

from ...core.random_state import generator_of

__all__ = ["NOISE", "PACE", "UNIT", "Movement", "displacement", "fresh_threshold", "mask_change", "moment_left"]

#: Role → standard deviation of the displacement of one step over the learning rate: medians of runs on 100 digits.
PACE: Dict[str, float] = {"conv": 1.6, "affine": 1.6, "mapping": 1.4}
#: Role → standard deviation of weights when training begins, in StyleGAN2 and its relatives.
UNIT: Dict[str, float] = {"conv": 1.0, "affine": 1.0, "mapping": 100.0}
#: Role → decades: standard deviation of Adam's estimate of that size at one moment, with which masks by saliency change as much
#: as ``tests/benchmarks/exploration.py`` has measured.
NOISE: Dict[str, float] = {"conv": 0.17, "affine": 0.093, "mapping": 0.048}

_SAMPLE = 200_000
_SIZES = 0.37  # decades: standard deviation of the usual size of gradients within a tensor, of runs on 100 digits


def fresh_threshold(ratio: float) -> float:
    """The magnitude below which the share ``ratio`` (of 0 to 1, without 1) of standard normal numbers lies."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(ratio, dtype=torch.float64)))


@dataclass(frozen=True)
class Movement:
    """What an optimizer does in a phase.

    Args:
        interval: iterations of the phase.
        lr: learning rate as configured, the phase's factor included.
        beta2: decay of the second moment as configured.
        reg_interval: iterations between two steps of lazy regularisation, None where there are none. Every r iterations the
            host makes one step more, for which it multiplies lr by r / (r + 1) and raises beta2 to that power.
    """

    interval: int
    lr: float
    beta2: float
    reg_interval: Optional[int] = None


def displacement(movement: Movement, left: float = 1.0) -> float:
    """Root mean square of the distance that a weight goes in a phase, of steps of one learning rate in random directions.

    Args:
        movement: the phase.
        left: share of the second moment that is left when the phase begins, in [0, 1]. It decays while a weight is pruned, and
            steps are larger until it is back.
    """
    steps, beta2 = _steps(movement)
    squares, decay, step = 0.0, 1.0, 0
    while decay * (1 - left) > 1e-4 and step < steps:
        decay *= beta2
        squares += 1 / (1 - decay * (1 - left))
        step += 1
    return movement.lr * _share(movement) * math.sqrt(squares + steps - step)


def moment_left(movement: Movement) -> float:
    """Share of the second moment of a pruned weight that is left after a phase."""
    steps, beta2 = _steps(movement)
    return beta2**steps


def _share(movement: Movement) -> float:
    return 1.0 if movement.reg_interval is None else movement.reg_interval / (movement.reg_interval + 1)


def _steps(movement: Movement) -> "tuple[int, float]":
    share = _share(movement)
    return round(movement.interval / share), movement.beta2**share


def mask_change(
    ratio: float,
    kept: float,
    pruned: float,
    score: str = "magnitude",
    regrow: str = "zero",
    regrow_scale: float = 1.0,
    noise: float = NOISE["conv"],
    recovered: float = 1.0,
) -> Optional[float]:
    """Share of what is pruned that the pruning before did not prune, by the model.

    Args:
        ratio: share that is pruned, in [0, 1).
        kept: displacement of kept weights from one pruning to the next, in standard deviations of the weights.
        pruned: displacement of pruned weights, likewise.
        score, regrow, regrow_scale: settings of the run.
        noise: of the role, see ``NOISE``, as far as it is another at the second pruning; for saliency alone.
        recovered: share of the usual second moment that weights have which were pruned, likewise.

    Returns:
        The share; None where nothing is known of it.
    """
    if score in ("none", "random"):
        return None if score == "none" else 1 - ratio
    if score == "change":
        return None
    random = generator_of("mask_change")
    weights, moved, drawn, sizes, first, last = torch.randn(6, _SAMPLE, generator=random)
    k = int(ratio * _SAMPLE)
    if k == 0:
        return 0.0

    def gone(values: torch.Tensor, moment: torch.Tensor, before: Optional[torch.Tensor] = None) -> torch.Tensor:
        scores = values.abs() * (10 ** (_SIZES * sizes + noise * moment) if score == "saliency" else 1)
        if before is not None and score == "saliency":
            scores = torch.where(before, math.sqrt(recovered) * scores, scores)
        return scores <= scores.kthvalue(k).values

    before = gone(weights, first)
    start = {"zero": torch.zeros(_SAMPLE), "random": regrow_scale * drawn}.get(regrow, weights)
    after = gone(torch.where(before, start + pruned * moved, weights + kept * moved), last, before)
    return float((after & ~before).sum() / after.sum())
