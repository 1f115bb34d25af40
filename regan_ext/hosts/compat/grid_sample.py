"""``grid_sample`` with a second derivative, for versions of torch whose own has none (1.10 to 2.11)."""

from __future__ import annotations

from typing import Any, Tuple

import torch

__all__ = ["grid_sample"]

_BILINEAR, _ZEROS = 0, 0


def grid_sample(input: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample ``input`` [N, C, H, W] at ``grid`` [N, h, w, 2] in [-1, 1]: bilinear, zeros outside, corners not aligned.

    Twice differentiable in ``input``. The gradient with respect to ``grid`` has no derivative of its own; the augmentation
    pipeline, whose only use this is, does not need one.
    """
    return _Sample.apply(input, grid)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(input, grid)
        return torch.nn.functional.grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        input, grid = ctx.saved_tensors
        return _SampleBackward.apply(grad, input, grid)


class _SampleBackward(torch.autograd.Function):
    """The backward pass is linear in the incoming gradient, and its transpose is the forward pass."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, input: torch.Tensor, grid: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(grid)
        return torch.ops.aten.grid_sampler_2d_backward(grad, input, grid, _BILINEAR, _ZEROS, False, (True, True))

    @staticmethod
    def backward(ctx: Any, grad_of_input: torch.Tensor, grad_of_grid: torch.Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(grad_of_input, grid), None, None
