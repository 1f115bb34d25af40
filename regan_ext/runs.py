"""Reads run folders, of this package and of the plain host, into frozen values."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from training_hooks.config import ReconfigurationConfig
from training_hooks.schedule import Schedule, Span

from .errors import UserError
from .job import Job, kimgs_of, read_job

__all__ = ["MetricPoint", "Run", "Tick", "hooks_of", "mapping", "of_one_protocol", "read_lines", "read_run", "read_stats"]

OPTIONS_FILE, STATS_FILE = "training_options.json", "stats.jsonl"


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
class MetricPoint:
    """One value of one metric, and the snapshot it was measured on."""

    name: str
    kimg: float
    value: float
    snapshot: str


@dataclass(frozen=True)
class Run:
    """A run folder. What is missing in it is NaN, None or empty here; ``notes`` say what could not be read."""

    folder: Path
    options: Mapping[str, Any]
    ticks: Tuple[Tick, ...]
    metrics: Tuple[MetricPoint, ...]
    notes: Tuple[str, ...]
    job: Job

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def data(self) -> str:
        """Name of the data set's file or folder."""
        return Path(str(self._data_option("path") or "unknown")).name

    @property
    def resolution(self) -> Optional[int]:
        return _whole(self._data_option("resolution"))

    @property
    def images(self) -> Optional[int]:
        """Number of images in the data set."""
        return _whole(self._data_option("max_size"))

    @property
    def batch(self) -> Optional[int]:
        return _whole(self.plan.get("batch_size")) or _whole(self.options.get("batch_size"))

    @property
    def total_kimg(self) -> float:
        """Planned length; NaN where it is not known."""
        return _number(self.options.get("total_kimg"))

    @property
    def iterations(self) -> Optional[int]:
        """Planned iterations."""
        if self.batch is None or not math.isfinite(self.total_kimg):
            return None
        return _whole(self.plan.get("iterations")) or math.ceil(self.total_kimg * 1000 / self.batch)

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
        return was_last and self.whole_kimg in kimgs_of(self.folder, "network-snapshot-*.pkl")

    @property
    def has_method(self) -> bool:
        """Whether the run was made with Re-GAN."""
        return self._hook is not None

    @cached_property
    def config(self) -> Optional[ReconfigurationConfig]:
        """The method's settings; None in a plain run and where they are of another version of this package."""
        if self._hook is None:
            return None
        try:
            return ReconfigurationConfig.from_dict({k: v for k, v in self._hook.items() if k not in ("class_name", "plan")})
        except (TypeError, ValueError):
            return None

    @cached_property
    def schedule(self) -> Optional[Schedule]:
        try:
            return self.config.schedule(self.iterations) if self.config is not None else None
        except ValueError:
            return None

    @cached_property
    def spans(self) -> Tuple[Span, ...]:
        """The phases of the whole run, in iterations; none in a plain run."""
        return tuple(self.schedule.spans()) if self.schedule is not None and self.iterations is not None else ()

    @property
    def plan(self) -> Mapping[str, Any]:
        """What the run was planned to be, for the reader of its options; empty in a plain run."""
        return mapping((self._hook or {}).get("plan"))

    def in_kimg(self, iteration: float) -> float:
        return iteration * (self.batch or 0) / 1000

    @property
    def _iterations_in_ticks(self) -> int:
        return round(self.kimg * 1000 / self.batch) if self.batch else 0

    @property
    def _hook(self) -> Optional[Mapping[str, Any]]:
        for hook in hooks_of(self.options):
            if str(hook.get("class_name", "")).endswith(".Reconfiguration"):
                return hook
        return None

    def _data_option(self, name: str) -> Any:
        return mapping(self.options.get("training_set_kwargs")).get(name)


def read_run(folder: "str | Path") -> Run:
    """Read a run folder.

    Raises:
        UserError: it is none.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder" if folder.exists() else f"{folder}: there is no such folder")
    if not (folder / OPTIONS_FILE).is_file() and not (folder / STATS_FILE).is_file():
        raise UserError(f"{folder} is no run folder: it has neither {OPTIONS_FILE} nor {STATS_FILE}")
    options, notes = _read_options(folder / OPTIONS_FILE)
    job = read_job(folder)  # before the rest: what a job that has ended wrote is complete
    ticks, more = read_stats(folder / STATS_FILE)
    metrics: List[MetricPoint] = []
    for path in sorted(folder.glob("metric-*.jsonl")):
        records, unread = read_lines(path)
        series = of_one_protocol(records)
        metrics += [point for record in series for point in _points(record)]
        more += unread
        if len(series) < len(records):
            count = len(records) - len(series)
            more.append(f"{path.name}: {count} of {len(records)} lines have another protocol than the first, and were left out")
    return Run(folder, options, tuple(ticks), tuple(metrics), tuple(notes + more), job)


def read_stats(path: Path) -> Tuple[List[Tick], List[str]]:
    """The ticks of a stats.jsonl, and what could not be read of it."""
    if not path.is_file():
        return [], [f"{path.name} is missing: no tick was finished"]
    records, notes = read_lines(path)
    ticks: List[Tick] = []
    for record in records:
        values = {name: _number(value) for name, value in record.items()}
        kimg = values.get("Progress/kimg", math.nan)
        if not math.isfinite(kimg):
            notes.append(f"{path.name}: a line without Progress/kimg was left out")
            continue
        if ticks and kimg <= ticks[-1].kimg:
            notes.append(f"{path.name}: the run went back to {kimg:g} kimg; the lines from there on were replaced")
            ticks = [tick for tick in ticks if tick.kimg < kimg]
        length = _divide(values.get("Timing/sec_per_tick", math.nan), values.get("Timing/sec_per_kimg", math.nan))
        before = ticks[-1].kimg if ticks else 0.0
        ticks.append(Tick(kimg, before if math.isnan(length) else max(before, kimg - length), values))
    return ticks, notes


# ---------------------------------------------------------------- files


def _read_options(path: Path) -> Tuple[Mapping[str, Any], List[str]]:
    try:
        options = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}, [f"{path.name} is missing"]
    except ValueError:
        return {}, [f"{path.name} is no JSON and was left out"]
    return mapping(options), []


def read_lines(path: Path) -> Tuple[List[Mapping[str, Any]], List[str]]:
    """The JSON objects in a file of one a line, and notes about lines that are none."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    records: List[Mapping[str, Any]] = []
    unread = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unread.append(number)
    notes = [f"{path.name}: line {number} is no JSON object and was left out" for number in unread if number < len(lines)]
    if unread and unread[-1] == len(lines):
        notes.append(f"{path.name}: the last line is cut off, as by a killed job, and was left out")
    return records, notes


def of_one_protocol(records: Sequence[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    """The lines of a metric-*.jsonl that make one series: of its first protocol, with any seed, and those without one."""
    protocols = [{k: v for k, v in mapping(record.get("protocol")).items() if k != "seed"} for record in records]
    first = next(filter(None, protocols), {})
    return [record for record, protocol in zip(records, protocols) if protocol in ({}, first)]


def _points(record: Mapping[str, Any]) -> List[MetricPoint]:
    """The values in one line of a metric-*.jsonl."""
    snapshot = str(record.get("snapshot_pkl") or "")
    match = re.search(r"(\d+)\.pkl$", snapshot)
    results = mapping(record.get("results"))
    return [MetricPoint(n, float(match[1]), _number(v), Path(snapshot).name) for n, v in results.items() if match]


# ---------------------------------------------------------------- values


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and value > 0 else None


def _number(value: Any) -> float:
    """The value, or the "mean" of a statistic, as a finite number or NaN."""
    if isinstance(value, dict):
        value = value.get("mean")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan


def _divide(above: float, below: float) -> float:
    return above / below if below > 0 and above > 0 else math.nan


def hooks_of(options: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    hooks = mapping(options.get("loss_kwargs")).get("hooks")
    return [mapping(hook) for hook in hooks] if isinstance(hooks, list) else []
