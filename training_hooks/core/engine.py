"""Fires the events of ``training_hooks.core.hook``. Knows hooks and optimizers, and nothing of a loop's frame."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Type

import torch

from .hook import MAIN_PHASES, Hook, Round, Step, Training

__all__ = ["Engine", "construct_hook", "dotted_name", "look_up", "name_of", "of_hook", "states_of"]

# Modules by the names that runs of 0.1.0 have written down.
_MOVED = {
    "training_hooks.apa": "training_hooks.methods.apa.hook",
    "training_hooks.diffaug": "training_hooks.methods.diffaugment.hook",
    "training_hooks.hook": "training_hooks.core.hook",
    "training_hooks.pairs": "training_hooks.observers.pairs",
    "training_hooks.progress": "training_hooks.observers.progress",
    "training_hooks.reconfiguration": "training_hooks.methods.regan.hook",
    "training_hooks.seams": "training_hooks.nvidia.seams",
    "training_hooks.stability": "training_hooks.observers.stability",
}


def dotted_name(name: str) -> str:
    """The dotted name of today for what a saved run names, such as "training_hooks.apa.AdaptivePseudoAugmentation"."""
    module, _, leaf = name.rpartition(".")
    return f"{_MOVED.get(module, module)}.{leaf}"


def look_up(name: str) -> Any:
    """The object of a dotted name, such as "torch.optim.Adam", or of one that a run of an earlier version has saved.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, leaf = dotted_name(name).rpartition(".")
    return getattr(importlib.import_module(module), leaf)


# Makes the hook of a method by its name. It is on a floor above.
_CONSTRUCT = "training_hooks.methods.method.construct"


def construct_hook(class_name: str = _CONSTRUCT, **kwargs: Any) -> Hook:
    """The hook of a run's options: of the dotted name ``class_name``, or of a method by its name.

    Args:
        class_name: dotted name of a class of hooks.
        kwargs: what the class is constructed with; or "method", "version" and "settings".

    Raises:
        ImportError, AttributeError: no such class.
        TypeError: it is not a ``Hook``.
        ValueError: no such method.
    """
    hook = look_up(class_name)(**kwargs)
    if not isinstance(hook, Hook):
        raise TypeError(f"{class_name} is not a training_hooks.core.hook.Hook")
    return hook


def states_of(hooks: Sequence[Hook]) -> Dict[str, Any]:
    """The states of hooks by their names."""
    return {name_of(hook): hook.state_dict() for hook in hooks}


def name_of(hook: Hook) -> str:
    """What the state of a hook is kept by."""
    return hook.name or type(hook).__name__


def of_hook(states: Mapping[str, Any], kind: Type[Hook]) -> Optional[Any]:
    """The state of a hook among those of a run; None where there is none. 0.1.0 has kept all by the names of their classes."""
    return states.get(kind.name, states.get(kind.__name__))


class Engine:
    """Keeps the hooks of one training run and fires their events.

    Args:
        hooks: constructed hooks.
        training: what they work on. Its optimizers come by ``add_optimizer``.
        report: takes name and value of a statistic; the host's own ``training_stats.report0``.
        ends_tick: whether the iteration that is being trained is the last of its tick.
        begin: called when an iteration begins, before its events.
        stepped: called after the events of an optimizer step.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        training: Training,
        report: Callable[[str, float], Any] = lambda name, value: None,
        ends_tick: Callable[[], bool] = lambda: True,
        begin: Callable[[], None] = lambda: None,
        stepped: Callable[[Step], Any] = lambda step: None,
    ):
        self.hooks: List[Hook] = sorted(hooks, key=lambda hook: hook.order)
        self.training = training
        self.iteration = -1
        #: Whether optimizer steps are of regularisation alone, in loops that do not say so by their phases.
        self.is_extra = False
        self._phase, self._round = "", 0
        self._first = ""  # the network whose main phase an iteration begins with
        self._report, self._ends_tick, self._begin, self._stepped = report, ends_tick, begin, stepped
        self._started = False
        self._handles: List[Any] = []  # of what is registered at the optimizers

    def add_optimizer(
        self,
        network: str,
        optimizer: torch.optim.Optimizer,
        configured_lr: Optional[float] = None,
        is_rate_set: bool = False,
    ) -> None:
        """Fire step events around ``optimizer``, which trains ``network`` ("G" or "D").

        Args:
            network: name.
            optimizer: its own.
            configured_lr: learning rate before the loop scaled it for lazy regularisation; None where it does not.
            is_rate_set: whether the loop sets the learning rate right before each step.
        """
        self.training.optimizers[network] = optimizer
        if is_rate_set:
            self.training.rates_of_loop.add(network)
        if configured_lr is not None:
            self.training.configured_lr[network] = configured_lr
        self._handles += [
            optimizer.register_step_pre_hook(lambda opt, *_: self._step(network, opt, before=True)),
            optimizer.register_step_post_hook(lambda opt, *_: self._step(network, opt, before=False)),
        ]

    def enter_phase(self, phase: str) -> None:
        """A round of the host's phase ``phase`` is about to run."""
        if not self.enter_round(phase) or phase[1:] not in MAIN_PHASES:
            return
        self._first = self._first or phase[0]
        if phase[0] == self._first:
            self.begin_iteration()
        elif self._ends_tick():  # asked this late for the signals that end a tick early
            for name, value in self.report().items():
                self._report(name, value)

    def enter_round(self, phase: str) -> bool:
        """A round of ``phase`` is about to run; whether it is the first one of it in turn."""
        first, self._phase = phase != self._phase, phase
        self._round = 0 if first else self._round + 1
        return first

    def begin_iteration(self) -> None:
        """The next iteration begins."""
        self.start()
        self.iteration += 1
        self._begin()
        for hook in self.hooks:
            hook.on_iteration(self.iteration)

    def change_round(self, **given: Any) -> Round:
        """What the hooks make of the tensors that the round entered last is given: fields of ``Round`` by name."""
        batch = Round(self._phase, self._round, **given)
        for hook in self.hooks:
            batch = hook.on_round(batch)
        return batch

    def report(self) -> Dict[str, float]:
        """Name → value of all statistics of the tick that ends."""
        return {name: value for hook in self.hooks for name, value in hook.on_report().items()}

    def measured(self, values: Mapping[str, float], kimg: float) -> None:
        """Metrics of a snapshot have been measured, with the same values on every rank."""
        for hook in self.hooks:
            hook.on_metrics(values, kimg)

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

    def close(self) -> None:
        """Take the hooks off: the optimizers, the forward pass and what the hooks have set are as they would be without."""
        for handle in self._handles:
            handle.remove()
        for hook in reversed(self.hooks):
            hook.close()
        if self.training.wraps is not None:
            self.training.wraps.clear()

    def observes(self) -> bool:
        """Whether the hooks only look on."""
        return all(hook.observes for hook in self.hooks)

    def is_sparse(self) -> bool:
        """Whether any hook has the networks that it reconfigures sparse at the moment."""
        return any(hook.is_sparse() for hook in self.hooks)

    def _step(self, network: str, optimizer: torch.optim.Optimizer, before: bool) -> None:
        if _leaves_out(optimizer):
            return
        if self.iteration < 0:
            raise RuntimeError(
                "no iteration has begun: steps belong into `with loop.iteration():`, and with manual=True the loop calls "
                "hook.begin_iteration() at its top"
            )
        phase = self._phase if self._phase.startswith(network) else f"{network}main"
        step = Step(network, f"{network}reg" if self.is_extra else phase, self.iteration)
        for hook in self.hooks:
            (hook.before_step if before else hook.after_step)(step)
        if not before:
            self._stepped(step)


def _leaves_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step of a fused optimizer does nothing, because a ``GradScaler`` has found gradients that are not finite. For
    all other optimizers the scaler itself leaves the step out."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, torch.Tensor) and bool(found)
