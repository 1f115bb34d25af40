"""The learning rates of an optimizer, which follow the phases and nothing else."""

from __future__ import annotations

from typing import List, Optional, Sequence

import torch

__all__ = ["LearningRates"]


class LearningRates:
    """The learning rates of an optimizer's parameter groups.

    Args:
        network: that it trains, for messages.
        optimizer: its rates at this moment are the base ones.
        of_loop: whether the loop sets them right before each step. They are its own then but for the step itself, between
            ``begin_step`` and ``end_step``.
    """

    def __init__(self, network: str, optimizer: torch.optim.Optimizer, of_loop: bool = False):
        self._network, self._optimizer, self._of_loop = network, optimizer, of_loop
        self.base: List[float] = self._now()
        self._expected = list(self.base)
        self._scale = 1.0

    @property
    def current(self) -> float:
        """Rate of the first group as the phase has it."""
        return float(self._now()[0]) * (self._scale if self._of_loop else 1)

    def set(self, scale: float, configured: Optional[float] = None) -> None:
        """Set every rate to ``scale`` times its base one, or times ``configured``. Where the loop sets them, each step's is
        ``scale`` times the loop's.

        Raises:
            RuntimeError: something else has set one since.
        """
        self.check()
        self._scale = scale
        if not self._of_loop:
            for group, base in zip(self._optimizer.param_groups, self.base):
                group["lr"] = (base if configured is None else configured) * scale
            self._expected = self._now()

    def begin_step(self) -> None:
        """The optimizer is about to step."""
        self.check()
        if self._of_loop:
            self.base = self._now()
            for group in self._optimizer.param_groups:
                group["lr"] *= self._scale

    def end_step(self) -> None:
        """It has stepped."""
        if self._of_loop:
            for group, base in zip(self._optimizer.param_groups, self.base):
                group["lr"] = base

    def reset(self) -> None:
        """Set every rate to its base one, whatever it is."""
        self._expected = self._now()
        self.set(1)

    def restore(self, base: Optional[Sequence[float]] = None) -> None:
        """Go on with an optimizer that has been restored from a state, and with the base rates of the time.

        Raises:
            ValueError: they are of another number of groups of parameters than the optimizer has.
        """
        if base is not None and len(base) != len(self._now()):
            raise ValueError(
                f"the state has learning rates of {len(base)} groups of parameters, the optimizer of {self._network} has "
                f"{len(self._now())}"
            )
        self.base = self.base if base is None else list(base)
        self._expected = self._now()

    def check(self) -> None:
        """Check that nothing else has set a rate, which would be lost or fight the phases.

        Raises:
            RuntimeError: something has.
        """
        if len(self._optimizer.param_groups) != len(self.base):
            raise RuntimeError(
                f"the optimizer of {self._network} had {len(self.base)} groups of parameters when training began and has "
                f"{len(self._optimizer.param_groups)} now; add them all before the hook is attached"
            )
        if self._of_loop:
            return
        for group, lr in zip(self._optimizer.param_groups, self._expected):
            if group["lr"] != lr:
                raise RuntimeError(
                    f"the learning rate of {self._network} was set to {float(group['lr']):g}, but the hook sets it at every "
                    f"iteration, here to {float(lr):g}; leave out the scheduler or what else sets it, or let the phases scale "
                    f"what it sets: Loop(..., scheduled=[{self._network!r}]), attach(..., scheduled=True)"
                )

    def _now(self) -> List[float]:
        return [group["lr"] for group in self._optimizer.param_groups]
