"""What a host constructs by class name: the loss, the optimizers, the progress callback.

The names of these objects travel in the host's own keyword arguments, as JSON into training_options.json and through
spawn into every rank. Each keeps the host's own class under ``inner``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Dict, Mapping, Optional, Sequence

import torch

from ..core import health, own_snapshots
from ..core.engine import Engine, construct_hook, look_up
from ..core.files import make_durable, tolerate_write_failure
from ..core.hook import Training
from ..core.state_check import check_fields
from ..core.status import note_end
from . import current, state, stop
from . import host_loop as loop

__all__ = ["HookedLoss", "Ticker", "hooked_optimizer", "training_of"]


# How every host's accumulate_gradients begins.
_ROUND = ("phase", "real_img", "real_c", "gen_z", "gen_c")


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
        variables = loop.loop_variables()
        construct = _host_constructor()
        self._inner = construct(**modules, **inner)
        stats = sys.modules[type(self._inner).__module__].training_stats
        constructed = [construct_hook(**hook) for hook in hooks]
        training = training_of(variables, self._inner, stats)
        self._engine = Engine(constructed, training, stats.report0, loop.tick_ends, stop.at_iteration)
        current.set_engine(self._engine)

    def accumulate_gradients(self, *args: Any, **kwargs: Any) -> Any:
        """The host's own, after the events of its phase and of its round, on what the hooks make of its tensors."""
        given = {**dict(zip(_ROUND, args)), **kwargs}
        self._engine.enter_phase(given["phase"])
        changed = self._engine.change_round({name: given[name] for name in _ROUND[1:]})
        args = (*(changed.get(name, value) for name, value in zip(_ROUND, args)), *args[len(_ROUND) :])
        kwargs.update({name: changed[name] for name in changed if name in kwargs})
        return self._inner.accumulate_gradients(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # not constructed yet
            raise AttributeError(name)
        return getattr(self._inner, name)


def training_of(variables: Mapping[str, Any], loss: Any = None, stats: Any = None) -> Training:
    """What hooks are given of a loop that constructs its loss.

    Args:
        variables: local variables of the loop.
        loss: the host's own loss.
        stats: the host's own module ``training_stats``.
    """
    return Training(
        networks={name: _bare(variables[name]) for name in ("G", "D", "G_ema") if name in variables},
        optimizers={},
        run_dir=variables.get("run_dir"),
        batch_size=variables["batch_size"],
        total_iterations=loop.total_iterations(variables),
        rank=variables.get("rank", 0),
        num_ranks=variables.get("num_gpus", 1),
        loss=loss,
        stats=stats,
    )


def _bare(module: torch.nn.Module) -> torch.nn.Module:
    return module.module if isinstance(module, torch.nn.parallel.DistributedDataParallel) else module


def _host_constructor() -> Any:
    """``construct_class_by_name`` of the host whose loop is running: only that one knows the host's own names."""
    frame = loop.find_loop()
    assert frame is not None
    return frame.f_globals["dnnlib"].util.construct_class_by_name


def hooked_optimizer(params: Any, *, inner: str, network: str, configured_lr: float, **kwargs: Any) -> Any:
    """The host's own optimizer ``inner`` with events before and after each step.

    Args:
        params: as the host passes them.
        inner: dotted name of the optimizer's class.
        network: whose it is, "G" or "D".
        configured_lr: learning rate before the loop scaled it for lazy regularisation.
        kwargs: the host's other arguments, ``lr`` and ``betas`` among them.
    """
    optimizer: torch.optim.Optimizer = look_up(inner)(params, **kwargs)
    current.engine().add_optimizer(network, optimizer, configured_lr)
    return optimizer


class Ticker(Dict[str, Any]):
    """Callable that the host calls when training begins, and once per tick on every rank, after snapshot and metrics.

    It is a dict because the host prints its arguments as JSON and pickles them for its ranks. Keys, all optional:

    - ``states``: write a state file beside every snapshot.
    - ``keep_states``: how many to keep; 0 = all.
    - ``on_nan``: "warn" goes on when weights or losses are not finite at the end of a tick; otherwise the run ends with it.
    - ``keepers``: dotted names of functions that are called on rank 0 after a snapshot with metrics, with the loop's local
      variables and what the networks are, "sparse" or "dense".
    - ``data``: what the training images are known by; not used here, but kept with the options of the run.
    - ``resume_state``: state file to go on from. The host itself loads the networks.
    - ``resume_plain``: where there is none, how far the snapshot's run had come: ``cur_nimg`` (images) and, where
      augmentation adapts, ``augment_p``.
    """

    def __call__(self, cur_kimg: float, total_kimg: float) -> None:
        frame, engine = loop.find_loop(), current.engine_or_none()
        assert frame is not None
        if frame.f_locals["batch_idx"] == 0:
            stop.remember_loader(frame.f_locals.get("training_set_iterator"))
            if self.get("resume_state"):
                self._resume(frame, engine)
            elif self.get("resume_plain"):
                self._resume_plain(frame, engine)
            return
        fault = health.look(frame.f_locals)
        if frame.f_locals.get("snapshot_pkl"):
            if fault is not None and fault.in_weights:
                _set_aside(frame.f_locals)
            else:
                self._keep(frame.f_locals, engine, fault)
        if fault is not None and self.get("on_nan") != "warn":
            stop.diverge(frame, frame.f_locals["rank"])
        if engine is not None:
            engine.end_tick()
        if fault is not None and frame.f_locals["rank"] == 0:
            _tell(fault, frame.f_locals)

    def _keep(self, variables: Mapping[str, Any], engine: Optional[Engine], fault: Optional[health.Fault]) -> None:
        """What goes with a snapshot: a note that it is our own, its state, and copies of it where it is the best so far."""
        if variables["rank"] == 0:
            with tolerate_write_failure("The list of your own snapshots"):
                own_snapshots.remember(variables["snapshot_pkl"])
        if self.get("states"):
            self._write_state(variables, engine, fault is not None)
        if variables["rank"] == 0 and variables["stats_metrics"]:
            for name in self.get("keepers", ()):
                look_up(name)(variables, "sparse" if engine is not None and engine.is_sparse() else "dense")

    def _resume(self, frame: FrameType, engine: Optional[Engine]) -> None:
        saved = state.load(self["resume_state"])
        if engine is not None:
            engine.start()
            engine.iteration = saved["batch_idx"] - 1
        state.restore(saved, frame, [] if engine is None else engine.hooks)

    def _resume_plain(self, frame: FrameType, engine: Optional[Engine]) -> None:
        variables, plain = frame.f_locals, self["resume_plain"]
        images = plain["cur_nimg"]
        batch_idx = images // variables["batch_size"]
        if engine is not None:
            engine.start()
            engine.iteration = batch_idx - 1
        if plain.get("augment_p") is not None and variables.get("augment_pipe") is not None:
            variables["augment_pipe"].p.fill_(plain["augment_p"])
        tick = 1 + int(images / (variables["kimg_per_tick"] * 1000))  # the first tick of a run is one iteration
        counters = {"cur_nimg": images, "batch_idx": batch_idx, "cur_tick": tick, "tick_start_nimg": images}
        loop.set_variables(frame, counters)

    def _write_state(self, variables: Mapping[str, Any], engine: Optional[Engine], is_suspect: bool = False) -> None:
        """Write the state, unless it is suspect and no run could go on from it."""
        collected = state.collect(variables, [] if engine is None else engine.hooks)
        if variables["rank"] == 0:
            path = state.state_path(variables["snapshot_pkl"])
            with tolerate_write_failure(path.name):
                make_durable(Path(variables["snapshot_pkl"]))  # the host does not; older states go once this one is there
                collected["snapshot"] = state.fingerprint(variables["snapshot_pkl"])
                if is_suspect and not _is_sound(collected, path):
                    return
                state.save(collected, path)
                state.prune_old(variables["run_dir"], self.get("keep_states", 0))


# ---------------------------------------------------------------- weights and losses that are not finite


def _is_sound(collected: Mapping[str, Any], path: Path) -> bool:
    try:
        check_fields(collected)
    except ValueError as err:
        print(f"{path.name} is not written: {err}.", file=sys.stderr, flush=True)
        return False
    return True


def _set_aside(variables: Mapping[str, Any]) -> None:
    """Rename a snapshot whose weights are not finite, so that nothing takes it for the newest or the best of its run."""
    if variables["rank"] == 0:
        snapshot = Path(variables["snapshot_pkl"])
        with tolerate_write_failure(snapshot.name):
            snapshot.replace(snapshot.with_name(snapshot.name.replace("network-snapshot-", "network-nonfinite-")))


def _tell(fault: health.Fault, variables: Mapping[str, Any]) -> None:
    """Say what is not finite, and note the end of the run where it ends."""
    where = f"At {variables['cur_nimg'] / 1000:g} kimg {fault}"
    if not stop.diverged():
        print(f"\nWARNING: {where}. Training goes on, as --on-nan=warn has it.", file=sys.stderr, flush=True)
        return
    folder = Path(variables["run_dir"])
    note_end(folder, "nan")
    states = state.in_order(folder)
    last = f"The last sound state is {states[-1].name}" if states else "There is no sound state yet"
    print(f"\nERROR: {where}. The run ends here. {last}.", file=sys.stderr, flush=True)
