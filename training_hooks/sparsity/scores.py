"""What makes a weight worth keeping: functions from a parameter to scores, of which masks keep the highest.

Who scores, which shape a mask has (``masks``) and who holds it (``masked_network``) know nothing of each other; a ``Rule``
brings the first two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Mapping, Optional

import torch

from ..core.random_state import generator_of
from .masks import keep_smallest_out, mark_smallest
from .moments import second_moment

__all__ = ["MaskShape", "Rule", "Scorer", "at_random", "change", "gradient_size", "keep_renewed", "magnitude", "saliency"]

#: A parameter's name and the parameter → floating point tensor of its shape, whose absolute values are the scores.
Scorer = Callable[[str, torch.Tensor], torch.Tensor]
#: Scores and the share to prune → bool mask of their shape, True where kept.
MaskShape = Callable[[torch.Tensor, float], torch.Tensor]


def magnitude(name: str, weight: torch.Tensor) -> torch.Tensor:
    """The weights themselves: the smallest are pruned (Re-GAN section 3.2)."""
    return weight


def gradient_size(optimizer: torch.optim.Optimizer) -> Scorer:
    """Scores by the root of Adam's second moment, the usual size of a weight's gradient; before the first step all are 1."""

    def score(name: str, weight: torch.Tensor) -> torch.Tensor:
        moment = second_moment(optimizer, weight)
        return torch.ones_like(weight) if moment is None else moment.sqrt()

    return score


def saliency(optimizer: torch.optim.Optimizer) -> Scorer:
    """Scores by magnitude times ``gradient_size``: about how much the training loss depends on each weight, to first order.
    Before the first step they are the magnitudes."""
    size = gradient_size(optimizer)
    return lambda name, weight: weight * size(name, weight)


def change(initial: Mapping[str, torch.Tensor]) -> Scorer:
    """Scores by the distance of each weight from its value in ``initial`` (name → tensor). Where none has moved they are the
    magnitudes."""

    def score(name: str, weight: torch.Tensor) -> torch.Tensor:
        moved = weight - initial[name]
        return moved if moved.any() else weight

    return score


def at_random(*key: object) -> Scorer:
    """Scores by chance, uniform in (0, 1], the same wherever ``key`` is, see ``generator_of``."""

    def score(name: str, weight: torch.Tensor) -> torch.Tensor:
        drawn = torch.rand(weight.shape, generator=generator_of(*key, name))
        return (1 - drawn).to(weight.device, weight.dtype)

    return score


def keep_renewed(
    scores: torch.Tensor,
    shape: Callable[[torch.Tensor], torch.Tensor],
    before: torch.Tensor,
    worth: torch.Tensor,
    share: float,
) -> torch.Tensor:
    """Mask of which at least a share of the pruned entries was kept before.

    Of those that would be pruned again the share with the highest worth stays, and as many of the lowest scores among those
    that were kept before go, beside those that go by their scores. So what has been pruned for long is tried in turn, also
    where scores hardly move.

    Args:
        scores: as a ``Scorer`` gives them.
        shape: mask of scores, which prunes a fixed number of the lowest, True where kept.
        before: mask before, bool in the same shape.
        worth: floating point, in the same shape, at least 0.
        share: least share, in [0, 1).
    """
    keep = shape(scores)
    again, others = ~keep & ~before, keep & before
    pruned = keep.numel() - int(torch.count_nonzero(keep))
    spare = int(torch.count_nonzero(others)) - (keep.shape[0] if keep.ndim >= 2 else 0)  # each channel keeps one
    moved = min(math.ceil(share * pruned * (1 - 1e-12)), int(torch.count_nonzero(again)), spare)
    if moved <= 0:
        return keep
    stay = mark_smallest(torch.where(again, -worth, math.inf).flatten(), moved).view(keep.shape)
    return shape(scores.abs().masked_fill((keep & ~before) | stay, math.inf))


@dataclass(frozen=True)
class Rule:
    """How masks are chosen.

    Args:
        ratio: share to prune, in [0, 1).
        shape: makes a mask of scores.
        score: scores a parameter.
        turnover: least share of what is pruned that was kept before, see ``keep_renewed``.
        worth: what decides who stays for it; needed where it is above 0.
    """

    ratio: float
    shape: MaskShape = keep_smallest_out
    score: Scorer = magnitude
    turnover: float = 0.0
    worth: Optional[Scorer] = None

    def mask(self, name: str, param: torch.Tensor, before: Optional[torch.Tensor] = None) -> torch.Tensor:
        """The mask of a parameter; ``before`` is the last one, None where there was none."""
        scores = self.score(name, param)
        if not self.turnover or before is None or self.worth is None:
            return self.shape(scores, self.ratio)
        worth = self.worth(name, param)
        return keep_renewed(scores, lambda s: self.shape(s, self.ratio), before, worth, self.turnover)
