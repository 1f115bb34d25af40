"""Groups of generators and discriminators in a loop of one's own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import torch

from ...core.learning_rates import LearningRates
from ...core.state_check import difference
from .config import GroupsConfig
from .schedule import Pace, Regroupings, partners

__all__ = ["Group", "Groups"]

_TOLERANCE = 0.01  # share by which the loss of the first period has to fall to count as falling


@dataclass
class Group:
    """A generator and the discriminator that it trains against at the moment.

    Args:
        G: generator.
        D: discriminator.
        g_opt: trains G.
        d_opt: trains D, and goes where it goes.
        p: strength of augmentation that adapts to D and goes where it goes; a number or a tensor, None where there is none.
    """

    G: torch.nn.Module
    D: torch.nn.Module
    g_opt: torch.optim.Optimizer
    d_opt: torch.optim.Optimizer
    p: Any = None


class Groups:
    """Several groups, each a GAN of its own, that now and then exchange their discriminators (MGGAN)::

        groups = Groups([Group(G, D, g_opt, d_opt), ...], interval=100)
        for _ in range(iterations):
            groups.begin_iteration()
            for number, group in enumerate(groups):
                ... train group.D and group.G ...
                groups.observe(number, loss_of_G)

    A discriminator, its optimizer and its ``p`` go to another group together: take all three from the group in each iteration.
    Around an exchange each group's learning rates are multiplied by a factor, during optimizer steps alone, so that schedulers
    go on as ever. One group alone trains as without.

    Args:
        groups: at least one.
        interval: iterations before the first exchange, more than 2 · ``window`` + 1; None (default) where the mean of the
            groups' smoothed losses has not fallen by 1 % for ``patience`` iterations, which makes it the first interval.
        patience: see ``interval``, at least 1; 1000 by default.
        seed: of who gets whose discriminator; 0 by default.
        settings: further fields of ``GroupsConfig`` by name.

    Attributes:
        exchanges: how many there have been.
        factors: what each group's learning rates are multiplied by in this iteration.

    Raises:
        ValueError: no groups, or settings out of their range.
    """

    def __init__(
        self, groups: Sequence[Group], interval: Optional[int] = None, *, patience: int = 1000, seed: int = 0, **settings: Any
    ):
        if not groups or patience < 1:
            raise ValueError(f"there is at least one group, and patience is at least 1; got {len(groups)} and {patience}")
        self._groups, self._seed, self._patience = list(groups), seed, patience
        self._asked = self._config = GroupsConfig(interval or 0, **settings)
        self._regroupings = Regroupings(self._config) if interval else None
        self._paces = [Pace() for _ in groups]
        self._iteration, self.exchanges = 0, 0
        self._best, self._waited = math.inf, 0  # of the mean loss, while the first interval is to be found
        self._rates: Dict[int, LearningRates] = {}
        self._handles: List[Any] = []
        for group in groups:
            for name, optimizer in (("G", group.g_opt), ("D", group.d_opt)):
                rates = self._rates[id(optimizer)] = LearningRates(name, optimizer, of_loop=True)
                self._handles += [
                    optimizer.register_step_pre_hook(lambda *_, rates=rates: rates.begin_step()),
                    optimizer.register_step_post_hook(lambda *_, rates=rates: rates.end_step()),
                ]

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> Group:
        return self._groups[number]

    @property
    def factors(self) -> List[float]:
        return [pace.factor for pace in self._paces]

    def begin_iteration(self) -> bool:
        """The next iteration begins: exchange discriminators where that is due, and set what learning rates are multiplied by.

        Returns:
            Whether discriminators were exchanged.
        """
        i, self._iteration = self._iteration, self._iteration + 1
        if len(self._groups) == 1:
            return False
        if self._regroupings is None and self._is_level(i):
            self._config = replace(self._asked, interval=i)
            self._regroupings = Regroupings(self._config)
        if self._regroupings is None:
            return False
        due = len(self._regroupings.until(i)) > self.exchanges
        if due:
            self._exchange()
        is_near = self._regroupings.is_near(i, self._config.window)
        self._paces = [pace.at(is_near, self._config) for pace in self._paces]
        for group, pace in zip(self._groups, self._paces):
            for optimizer in (group.g_opt, group.d_opt):
                self._rates[id(optimizer)].set(pace.factor)
        return due

    def observe(self, number: int, loss: Any) -> None:
        """Tell the loss of a group's generator in this iteration.

        Args:
            number: of the group, from 0.
            loss: a number, or a tensor of one.
        """
        self._paces[number] = self._paces[number].seen(float(torch.as_tensor(loss).detach()))

    def state_dict(self) -> Dict[str, Any]:
        """All groups with their optimizers, and where they stand; loads with ``weights_only=True``. Between two iterations."""
        return {
            "settings": self._asked.to_dict(),
            "interval": self._config.interval,
            "iteration": self._iteration,
            "exchanges": self.exchanges,
            "period": [self._best, self._waited],
            "paces": [vars(pace) for pace in self._paces],
            "groups": [
                {"p": group.p, **{name: getattr(group, name).state_dict() for name in ("G", "D", "g_opt", "d_opt")}}
                for group in self._groups
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: it is of other settings or of another number of groups.
        """
        told = difference(state["settings"], self._asked.to_dict())
        saved_groups = state["groups"]
        if told or len(saved_groups) != len(self._groups):
            raise ValueError(told or f"the state has {len(saved_groups)} groups, these are {len(self._groups)}")
        for group, saved in zip(self._groups, saved_groups):
            group.p = saved["p"]
            for name in ("G", "D", "g_opt", "d_opt"):
                getattr(group, name).load_state_dict(saved[name])
        self._config = replace(self._asked, interval=state["interval"])
        self._regroupings = Regroupings(self._config) if state["interval"] else None
        self._paces = [Pace(**pace) for pace in state["paces"]]
        self._iteration, self.exchanges = state["iteration"], state["exchanges"]
        self._best, self._waited = state["period"]

    def close(self) -> None:
        """Take off what is at the optimizers. Safe to repeat."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _exchange(self) -> None:
        self.exchanges += 1
        before = [(group.D, group.d_opt, group.p) for group in self._groups]
        for group, partner in zip(self._groups, partners(len(self._groups), self.exchanges, self._seed)):
            group.D, group.d_opt, group.p = before[partner]

    def _is_level(self, iteration: int) -> bool:
        """Whether the loss of the first period has ceased to fall."""
        mean = sum(pace.loss for pace in self._paces) / len(self._paces)
        if mean < self._best - _TOLERANCE * abs(self._best) if math.isfinite(self._best) else math.isfinite(mean):
            self._best, self._waited = mean, 0
            return False
        self._waited += 1
        return self._waited >= self._patience and iteration > 2 * self._config.window + 1
