"""What a host constructs by class name: the loss, the optimizers, the progress callback.

The names of these objects travel in the host's own keyword arguments, as JSON into training_options.json and through
spawn into every rank. Each keeps the host's own class under ``inner``.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import torch

from ..core import health, own_snapshots
from ..core.engine import Engine, construct_hook, look_up
from ..core.files import copy_whole, make_durable, tolerate_write_failure
from ..core.state_check import check_fields
from ..core.status import note_end
from . import current, state, stop
from .host_loop import HostLoop, phase_name

__all__ = ["HookedLoss", "Ticker", "hooked_optimizer", "without_seams"]

_ADDED = ("class_name", "inner", "hooks", "network", "configured_lr", "is_rate_set")  # to the host's own arguments
# What a round computes with, by the names that the hosts' accumulate_gradients have in common; one of them has no gen_c.
_ROUND = ("real_img", "real_c", "gen_z", "gen_c")


class HookedLoss:
    """The host's loss, with an event before every phase and every round.

    Args:
        inner: keyword arguments of the host's own loss, ``class_name`` among them.
        hooks: keyword arguments of each hook, ``class_name`` among them.
        modules: what the host hands to its loss; passed on as it is.

    Raises:
        RuntimeError: constructed outside a host's training loop.
    """

    def __init__(self, inner: Mapping[str, Any], hooks: Sequence[Mapping[str, Any]], **modules: Any):
        loop = HostLoop.running()
        self._inner = loop.construct(**modules, **inner)
        self._signature = inspect.signature(self._inner.accumulate_gradients)
        stats = sys.modules[type(self._inner).__module__].training_stats
        constructed = [construct_hook(**hook) for hook in hooks]
        training = loop.training(self._inner, stats)
        self._engine = Engine(constructed, training, stats.report0, _tick_ends, stop.at_iteration)
        current.set_engine(self._engine)

    def accumulate_gradients(self, *args: Any, **kwargs: Any) -> Any:
        """The host's own, after the events of its phase and of its round, on what the hooks make of its tensors."""
        given = self._signature.bind(*args, **kwargs)
        self._engine.enter_phase(phase_name(given.arguments["phase"]))
        batch = self._engine.change_round(**{name: given.arguments.get(name) for name in _ROUND})
        given.arguments.update({name: getattr(batch, name) for name in _ROUND if name in given.arguments})
        return self._inner.accumulate_gradients(*given.args, **given.kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # not constructed yet
            raise AttributeError(name)
        return getattr(self._inner, name)


def _tick_ends() -> bool:
    """Whether the running loop's iteration is the last of its tick; True where there is no loop."""
    loop = HostLoop.find()
    return loop is None or loop.ends_tick


def hooked_optimizer(
    params: Any, *, inner: str, network: str, configured_lr: Optional[float] = None, is_rate_set: bool = False, **kwargs: Any
) -> Any:
    """The host's own optimizer ``inner`` with events before and after each step.

    Args:
        params: as the host passes them.
        inner: dotted name of the optimizer's class.
        network: whose it is, "G" or "D".
        configured_lr: learning rate before the loop scaled it for lazy regularisation; None where it does not.
        is_rate_set: whether the loop sets the learning rate right before each step.
        kwargs: the host's other arguments, such as ``lr`` and ``betas``.
    """
    optimizer: torch.optim.Optimizer = look_up(inner)(params, **kwargs)
    current.engine().add_optimizer(network, optimizer, configured_lr, is_rate_set)
    return optimizer


def without_seams(options: Mapping[str, Any]) -> Dict[str, Any]:
    """A run's keyword arguments of the training loop as the plain host has them."""
    plain = dict(options)
    for name in ("loss_kwargs", "G_opt_kwargs", "D_opt_kwargs"):
        kwargs = plain.get(name)
        if isinstance(kwargs, Mapping) and "inner" in kwargs:
            inner = kwargs["inner"] if isinstance(kwargs["inner"], Mapping) else {"class_name": kwargs["inner"]}
            plain[name] = {**{key: value for key, value in kwargs.items() if key not in _ADDED}, **inner}
    return plain


class Ticker(Dict[str, Any]):
    """Callable that the host calls when training begins, and once per tick on every rank, after snapshot and metrics.

    It is a dict because the host prints its arguments as JSON and pickles them for its ranks. Keys, all optional:

    - ``states``: write a state file beside every snapshot.
    - ``keep_states``: how many to keep; 0 = all.
    - ``on_nan``: "warn" goes on when weights or losses are not finite at the end of a tick; otherwise the run ends with it.
    - ``keepers``: dotted names of functions that are given the loop, and "sparse" or "dense", after a snapshot with metrics.
    - ``data``: what the training images are known by; not used here, but kept with the options of the run.
    - ``resume_state``: state file to go on from. The host itself loads the networks.
    - ``resume_plain``: where there is none, how far the snapshot's run had come: ``cur_nimg`` (images) and, where
      augmentation adapts, ``augment_p``.
    """

    _has_begun = False
    _first_image = 0  # that the loop counts as shown before its first iteration

    def __call__(self, cur_kimg: float, total_kimg: float) -> None:
        loop, engine = HostLoop.running(), current.engine_or_none()
        if not self._has_begun:
            self._has_begun = True
            self._begin(loop, engine)
            return
        fault = health.look(loop.networks, loop.losses, loop.num_ranks)
        if loop.snapshot is not None:
            if engine is not None and loop.metrics:
                engine.measured(dict(loop.metrics), loop.images / 1000)
            if fault is not None and fault.in_weights:
                _set_aside(loop)
            else:
                self._keep(loop, engine, fault)
        if fault is not None and self.get("on_nan") != "warn":
            stop.diverge(loop)
        if engine is not None:
            engine.end_tick()
        if fault is not None and loop.rank == 0:
            _tell(fault, loop)

    def _begin(self, loop: HostLoop, engine: Optional[Engine]) -> None:
        stop.remember_loader(loop.data_iterator)
        if self.get("resume_state"):
            self._resume(loop, engine)
        elif self.get("resume_plain"):
            self._resume_plain(loop, engine)
        elif loop.images > 0:  # the host goes on by itself
            iteration = loop.images // loop.batch_size
            _begin_after(engine, iteration)
            if engine is not None:
                loop.set_counters(iteration * loop.batch_size, iteration, loop.tick)
        self._first_image = loop.images - loop.iteration * loop.batch_size

    def _keep(self, loop: HostLoop, engine: Optional[Engine], fault: Optional[health.Fault]) -> None:
        """What goes with a snapshot: a note that it is our own, its state, and copies of it where it is the best so far."""
        assert loop.snapshot is not None
        if loop.rank == 0:
            with tolerate_write_failure("The list of your own snapshots"):
                own_snapshots.remember(loop.snapshot)
        if self.get("states"):
            self._write_state(loop, engine, fault is not None)
        if loop.rank == 0 and loop.metrics:
            for name in self.get("keepers", ()):
                look_up(name)(loop, "sparse" if engine is not None and engine.is_sparse() else "dense")

    def _resume(self, loop: HostLoop, engine: Optional[Engine]) -> None:
        saved = state.load(self["resume_state"])
        _begin_after(engine, saved["batch_idx"])
        state.restore(saved, loop, [] if engine is None else engine.hooks)

    def _resume_plain(self, loop: HostLoop, engine: Optional[Engine]) -> None:
        plain = self["resume_plain"]
        images = plain["cur_nimg"]
        iteration = images // loop.batch_size
        _begin_after(engine, iteration)
        if plain.get("augment_p") is not None and loop.augment_pipe is not None:
            loop.augment_pipe.p.fill_(plain["augment_p"])
        tick = 1 + int(images / (loop.kimg_per_tick * 1000))  # the first tick of a run is one iteration
        loop.set_counters(images, iteration, tick)

    def _write_state(self, loop: HostLoop, engine: Optional[Engine], is_suspect: bool = False) -> None:
        """Write the state, unless it is suspect and no run could go on from it."""
        collected = state.collect(loop, [] if engine is None else engine.hooks, self._first_image)
        if loop.rank == 0:
            snapshot, is_copied = loop.kept_snapshot, loop.kept_snapshot != loop.snapshot
            assert loop.snapshot is not None and snapshot is not None and loop.run_dir is not None
            path = state.state_path(snapshot)
            with tolerate_write_failure(path.name):
                if is_copied:
                    copy_whole(loop.snapshot, snapshot)
                make_durable(snapshot)  # the host does not; older states go once this one is there
                collected["snapshot"] = state.fingerprint(snapshot)
                if is_suspect:
                    try:
                        check_fields(collected)
                    except ValueError as err:
                        print(f"{path.name} is not written: {err}.", file=sys.stderr, flush=True)
                        return
                state.save(collected, path)
                state.prune_old(loop.run_dir, self.get("keep_states", 0), with_snapshots=is_copied)


def _begin_after(engine: Optional[Engine], iterations: int) -> None:
    """Start the hooks of a run that goes on after so many iterations."""
    if engine is not None:
        engine.start()
        engine.iteration = iterations - 1


def _set_aside(loop: HostLoop) -> None:
    """Rename a snapshot whose weights are not finite, so that nothing takes it for the newest or the best of its run."""
    if loop.rank == 0 and loop.snapshot is not None:
        snapshot, kept = loop.snapshot, loop.kept_snapshot
        assert kept is not None
        with tolerate_write_failure(snapshot.name):
            snapshot.replace(kept.with_name(kept.name.replace("network-snapshot-", "network-nonfinite-")))


def _tell(fault: health.Fault, loop: HostLoop) -> None:
    """Say what is not finite, and note the end of the run where it ends."""
    where = f"At {loop.images / 1000:g} kimg {fault}"
    if not stop.diverged():
        print(f"\nWARNING: {where}. Training goes on, as --on-nan=warn has it.", file=sys.stderr, flush=True)
        return
    assert loop.run_dir is not None
    folder = Path(loop.run_dir)
    note_end(folder, "nan")
    states = state.in_order(folder)
    last = f"The last sound state is {states[-1].name}" if states else "There is no sound state yet"
    print(f"\nERROR: {where}. The run ends here. {last}.", file=sys.stderr, flush=True)
