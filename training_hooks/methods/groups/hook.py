"""A group's run in a host's loop: it ends where discriminators are to be exchanged, and learns faster around it."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional

import torch

from ...core.hook import Hook, Step, Training
from ...core.learning_rates import LearningRates
from ...nvidia.stop import end_after_iteration
from .config import GroupsConfig
from .schedule import Pace, Regroupings

__all__ = ["GroupRun"]

_LOSS = "Loss/G/loss"  # as the hosts report it


class GroupRun(Hook):
    """One of several runs that exchange discriminators.

    The run ends with a snapshot before every regrouping; what goes on from there, with ``--resume``, has another discriminator
    by then (``regan-ext groups``). Rates are multiplied by the factor during steps alone, on top of whatever sets them. In
    a loop of one's own, which tells no losses, rates stay as they are; ``Groups`` is for that.

    Args:
        settings: fields of ``GroupsConfig`` by name.

    Raises:
        ValueError: a setting out of its range.
    """

    name = "groups"
    order = 50  # its factor comes after what other methods set

    def __init__(self, **settings: Any):
        self.config = GroupsConfig(**settings)
        self._regroupings = Regroupings(self.config) if self.config.interval else None
        self._pace, self._exchanges = Pace(), 0
        self._rates: Dict[str, LearningRates] = {}
        self._collector: Any = None

    @classmethod
    def defaults(cls) -> Dict[str, Any]:
        return GroupsConfig().to_dict()

    def start(self, training: Training) -> None:
        self._rates = {name: LearningRates(name, each, of_loop=True) for name, each in training.optimizers.items()}
        if training.stats is not None:
            self._collector = training.stats.Collector(regex=_LOSS, keep_previous=False)

    def on_iteration(self, iteration: int) -> None:
        if self._regroupings is None:
            return
        self._exchanges = len(self._regroupings.until(iteration))
        self._pace = self._pace.at(self._regroupings.is_near(iteration, self.config.window), self.config)
        for rates in self._rates.values():
            rates.set(self._pace.factor)
        if self._regroupings.next(iteration + 1) == iteration + 1:
            end_after_iteration()

    def before_step(self, step: Step) -> None:
        if step.network in self._rates:
            self._rates[step.network].begin_step()

    def after_step(self, step: Step) -> None:
        if step.network in self._rates:
            self._rates[step.network].end_step()
        if step.network == "G" and step.is_main:
            loss = self._loss()
            self._pace = self._pace if loss is None else self._pace.seen(loss)

    def _loss(self) -> Optional[float]:
        """G's loss since the last call, of all ranks; None where it is not known, or not finite."""
        if self._collector is None:
            return None
        self._collector.update()
        loss = float(self._collector.mean(_LOSS)) if self._collector.num(_LOSS) > 0 else math.nan
        return loss if math.isfinite(loss) else None

    def on_report(self) -> Mapping[str, float]:
        found = {"Groups/exchanges": float(self._exchanges), "Groups/factor": self._pace.factor}
        return found if math.isnan(self._pace.change) else {**found, "Groups/change": self._pace.change}

    def state_dict(self) -> Dict[str, Any]:
        return dict(vars(self._pace))

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        pace = Pace(**state)
        if not 1 <= pace.factor < math.inf or any(math.isinf(float(each)) for each in (pace.loss, pace.before)):
            raise ValueError("its factor or losses are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._pace = Pace(**state)
        if self._collector is not None:
            self._collector.update()  # what the host has put back is not new
