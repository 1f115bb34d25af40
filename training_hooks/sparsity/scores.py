"""What makes a weight worth keeping: functions from a parameter to scores, of which masks keep the highest.

Who scores, which shape a mask has (``masks``) and who holds it (``masked_network``) know nothing of each other.
"""

from __future__ import annotations

from typing import Callable

import torch

__all__ = ["MaskShape", "Scorer", "magnitude"]

#: Parameter → floating point tensor of its shape, whose absolute values are the scores.
Scorer = Callable[[torch.Tensor], torch.Tensor]
#: Scores and the share to prune → bool mask of their shape, True where kept.
MaskShape = Callable[[torch.Tensor, float], torch.Tensor]


def magnitude(weight: torch.Tensor) -> torch.Tensor:
    """The weights themselves: the smallest are pruned (Re-GAN section 3.2)."""
    return weight
