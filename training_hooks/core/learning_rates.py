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
    """

    def __init__(self, network: str, optimizer: torch.optim.Optimizer):
        self._network, self._optimizer = network, optimizer
        self.base: List[float] = self._now()
        self._expected = list(self.base)

    def set(self, scale: float, configured: Optional[float] = None) -> None:
        """Set every rate to ``scale`` times its base one, or times ``configured``.

        Raises:
            RuntimeError: something else has set one since.
        """
        self.check()
        for group, base in zip(self._optimizer.param_groups, self.base):
            group["lr"] = (base if configured is None else configured) * scale
        self._expected = self._now()

    def reset(self) -> None:
        """Set every rate to its base one, whatever it is."""
        self._expected = self._now()
        self.set(1)

    def restore(self, base: Optional[Sequence[float]] = None) -> None:
        """Go on with an optimizer that has been restored from a state, and with the base rates of the time."""
        self.base = self.base if base is None else list(base)
        self._expected = self._now()

    def check(self) -> None:
        """Check that nothing else has set a rate, which would be lost or fight the phases.

        Raises:
            RuntimeError: something has.
        """
        for group, lr in zip(self._optimizer.param_groups, self._expected):
            if group["lr"] != lr:
                raise RuntimeError(
                    f"the learning rate of {self._network} was set to {float(group['lr']):g}, but the hook sets it at every "
                    f"iteration, here to {float(lr):g}; leave out the scheduler or what else sets it, or detach() the hook"
                )

    def _now(self) -> List[float]:
        return [group["lr"] for group in self._optimizer.param_groups]
