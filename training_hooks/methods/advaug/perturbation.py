"""How a feature is perturbed, and what becomes of two halves of logits: functions of tensors alone."""

from __future__ import annotations

from typing import Any, Callable, Union

import torch

__all__ = ["ascent", "drawn", "goes_through", "joined", "size"]

Amount = Union[float, torch.Tensor]


def size(feature: torch.Tensor, step: float, is_relative: bool) -> Amount:
    """How far a step goes: ``step``, or so many root mean squares of each sample of ``feature``.

    Args:
        feature: floating, [batch, ...].
        step: length.
        is_relative: whether it is relative.

    Returns:
        A number; or a tensor [batch, 1, ...] of the type of the feature.
    """
    if not is_relative:
        return step
    flat = feature.detach().float().flatten(1)
    rms = flat.square().mean(1).sqrt().view(-1, *[1] * (feature.ndim - 1))
    return (step * rms).to(feature.dtype)


def ascent(
    feature: torch.Tensor,
    slope: torch.Tensor,
    amount: Amount,
    steps: int,
    slope_at: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """What is added to a feature: ``steps`` steps along the sign of the slope, a negative amount goes down.

    Args:
        feature: [batch, ...].
        slope: of the sum of D's logits at the feature, [batch, ...]. Where it is 0 there is no step.
        amount: see ``size``.
        steps: how many, at least 1.
        slope_at: the slope at another feature.
    """
    delta = amount * slope.detach().sign()
    for _ in range(steps - 1):
        delta = delta + amount * slope_at(feature.detach() + delta).detach().sign()
    return delta


def drawn(feature: torch.Tensor, amount: Amount, is_uniform: bool) -> torch.Tensor:
    """Noise for a feature [batch, ...]: amount · N(0, 1), or amount · U(0, 1)."""
    return amount * (torch.rand_like(feature) if is_uniform else torch.randn_like(feature)).detach()


def joined(plain: torch.Tensor, perturbed: torch.Tensor, weight: float) -> torch.Tensor:
    """Both halves of logits as one batch. The mean of a loss over it has the gradient of (plain + weight · perturbed) /
    (1 + weight), where each is the mean over its half.

    Args:
        plain: [batch, ...].
        perturbed: of the same shape.
        weight: of the perturbed half.
    """
    both = torch.cat([plain, perturbed])
    if weight != 1:
        shares = torch.as_tensor([2 / (1 + weight), 2 * weight / (1 + weight)], dtype=both.dtype, device=both.device)
        factors = shares.repeat_interleave(plain.shape[0]).view(-1, *[1] * (plain.ndim - 1))
        both.register_hook(lambda gradient: gradient * factors)
    return both


def goes_through(value: torch.Tensor, node: Any) -> bool:
    """Whether ``value`` was computed from what the node of the graph of autograd gave."""
    seen, left = set(), [value.grad_fn]
    while left:
        at: Any = left.pop()
        if at is node:
            return True
        if at is not None and at not in seen:
            seen.add(at)
            left += [following for following, _ in at.next_functions]
    return False
