"""Methods in a PyTorch loop of one's own: the engine of a host's loop, without a host."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import weakref
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Union

import torch

from .averages import Average, averaged
from .engine import Engine, name_of, of_hook, states_of
from .hook import Hook, Round, Step, Training
from .random_state import random_states, set_random_states
from .ranks import bare, gather, rank_and_size
from .schedule import Length
from .state_check import difference
from .wraps import Wraps

__all__ = ["Loop", "warn"]

_VERSION = 1
_PATIENCE = 256  # iterations that may begin in turn without a step of the network that counts them
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_followed: "weakref.WeakSet[torch.optim.Optimizer]" = weakref.WeakSet()  # optimizers that a loop is at work on


def warn(message: str) -> None:
    """Warn of what the caller of this package may not have meant, naming the caller's line."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


class _Forward:
    """The parts of the forward pass, by the names that they have in a host's loss."""

    def __init__(self, networks: Mapping[str, Any]):
        self._networks = networks
        self.augment_pipe: Any = None
        if "D" in networks:
            self.D: Any = networks["D"]
        if hasattr(bare(networks.get("G")), "synthesis"):
            self.G_synthesis: Any = bare(networks["G"]).synthesis

    def run_G(self, *args: Any, **kwargs: Any) -> Any:
        generator = bare(self._networks["G"])
        synthesis = getattr(self, "G_synthesis", None)
        if synthesis is getattr(generator, "synthesis", None):
            return self._networks["G"](*args, **kwargs)
        outer = self._networks["G"]
        if isinstance(outer, torch.nn.DataParallel) and len(outer.device_ids) > 1:
            raise RuntimeError("whole channels cannot be spread by DataParallel; put G into DistributedDataParallel")
        vars(generator)["synthesis"] = synthesis  # before the registered one, for the call
        try:
            return getattr(outer, "_orig_mod", outer)(*args, **kwargs)  # what was compiled has all channels
        finally:
            del vars(generator)["synthesis"]

    def run_D(self, images: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        images = images if self.augment_pipe is None else self.augment_pipe(images)
        return self.D(images, *args, **kwargs)


class Loop:
    """Lets methods work in a PyTorch loop of one's own.

    What is called where, and the events of ``training_hooks.core.hook`` that it fires::

        loop = Loop({"G": G, "D": D}, {"G": g_opt, "D": d_opt}, [method, ...], batch_size=64)
        with loop.iteration():                     on_iteration(i)
            batch = loop.round("Gmain", gen_z=z)   on_round(batch)
            fakes = loop.run_G(batch.gen_z)
            ... loop.run_D(fakes) ... g_opt.step() before_step / after_step  Step("G", "Gmain", i)
            batch = loop.round("Dmain", real_img=reals)
            ... loop.run_D(batch.real_img) ...
            with loop.extra_step():                steps of regularisation alone
                d_opt.step()                       before_step / after_step  Step("D", "Dreg", i)
        (loop.follow()                             once, in the place of all the blocks)
        statistics = loop.end_tick(metrics)        on_report(); on_metrics(values, kimg) where some are given; on_tick()
        torch.save(loop.state_dict(), path)
        loop.close()

    An iteration is one main step of G's optimizer; of D's, where there is none of G. A block without one, such as one of D
    alone or one whose step a ``GradScaler`` has left out, is part of the iteration that goes on with the next block.

    A method that only prunes needs ``iteration`` alone. Those that change what G or D compute with need ``round``, ``run_G``
    and ``run_D`` in the place of the tensors and networks themselves. In a run of several processes each makes its loop after
    ``torch.distributed.init_process_group``.

    Args:
        networks: "G", "D" and, where there is one, its average "G_ema", bare, in ``DataParallel`` or
            ``DistributedDataParallel``, or compiled; others may be among them and become part of the state. "G_ema" may also
            be what keeps the average, or its tensors, see ``training_hooks.core.averages``.
        optimizers: "G", "D" or both → what trains that network, also as Lightning or Accelerate wrap it.
        methods: hooks, such as ``Reconfiguration(ratio=0.3, interval=100)``.
        batch_size: images per iteration over all processes; None = not known.
        total_iterations: length of the run in iterations, or a ``Length``; None = not known.
        iterations_per_epoch: iterations of an epoch, by which lengths in epochs are measured; None = not known.
        scheduled: those of "G" and "D" whose learning rate a scheduler or the loop itself sets, so that phases scale what it
            sets; none by default.
        seed: what methods draw at random follows it; 0 by default, the same in every process.

    Raises:
        ValueError: names or methods that do not go together, or settings that do not fit the networks.
        RuntimeError: another hook is attached to an optimizer already.
    """

    def __init__(
        self,
        networks: Mapping[str, Average],
        optimizers: Mapping[str, torch.optim.Optimizer],
        methods: Sequence[Hook],
        *,
        batch_size: Optional[int] = None,
        total_iterations: Union[int, Length, None] = None,
        iterations_per_epoch: Optional[int] = None,
        scheduled: Sequence[str] = (),
        seed: int = 0,
    ):
        given: Dict[str, Any] = {name: (bare(network), {}) for name, network in networks.items() if name != "G_ema"}
        if "G_ema" in networks:
            given["G_ema"] = averaged(networks["G_ema"], given.get("G", given.get("D", (torch.nn.Module(), {})))[0])
        optimizers = {name: _inner(optimizer) for name, optimizer in optimizers.items()}
        _check({name: network for name, (network, _) in given.items()}, optimizers, methods, scheduled)
        if isinstance(total_iterations, Length):
            total_iterations = total_iterations.iterations(batch_size, iterations_per_epoch)
        rank, size = rank_and_size()
        self._forward, self._inside, self._is_closed = _Forward(networks), False, False
        self._counters = {name: counters for name, (_, counters) in given.items() if counters}
        self._main = "G" if "G" in optimizers else next(iter(optimizers), "")  # whose steps count
        self._is_whole, self._waited = True, 0  # has the last iteration had its step, and since how many blocks not?
        self._way = ""  # how iterations begin: "blocks" or "steps"; "" = it is not known
        training = Training(
            {name: network for name, (network, _) in given.items()},
            {},
            batch_size=batch_size,
            total_iterations=total_iterations,
            iterations_per_epoch=iterations_per_epoch,
            rank=rank,
            num_ranks=size,
            seed=seed,
            wraps=Wraps(self._forward),
        )
        self._engine = Engine(methods, training, stepped=self._after_step)
        try:
            for name, optimizer in optimizers.items():
                self._engine.add_optimizer(name, optimizer, is_rate_set=name in scheduled)
            self._engine.start()
            # Now, because a hook may keep by the name of an argument what training changes.
            self._settings = {name_of(hook): hook.binding() for hook in methods if not hook.observes}
        except BaseException:
            self.close()
            raise
        _followed.update(optimizers.values())

    # ---------------------------------------------------------------- an iteration

    @contextlib.contextmanager
    def iteration(self) -> Iterator[int]:
        """One iteration, or a further part of one that has not had its main step: the optimizer steps inside are its own. Gives
        its number, from 0.

        Raises:
            RuntimeError: the loop is closed, iterations begin by themselves, one is inside of another, or the optimizer whose
                steps count has long made none.
        """
        if self._inside or self._way == "steps":
            raise RuntimeError("an iteration is inside of another one" if self._inside else "iterations begin by themselves")
        self._begin_unless_one_goes_on()
        self._inside, self._way = True, "blocks"
        try:
            yield self._engine.iteration
        finally:
            self._inside = False

    def begin_iteration(self) -> None:
        """For a loop that has no place for a block: the next iteration begins, whatever has stepped in the last one. With a
        ``GradScaler`` that is to be left out after a step that it has left out; blocks and ``follow`` do that by themselves.

        Raises:
            RuntimeError: the loop is closed.
        """
        if self._is_closed:
            raise RuntimeError("this loop is closed")
        self._engine.enter_round("")
        self._is_whole = not self._main
        self._engine.begin_iteration()

    def _begin_unless_one_goes_on(self) -> None:
        if self._is_whole or self._is_closed:
            self._waited = 0
            self.begin_iteration()
            return
        self._engine.enter_round("")
        self._waited += 1
        if self._waited >= _PATIENCE:
            raise RuntimeError(
                f"the optimizer of {self._main} has made no step in {self._waited} iterations; give the loop the one that "
                f"trains {self._main}, and make its steps inside of the iterations"
            )

    def follow(self) -> None:
        """Begin iterations by themselves, for a loop that is not one's own: the first one now, and the next one right after
        each main step of the optimizer whose steps count.

        After ``load_state_dict``, so that what is loaded goes on.

        Raises:
            RuntimeError: iterations are blocks, or the loop is closed.
            ValueError: the loop has no optimizer.
        """
        if not self._main:
            raise ValueError("to follow steps the loop needs the optimizer of G or of D")
        if self._way == "blocks":
            raise RuntimeError("iterations are blocks already; leave out follow(), or every `with loop.iteration():`")
        self._way = "steps"
        self._begin_unless_one_goes_on()

    def _after_step(self, step: Step) -> None:
        if self._way == "blocks" and not self._inside:
            raise RuntimeError(f"{step.network}'s optimizer has stepped outside of `with loop.iteration():`; put it inside")
        if step.network == self._main and step.is_main:
            self._is_whole = True
            if self._way == "steps":
                self.begin_iteration()

    def round(
        self,
        phase: str,
        real_img: Optional[torch.Tensor] = None,
        real_c: Optional[torch.Tensor] = None,
        gen_z: Optional[torch.Tensor] = None,
        gen_c: Optional[torch.Tensor] = None,
    ) -> Round:
        """What a round of a phase is to be computed with: the given tensors, each [batch, ...], as the methods change them.

        Several rounds of one phase in turn are those of gradient accumulation.

        Args:
            phase: "Gmain" or "Dmain"; "Greg" or "Dreg" for regularisation that has a step of its own.
            real_img: real images.
            real_c: labels of the real images.
            gen_z: latents.
            gen_c: labels of the latents.

        Raises:
            ValueError: there is no such phase.
        """
        if phase not in ("Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth"):
            raise ValueError(f"phases are Gmain, Greg, Dmain and Dreg, got {phase!r}")
        self._engine.enter_round(phase)
        return self._engine.change_round(real_img=real_img, real_c=real_c, gen_z=gen_z, gen_c=gen_c)

    def run_G(self, *args: Any, **kwargs: Any) -> Any:
        """What ``networks["G"]`` makes of the arguments, as the methods have it."""
        return self._forward.run_G(*args, **kwargs)

    def run_D(self, images: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """What ``networks["D"]`` makes of images [batch, ...] and the other arguments, as the methods have it."""
        return self._forward.run_D(images, *args, **kwargs)

    @contextlib.contextmanager
    def extra_step(self) -> Iterator[None]:
        """Optimizer steps inside are steps of regularisation alone ("Greg", "Dreg")."""
        self._engine.is_extra = True
        try:
            yield
        finally:
            self._engine.is_extra = False

    # ---------------------------------------------------------------- between iterations

    def end_tick(self, metrics: Optional[Mapping[str, float]] = None) -> Dict[str, float]:
        """A stretch of training, such as an epoch, is over. Has to be called in every process.

        Args:
            metrics: name → value, of the networks as they are; those of process 0 count.

        Returns:
            Statistics of the methods by name.

        Raises:
            ValueError: there are metrics, and the loop does not know its batch size.
            RuntimeError: no iteration has begun, or the loop is closed.
        """
        training = self._engine.training
        if self._engine.iteration < 0 or self._is_closed:
            raise RuntimeError("no iteration has begun, or the loop is closed, so no tick can end")
        statistics = self._engine.report()
        measured = {name: float(value) for name, value in (metrics or {}).items()}
        (measured, *_) = gather(measured, self._device, training.num_ranks)
        if measured:
            if training.batch_size is None:
                raise ValueError(
                    "metrics are told with the number of images so far, so the loop has to be given its batch_size"
                )
            self._engine.measured(measured, (self._engine.iteration + self._is_whole) * training.batch_size / 1000)
        self._engine.end_tick()
        return statistics

    def state_dict(self) -> Dict[str, Any]:
        """All that a run needs to go on: networks, optimizers, methods with their settings, random states, and the iteration.

        To be taken between two iterations, in every process. It loads with ``weights_only=True``. As with all of PyTorch's,
        the tensors in it are those that train on.

        Raises:
            RuntimeError: inside an iteration.
        """
        if self._inside:
            raise RuntimeError("a state is taken between two iterations")
        training = self._engine.training
        return {
            "version": _VERSION,
            "iteration": self._engine.iteration + 1,
            "is_whole": self._is_whole,
            "networks": {name: network.state_dict() for name, network in training.networks.items()},
            "averages": self._counters,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in training.optimizers.items()},
            "methods": states_of(self._engine.hooks),
            "settings": self._settings,
            "random": gather(random_states(self._device), self._device, training.num_ranks),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. A part that the state does not have stays as it is.

        Raises:
            ValueError: it is of other networks, optimizers or settings, of another number of processes, or of a newer version.

        Warns:
            UserWarning: it has a method that this loop has not.
        """
        training, random = self._engine.training, state.get("random")
        if not 1 <= state.get("version", 0) <= _VERSION:
            raise ValueError(f"the state has version {state.get('version')}; this package reads up to {_VERSION}")
        if random is not None and len(random) != training.num_ranks:
            raise ValueError(f"the state is of {len(random)} processes, this loop has {training.num_ranks}")
        for what, mine in (("networks", training.networks), ("optimizers", training.optimizers)):
            saved = state.get(what, mine)
            if set(saved) != set(mine):
                raise ValueError(f"the state has {what} {', '.join(sorted(saved))}, this loop {', '.join(sorted(mine))}")
        self._check_settings(state)
        self._check_states(state)
        for name, values in state.get("networks", {}).items():
            training.networks[name].load_state_dict(values)
        for name, counters in state.get("averages", {}).items():
            for each, value in counters.items():
                self._counters[name][each].copy_(value)
        for name, values in state.get("optimizers", {}).items():
            training.optimizers[name].load_state_dict(values)
        unknown = set(state["methods"]) - set(map(name_of, self._engine.hooks))
        if unknown:
            warn(f"the state has methods that this loop has not: {', '.join(sorted(unknown))}")
        for hook in self._engine.hooks:
            found = of_hook(state["methods"], type(hook))
            if found is not None:
                hook.load_state_dict(found)
        self._engine.iteration, self._is_whole = state["iteration"] - 1, state.get("is_whole", True)
        if random is not None:
            set_random_states(random[training.rank], self._device)
        if self._way == "steps":
            self._begin_unless_one_goes_on()

    def _check_settings(self, state: Mapping[str, Any]) -> None:
        """Check that the methods have the settings that they had. One that the state does not have had its default."""
        for hook in self._engine.hooks:
            name, config = name_of(hook), getattr(hook, "config", None)
            defaults = type(hook).defaults() if config is None else type(config)().to_dict()
            saved = state.get("settings", {}).get(name)
            if saved is None or hook.observes:
                continue
            mine = self._settings[name]
            told = difference({each: saved.get(each, defaults.get(each, value)) for each, value in mine.items()}, mine)
            if told:
                raise ValueError(f"{name}: {told}")

    def _check_states(self, state: Mapping[str, Any]) -> None:
        """Check that each method can go on with its part, before anything is loaded."""
        for hook in self._engine.hooks:
            try:
                found = of_hook(state["methods"], type(hook))
                if found is not None:
                    hook.check_state(found, self._engine.training.networks)
            except Exception as err:  # of any kind, as ``check_state`` says
                what = f"{type(err).__name__}: {err}"
                raise ValueError(f"the state's part of {name_of(hook)} is missing or absurd ({what})") from err

    def close(self) -> None:
        """Take the methods off: nothing of theirs stays at networks, optimizers and learning rates but what has been trained.
        Safe to repeat."""
        if not self._is_closed:
            self._is_closed = True
            self._engine.close()
            _followed.difference_update(self._engine.training.optimizers.values())

    @property
    def _device(self) -> torch.device:
        parameters = (p for network in self._engine.training.networks.values() for p in network.parameters())
        return next(parameters, torch.empty(0)).device


def _inner(optimizer: Any) -> Any:
    """The optimizer inside of the wrapper that Lightning or Accelerate makes, whose steps end in its own."""
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, torch.optim.Optimizer) else optimizer


def _check(
    networks: Mapping[str, Any], optimizers: Mapping[str, Any], methods: Sequence[Hook], scheduled: Sequence[str]
) -> None:
    """Check what a loop is given."""
    for name, network in networks.items():
        if not isinstance(network, torch.nn.Module):
            raise ValueError(f"networks are modules, got a {type(network).__name__} for {name!r}")
    unknown = [name for name in scheduled if name not in optimizers]
    if unknown or isinstance(scheduled, str):
        raise ValueError(f'scheduled names those of the optimizers {sorted(optimizers)}, such as ["G"], got {scheduled!r}')
    for name, optimizer in optimizers.items():
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(f"the optimizer of {name} has to be a torch.optim.Optimizer, got a {type(optimizer).__name__}")
        if name not in ("G", "D") or name not in networks:
            raise ValueError(f'optimizers train the networks "G" and "D"; one is of {name!r}, of networks {sorted(networks)}')
        if optimizer in _followed:
            raise RuntimeError("another hook is attached to this optimizer; call detach() or close() of that first")
    for method in methods:
        if not isinstance(method, Hook):
            raise ValueError(f"methods are hooks such as Reconfiguration(), got {method!r}")
    names = [name_of(method) for method in methods]
    for method in methods:
        clash = next((name for name in names if name in method.excludes), None)
        if clash is not None:
            raise ValueError(f"the methods {name_of(method)} and {clash} cannot work beside each other")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the method {twice} is given twice")
