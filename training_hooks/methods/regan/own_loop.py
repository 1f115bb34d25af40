"""The second door to a method: three lines in any PyTorch loop instead of a host's seams."""

from __future__ import annotations

import contextlib
import types
import warnings
import weakref
from typing import Any, Iterator, List, Mapping, Optional, TypeVar

import torch

from ...core.hook import Hook, Step, Training
from ...core.ranks import rank_and_size
from ...core.wraps import Wraps
from ...sparsity.selection import parameter_shapes
from .config import ReconfigurationConfig
from .plan import knows_rgb, left_dense, select_parameters

__all__ = ["OwnLoop"]

_Self = TypeVar("_Self", bound="OwnLoop")
_followed: "weakref.WeakSet[torch.optim.Optimizer]" = weakref.WeakSet()  # optimizers that a hook is attached to


class OwnLoop(Hook):
    """What a method on one generator needs to follow someone's own optimizer."""

    config: ReconfigurationConfig
    _generator: Optional[torch.nn.Module]
    _iteration = -1
    _extra_step = _manual = False
    _optimizer: Optional[torch.optim.Optimizer] = None  # that it is attached to
    _handles: List[Any]  # of the optimizer's hooks

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
        if self._optimizer is not None or optimizer in _followed:
            what = "another hook is attached to this optimizer" if self._optimizer is None else "this hook is attached already"
            raise RuntimeError(f"{what}; call detach() of that first")
        networks = {"G": self._generator} if ema is None else {"G": self._generator, "G_ema": ema}
        rank, size = rank_and_size()
        wraps = Wraps(types.SimpleNamespace(G_synthesis=getattr(self._generator, "synthesis", None)))
        training = Training(networks, {"G": optimizer}, None, None, total_iterations, rank, size, wraps=wraps)
        self.start(training)
        if state is not None:
            self.load_state_dict(state)
        for warning in self._warnings(self._generator):
            warnings.warn(warning, stacklevel=2)
        self._manual, self._optimizer = manual, optimizer
        _followed.add(optimizer)
        before, after = self._before_own_step, self._after_own_step
        self._handles = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
        if not manual and state is None:
            self.on_iteration(0)
        return self

    def detach(self) -> None:
        """Leave the loop alone from here on: masks are dropped as at the end of a sparse phase, and learning rates are the base
        ones again. Take the ``state_dict`` before; the hook can be attached anew. Does nothing where it is not attached.
        """
        if self._optimizer is None:
            return
        for handle in self._handles:
            handle.remove()
        _followed.discard(self._optimizer)
        self._optimizer = None
        self._let_go()

    def begin_iteration(self) -> None:
        """The next iteration begins. Only for loops attached with ``manual=True``.

        Raises:
            RuntimeError: the hook is not attached, or begins iterations by itself.
        """
        if self._optimizer is None or not self._manual:
            raise RuntimeError("begin_iteration is for a hook that is attached with manual=True")
        self.on_iteration(self._iteration + 1)

    @contextlib.contextmanager
    def extra_step(self) -> Iterator[None]:
        """Optimizer steps inside are steps of regularisation (``Greg``) and begin no iteration."""
        self._extra_step = True
        try:
            yield
        finally:
            self._extra_step = False

    def _let_go(self) -> None:
        """Undo what holds at the moment, and forget what ``start`` was given."""
        raise NotImplementedError

    def _warnings(self, generator: torch.nn.Module) -> Iterator[str]:
        """What the user may not have meant."""
        shapes = parameter_shapes(generator)
        if not knows_rgb(self.config, "G", shapes):
            names = select_parameters(self.config, "G", shapes)
            last = f"the last of {len(names)} is {names[-1]} {list(shapes[names[-1]])}"
            yield (
                f"no layer is named as those that write an image are, so all in scope are pruned, and {last}; leave it dense "
                f"with exclude=[{names[-1]!r}], or prune it knowingly with exclude=()"
            )
        for name, shape in left_dense(self.config, "G", shapes).items():
            yield f"{name} {list(shape)} stays dense: ratio {self.config.ratio:g} would take a whole output channel of it"

    def _own_step(self) -> Step:
        return Step("G", "Greg" if self._extra_step else "Gmain", self._iteration)

    def _before_own_step(self, *_: Any) -> None:
        if self._iteration < 0:
            raise RuntimeError("no iteration has begun: with manual=True the loop calls hook.begin_iteration() at its top")
        self.before_step(self._own_step())

    def _after_own_step(self, *_: Any) -> None:
        step = self._own_step()
        self.after_step(step)
        if step.is_main and not self._manual:
            self.on_iteration(self._iteration + 1)
