"""Whether training is still sound: weights and losses that are numbers.

A host whose weights have become NaN trains on without a word, because it takes NaN out of the gradients alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Mapping, Optional, Tuple

import torch

__all__ = ["Fault", "look", "non_finite"]


@dataclass(frozen=True)
class Fault:
    """What is not finite at the end of a tick.

    Args:
        weights: names of parameters, such as "G.mapping.fc0.weight".
        losses: names of the host's statistics of losses. Both are empty where another process found it.
        in_weights: whether there are weights among it, in whichever process.
    """

    weights: Tuple[str, ...]
    losses: Tuple[str, ...]
    in_weights: bool

    def __str__(self) -> str:
        if not self.weights and not self.losses:
            return "weights or losses of another process are not finite"
        parts = [f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
                 for names, what in ((self.weights, "tensors of weights"), (self.losses, "losses")) if names]  # fmt: skip
        return f"{' and '.join(parts)} are not finite"


def non_finite(network: torch.nn.Module) -> List[str]:
    """Names of the parameters that hold NaN or an infinity.

    Buffers are not looked at: the host feeds uninitialised memory into the average style of some runs, which train on well.
    """
    named = list(network.named_parameters())
    if not named:
        return []
    with torch.no_grad():
        finite = torch.stack([param.isfinite().all() for _, param in named]).tolist()
    return [name for (name, _), fine in zip(named, finite) if not fine]


def look(networks: Mapping[str, torch.nn.Module], losses: Mapping[str, float], num_ranks: int = 1) -> Optional[Fault]:
    """What is wrong with a loop at the end of a tick; None if nothing is. Has to be called on every rank.

    Args:
        networks: name → network.
        losses: name → mean over the tick.
        num_ranks: number of processes.
    """
    weights = tuple(f"{name}.{param}" for name, network in networks.items() for param in non_finite(network))
    wrong = tuple(name for name, mean in losses.items() if not math.isfinite(mean))
    found, in_weights = bool(weights or wrong), bool(weights)
    if num_ranks > 1:
        device = next(param.device for network in networks.values() for param in network.parameters())
        flags = torch.tensor([found, in_weights], dtype=torch.int32, device=device)
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        found, in_weights = map(bool, flags.tolist())
    return Fault(weights, wrong, in_weights) if found else None
