"""What Re-GAN remembers of a network's weights beyond its masks: how they began, and what they were when they were pruned."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import torch

from ...core.random_state import generator_of
from ...sparsity.channels import Layout
from ...sparsity.masked_network import MaskedNetwork
from ...sparsity.masks import count_bits
from ...sparsity.scores import MaskShape, Rule, at_random, change, gradient_size, magnitude, saliency
from ...sparsity.selection import frozen_shapes, parameter_shapes
from .config import ReconfigurationConfig

__all__ = ["Memory"]

_MOST = 1e9  # no weights begin so large


class Memory:
    """What scoring and regrowing need to know of one network.

    Nothing is kept that the settings do not need: four bytes for each pruned weight with ``regrow="value"``, four for each
    weight that is scored with ``regrow="initial"`` or ``score="change"``.

    Args:
        config: settings of the run.
        network: as it is when training begins.
        seed: of the run, which random draws follow.
    """

    def __init__(self, config: ReconfigurationConfig, network: MaskedNetwork, seed: int):
        self.config, self.network, self.seed = config, network, seed
        self.parked: List[torch.Tensor] = []  # of each parameter the pruned values, flat, in order of position
        self.initial: Dict[str, torch.Tensor] = {}
        self.spread: List[Tuple[float, float]] = []  # mean and standard deviation of each parameter at the beginning
        if config.score == "change" or config.regrow == "initial":
            self.initial = {name: p.detach().clone() for name, p in network.scored().items()}
        if config.regrow == "random":
            self.spread = [(float(p.detach().mean()), float(p.detach().std(unbiased=False))) for p in network.params]

    def rule(self, shape: MaskShape, optimizer: torch.optim.Optimizer, cycle: int, ratio: float) -> Rule:
        """How the masks of a cycle are chosen.

        Args:
            shape: makes masks of scores.
            optimizer: of the network.
            cycle: number of the sparse phase, from 1.
            ratio: share that is pruned.
        """
        config = self.config
        if config.score == "saliency":
            score = saliency(optimizer)
        elif config.score == "change":
            score = change(self.initial)
        else:
            score = at_random(self.seed, "score", cycle) if config.score == "random" else magnitude
        worth = gradient_size(optimizer) if config.turnover else None
        return Rule(ratio, shape, score, config.turnover, worth)

    @torch.no_grad()
    def prune(self) -> None:
        """The masks have been chosen, and the pruned weights are about to become zero."""
        if self.config.regrow == "value":
            self.parked = [p.masked_select(~keep) for p, keep in zip(self.network.params, self.network.keep)]

    @torch.no_grad()
    def grow(self, cycle: int) -> None:
        """Give the pruned weights what they grow back with.

        A weight that gets back the value that it had does so in the average too, because it has not moved since. What is new
        reaches the average as it follows.
        """
        network, regrow = self.network, self.config.regrow
        for index, (name, param, keep) in enumerate(zip(network.names, network.params, network.keep)):
            if regrow == "value":
                for each in (param, *network.ema[index : index + 1]):
                    each.masked_scatter_(~keep, self.parked[index])  # several times as fast as an index
            elif regrow == "initial":
                param.copy_(torch.where(keep, param, self.initial[name]))
            elif regrow == "random":
                drawn = torch.randn(param.shape, generator=generator_of(self.seed, "regrow", cycle, name))
                mean, deviation = self.spread[index]
                fresh = (mean + self.config.regrow_scale * deviation * drawn).to(param.device, param.dtype)
                param.copy_(torch.where(keep, param, fresh))
        self.parked = []

    def state_dict(self) -> Dict[str, Any]:
        """Tensors and plain values."""
        return {
            "seed": self.seed,
            "parked": list(self.parked),
            "initial": dict(self.initial),
            "spread": [list(each) for each in self.spread],
        }

    @staticmethod
    def check_state(
        state: Mapping[str, Any], config: ReconfigurationConfig, masked: Mapping[str, Any], module: torch.nn.Module
    ) -> None:
        """Check a state before there is a network with masks.

        Args:
            state: as ``state_dict`` makes it.
            config: settings of the run that it is of.
            masked: state of the network's masks.
            module: the network.

        Raises:
            Exception: ``load_state_dict`` could not use it; of any kind.
        """
        params, names = dict(module.named_parameters()), list(masked["names"])
        if type(state["seed"]) is not int:
            raise ValueError("its seed is absurd")
        parked, spread, initial = state["parked"], state["spread"], state["initial"]
        if len(parked) != (len(names) if config.regrow == "value" and masked["sparse"] else 0):
            raise ValueError("its parked values are not as many as the parameters")
        for values, keep, name in zip(parked, masked["keep"], names):
            if values.shape != (params[name].numel() - count_bits(keep),) or not _is_like(values, params[name]):
                raise ValueError(f"its parked values of {name} are absurd")
        is_kept = config.score == "change" or config.regrow == "initial"
        ends = Layout.of(parameter_shapes(module), frozen_shapes(module)).ends if config.granularity == "channel" else ()
        lacking = {*names, *ends} - set(initial) if is_kept else set()
        if lacking:
            raise ValueError(f"it has no first values of {min(lacking)}")
        for name, values in initial.items():
            if values.shape != params[name].shape or not _is_like(values, params[name]):
                raise ValueError(f"its first values of {name} are absurd")
        if len(spread) != (len(names) if config.regrow == "random" else 0):
            raise ValueError("its spreads are not as many as the parameters")
        if not all(abs(mean) < _MOST and 0 <= deviation < _MOST for mean, deviation in spread):
            raise ValueError("its spreads are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        device = self.network.params[0].device
        self.seed = state["seed"]
        self.parked = [values.to(device) for values in state["parked"]]
        self.initial = {name: values.to(device) for name, values in state["initial"].items()}
        self.spread = [(mean, deviation) for mean, deviation in state["spread"]]


def _is_like(values: torch.Tensor, param: torch.Tensor) -> bool:
    return values.dtype == param.dtype and bool(values.isfinite().all())
