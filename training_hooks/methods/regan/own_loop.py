"""The short form of a loop with one method on one generator: three lines around someone's own optimizer."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Mapping, Optional, TypeVar

import torch

from ...core.averages import Average
from ...core.hook import Hook
from ...core.loop import Loop
from .config import ReconfigurationConfig

__all__ = ["OwnLoop"]

_Self = TypeVar("_Self", bound="OwnLoop")


class OwnLoop(Hook):
    """What a method on one generator needs to follow someone's own optimizer."""

    config: ReconfigurationConfig
    _generator: Optional[torch.nn.Module]
    _iteration = -1
    _loop: Optional[Loop] = None
    _is_manual = False

    def attach(
        self: _Self,
        optimizer: torch.optim.Optimizer,
        ema: Optional[Average] = None,
        total_iterations: Optional[int] = None,
        manual: bool = False,
        state: Optional[Mapping[str, Any]] = None,
        seed: int = 0,
        scheduled: bool = False,
        batch_size: Optional[int] = None,
        iterations_per_epoch: Optional[int] = None,
    ) -> _Self:
        """Work on any PyTorch loop: every ``optimizer.step()`` from here on is one iteration of the schedule.

        The next iteration begins as soon as a step is done, so that its first forward already runs on its masks. Steps of
        regularisation alone go into ``with hook.extra_step():`` and do not count; a loop that has some after its main
        step passes ``manual=True`` and calls ``hook.begin_iteration()`` at the top instead.

        A step that a ``GradScaler`` leaves out begins none.

        The hook sets the learning rate of every parameter group at each iteration, from what it was at this call or, with a
        state, at that of the run that goes on. With a scheduler give ``scheduled=True``. ``on_report`` speaks of the iteration
        that has begun last.

        In a run of several processes every one has to attach, after ``torch.distributed.init_process_group``.

        Args:
            optimizer: holds the generator's parameters.
            ema: averaged copy of the generator with the same parameter names, what keeps it, or its tensors, see
                ``training_hooks.core.averages``; or None.
            total_iterations: length of the run, needed for ``finish`` other than "as-is".
            manual: iterations begin where ``begin_iteration`` is called.
            state: ``state_dict`` of the run to go on with, taken between two of its iterations. Nothing is pruned then: the
                networks have to be restored with it.
            seed: what is drawn at random follows it, the same in every process; a state has its own.
            scheduled: a scheduler or the loop itself sets the learning rate, and phases scale what it sets.
            batch_size: images per iteration, needed for a ``Length`` in kimg.
            iterations_per_epoch: steps of this optimizer in an epoch, needed for a ``Length`` in epochs.

        Returns:
            The hook itself.

        Raises:
            ValueError: the settings do not fit the network, the optimizer, the length of the run or the state.
            RuntimeError: this hook is attached already, or another one is to this optimizer.

        Warns:
            UserWarning: tensors that are pruned may write the image, or some in scope are not pruned.
        """
        if self._generator is None:
            raise ValueError("the hook has to be given the generator before attach")
        if self.config.target != "G":
            raise ValueError(f"attach reconfigures the network it is given; target must be 'G', got {self.config.target!r}")
        if next(self._generator.parameters(), None) is None:
            raise ValueError(f"the generator, a {type(self._generator).__name__}, has no parameters, so nothing can be pruned")
        if self._loop is not None:
            raise RuntimeError("this hook is attached already; call detach() of that first")
        networks: Dict[str, Average] = {"G": self._generator} if ema is None else {"G": self._generator, "G_ema": ema}
        each: Dict[str, Any] = {"batch_size": batch_size, "iterations_per_epoch": iterations_per_epoch}
        rates = ["G"] if scheduled else []
        loop = Loop(networks, {"G": optimizer}, [self], total_iterations=total_iterations, seed=seed, scheduled=rates, **each)
        try:
            if state is not None:
                began = {"version": 1, "iteration": state["iteration"] + 1, "is_whole": manual}
                loop.load_state_dict({**began, "methods": {self.name: state}})
            if not manual:
                loop.follow()
        except BaseException:
            loop.close()
            raise
        self._loop, self._is_manual = loop, manual
        return self

    def detach(self) -> None:
        """Leave the loop alone from here on: masks are dropped, pruned weights train from 0, and learning rates are the base
        ones again. Take the ``state_dict`` before; the hook can be attached anew. Does nothing where it is not attached.
        """
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        loop.close()

    def begin_iteration(self) -> None:
        """The next iteration begins. Only for loops attached with ``manual=True``.

        Raises:
            RuntimeError: the hook is not attached, or begins iterations by itself.
        """
        if self._loop is None or not self._is_manual:
            raise RuntimeError("begin_iteration is for a hook that is attached with manual=True")
        self._loop.begin_iteration()

    def extra_step(self) -> "contextlib.AbstractContextManager[None]":
        """Optimizer steps inside are steps of regularisation (``Greg``) and begin no iteration."""
        return contextlib.nullcontext() if self._loop is None else self._loop.extra_step()
