"""The winner as a preset, and the trials as a table."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shlex
from typing import Any, Dict, List, Mapping, Optional

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from training_hooks.core.files import whole_file

from ..runs.chain import last_run
from .study import StudyFile
from .training import Training

__all__ = ["baseline_value", "show", "write_preset"]

_PACKAGES = ("regan-ext", "torch", "optuna")
_COLUMNS = (("ratio", "ratio"), ("interval", "interval"), ("warmup", "warm-up"), ("lr_scale", "LR scale"),
            ("granularity", "granularity"), ("moments", "moments"))  # fmt: skip


def write_preset(file: StudyFile) -> bool:
    """Write the winner as a preset; returns whether there is one."""
    trial = file.winner()
    if trial is None:
        return False
    content = {"regan": _as_options(trial.user_attrs["config"]), "study": _facts(file, trial)}
    with whole_file(file.preset) as preset:
        preset.write(json.dumps(content, indent=2).encode() + b"\n")
    return True


def _as_options(config: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields of a configuration in the form that a preset has."""
    values = dict(config)
    if values["exclude"] is None:
        del values["exclude"]
    else:
        values["exclude"] = ",".join(values["exclude"]) or "none"
    return values


def _facts(file: StudyFile, trial: FrozenTrial) -> Dict[str, Any]:
    states = [each.state for each in file.trials()]
    return {
        "metric": file.objective.metric,
        "objective": file.objective.of,
        "value": trial.values[0],
        "kimg": trial.user_attrs.get("kimg"),
        "baseline": baseline_value(file),
        "trial": trial.number,
        "trials": {state.name.lower(): states.count(state) for state in TrialState if state in states},
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "train_options": file.settings.get("train options"),
        **{name: file.plan.get(name) for name in ("batch", "iterations", "space")},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _version(package: str) -> Optional[str]:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def baseline_value(file: StudyFile) -> Optional[float]:
    """What the run without Re-GAN reached; None where there is none that was trained to the end."""
    run = last_run(file.runs / "baseline")
    point = file.objective.choose(file.objective.points(run)) if run is not None and run.is_finished else None
    return None if point is None else point.value


def show(file: StudyFile, console: Console) -> None:
    """Print the trials, the best first, and the winner."""
    objective = file.objective
    title = f"{file.path.name}: {objective.of} {objective.metric}, {objective.better} is better"
    table = Table(title=title, title_justify="left")
    for title in ("trial", "outcome", objective.metric, "at kimg", *(title for _, title in _COLUMNS)):
        table.add_column(title, justify="left" if title in ("outcome", "granularity", "moments") else "right")
    baseline = baseline_value(file)
    if baseline is not None:
        table.add_row("–", "without Re-GAN", f"{baseline:.5g}", *[""] * 7)
    order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1}
    sign = -1 if objective.better == "higher" else 1
    for trial in sorted(file.trials(), key=lambda t: (order.get(t.state, 2), sign * (_value(t) or 0), t.number)):
        table.add_row(*_row(trial, file.plan.get("fixed", {})))
    console.print(table)
    notes: Dict[str, List[str]] = {}
    for trial in file.trials():
        if "reason" in trial.user_attrs:
            notes.setdefault(str(trial.user_attrs["reason"]), []).append(str(trial.number))
    for reason, numbers in notes.items():
        console.print(f"trial {', '.join(numbers)}: {reason}", soft_wrap=True)
    console.print(_winner(file), soft_wrap=True)


def _winner(file: StudyFile) -> str:
    trial = file.winner()
    if trial is None:
        return "No trial has been trained to the end yet."
    how = _command(file) if file.preset.is_file() else "the next search writes its preset"
    return f"Best: trial {trial.number}, {file.objective.metric} {trial.values[0]:.5g}: {how}"


def _command(file: StudyFile) -> str:
    """What trains as the winner was trained."""
    objective = file.objective
    shared = Training(tuple(file.settings.get("train options") or ()), objective.host_metric).without_method()
    more = ["--outdir=runs", f"--metrics={objective.host_metric}", f"--regan-preset={file.preset}"]
    return shlex.join(["regan-ext", "train", *shared.options, *more])


def _value(trial: FrozenTrial) -> Optional[float]:
    """What the trial reached; Optuna has the last value of one that was cut short, whatever counts."""
    return trial.user_attrs.get("value", trial.value)


def _row(trial: FrozenTrial, fixed: Mapping[str, Any]) -> List[str]:
    outcomes = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "cut short", TrialState.RUNNING: "begun"}
    outcome = outcomes.get(trial.state, "failed")
    value = _value(trial)
    kimg = trial.user_attrs.get("kimg", trial.last_step)
    values = {**fixed, **trial.params}
    known = [values.get(name) for name, _ in _COLUMNS]
    return [
        str(trial.number),
        "inadmissible" if "inadmissible" in trial.user_attrs else outcome,
        "" if value is None else f"{value:.5g}",
        "" if kimg is None else str(kimg),
        *("" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v) for v in known),
    ]
