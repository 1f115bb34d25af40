"""One engine per process: turns what the seams see into the events of ``training_hooks.hook``.

The host constructs its loss first and its optimizers after, each through a seam; the seams meet here.
"""

from __future__ import annotations

import importlib
from types import FrameType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch

from . import loop, stop
from .hook import MAIN_PHASES, Hook, Round, Step, Training

__all__ = ["Engine", "construct_hook", "current", "current_or_none", "look_up"]

_current: "Optional[Engine]" = None


def current_or_none() -> "Optional[Engine]":
    """The engine of this process; None in a run without hooks."""
    return _current


def current() -> "Engine":
    """The engine of this process.

    Raises:
        RuntimeError: there is none, because the hooked loss was not constructed.
    """
    if _current is None:
        raise RuntimeError("the hooked optimizer was constructed before the hooked loss; set loss_kwargs.class_name too")
    return _current


def look_up(dotted_name: str) -> Any:
    """The object of a dotted name, such as "torch.optim.Adam".

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, name = dotted_name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def construct_hook(class_name: str, **kwargs: Any) -> Hook:
    """The hook of the dotted name ``class_name``, constructed with ``kwargs``.

    Raises:
        ImportError, AttributeError: no such class.
        TypeError: it is not a ``Hook``.
    """
    hook = look_up(class_name)(**kwargs)
    if not isinstance(hook, Hook):
        raise TypeError(f"{class_name} is not a training_hooks.hook.Hook")
    return hook


class Engine:
    """Keeps the hooks of one training run and fires their events.

    Args:
        hooks: constructed hooks.
        variables: local variables of the host's loop when it constructs its loss.
        report: the host's own ``training_stats.report0(name, value)``.
        loss: the host's own loss.
        stats: the host's own module ``training_stats``.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        variables: Mapping[str, Any],
        report: Callable[[str, float], Any],
        loss: Any = None,
        stats: Any = None,
    ):
        global _current
        self.hooks: List[Hook] = sorted(hooks, key=lambda hook: hook.order)
        self.iteration = -1
        self._phase, self._round = "", 0
        self._report = report
        self._started = False
        modules = {name: _bare(variables[name]) for name in ("G", "D", "G_ema") if name in variables}
        self.training = Training(
            networks=modules,
            optimizers={},
            run_dir=variables.get("run_dir"),
            batch_size=variables["batch_size"],
            total_iterations=loop.total_iterations(variables),
            rank=variables.get("rank", 0),
            num_ranks=variables.get("num_gpus", 1),
            loss=loss,
            stats=stats,
        )
        _current = self

    def add_optimizer(self, network: str, optimizer: torch.optim.Optimizer, configured_lr: float) -> None:
        """Fire step events around ``optimizer``, which trains ``network`` ("G" or "D")."""
        self.training.optimizers[network] = optimizer
        self.training.configured_lr[network] = configured_lr
        optimizer.register_step_pre_hook(lambda *_: self._step(network, before=True))
        optimizer.register_step_post_hook(lambda *_: self._step(network, before=False))

    def enter_phase(self, phase: str, frame: Optional[FrameType]) -> None:
        """A round of the loop's phase ``phase`` is about to run. ``frame`` is the loop's."""
        first_round, self._phase = phase != self._phase, phase
        self._round = 0 if first_round else self._round + 1
        if not first_round or phase[1:] not in MAIN_PHASES:
            return
        if phase.startswith("G"):
            self._begin_iteration(frame)
        elif frame is None or loop.ends_tick(frame.f_locals):  # asked this late for the signals that end a tick early
            for hook in self.hooks:
                for name, value in hook.on_report().items():
                    self._report(name, value)

    def change_round(self, given: Mapping[str, Any]) -> Dict[str, Any]:
        """What the hooks make of the tensors that the round entered last is ``given``: fields of ``Round`` by name."""
        batch = Round(self._phase, self._round, **given)
        for hook in self.hooks:
            batch = hook.on_round(batch)
        return {name: getattr(batch, name) for name in given}

    def end_tick(self) -> None:
        """The host has finished a tick. Hosts also announce the start of training this way, which is no tick."""
        if self.iteration < 0:
            return
        for hook in self.hooks:
            hook.on_tick()

    def start(self) -> None:
        """Start the hooks, once the optimizers exist. Safe to repeat."""
        if not self._started:
            self._started = True
            for hook in self.hooks:
                hook.start(self.training)

    def observes(self) -> bool:
        """Whether the hooks only look on."""
        return all(hook.observes for hook in self.hooks)

    def is_sparse(self) -> bool:
        """Whether any hook has the networks that it reconfigures sparse at the moment."""
        return any(hook.is_sparse() for hook in self.hooks)

    def _begin_iteration(self, frame: Optional[FrameType]) -> None:
        self.start()
        self.iteration += 1
        stop.at_iteration(frame)
        for hook in self.hooks:
            hook.on_iteration(self.iteration)

    def _step(self, network: str, before: bool) -> None:
        step = Step(network, self._phase, self.iteration)
        for hook in self.hooks:
            (hook.before_step if before else hook.after_step)(step)


def _bare(module: torch.nn.Module) -> torch.nn.Module:
    return module.module if isinstance(module, torch.nn.parallel.DistributedDataParallel) else module
