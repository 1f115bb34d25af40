"""A ring of Gaussians, and groups of small GANs that learn it; of several seeds at once, which know nothing of each other."""

from __future__ import annotations

import math
from typing import List, Optional, Tuple

import torch
from torch import nn
from torch.nn.functional import softplus

from training_hooks import Group, Groups

__all__ = ["modes", "new_groups", "train"]

_MODES, _RADIUS, _SIGMA = 8, 2.0, math.sqrt(0.02)
_CENTRES = _RADIUS * torch.tensor([[math.cos(math.pi * k / 4), math.sin(math.pi * k / 4)] for k in range(_MODES)])
_LATENT, _BATCH = 16, 64
_SAMPLES, _LEAST = 2500, 0.01  # a mode counts with this share of a generator's samples within 3 sigma


class _Networks(nn.Module):
    """Networks with two hidden layers, one a seed: [seeds, batch, inputs] to [seeds, batch, outputs]."""

    def __init__(self, seeds: int, inputs: int, outputs: int, width: int = 64):
        super().__init__()
        sizes = ((inputs, width), (width, width), (width, outputs))
        bounds = [one**-0.5 for one, _ in sizes]
        self.weights = nn.ParameterList(torch.empty(seeds, *size).uniform_(-b, b) for size, b in zip(sizes, bounds))
        self.biases = nn.ParameterList(torch.empty(seeds, 1, size[1]).uniform_(-b, b) for size, b in zip(sizes, bounds))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = torch.baddbmm(bias, torch.relu(x) if layer else x, weight)
        return x


def _points(seeds: int) -> torch.Tensor:
    """Points of the ring, [seeds, batch, 2]."""
    return _CENTRES[torch.randint(_MODES, (seeds, _BATCH))] + _SIGMA * torch.randn(seeds, _BATCH, 2)


def new_groups(number: int, seeds: int, interval: Optional[int], start: int = 0) -> Groups:
    """Groups that exchange every ``interval`` iterations, None = never, with learning rates that are never pushed.

    Args:
        number: of groups.
        seeds: how many are trained side by side.
        interval: see above.
        start: of the random numbers; another one makes other seeds.
    """
    torch.manual_seed(start)
    groups = []
    for _ in range(number):
        networks = _Networks(seeds, _LATENT, 2), _Networks(seeds, 2, 1)
        optimizers = [torch.optim.Adam(each.parameters(), lr, (0.5, 0.999)) for each, lr in zip(networks, (1e-3, 5e-4))]
        groups.append(Group(*networks, *optimizers))
    return Groups(groups, interval or 10**6, grow=1.0, window=0, push=0.0)


def train(groups: Groups, iterations: int) -> Groups:
    """Train all groups, on batches of 64."""
    seeds = len(groups[0].G.weights[0])
    for _ in range(iterations):
        groups.begin_iteration()
        for number, group in enumerate(groups):
            fakes = group.G(torch.randn(seeds, _BATCH, _LATENT))
            group.d_opt.zero_grad()
            (softplus(group.D(fakes.detach())) + softplus(-group.D(_points(seeds)))).mean(1).sum().backward()
            group.d_opt.step()
            group.g_opt.zero_grad()
            loss = softplus(-group.D(fakes)).mean(1).sum()
            loss.backward()
            group.g_opt.step()
            groups.observe(number, loss.detach() / seeds)
    return groups


@torch.no_grad()
def modes(groups: Groups) -> List[Tuple[List[int], int]]:
    """Of each seed the modes that each generator has found, and how many they have found together; by 2500 samples of each."""
    seeds = len(groups[0].G.weights[0])
    z = torch.randn(seeds, _SAMPLES, _LATENT, generator=torch.Generator().manual_seed(0))
    near = torch.stack([torch.cdist(group.G(z), _CENTRES.expand(seeds, -1, -1)) < 3 * _SIGMA for group in groups])
    found = near.float().mean(2) >= _LEAST  # [groups, seeds, modes]
    return [(found[:, seed].sum(1).tolist(), int(found[:, seed].any(0).sum())) for seed in range(seeds)]
