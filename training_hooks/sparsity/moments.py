"""What becomes of an optimizer's running moments when weights are pruned and grow back.

Adam's second moment of a pruned weight decays towards zero, because its gradient is zero. The first steps after regrowth
are then up to 1/sqrt(1 - beta2) times the nominal step. ``keep`` leaves that as it is (as the Re-GAN code does),
``restore`` puts the second moment of the moment of pruning back, ``reset`` clears every moment of the regrown weights.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import torch

from .masks import zero_pruned

__all__ = [
    "check_second_moments", "clear_first_moments", "is_second", "moments_of", "reset_moments", "restore_second_moments",
    "save_second_moments", "second_moment",
]  # fmt: skip

Saved = Dict[str, torch.Tensor]


def moments_of(optimizer: torch.optim.Optimizer, param: torch.Tensor) -> List[Tuple[str, torch.Tensor]]:
    """The optimizer's per-entry state of ``param``: every tensor of its state with the same shape.

    Found by shape rather than by name, so it holds for Adam, RMSprop and SGD alike. Scalars are left out: Adam's ``step``
    has the shape of a scalar parameter.
    """
    if param.ndim == 0 or param not in optimizer.state:
        return []
    state = optimizer.state[param]
    return [(k, v) for k, v in state.items() if isinstance(v, torch.Tensor) and v.shape == param.shape]


def is_second(name: str) -> bool:
    """Whether part ``name`` of an optimizer's state is a mean of squares: Adam's and RMSprop's, or AdaBelief's variance."""
    return "sq" in name or name == "exp_avg_var"


def check_second_moments(optimizer: torch.optim.Optimizer) -> None:
    """Check, before the first step, that an optimizer will keep second moments.

    Raises:
        ValueError: it has no decay of them, or keeps the largest gradient in their place.
    """
    others = (torch.optim.Adamax, torch.optim.ASGD)
    if not {"betas", "alpha", "rho"} & set(optimizer.defaults) or isinstance(optimizer, others):
        raise ValueError(f"{type(optimizer).__name__} keeps no second moments of gradients; Adam, AdamW and RMSprop do")


def second_moment(optimizer: torch.optim.Optimizer, param: torch.Tensor) -> Optional[torch.Tensor]:
    """The running mean of squared gradients of ``param``, in its shape; None before its first step.

    Not corrected for its beginning at zero, which is one factor for all entries.

    Raises:
        ValueError: the optimizer has stepped and keeps none.
    """
    found = dict(moments_of(optimizer, param))
    second = next((value for key, value in found.items() if is_second(key)), None)
    if second is None and optimizer.state.get(param):
        raise ValueError(f"{type(optimizer).__name__} keeps no second moments of gradients; Adam, AdamW and RMSprop do")
    return second


def clear_first_moments(optimizer: torch.optim.Optimizer, param: torch.Tensor, keep: torch.Tensor) -> None:
    """Set the moments other than second ones (momentum) of the entries that ``keep`` prunes to zero."""
    cleared = [state for key, state in moments_of(optimizer, param) if not is_second(key)]
    zero_pruned(cleared, [keep] * len(cleared))


def save_second_moments(optimizer: torch.optim.Optimizer, param: torch.Tensor, keep: torch.Tensor) -> Saved:
    """Second moments of the entries that ``keep`` prunes, each as a flat tensor."""
    pruned = ~keep
    return {k: v[pruned].clone() for k, v in moments_of(optimizer, param) if is_second(k)}


def restore_second_moments(optimizer: torch.optim.Optimizer, param: torch.Tensor, keep: torch.Tensor, saved: Saved) -> None:
    """Put back what ``save_second_moments`` gave for the same mask."""
    pruned = ~keep
    for key, state in moments_of(optimizer, param):
        if key in saved:
            state[pruned] = saved[key]


def reset_moments(optimizer: torch.optim.Optimizer, param: torch.Tensor, keep: torch.Tensor) -> None:
    """Set every moment of the entries that ``keep`` prunes to zero."""
    cleared = [state for _, state in moments_of(optimizer, param)]
    zero_pruned(cleared, [keep] * len(cleared))
