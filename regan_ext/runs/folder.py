"""Reads run folders, of this package and of the plain host, into frozen values."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Tuple

from training_hooks.core.schedule import Schedule

from ..support.errors import UserError
from ..support.reading import Damaged, mapping, number, read_json, read_lines, unless_read, whole
from .job import Job, by_kimg, read_job
from .metric import MetricPoint, read_metrics
from .plan import read_plan

if TYPE_CHECKING:
    from training_hooks.methods.method import Entry

__all__ = ["Part", "Run", "Tick", "read_run", "read_stats"]

OPTIONS_FILE, STATS_FILE = "training_options.json", "stats.jsonl"
_MOST_KIMG = 1e9


@dataclass(frozen=True)
class Tick:
    """One line of stats.jsonl: where the run stood, in kimg, where the tick began, and the means of its statistics."""

    kimg: float
    start: float
    values: Mapping[str, float]

    def get(self, name: str) -> float:
        """Mean of the statistic; NaN where there is none."""
        return self.values.get(name, math.nan)

    @property
    def is_startup(self) -> bool:
        """The host's first tick is a single batch, which waits for everything that is slow once."""
        return self.get("Progress/tick") == 0


@dataclass(frozen=True)
class Part:
    """A run folder that another run went on from, at ``until`` kimg."""

    run: "Run"
    until: float


@dataclass(frozen=True)
class Run:
    """A run folder. What is missing in it is NaN, None or empty here; ``notes`` say what could not be read.

    Ticks and metrics are of all its parts where it has ``earlier`` ones, the rest is of the last part.
    """

    folder: Path
    options: Mapping[str, Any]
    ticks: Tuple[Tick, ...]
    metrics: Tuple[MetricPoint, ...]
    notes: Tuple[str, ...]
    job: Job
    whole_plan: Mapping[str, Any] = field(default_factory=dict)
    earlier: Tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def parts(self) -> Tuple[Part, ...]:
        """All its folders, oldest first, itself last."""
        return (*self.earlier, Part(self, math.inf))

    @property
    def starts(self) -> List[Tuple[int, Path]]:
        """Kimg and path of the snapshots of all its parts that have a state file, the one to go on from last."""
        found = []
        for part in self.parts:
            states = by_kimg(part.run.folder, "regan-state-", ".pt")
            found += [(kimg, path) for kimg, path in by_kimg(part.run.folder).items() if kimg in states]
        return found

    @property
    def last_snapshot(self) -> Path:
        """The snapshot of the last tick, whether it is there or not."""
        return self.folder / f"network-snapshot-{self.whole_kimg:06d}.pkl"

    @property
    def data(self) -> str:
        """Name of the data set's file or folder."""
        return Path(str(self._data_option("path") or "unknown")).name

    @property
    def resolution(self) -> Optional[int]:
        return whole(self._data_option("resolution"))

    @property
    def images(self) -> Optional[int]:
        """Number of images in the data set."""
        return whole(self._data_option("max_size"))

    @property
    def batch(self) -> Optional[int]:
        return whole(self.whole_plan.get("batch_size")) or whole(self.options.get("batch_size"))

    @property
    def total_kimg(self) -> float:
        """Planned length; NaN where it is not known."""
        return _kimg(self.options.get("total_kimg"))

    @property
    def iterations(self) -> Optional[int]:
        """Planned iterations."""
        if self.batch is None or not math.isfinite(self.total_kimg):
            return None
        return whole(self.whole_plan.get("iterations")) or math.ceil(self.total_kimg * 1000 / self.batch)

    @property
    def total_sec(self) -> float:
        """Seconds that it and what it went on from have taken, by the last tick; NaN where that is not known."""
        return self.ticks[-1].get("Timing/total_sec") if self.ticks else math.nan

    @property
    def kimg(self) -> float:
        """Where the last tick stood; 0 before the first."""
        return self.ticks[-1].kimg if self.ticks else 0.0

    @property
    def whole_kimg(self) -> int:
        """The same as the host writes it into file names."""
        return int(self.kimg + 1e-6)

    @property
    def is_finished(self) -> bool:
        return bool(self.ticks) and self.kimg >= self.total_kimg * (1 - 1e-6)

    @property
    def iteration(self) -> int:
        """Iterations done, by the ticks or by the job's status, whichever knows of more."""
        done = max(self._iterations_in_ticks, self.job.iteration)
        return done if self.iterations is None else min(done, self.iterations)

    @property
    def has_stopped(self) -> bool:
        """Whether the job has ended before its time."""
        return self.job.has_ended and not self.is_finished

    @property
    def is_over(self) -> bool:
        return self.is_finished or self.has_stopped

    @property
    def is_saved(self) -> bool:
        """Whether a snapshot holds all that was trained: that of the last tick, with no iteration begun after it."""
        was_last = bool(self.ticks) and self.job.iteration < self._iterations_in_ticks
        return was_last and self.last_snapshot.exists()

    @property
    def has_method(self) -> bool:
        """Whether the run was made with a method that has sparse and dense phases."""
        return self._phased is not None

    @cached_property
    def methods(self) -> Tuple[Entry, ...]:
        """All hooks of the run, methods and others."""
        from training_hooks.methods.method import entries  # whose import takes longer than all the rest

        return tuple(entries(self.options))

    @cached_property
    def config(self) -> Optional[Any]:
        """Settings of the method with phases; None in a plain run and where they are of another version of this package."""
        config = None if self._phased is None else self._phased.config()
        lengths = [] if config is None else [each.name for each in config.settings() if each.kind == "length"]
        return None if any(whole(getattr(config, name), least=0) is None for name in lengths) else config

    @cached_property
    def schedule(self) -> Optional[Schedule]:
        """The phases; None in a plain run and where settings, batch or length are not known."""
        try:
            known = self.config is not None and self.iterations is not None
            return self.config.schedule(self.iterations) if self.config is not None and known else None
        except ValueError:
            return None

    @property
    def plan(self) -> Mapping[str, Any]:
        """What the method with phases planned; empty in a plain run."""
        return mapping(mapping(self.whole_plan.get("methods")).get("" if self._phased is None else self._phased.name))

    def in_kimg(self, iteration: float) -> float:
        return iteration * (self.batch or 0) / 1000

    def iteration_at(self, kimg: float) -> int:
        """Iterations that ``kimg`` take; 0 where the batch is not known."""
        return round(kimg * 1000 / self.batch) if self.batch else 0

    @property
    def _iterations_in_ticks(self) -> int:
        return self.iteration_at(self.kimg)

    @property
    def _phased(self) -> Optional[Entry]:
        return next((each for each in self.methods if each.method is not None and each.method.has_phases), None)

    def _data_option(self, name: str) -> Any:
        return mapping(self.options.get("training_set_kwargs")).get(name)


def read_run(folder: "str | Path") -> Run:
    """Read a run folder.

    Raises:
        UserError: it is none.
    """
    try:
        folder = Path(folder).resolve()
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError, ValueError) as err:  # too long, a circle of links, a NUL
        raise UserError(f"{folder}: {getattr(err, 'strerror', None) or err}") from err
    if not is_folder:
        raise UserError(f"{folder} is no folder" if is_there else f"{folder}: there is no such folder")
    if not (folder / OPTIONS_FILE).is_file() and not (folder / STATS_FILE).is_file():
        raise UserError(f"{folder} is no run folder: it has neither {OPTIONS_FILE} nor {STATS_FILE}")
    options, notes = _read_options(folder / OPTIONS_FILE)
    job = read_job(folder)  # before the rest: what a job that has ended wrote is complete
    ticks, of_stats = read_stats(folder / STATS_FILE)
    metrics, of_metrics = read_metrics(folder)
    notes = [*notes, *of_stats, *of_metrics]
    return Run(folder, options, tuple(ticks), tuple(metrics), tuple(notes), job, read_plan(folder, options))


@unless_read
def read_stats(path: Path) -> Tuple[List[Tick], List[str]]:
    """The ticks of a stats.jsonl, and what could not be read of it."""
    if not os.path.lexists(path):
        return [], [f"{path.name} is missing: no tick was finished"]
    records, notes = read_lines(path)
    ticks: List[Tick] = []
    placeless, back = 0, []
    for record in records:
        values = {name: _mean(value) for name, value in record.items()}
        kimg = _kimg(record.get("Progress/kimg"))
        if not math.isfinite(kimg):
            placeless += 1
            continue
        if ticks and kimg <= ticks[-1].kimg:
            back.append(kimg)
            while ticks and ticks[-1].kimg >= kimg:
                ticks.pop()
        length = _divide(values.get("Timing/sec_per_tick", math.nan), values.get("Timing/sec_per_kimg", math.nan))
        before = ticks[-1].kimg if ticks else 0.0
        ticks.append(Tick(kimg, before if math.isnan(length) else max(before, kimg - length), values))
    if placeless:
        lines, was = ("a line", "was") if placeless == 1 else (f"{placeless} lines", "were")
        notes.append(f"{path.name}: {lines} without Progress/kimg {was} left out")
    if back:
        often = "" if len(back) == 1 else f" (and {len(back) - 1} times more)"
        notes.append(f"{path.name}: the run went back to {back[0]:g} kimg{often}; the lines from there on were replaced")
    return ticks, notes


@unless_read
def _read_options(path: Path) -> Tuple[Mapping[str, Any], List[str]]:
    if not os.path.lexists(path):
        return {}, [f"{path.name} is missing"]
    try:
        return mapping(read_json(path)), []
    except Damaged as err:
        return {}, [f"{path.name} {err} and was left out"]


def _mean(value: Any) -> float:
    """The "mean" of a statistic, or the value itself, as a finite number or NaN."""
    return number(value.get("mean") if isinstance(value, dict) else value)


def _kimg(value: Any) -> float:
    """A length of training in kimg, from 0 to 10^9, or NaN."""
    found = _mean(value)
    return found if 0 <= found <= _MOST_KIMG else math.nan


def _divide(above: float, below: float) -> float:
    return above / below if below > 0 and above > 0 else math.nan
