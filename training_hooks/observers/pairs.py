"""Keeps the sparse and the dense member of a cycle, and their samples.

The members are plain host pickles, with the keys and classes of a snapshot.
"""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import torch

from ..core import health, own_snapshots
from ..core.drawing import drawn
from ..core.files import copy_whole, tolerate_write_failure, whole_file, whole_path
from ..core.hook import Hook, Training
from ..core.schedule import Phase, Schedule
from ..nvidia.current import engine_or_none
from ..nvidia.host_loop import HostLoop, SampleGrid

__all__ = ["Pairs"]


def _write_member(loop: HostLoop, path: Path, hooks: Sequence[Hook]) -> Dict[str, Any]:
    """Pickle the loop's networks as the host's own snapshot does, once the hooks have seen the copies; returns it."""
    members: Dict[str, Any] = {"training_set_kwargs": loop.data_arguments}
    modules = {**loop.networks, "augment_pipe": loop.augment_pipe}
    for name in ("G", "D", "G_ema", "augment_pipe"):
        module = modules.get(name)
        members[name] = None if module is None else _copied(module).eval().requires_grad_(False).cpu()
    for name in ("G", "D", "G_ema"):
        for hook in hooks:
            hook.on_member(name, members[name])
    with whole_file(path) as file:
        pickle.dump(members, file)
    return members


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of a network, of one with spectral normalisation too: its weights are no leaves, which cannot be copied deeply."""
    try:
        return copy.deepcopy(module)
    except RuntimeError:
        copied: torch.nn.Module = pickle.loads(pickle.dumps(module))
        return copied


def _draw_samples(grid: SampleGrid, generator: torch.nn.Module, path: Path) -> None:
    """Draw a host's sample grid of ``generator``, with the latents of all its grids; no random number is taken."""
    try:
        generator.to(grid.latents[0].device)
        with torch.no_grad():
            images = [drawn(generator, z, c).cpu() for z, c in zip(grid.latents, grid.labels)]
        with whole_path(path, suffix=".png") as half:
            grid.save(torch.cat(images).numpy(), str(half), drange=[-1, 1], grid_size=grid.size)
    except Exception as err:  # whatever a host's own function or a full device raises: a picture is not worth a run
        print(f"{path.name} could not be drawn ({type(err).__name__}: {err}); training goes on.", file=sys.stderr, flush=True)


class Pairs(Hook):
    """Writes ``network-pair-KKKKKK-sparse.pkl`` and ``-dense.pkl`` on rank 0: the networks right before and at the end of the
    phase after a switch, named by what the reconfigured ones are, G of two. KKKKKK is the kimg of that switch, so both members
    of a pair have the same number. Beside each, ``fakes-pair-KKKKKK-sparse.png`` and ``-dense.png`` are its samples.

    Args:
        every: keep the members of every switch; otherwise those of the run's last one.
    """

    observes = True
    order = -1  # it has to see the networks before Reconfiguration changes them

    def __init__(self, every: bool = False):
        self._every = every
        self._total = 0
        self._training: Optional[Training] = None
        self._switch_kimg: Optional[int] = None
        self._first: Optional[str] = None  # kind of the first member of that switch

    def start(self, training: Training) -> None:
        self._training = training
        if training.total_iterations is None or training.batch_size is None:
            raise ValueError("pairs need to know the length of the run and its batch size")
        self._total = training.total_iterations

    @property
    def _schedule(self) -> Schedule:
        """The phases, of the method that has some."""
        engine = engine_or_none()
        schedules = [hook.schedule for hook in (() if engine is None else engine.hooks)]
        found = next((schedule for schedule in schedules if schedule is not None), None)
        if found is None:
            raise RuntimeError("pairs need a method with sparse and dense phases")
        return found

    def on_iteration(self, iteration: int) -> None:
        assert self._training is not None and self._training.batch_size is not None
        span = self._schedule.span(iteration)
        if iteration != span.start or span.cycle == 0:
            return
        if self._switch_kimg is not None:  # the phase that ends here was the second member of a pair
            self._write(Phase.DENSE if span.phase == Phase.SPARSE else Phase.SPARSE)
        self._switch_kimg = None
        ends = span.stop is None or span.stop >= self._total
        if iteration > 0 and (self._every or ends):
            self._switch_kimg = iteration * self._training.batch_size // 1000
            self._first = self._write(Phase.DENSE if span.phase == Phase.SPARSE else Phase.SPARSE)

    def on_tick(self) -> None:
        loop = HostLoop.running()
        if loop.is_done and self._switch_kimg is not None:
            self._write(self._schedule.span(loop.iteration - 1).phase)

    def state_dict(self) -> Dict[str, Any]:
        return {"switch_kimg": self._switch_kimg, "first": self._first}

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
        kimg = state["switch_kimg"]
        if not (kimg is None or (type(kimg) is int and kimg >= 0)) or state.get("first") not in (None, "sparse", "dense"):
            raise ValueError("its switch is absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._switch_kimg = state["switch_kimg"]
        self._first = state.get("first")  # older states do not name it
        loop = HostLoop.find()
        if self._switch_kimg is not None and self._first is not None and loop is not None and loop.resumed_from is not None:
            self._take_over(loop.resumed_from.parent)

    def _take_over(self, folder: Path) -> None:
        """Have the first member beside the second, which a run that goes on writes into a folder of its own."""
        assert self._training is not None and self._training.run_dir is not None and self._first is not None
        for name in (self._name(self._first), self._picture(self._first)):
            first, target = folder / name, Path(self._training.run_dir) / name
            if self._training.rank == 0 and first.is_file() and not target.exists():
                with tolerate_write_failure(name):
                    copy_whole(first, target)

    def _name(self, kind: str) -> str:
        return f"network-pair-{self._switch_kimg:06d}-{kind}.pkl"

    def _picture(self, kind: str) -> str:
        return f"fakes-pair-{self._switch_kimg:06d}-{kind}.png"

    def _write(self, phase: Phase) -> str:
        assert self._training is not None and self._training.run_dir is not None
        kind = "sparse" if phase == Phase.SPARSE else "dense"
        if self._training.rank == 0:
            self._write_here(kind, Path(self._training.run_dir) / self._name(kind))
        return kind

    def _write_here(self, kind: str, path: Path) -> None:
        """Write a member and its samples, unless weights are not finite, of which the end of the tick tells."""
        loop, engine = HostLoop.running(), engine_or_none()
        if any(health.non_finite(network) for name, network in loop.networks.items() if name != "D"):
            return
        with tolerate_write_failure(path.name):
            members, grid = _write_member(loop, path, [] if engine is None else engine.hooks), loop.sample_grid
            if grid is not None:
                _draw_samples(grid, members["G_ema"], path.with_name(self._picture(kind)))
            with tolerate_write_failure("The list of your own snapshots"):
                own_snapshots.remember(path)
