"""Do GANs learn as well when both networks step at once, as blocks do, as when they step in turn?

``python tests/benchmarks/blocks_order.py > docs/results/blocks-order.jsonl``, a few minutes on one core. A ring of eight
Gaussians, networks with two hidden layers of 64, 2000 iterations, sixteen seeds that know nothing of each other. A line a pair
of learning rates: of each seed the modes that its generator has found.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import List, Tuple

import torch
from torch.nn.functional import softplus

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.ring import modes, new_groups

SEEDS, ITERATIONS, BATCH = 16, 2000, 64
RATES = ((1e-3, 1e-3), (1e-3, 5e-4), (5e-4, 1e-3), (2e-4, 2e-4))  # of G, of D


def points() -> torch.Tensor:
    """Real points of all seeds."""
    angle = torch.randint(8, (SEEDS, BATCH)) * (math.pi / 4)
    return 2 * torch.stack([angle.cos(), angle.sin()], 2) + math.sqrt(0.02) * torch.randn(SEEDS, BATCH, 2)


def found(rates: Tuple[float, float], at_once: bool) -> List[int]:
    """Modes of each seed after training."""
    groups = new_groups(1, SEEDS, ITERATIONS)
    one = groups[0]
    for optimizer, rate in zip((one.g_opt, one.d_opt), rates):
        optimizer.param_groups[0]["lr"] = rate
    for _ in range(ITERATIONS):
        fakes = one.G(torch.randn(SEEDS, BATCH, 16))
        if at_once:
            softplus(-one.D(fakes)).mean(1).sum().backward(inputs=list(one.G.parameters()))
        (softplus(one.D(fakes.detach())) + softplus(-one.D(points()))).mean(1).sum().backward()
        one.d_opt.step()
        if not at_once:
            softplus(-one.D(fakes)).mean(1).sum().backward(inputs=list(one.G.parameters()))
        one.g_opt.step()
        for optimizer in (one.g_opt, one.d_opt):
            optimizer.zero_grad()
    return [union for _, union in modes(groups)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for rates in RATES:
        line = {"rates": rates, "in_turn": found(rates, False), "at_once": found(rates, True)}
        print(json.dumps(line), flush=True)
