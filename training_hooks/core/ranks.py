"""What the processes of one training run tell each other."""

from __future__ import annotations

import io
from typing import Any, List, Sequence, Tuple

import torch

__all__ = ["average_gradients", "bare", "differs", "gather", "rank_and_size"]


def bare(module: Any) -> Any:
    """The module inside of those that spread it over GPUs or processes and that ``torch.compile`` makes, in any order."""
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while isinstance(module, torch.nn.Module):
        inside = module.module if isinstance(module, parallel) else getattr(module, "_orig_mod", None)
        if inside is None:
            break
        module = inside
    return module


def rank_and_size() -> Tuple[int, int]:
    """Rank of this process and number of processes, as torch's default process group has them; 0 and 1 without one."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gather(value: Any, device: torch.device, num_ranks: int) -> List[Any]:
    """``value``, of tensors and plain values, of every rank on every rank. Has to be called on every rank.

    Args:
        value: this rank's.
        device: of the loop; bytes on it are what any backend can carry.
        num_ranks: number of processes.
    """
    if num_ranks == 1:
        return [value]
    buffer = io.BytesIO()
    torch.save(value, buffer)
    mine = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8).to(device)
    size = torch.tensor([mine.numel()], device=device)
    sizes = [torch.zeros_like(size) for _ in range(num_ranks)]
    torch.distributed.all_gather(sizes, size)
    longest = int(max(int(s) for s in sizes))
    padded = torch.nn.functional.pad(mine, (0, longest - mine.numel()))
    gathered = [torch.zeros_like(padded) for _ in range(num_ranks)]
    torch.distributed.all_gather(gathered, padded)
    parts = [g[: int(s)].cpu().numpy().tobytes() for g, s in zip(gathered, sizes)]
    # Not where they were: each would open a context of its own on every GPU.
    return [torch.load(io.BytesIO(part), map_location="cpu", weights_only=True) for part in parts]


def differs(value: int, device: torch.device) -> bool:
    """Whether the ranks have different values, on every rank. Has to be called on every rank."""
    low = torch.tensor(value, device=device)
    high = low.clone()
    torch.distributed.all_reduce(low, torch.distributed.ReduceOp.MIN)
    torch.distributed.all_reduce(high, torch.distributed.ReduceOp.MAX)
    return int(low) != int(high)


@torch.no_grad()
def average_gradients(params: Sequence[torch.Tensor], num_ranks: int, group: Any = None) -> None:
    """Average the gradients of ``params``, where there are any, over all ranks of a group, which by default is that of all
    processes. Has to be called on every rank of it."""
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return
    flat = torch.cat([g.reshape(-1) for g in grads])
    torch.distributed.all_reduce(flat, group=group)
    flat /= num_ranks
    for grad, part in zip(grads, flat.split([g.numel() for g in grads])):
        grad.copy_(part.view_as(grad))
