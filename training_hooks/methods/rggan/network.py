"""The pruned tensors of one network, the values that they have kept aside, and those of its average."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from ...sparsity import masks
from ...sparsity.moments import is_second, moments_of
from .config import RESTART
from .thresholds import Threshold

__all__ = ["ParkedNetwork", "ParkedTensor"]


class ParkedTensor:
    """One parameter, of which entries are 0 while the values that they had are parked.

    The dense values are parameter + parked at all times: where one of the two holds a value, the other is 0.

    Args:
        name: of the parameter.
        param: the parameter itself, dense.
        ema: the same of the averaged network, dense, or None.
        threshold: below which it is pruned.
    """

    def __init__(self, name: str, param: torch.Tensor, ema: Optional[torch.Tensor], threshold: Threshold):
        self.name, self.param, self.ema, self.threshold = name, param, ema, threshold
        self.keep = torch.ones_like(param, dtype=torch.bool)
        self.parked = torch.zeros_like(param)
        self.parked_ema = None if ema is None else torch.zeros_like(ema)
        self.saved: Dict[str, torch.Tensor] = {}  # second moments at pruning, where they are restored

    @torch.no_grad()
    def weight(self) -> torch.Tensor:
        """The dense values."""
        return torch.where(self.keep, self.param, self.parked)

    @torch.no_grad()
    def choose(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """The mask by the thresholds as they are, and whether the tensor has restarted, a bool scalar.

        What is below its threshold is pruned. A tensor that would keep 1 % or less begins anew with thresholds of 0. No output
        channel is pruned whole but by rules that do not guard: hosts divide by a channel's largest weight.
        """
        size = self.weight().abs()
        below = size < self.threshold.value()  # of NaN it is false, so that it stays to be found
        restarts = (~below).sum() <= RESTART * size.numel()
        self.threshold.restart(restarts)
        self.threshold.limit(size)
        keep = ~(below & ~restarts)
        if self.threshold.guards and size.numel() > 0:
            rows = keep.reshape(size.shape[0] if size.ndim >= 2 else 1, -1)
            rows.scatter_(1, size.reshape(rows.shape).argmax(1, keepdim=True), True)
            keep = rows.view(size.shape)
        return keep, restarts

    @torch.no_grad()
    def change(self, keep: torch.Tensor, optimizer: torch.optim.Optimizer, policy: str) -> torch.Tensor:
        """Put another mask in place: park what leaves, give back what returns.

        Args:
            keep: the mask.
            optimizer: of the network.
            policy: what becomes of moments, see ``training_hooks.sparsity.moments``.

        Returns:
            How many entries returned, a scalar.
        """
        fresh, weight = keep & ~self.keep, self.weight()
        if policy != "keep":
            self._change_moments(self.keep & ~keep, fresh, optimizer, policy)
        if self.ema is not None and self.parked_ema is not None:
            average = torch.where(self.keep, self.ema, self.parked_ema)
            self.ema.copy_(torch.where(keep, average, 0.0))
            self.parked_ema = torch.where(keep, 0.0, average)
        self.param.copy_(torch.where(keep, weight, 0.0))
        self.parked, self.keep = torch.where(keep, 0.0, weight), keep
        return fresh.sum()

    def _change_moments(self, gone: torch.Tensor, fresh: torch.Tensor, optimizer: torch.optim.Optimizer, policy: str) -> None:
        for name, moment in moments_of(optimizer, self.param):
            if policy == "reset":
                moment.masked_fill_(fresh, 0)
            elif is_second(name):
                saved = self.saved.get(name, torch.zeros_like(moment))
                self.saved[name] = torch.where(gone, moment, torch.where(fresh, 0.0, saved))
                moment.copy_(torch.where(fresh, saved, moment))

    def state_dict(self) -> Dict[str, Any]:
        """The mask at one bit an entry, and of each pruned entry what is kept aside: tensors and plain values."""
        pruned = ~self.keep
        return {
            "keep": masks.pack_bits(self.keep),
            "parked": self.parked[pruned],
            "ema": None if self.parked_ema is None else self.parked_ema[pruned],
            "moments": {name: saved[pruned] for name, saved in self.saved.items()},
            "threshold": self.threshold.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``; parameter and average have to hold what they held."""
        self.keep = masks.unpack_bits(state["keep"], self.param.shape).to(self.param.device)
        self.parked = self._spread(state["parked"], self.param)
        if self.parked_ema is not None:
            self.parked_ema = self._spread(state["ema"], self.parked_ema)
        self.saved = {name: self._spread(saved, self.param) for name, saved in state["moments"].items()}
        self.threshold.load_state_dict(state["threshold"])

    def _spread(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        spread = torch.zeros_like(like)
        spread[~self.keep] = values.to(like)
        return spread


class ParkedNetwork:
    """The pruned tensors of one network.

    Args:
        tensors: in the network's own order.
        optimizer: of the network.
        moments: what becomes of moments, see ``training_hooks.sparsity.moments``.
    """

    def __init__(self, tensors: Sequence[ParkedTensor], optimizer: torch.optim.Optimizer, moments: str = "keep"):
        self.tensors: List[ParkedTensor] = list(tensors)
        self.numel = sum(each.param.numel() for each in self.tensors)
        self._optimizer, self._policy = optimizer, moments
        self.device = self.tensors[0].param.device
        self.returned = torch.zeros((), dtype=torch.int64, device=self.device)  # entries, since somebody has read it
        self.restarts = torch.zeros((), dtype=torch.int64, device=self.device)  # of tensors

    @torch.no_grad()
    def learn(self) -> None:
        """Before a main step: what gradients say of the thresholds."""
        for each in self.tensors:
            if each.param.grad is not None:
                each.threshold.learn(each.weight(), each.param.grad)

    def advance(self) -> None:
        """After a main step: thresholds move, and masks with them."""
        for each in self.tensors:
            with torch.no_grad():
                each.threshold.advance(self._optimizer.param_groups[0]["lr"])
        self.prune()

    def prune(self) -> None:
        """Masks by the thresholds as they are."""
        for each in self.tensors:
            keep, restarts = each.choose()
            self.returned += each.change(keep, self._optimizer, self._policy)
            self.restarts += restarts

    def grow(self) -> None:
        """All parked values return."""
        for each in self.tensors:
            self.returned += each.change(torch.ones_like(each.keep), self._optimizer, self._policy)

    def zero_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, where there are any."""
        held = [(each.param.grad, each.keep) for each in self.tensors if each.param.grad is not None]
        masks.zero_pruned([grad for grad, _ in held], [keep for _, keep in held])

    def hold(self) -> None:
        """Set pruned weights to zero again: an optimizer's momentum moves them."""
        masks.zero_pruned([each.param for each in self.tensors], [each.keep for each in self.tensors])

    def kept(self) -> float:
        """Share of the weights that is kept."""
        return sum(int(torch.count_nonzero(each.keep)) for each in self.tensors) / self.numel

    def level(self) -> float:
        """Mean threshold over all weights, in standard deviations of their tensors."""
        return sum(float(each.threshold.level()) * each.param.numel() for each in self.tensors) / self.numel

    def checksum(self) -> int:
        """Of the masks."""
        return masks.checksum([masks.pack_bits(each.keep) for each in self.tensors])

    def state_dict(self) -> Dict[str, Any]:
        """Tensors and plain values."""
        return {
            "tensors": {each.name: {"shape": list(each.param.shape), **each.state_dict()} for each in self.tensors},
            "returned": int(self.returned),
            "restarts": int(self.restarts),
        }

    @staticmethod
    def check_state(state: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
        """Check a state before there is a network.

        Args:
            state: as ``state_dict`` makes it.
            shapes: parameter name → shape, of the network that it is for.

        Raises:
            Exception: ``load_state_dict`` could not use it; of any kind, because values of another type fail in many ways.
        """
        for name, saved in state["tensors"].items():
            if tuple(shapes[name]) != tuple(saved["shape"]):
                raise ValueError(f"its masks are of another {name}")
            pruned = int(torch.count_nonzero(~masks.unpack_bits(saved["keep"], torch.Size(saved["shape"]))))
            values = [saved["parked"], *([] if saved["ema"] is None else [saved["ema"]]), *saved["moments"].values()]
            if any(value.shape != (pruned,) or not value.isfinite().all() for value in values):
                raise ValueError(f"what it has parked of {name} is absurd")
            threshold = dict(saved["threshold"])
            numbers = [*threshold.pop("moments", {}).values(), *threshold.values()]
            if not numbers or not all(number.isfinite().all() for number in numbers):
                raise ValueError(f"its thresholds of {name} are absurd")
        if not all(type(state[count]) is int and 0 <= state[count] < 2**63 for count in ("returned", "restarts")):
            raise ValueError("its counts are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``.

        Raises:
            ValueError: the state is of other parameters.
        """
        mine = {each.name: list(each.param.shape) for each in self.tensors}
        if {name: saved["shape"] for name, saved in state["tensors"].items()} != mine:
            raise ValueError("the state's masks are of other parameters than this run selects")
        for each in self.tensors:
            each.load_state_dict(state["tensors"][each.name])
        self.returned.fill_(state["returned"])
        self.restarts.fill_(state["restarts"])
