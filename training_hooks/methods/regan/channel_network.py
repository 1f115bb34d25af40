"""The pruned channels of one network, and what is done with them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from ...sparsity import channels
from ...sparsity.masked_network import MaskedNetwork
from ...sparsity.moments import clear_first_moments
from ...sparsity.scores import Rule
from .plan import ChannelPlan

__all__ = ["ChannelNetwork"]


class ChannelNetwork(MaskedNetwork):
    """Pruned channels of a generator's synthesis network or of a discriminator, and of its average.

    A pruned channel loses its readers: the weights that read it are zero. Its writers stay as they are and rest, so that
    growing it back from zero changes nothing that the network computes. The masks are those of the readers.

    Args:
        plan: what is pruned.
        module: the network.
        ema: its averaged copy, or None.
        importance: see ``training_hooks.sparsity.channels.choose_channels``.
    """

    def __init__(
        self, plan: ChannelPlan, module: torch.nn.Module, ema: Optional[torch.nn.Module] = None, importance: str = "writers"
    ):
        super().__init__([*plan.readers, *plan.mapping], module, ema)
        self.plan = plan
        self.kept: List[torch.Tensor] = []  # indices of the kept channels of each feature map
        self._importance = importance
        self._all = {name: p for name, p in module.named_parameters() if name in plan.layout.axes}
        self._masked = slice(len(plan.readers), None)  # those of which single weights are pruned

    @torch.no_grad()
    def choose(self, rule: Rule) -> None:
        layout, before = self.plan.layout, self.keep[self._masked]
        self.kept = channels.choose_channels(self._all, layout, self.plan.at(rule.ratio), self._importance, rule, self.kept)
        flags = self._flags()
        self.keep = []
        for name in self.plan.readers:
            into = layout.axes[name][1]
            assert into is not None
            self.keep.append(self._spread(self._all[name], (None, flags[into])))
        mapping = list(zip(self.names, self.params))[self._masked]
        self.keep += [rule.mask(n, p, before[i] if before else None) for i, (n, p) in enumerate(mapping)]

    def scored(self) -> Dict[str, torch.Tensor]:
        return {
            **{name: self._all[name] for name in self.plan.layout.ends},
            **dict(list(zip(self.names, self.params))[self._masked]),
        }

    @staticmethod
    def check(optimizer: torch.optim.Optimizer) -> None:
        """Check that an optimizer leaves alone what has neither gradient nor momentum.

        Raises:
            ValueError: it has weight decay.
        """
        decay = next((group["weight_decay"] for group in optimizer.param_groups if group.get("weight_decay")), 0)
        if decay:
            raise ValueError(
                f"granularity=channel needs an optimizer with weight_decay=0, got weight_decay={decay:g}: the weights that "
                "write pruned channels have to rest"
            )

    @torch.no_grad()
    def rest(self, optimizer: torch.optim.Optimizer) -> None:
        """Clear the momentum of what does not train, which would move it although its gradient is zero."""
        for param, keep in self.resting():
            clear_first_moments(optimizer, param, keep)

    def resting(self) -> "List[Tuple[torch.Tensor, torch.Tensor]]":
        """(parameter, mask) for every parameter of which the narrow network uses a part; the mask keeps that part. None before
        channels have been chosen."""
        if not self.kept:
            return []
        flags, features, pairs = self._flags(), self.plan.layout.features, []
        for name, axes in self.plan.layout.axes.items():
            used = [None if a is None or self.kept[a].numel() == features[a].channels else flags[a] for a in axes]
            if any(u is not None for u in used):
                pairs.append((self._all[name], self._spread(self._all[name], used)))
        return pairs + self.held()

    def held(self) -> "List[Tuple[torch.Tensor, torch.Tensor]]":
        """Of the mapping network alone: what rests in the synthesis network has neither gradient nor momentum."""
        return list(zip(self.params[self._masked], self.keep[self._masked]))

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "kept": [k.cpu() for k in self.kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.params[0].device
        self.kept = [k.to(device) for k in state["kept"]]
        super().load_state_dict(state)

    def _flags(self) -> List[torch.Tensor]:
        """For each feature map, a bool tensor that is true for kept channels."""
        flags = []
        for index, feature in zip(self.kept, self.plan.layout.features):
            flag = torch.zeros(feature.channels, dtype=torch.bool, device=index.device)
            flags.append(flag.index_fill_(0, index, True))
        return flags

    @staticmethod
    def _spread(param: torch.Tensor, flags: "Sequence[Optional[torch.Tensor]]") -> torch.Tensor:
        """The mask of ``param`` that keeps what all ``flags`` of its first dimensions keep."""
        mask = torch.ones(param.shape, dtype=torch.bool, device=param.device)
        for dimension, flag in enumerate(flags):
            if flag is not None:
                each = flag.repeat_interleave(param.shape[dimension] // flag.numel())
                mask &= each.view([-1 if d == dimension else 1 for d in range(param.ndim)])
        return mask
