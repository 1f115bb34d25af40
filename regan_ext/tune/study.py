"""The study's file: Optuna's, in SQLite, with what the study is about, and which trial is whose.

A trial that is being worked on is one that Optuna has as running and whose folder is locked. The lock goes with the process, so
a trial that a killed search left behind is one that is running and not locked: whoever comes next goes on with it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ..runs.metric import MetricPoint
from ..support.errors import UserError
from ..support.locks import locked
from .objective import Objective

__all__ = ["Claim", "StudyFile", "report", "runs_of"]

_NAME = "regan-ext"
_SETTINGS, _PLAN = "settings", "plan"
_STARTUP_TRIALS = 4  # whole runs before the first is cut short: a median of fewer says little
_PATIENCE = 60.0  # seconds to wait for another search to have taken its trial


@dataclass(frozen=True)
class Claim:
    """A trial that is this process's own, with its folder and the handles that keep others away from it."""

    trial: "optuna.Trial"
    folder: Path
    handles: Tuple[int, ...]


@dataclass(frozen=True)
class StudyFile:
    """A study and the folder of its runs."""

    path: Path
    study: "optuna.Study"

    @classmethod
    def open(cls, path: Path) -> "StudyFile":
        """Open the study in ``path``.

        Raises:
            UserError: there is none, or it is no study.
        """
        if not path.is_file():
            raise UserError(f"--study: there is no {path}")
        with _usable(path):
            if not _names_of_studies(path):
                raise UserError(f"--study: {path} holds no study")
            return cls(path, optuna.load_study(study_name=_NAME, storage=_storage(path)))

    @classmethod
    def find(cls, path: Path) -> Optional["StudyFile"]:
        """The study in ``path``; None where none has been begun.

        Raises:
            UserError: there is something else.
        """
        if not path.is_file():
            return None
        with _usable(path), _alone(runs_of(path), create=False):
            _names_of_studies(path)
            return cls._begun(path, _storage(path))

    @classmethod
    def begin(
        cls,
        path: Path,
        objective: Objective,
        settings: Mapping[str, Any],
        plan: Mapping[str, Any],
        first: Sequence[Mapping[str, Any]],
    ) -> "StudyFile":
        """Make the study; where another search has begun it meanwhile, it is that one's.

        Args:
            path: of the file.
            objective: what is made best.
            settings: what the study is about.
            plan: length of a run and what is searched.
            first: values of the trials to begin with.

        Raises:
            UserError: it cannot be written, or there is something else.
        """
        with _usable(path), _alone(runs_of(path)):
            _names_of_studies(path)
            storage = _storage(path)
            file = cls._begun(path, storage)
            if file is not None:
                return file
            if _NAME in optuna.get_all_study_names(storage):  # the search that made it was killed at once
                optuna.delete_study(study_name=_NAME, storage=storage)
            study = optuna.create_study(study_name=_NAME, storage=storage, direction=objective.direction)
            study.set_user_attr(_SETTINGS, dict(settings))
            for values in first:
                study.enqueue_trial(dict(values), skip_if_exists=True)
            study.set_user_attr(_PLAN, dict(plan))
            return cls(path, study)

    @classmethod
    def _begun(cls, path: Path, storage: "optuna.storages.RDBStorage") -> Optional["StudyFile"]:
        if _NAME not in optuna.get_all_study_names(storage):
            return None
        file = cls(path, optuna.load_study(study_name=_NAME, storage=storage))
        return file if file.plan else None

    @property
    def runs(self) -> Path:
        """Folder of the trials' folders."""
        return runs_of(self.path)

    @property
    def preset(self) -> Path:
        """Where the winner is written."""
        return self.path.with_suffix(".preset.json")

    @property
    def settings(self) -> Dict[str, Any]:
        """What the study is about."""
        return dict(self.study.user_attrs.get(_SETTINGS, {}))

    @property
    def objective(self) -> Objective:
        return Objective(str(self.settings.get("metric")), str(self.settings.get("objective")))

    @property
    def plan(self) -> Dict[str, Any]:
        """Length of a run and what is searched, once known."""
        return dict(self.study.user_attrs.get(_PLAN, {}))

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Compare what the study is about with what a search is to be about.

        Raises:
            UserError: they differ.
        """
        for name, value in settings.items():
            before = self.settings.get(name)
            if before != value:
                raise UserError(
                    f"--study: {self.path} was begun with {name} {_text(before)}, now {_text(value)}; "
                    "repeat what it was begun with, or choose another file"
                )

    def folder(self, number: int) -> Path:
        """Of a trial."""
        return self.runs / f"trial-{number:04d}"

    def trials(self, *states: TrialState) -> List[FrozenTrial]:
        """Those in one of the states; without any, all that were begun."""
        return self.study.get_trials(deepcopy=False, states=states or tuple(s for s in TrialState if s.name != "WAITING"))

    def counted(self) -> List[FrozenTrial]:
        """Those that were trained, to the end or until they were cut short."""
        over = self.trials(TrialState.COMPLETE, TrialState.PRUNED)
        return [trial for trial in over if "inadmissible" not in trial.user_attrs]

    def winner(self) -> Optional[FrozenTrial]:
        """The best of those that were trained to the end."""
        complete = self.trials(TrialState.COMPLETE)
        best = max if self.objective.better == "higher" else min
        return best(complete, key=lambda trial: trial.values[0]) if complete else None

    @contextlib.contextmanager
    def claim(
        self, trials: int, searched: Mapping[str, BaseDistribution], seed: int, prune_from: int
    ) -> Iterator[Optional[Claim]]:
        """A trial to work on while the block runs: one that was left behind, or a new one.

        Args:
            trials: how many the study is to have.
            searched: what a new one is given values of.
            seed: of the sampler.
            prune_from: step, in kimg, from which trials may be cut short.

        Yields:
            None where there are enough, others' included.
        """
        with contextlib.ExitStack() as stack:
            with _alone(self.runs):
                claim = self._left_behind(stack) or self._new(stack, trials, searched, seed)
                self.study.pruner = optuna.pruners.MedianPruner(_STARTUP_TRIALS, prune_from)
            yield claim

    def _left_behind(self, stack: contextlib.ExitStack) -> Optional[Claim]:
        for trial in self.trials(TrialState.RUNNING):
            folder = self.folder(trial.number)
            handles = stack.enter_context(locked(folder))
            if handles is not None:
                return Claim(optuna.Trial(self.study, trial._trial_id), folder, handles)
        return None

    def _new(
        self, stack: contextlib.ExitStack, trials: int, searched: Mapping[str, BaseDistribution], seed: int
    ) -> Optional[Claim]:
        if len(self.counted()) + len(self.trials(TrialState.RUNNING)) >= trials:
            return None
        # A sampler that begins from its seed again would repeat itself where a study goes on.
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + number) % 2**32)
        trial = self.study.ask(dict(searched))
        folder = self.folder(trial.number)
        handles = stack.enter_context(locked(folder))
        assert handles is not None, "no other search gets here meanwhile"
        return Claim(trial, folder, handles)


def runs_of(path: Path) -> Path:
    """Folder of the trials' folders of the study in ``path``."""
    return path.with_suffix(".runs")


def _names_of_studies(path: Path) -> List[str]:
    """The studies in a file, which is opened only to be read: Optuna adds its tables to whatever database it is given.

    Raises:
        ValueError, sqlite3.Error: it is no database, or somebody else's.
    """
    if not path.exists() or path.stat().st_size == 0:
        return []
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if tables and "studies" not in tables:
            raise ValueError(f"it is another database, with tables such as {tables[0]}")
        return [str(name) for (name,) in database.execute("SELECT study_name FROM studies")] if tables else []


def _storage(path: Path) -> "optuna.storages.RDBStorage":
    """Of Optuna, made where it is missing. Two processes cannot make one at the same time."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as err:
        # SQLAlchemy's, Optuna's and the system's errors: whatever is there, it is no study
        said = (str(err).splitlines() or [type(err).__name__])[0]
        raise UserError(f"--study: {path} is no study that can be used ({said})") from err


@contextlib.contextmanager
def _alone(runs: Path, create: bool = True) -> Iterator[None]:
    """No other search begins the study or chooses a trial while the block runs."""
    until = time.monotonic() + _PATIENCE
    while True:
        with locked(runs, create) as handles:
            if handles is not None:
                yield
                return
        if time.monotonic() > until:
            raise UserError(f"--study: another process keeps {runs} to itself")
        time.sleep(0.1)


def report(trial: "optuna.Trial", points: Sequence[MetricPoint]) -> bool:
    """Tell a trial the values that it does not know yet; returns whether it is to be cut short after one of them."""
    known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a value that another process has told meanwhile
        for point in points:
            if point.kimg not in known:
                trial.report(point.value, int(point.kimg))
                if trial.should_prune():
                    return True
    return False


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
