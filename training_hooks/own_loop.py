"""The second door to a method: three lines in any PyTorch loop instead of a host's seams."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Mapping, Optional, TypeVar

import torch

from .config import ReconfigurationConfig
from .hook import Hook, Step, Training
from .ranks import rank_and_size

__all__ = ["OwnLoop"]

_Self = TypeVar("_Self", bound="OwnLoop")


class OwnLoop(Hook):
    """What a method on one generator needs to follow someone's own optimizer."""

    config: ReconfigurationConfig
    _generator: Optional[torch.nn.Module]
    _iteration = -1
    _extra_step = _manual = False

    def attach(
        self: _Self,
        optimizer: torch.optim.Optimizer,
        ema: Optional[torch.nn.Module] = None,
        total_iterations: Optional[int] = None,
        manual: bool = False,
        state: Optional[Mapping[str, Any]] = None,
    ) -> _Self:
        """Work on any PyTorch loop: every ``optimizer.step()`` from here on is one iteration of the schedule.

        The next iteration begins as soon as a step is done, so that its first forward already runs on its masks. Steps of
        regularisation alone go into ``with hook.extra_step():`` and do not count; a loop that has some after its main
        step passes ``manual=True`` and calls ``hook.begin_iteration()`` at the top instead.

        The hook sets the learning rate of every parameter group at each iteration, from what it was at this call or, with a
        state, at that of the run that goes on; a scheduler that sets it too has to be left out. ``on_report`` speaks of the
        iteration that has begun last.

        In a run of several processes every one has to attach, after ``torch.distributed.init_process_group``.

        Args:
            optimizer: holds the generator's parameters.
            ema: averaged copy of the generator with the same parameter names, or None.
            total_iterations: length of the run, needed for ``finish`` other than "as-is".
            manual: iterations begin where ``begin_iteration`` is called.
            state: ``state_dict`` of the run to go on with, taken between two of its iterations. Nothing is pruned then: the
                networks have to be restored with it.

        Returns:
            The hook itself.

        Raises:
            ValueError: the settings do not fit the network, the optimizer, the length of the run or the state.
        """
        if self._generator is None:
            raise ValueError("the hook has to be given the generator before attach")
        if self.config.target != "G":
            raise ValueError(f"attach reconfigures the network it is given; target must be 'G', got {self.config.target!r}")
        networks = {"G": self._generator} if ema is None else {"G": self._generator, "G_ema": ema}
        rank, size = rank_and_size()
        self.start(Training(networks, {"G": optimizer}, total_iterations=total_iterations, rank=rank, num_ranks=size))
        if state is not None:
            self.load_state_dict(state)
        self._manual = manual
        optimizer.register_step_pre_hook(self._before_own_step)
        optimizer.register_step_post_hook(self._after_own_step)
        if not manual and state is None:
            self.begin_iteration()
        return self

    def begin_iteration(self) -> None:
        """The next iteration begins. Only for loops attached with ``manual=True``."""
        self.on_iteration(self._iteration + 1)

    @contextlib.contextmanager
    def extra_step(self) -> Iterator[None]:
        """Optimizer steps inside are steps of regularisation (``Greg``) and begin no iteration."""
        self._extra_step = True
        try:
            yield
        finally:
            self._extra_step = False

    def _own_step(self) -> Step:
        return Step("G", "Greg" if self._extra_step else "Gmain", self._iteration)

    def _before_own_step(self, *_: Any) -> None:
        self.before_step(self._own_step())

    def _after_own_step(self, *_: Any) -> None:
        step = self._own_step()
        self.after_step(step)
        if step.is_main and not self._manual:
            self.begin_iteration()
