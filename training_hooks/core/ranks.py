"""What the processes of one training run tell each other."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch

__all__ = ["average_gradients", "differs", "rank_and_size"]


def rank_and_size() -> Tuple[int, int]:
    """Rank of this process and number of processes, as torch's default process group has them; 0 and 1 without one."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def differs(value: int, device: torch.device) -> bool:
    """Whether the ranks have different values, on every rank. Has to be called on every rank."""
    low = torch.tensor(value, device=device)
    high = low.clone()
    torch.distributed.all_reduce(low, torch.distributed.ReduceOp.MIN)
    torch.distributed.all_reduce(high, torch.distributed.ReduceOp.MAX)
    return int(low) != int(high)


@torch.no_grad()
def average_gradients(params: Sequence[torch.Tensor], num_ranks: int) -> None:
    """Average the gradients of ``params``, where there are any, over all ranks. Has to be called on every rank."""
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return
    flat = torch.cat([g.reshape(-1) for g in grads])
    torch.distributed.all_reduce(flat)
    flat /= num_ranks
    for grad, part in zip(grads, flat.split([g.numel() for g in grads])):
        grad.copy_(part.view_as(grad))
