"""A host's running training loop, by what its variables mean: the one place that knows what they are called.

The hosts keep G_ema, the run folder and every counter in local variables of one function called ``training_loop``. Nothing
they construct is handed those, so they are read from the call stack. Imported without torch, by what only supervises a run.
"""

from __future__ import annotations

import ctypes
import inspect
import math
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import torch

    from ..core.hook import Training

__all__ = ["HostLoop", "SampleGrid", "kimg_per_tick", "lacking", "phase_name", "snapshots", "total_iterations"]

_KIMG_PER_TICK = 4
_NEEDED = (
    "batch_size", "total_kimg", "kimg_per_tick", "network_snapshot_ticks", "batch_idx", "cur_nimg", "cur_tick",
    "tick_start_nimg", "done", "phases", "loss", "stats_collector", "training_set_kwargs", "device",
)  # fmt: skip


def lacking(training_loop: Callable[..., Any]) -> List[str]:
    """The variables without which no run can be followed, of those that a host's ``training_loop`` has not."""
    code = inspect.unwrap(training_loop).__code__
    return [name for name in _NEEDED if name not in (*code.co_varnames, *code.co_cellvars)]


def kimg_per_tick(arguments: Mapping[str, Any]) -> float:
    """Length of a tick in kimg by a loop's keyword arguments; the NVIDIA hosts leave it to the default of their loops."""
    given = arguments.get("kimg_per_tick")
    return _KIMG_PER_TICK if given is None else float(given)


def total_iterations(arguments: Mapping[str, Any]) -> int:
    """Iterations of the whole run by a loop's keyword arguments."""
    return math.ceil(arguments["total_kimg"] * 1000 / arguments["batch_size"])


def snapshots(arguments: Mapping[str, Any]) -> int:
    """Snapshots of the whole run by a loop's keyword arguments, that of the first iteration among them."""
    every = arguments["network_snapshot_ticks"]
    return 0 if every is None else math.ceil(math.ceil(arguments["total_kimg"] / kimg_per_tick(arguments)) / every) + 1


def phase_name(name: str) -> str:
    """A host's name of a phase as hooks know it: one without lazy regularisation may call them "G" and "D" alone."""
    return f"{name}main" if len(name) == 1 else name


class SampleGrid(NamedTuple):
    """The grid of images that a host draws at its ticks.

    Args:
        latents: batches [batch, z_dim].
        labels: their labels [batch, c_dim].
        size: columns and rows.
        save: the host's own function, which writes images as a picture.
    """

    latents: "Sequence[torch.Tensor]"
    labels: "Sequence[torch.Tensor]"
    size: Tuple[int, int]
    save: Callable[..., Any]


class HostLoop:
    """A host's loop, as it is at the moment of asking. What keeps one keeps the loop's data loader alive.

    Args:
        frame: of the host's ``training_loop``.
    """

    def __init__(self, frame: FrameType):
        self._frame = frame

    @classmethod
    def find(cls, frame: Optional[FrameType] = None) -> "Optional[HostLoop]":
        """The innermost loop that called the caller, or ``frame``; None where there is none."""
        frame = sys._getframe(1) if frame is None else frame
        while frame is not None and frame.f_code.co_name != "training_loop":
            frame = frame.f_back
        return None if frame is None else cls(frame)

    @classmethod
    def running(cls) -> "HostLoop":
        """The innermost loop that called the caller.

        Raises:
            RuntimeError: there is none.
        """
        loop = cls.find(sys._getframe(1))
        if loop is None:
            raise RuntimeError("no function called training_loop is running; the seams work only inside a host's loop")
        return loop

    def _get(self, name: str) -> Any:
        """A variable that every host has."""
        try:
            return self._frame.f_locals[name]
        except KeyError:
            raise RuntimeError(f"the host's training_loop has no variable {name}") from None

    def _find(self, name: str, default: Any = None) -> Any:
        """A variable that a host may do without."""
        return self._frame.f_locals.get(name, default)

    # ---------------------------------------------------------------- how far it has come

    @property
    def batch_size(self) -> int:
        """Images per iteration over all processes."""
        return int(self._get("batch_size"))

    @property
    def total_iterations(self) -> int:
        """Iterations of the whole run."""
        return total_iterations(self._frame.f_locals)

    @property
    def iteration(self) -> int:
        """Iterations that are done."""
        return int(self._get("batch_idx"))

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return int(self._get("cur_nimg"))

    @property
    def tick(self) -> int:
        """Number of the tick that is being trained, from 0. The first is one iteration long."""
        return int(self._get("cur_tick"))

    @property
    def kimg_per_tick(self) -> float:
        """Length of a tick, in thousands of images."""
        return float(self._get("kimg_per_tick"))

    @property
    def snapshot_ticks(self) -> int:
        """Ticks from one snapshot to the next."""
        return int(self._get("network_snapshot_ticks"))

    @property
    def ends_tick(self) -> bool:
        """Whether the iteration that is being trained is the last of its tick (observed rule of the NVIDIA hosts)."""
        images = self.images + self.batch_size
        return bool(
            images >= self._get("total_kimg") * 1000
            or self.tick == 0
            or images >= self._get("tick_start_nimg") + self.kimg_per_tick * 1000
        )

    @property
    def is_done(self) -> bool:
        """Whether the tick that has just ended is the last of the run."""
        return bool(self._get("done"))

    # ---------------------------------------------------------------- what it works on

    @property
    def networks(self) -> Dict[str, torch.nn.Module]:
        """ "G", "D" and "G_ema", those that there are, as bare modules."""
        from ..core.ranks import bare

        found = {name: self._find(name) for name in ("G", "D", "G_ema")}
        return {name: bare(n) for name, n in found.items() if n is not None}

    @property
    def optimizers(self) -> Dict[str, torch.optim.Optimizer]:
        """ "G" and "D" → optimizer."""
        return {phase.name[0]: phase.opt for phase in self._get("phases")}

    @property
    def loss(self) -> Any:
        """The loss that it calls."""
        return self._get("loss")

    @property
    def augment_pipe(self) -> Any:
        """The host's own augmentation; None without."""
        return self._find("augment_pipe")

    @property
    def adaptation(self) -> Any:
        """Collector of what adapts the augmentation; None where nothing does."""
        return self._find("ada_stats", self._find("apa_stats"))

    @property
    def collector(self) -> Any:
        """Collector of all statistics."""
        return self._get("stats_collector")

    @property
    def data_iterator(self) -> Any:
        """Iterator of the training images; None without."""
        return self._find("training_set_iterator")

    @property
    def data_arguments(self) -> Dict[str, Any]:
        """Keyword arguments of the training set."""
        return dict(self._get("training_set_kwargs"))

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        import torch

        return torch.device(self._get("device"))

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self._find("random_seed", 0))

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return int(self._find("rank", 0))

    @property
    def num_ranks(self) -> int:
        """Number of processes."""
        return int(self._find("num_gpus", 1))

    @property
    def resumed_from(self) -> Optional[Path]:
        """Network pickle that it began from; None without."""
        found = self._find("resume_pkl")
        return Path(found) if found else None

    # ---------------------------------------------------------------- what it has written

    @property
    def run_dir(self) -> Optional[str]:
        """Folder of the run."""
        found = self._find("run_dir")
        return None if found is None else str(found)

    @property
    def snapshot(self) -> Optional[Path]:
        """Network pickle of the tick that has just ended; None where it wrote none."""
        rolling = self._rolling_snapshot()
        if rolling is None:
            found = self._find("snapshot_pkl")
            return Path(found) if found else None
        every = self._find("network_snapshot_ticks")  # its variable is set on rank 0 alone, and may name another file
        is_due = every is not None and (self.is_done or self.tick % every == 0)
        return rolling if is_due and self._get("restart_every") > 0 else None

    @property
    def kept_snapshot(self) -> Optional[Path]:
        """The same where it lasts: a host may write each of its snapshots over the last, of which a copy goes here."""
        snapshot = self.snapshot
        if snapshot is None or self._rolling_snapshot() is None:
            return snapshot
        return snapshot.with_name(f"network-snapshot-{self.images // 1000:06d}.pkl")

    def _rolling_snapshot(self) -> Optional[Path]:
        """The one file that all snapshots are written to; None where each has its own."""
        path = getattr(self._frame.f_globals.get("misc"), "get_ckpt_path", None)
        return None if path is None else Path(path(self.run_dir))

    @property
    def metrics(self) -> Dict[str, float]:
        """Name → last value of each metric, the host's own dict."""
        found: Dict[str, float] = self._find("stats_metrics", {})
        return found

    @property
    def losses(self) -> Dict[str, float]:
        """Name → mean over the tick that has just ended, of the losses that were measured in it."""
        statistics = self._find("stats_dict") or {}
        return {name: s["mean"] for name, s in statistics.items() if name.startswith("Loss/") and s["num"] > 0}

    @property
    def sample_grid(self) -> Optional[SampleGrid]:
        """The grid that it draws; None where it draws none."""
        parts = [*map(self._find, ("grid_z", "grid_c", "grid_size")), self._frame.f_globals.get("save_image_grid")]
        return None if any(part is None for part in parts) else SampleGrid(*parts)

    # ---------------------------------------------------------------- what is done to it

    def training(self, loss: Any = None, stats: Any = None) -> Training:
        """What hooks are given of a loop that constructs its loss.

        Args:
            loss: the host's own loss.
            stats: the host's own module ``training_stats``.
        """
        from ..core.hook import Training

        return Training(
            networks=self.networks,
            optimizers={},
            run_dir=self.run_dir,
            batch_size=self.batch_size,
            total_iterations=self.total_iterations,
            rank=self.rank,
            num_ranks=self.num_ranks,
            seed=self.seed,
            loss=loss,
            stats=stats,
        )

    def construct(self, **arguments: Any) -> Any:
        """What the host constructs by ``class_name``: only its own function knows its own names."""
        return self._frame.f_globals["dnnlib"].util.construct_class_by_name(**arguments)

    def data_set(self, path: str) -> Any:
        """Other images, read as those of the run: all that are at ``path``."""
        return self.construct(**{**self.data_arguments, "path": path, "max_size": None})

    def networks_in(self, path: Path) -> Dict[str, Any]:
        """What a network pickle holds, opened as the host opens its own, which runs the code in it."""
        with open(path, "rb") as file:
            found: Dict[str, Any] = self._frame.f_globals["legacy"].load_network_pkl(file)
        return found

    def set_counters(self, images: int, iteration: int, tick: int) -> None:
        """Let a loop that is about to begin go on from here.

        Args:
            images: real images shown so far.
            iteration: iterations that are done.
            tick: number of the tick that begins.

        Raises:
            RuntimeError: the host has no such counters, or this Python cannot set them.
        """
        self._set(cur_nimg=images, batch_idx=iteration, cur_tick=tick, tick_start_nimg=images)

    def end_tick_now(self) -> None:
        """End the tick with the iteration that is being trained.

        Raises:
            RuntimeError: as ``set_counters``.
        """
        self._set(kimg_per_tick=0)

    def end_now(self) -> None:
        """End the run with the tick that is being finished.

        Raises:
            RuntimeError: as ``set_counters``.
        """
        self._set(done=True)

    def _set(self, **values: Any) -> None:
        """Set local variables. Up to Python 3.12 ``f_locals`` is a copy, which CPython writes back on request."""
        frame = self._frame
        unknown = sorted(set(values) - set(frame.f_code.co_varnames) - set(frame.f_code.co_cellvars))
        if unknown:
            raise RuntimeError(f"the host's {frame.f_code.co_name} has no variable {', '.join(unknown)}")
        frame.f_locals.update(values)
        if sys.version_info < (3, 13):
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        wrong = [name for name, value in values.items() if frame.f_locals[name] != value]
        if wrong:
            raise RuntimeError(f"this Python ({sys.version.split()[0]}) cannot set the loop's {', '.join(wrong)}")
