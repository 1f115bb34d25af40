"""Runs the trials of a study, one after the other."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, Tuple

from optuna.trial import TrialState

from training_hooks.core.own_snapshots import is_own_file

from ..runs.chain import last_run
from ..runs.folder import Run
from ..runs.metric import MetricPoint, last_error
from ..support.errors import UserError
from ..support.locks import locked
from ..support.pickles import TRUST, foreign
from ..support.process import Supervisor
from ..support.text import clock
from .objective import Objective
from .space import Space, parse
from .study import Claim, StudyFile, report, runs_of
from .training import Plan, Refused, Training, dry_run, tidy
from .winner import baseline_value, write_preset

__all__ = ["Search", "prepare"]

LOG_FILE = "train.log"
_NEVER = 2**31  # kimg
_FAILURES, _INADMISSIBLE = 3, 10  # in a row, after which it is not the trials that are wrong
Say = Callable[[str], None]


def prepare(path: Path, training: Training, objective: Objective, space: str) -> Tuple[StudyFile, Plan, Space]:
    """The study, how long its runs are, and what is searched; begins the study where there is none.

    Raises:
        UserError: ``train`` does not take the options, the space does not fit the runs, or the study is about something else.
    """
    if path.suffix != ".db":  # another ending would share the runs of the study that ends in .db
        raise UserError(f"--study: {path} has to end in .db; its runs and its winner are named after it")
    runs = runs_of(path)
    settings = {"metric": objective.metric, "objective": objective.of, "space": space, "train options": list(training.options)}
    file = StudyFile.find(path)
    if file is None:
        plan, searched = _plan(runs, training, space)
        noted = {**dataclasses.asdict(plan), "space": str(searched), "fixed": searched.fixed}
        file = StudyFile.begin(path, objective, settings, noted, searched.known())
    file.agree(settings)
    plan = Plan(**{each.name: file.plan[each.name] for each in dataclasses.fields(Plan)})
    return file, plan, parse(space, plan.iterations, plan.batch)


def _plan(runs: Path, training: Training, space: str) -> Tuple[Plan, Space]:
    """How long runs are and what is searched, once ``train`` has taken the options, with the method and without."""
    try:
        plan = dry_run(training.without_method().command(runs, []))
    except Refused as err:
        raise UserError(f"train: {err}") from err
    searched = parse(space, plan.iterations, plan.batch)
    try:
        dry_run(training.command(runs, searched.options(searched.known()[0])))
    except Refused as err:
        if not err.is_about_search:
            raise UserError(f"train: {err}") from err
    return plan, searched


@dataclass
class Search:
    """One call of the command: works on trials until there are enough, the time is up or a signal comes.

    Args:
        trials: how many the study is to have.
        prune_from: share of a run before which no trial is cut short; 1 = never.
        until: on the monotonic clock; None = no limit.
        keep_all: keep all snapshots of trials that are over, not the best one of each.
        trust: go on from snapshots that none of the user's own runs wrote on this machine.
        timed_out: the time is up.
        fruitless: how many trials came to nothing since the last that did not, by what they came to.
    """

    file: StudyFile
    training: Training
    plan: Plan
    space: Space
    say: Say
    trials: int
    seed: int = 0
    prune_from: float = 0.3
    until: Optional[float] = None
    keep_all: bool = False
    trust: bool = False
    timed_out: bool = False
    fruitless: Dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.say)

    def run(self, baseline: bool) -> int:
        """Run what is missing; returns the exit code."""
        with self.supervisor:
            if baseline:
                self._baseline()
            while not self._is_ending() and self._next():
                self._look_at_clock()
                if self.fruitless.get("failed", 0) >= _FAILURES or self.fruitless.get("inadmissible", 0) >= _INADMISSIBLE:
                    self.say("Given up: these trials failed one after the other. The same command tries again.")
                    return 1
        write_preset(self.file)  # a search that was killed may have told a trial's value and not written it
        if self._is_ending():
            self.say(f"Stopped{'' if self.supervisor.was_signalled else ': the time is up'}. The same command goes on.")
        return 130 if self.supervisor.was_signalled else 0

    def _next(self) -> bool:
        """Work on a trial; returns whether there was one."""
        step = math.ceil(self.prune_from * self.plan.total_kimg) if self.prune_from < 1 else _NEVER
        with self.file.claim(self.trials, self.space.searched, self.seed, step) as claim:
            if claim is None:
                return False
            try:
                self._trial(claim)
            finally:
                write_preset(self.file)
        return True

    # ------------------------------------------------------------ one trial

    def _trial(self, claim: Claim) -> None:
        trial, begin = claim.trial, time.monotonic()
        options = self.space.options(trial.params)
        label = f"trial {trial.number}"
        settings = " ".join(option[len("--regan-") :] for option in options)
        self.say(f"{label}, {len(self.file.counted())} of {self.trials} are done: {settings}")
        pruned = False

        def look() -> None:
            nonlocal pruned
            if not pruned and report(trial, self.file.objective.points(last_run(claim.folder))):
                pruned = True
                self.say(f"{label}: cut short, it is worse than the median of those before it")
                self.supervisor.stop()

        reason = self._train(self.training, options, claim.folder, claim.handles, look)
        run = last_run(claim.folder)
        points = self.file.objective.points(run)
        report(trial, points)
        finished = run is not None and run.is_finished
        if self._is_ending() and not finished and not pruned:
            return
        spent = clock(time.monotonic() - begin)
        chosen = self.file.objective.choose(points)
        if run is not None and chosen is not None and (finished or pruned):
            state = TrialState.COMPLETE if finished else TrialState.PRUNED
            self._tell(claim, state, chosen, run)
            self.say(f"{label}: {self.file.objective.metric} {chosen.value:.5g} at {chosen.kimg:g} kimg ({spent})")
        else:
            self._fruitless(claim, options, reason or self._unmeasured(run), label)

    def _tell(self, claim: Claim, state: TrialState, chosen: MetricPoint, run: Run) -> None:
        trial = claim.trial
        assert run.config is not None
        trial.set_user_attr("value", chosen.value)
        trial.set_user_attr("kimg", int(chosen.kimg))
        trial.set_user_attr("config", run.config.to_dict())
        self.file.study.tell(trial.number, chosen.value if state == TrialState.COMPLETE else None, state)
        self.fruitless.clear()
        if not self.keep_all:
            tidy(run, chosen)

    def _fruitless(self, claim: Claim, options: Sequence[str], reason: str, label: str) -> None:
        """A trial without a value: of settings that the network does not admit, or one that failed."""
        kind = "failed"
        if last_run(claim.folder) is None:
            try:
                dry_run(self.training.command(claim.folder, options))
            except Refused as err:
                kind, reason = "inadmissible", str(err)
                claim.trial.set_user_attr("inadmissible", True)
        claim.trial.set_user_attr("reason", reason)
        self.file.study.tell(claim.trial.number, None, TrialState.PRUNED if kind == "inadmissible" else TrialState.FAIL)
        self.fruitless[kind] = self.fruitless.get(kind, 0) + 1
        self.say(f"{label}: {kind}: {reason}")

    def _unmeasured(self, run: Optional[Run]) -> str:
        if run is not None and not run.is_finished:
            return f"ended at {run.kimg:g} of {self.plan.total_kimg:g} kimg"
        parts = () if run is None else run.parts
        errors = [last_error(part.run.folder, self.file.objective.host_metric) for part in parts]
        said = next((f": {error}" for error in reversed(errors) if error), "")
        return f"{self.file.objective.metric} has no value{said}"

    # ------------------------------------------------------------ training

    def _baseline(self) -> None:
        """The run without Re-GAN, beside the trials."""
        if baseline_value(self.file) is not None:
            return
        folder = self.file.runs / "baseline"
        with locked(folder) as handles:
            if handles is None:
                return
            self.say(f"baseline: without Re-GAN; output in {folder / LOG_FILE}")
            reason = self._train(self.training.without_method(), [], folder, handles, lambda: None)
            value, run = baseline_value(self.file), last_run(folder)
            if value is not None and run is not None:
                self.say(f"baseline: {self.file.objective.metric} {value:.5g}")
                if not self.keep_all:
                    tidy(run, self.file.objective.choose(self.file.objective.points(run)))
            elif not self._is_ending():
                self.say(f"baseline: failed: {reason or self._unmeasured(run)}")

    def _train(
        self, training: Training, options: Sequence[str], folder: Path, handles: Tuple[int, ...], look: Callable[[], None]
    ) -> Optional[str]:
        """Train what is left of the run in the folder; returns what went wrong, if the process says so.

        Raises:
            UserError: it would go on from a snapshot that none of the user's own runs wrote on this machine.
        """
        run = last_run(folder)
        if run is not None and run.is_finished:
            return None
        starts = [] if run is None else [path for _, path in run.starts]
        for start in starts:
            if not self.trust and not is_own_file(start):
                raise UserError(f"{foreign(start)}; {TRUST}")
        going_on = ["--resume=latest"] if starts else []
        command = training.command(folder, [*options, *training.snap(self.plan), *going_on])

        def look_around() -> None:
            self._look_at_clock()
            look()

        return self.supervisor.run(command, folder / LOG_FILE, handles, look_around)

    def _look_at_clock(self) -> None:
        if self.until is not None and time.monotonic() > self.until and not self.timed_out:
            self.timed_out = True
            if self.supervisor.stop():
                self.say("The time is up: the training process writes a snapshot first.")

    def _is_ending(self) -> bool:
        """Whether no further trial is to begin."""
        return self.timed_out or self.supervisor.was_signalled
