"""Whether training is still sound: weights and losses that are numbers.

A host whose weights have become NaN trains on without a word, because it takes NaN out of the gradients alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple

import torch

__all__ = ["Fault", "look", "non_finite"]

_NETWORKS = ("G", "D", "G_ema")


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


def look(variables: Mapping[str, Any]) -> Optional[Fault]:
    """What is wrong with a host's loop at the end of a tick; None if nothing is. Has to be called on every rank.

    Args:
        variables: local variables of the loop, after its statistics.
    """
    networks = [(name, variables[name]) for name in _NETWORKS if isinstance(variables.get(name), torch.nn.Module)]
    weights = tuple(f"{name}.{param}" for name, network in networks for param in non_finite(network))
    losses = tuple(_losses(variables.get("stats_dict") or {}))
    found, in_weights = bool(weights or losses), bool(weights)
    if variables.get("num_gpus", 1) > 1:
        flags = torch.tensor([found, in_weights], dtype=torch.int32, device=variables["device"])
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        found, in_weights = map(bool, flags.tolist())
    return Fault(weights, losses, in_weights) if found else None


def _losses(stats: Mapping[str, Any]) -> List[str]:
    """Names of the losses that are not finite. What was not measured in the tick has no number and a mean of NaN."""
    losses = ((name, value) for name, value in stats.items() if name.startswith("Loss/"))
    return [name for name, value in losses if value["num"] > 0 and not math.isfinite(value["mean"])]
