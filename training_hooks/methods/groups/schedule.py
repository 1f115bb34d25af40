"""When groups are regrouped, who gets whose discriminator, and how rates are pushed: functions of iterations and losses."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import List, Tuple

import torch

from ...core.random_state import generator_of
from .config import GroupsConfig

__all__ = ["Pace", "Regroupings", "partners"]

_LONGEST = 10  # first intervals, where nothing else is said
_KEPT = 0.5 ** (1 / 100)  # of the smoothed loss from one iteration to the next: a half-life of 100
_NEARLY_0 = 1e-8


def partners(groups: int, number: int, seed: int = 0) -> Tuple[int, ...]:
    """Group → the group whose discriminator it gets: uniformly random among the permutations that leave none where it is.

    Args:
        groups: how many there are, at least 1; of one the discriminator stays.
        number: of the regrouping, from 1.
        seed: of the draw; the random state of the process is left alone.
    """
    generator = generator_of("groups", seed, number, groups)
    while True:
        drawn = tuple(torch.randperm(groups, generator=generator).tolist())
        if groups == 1 or all(group != partner for group, partner in enumerate(drawn)):
            return drawn


class Regroupings:
    """The iterations before which groups are regrouped: the first after ``config.interval``, then at intervals that grow.

    Args:
        config: settings, with an interval.
    """

    def __init__(self, config: GroupsConfig):
        self._longest, self._grow = config.longest or _LONGEST * config.interval, config.grow
        self._length = float(config.interval)
        self._moments = [config.interval]

    def until(self, iteration: int) -> List[int]:
        """Those up to and with ``iteration``."""
        self._extend(iteration)
        return self._moments[: bisect_right(self._moments, iteration)]

    def next(self, iteration: int) -> int:
        """The first one at or after ``iteration``."""
        self._extend(iteration)
        return self._moments[bisect_left(self._moments, iteration)]

    def is_near(self, iteration: int, window: int) -> bool:
        """Whether one is at most ``window`` iterations away."""
        return self.next(max(0, iteration - window)) <= iteration + window

    def _extend(self, iteration: int) -> None:
        while self._moments[-1] <= iteration:
            self._length = min(self._length * self._grow, self._longest)
            self._moments.append(self._moments[-1] + round(self._length))


@dataclass(frozen=True)
class Pace:
    """How fast a group learns, and what that follows.

    Args:
        loss: G's smoothed loss; NaN before the first.
        before: the same an iteration before.
        factor: of the learning rates.
    """

    loss: float = math.nan
    before: float = math.nan
    factor: float = 1.0

    @property
    def change(self) -> float:
        """Change of the smoothed loss as a share of it (VRL, equation 3.1); NaN while it is not known."""
        return abs(self.before - self.loss) / (abs(self.loss) + _NEARLY_0)

    def seen(self, loss: float) -> "Pace":
        """After an iteration in which G had this loss."""
        smoothed = loss if math.isnan(self.loss) else _KEPT * self.loss + (1 - _KEPT) * loss
        return replace(self, loss=smoothed, before=self.loss)

    def at(self, is_near: bool, config: GroupsConfig) -> "Pace":
        """For an iteration (algorithm 1). A loss that still moves needs no push.

        Args:
            is_near: whether a regrouping is near.
            config: settings.
        """
        if not is_near:
            return replace(self, factor=1.0)
        if not self.change <= config.still:
            return self
        return replace(self, factor=min(config.limit, self.factor * (1 + config.push)))
