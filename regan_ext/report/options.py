"""Which options of several runs differ."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence, Tuple

from training_hooks.methods.method import Entry
from training_hooks.nvidia.seams import without_seams

from ..runs.folder import Run
from ..support.reading import mapping

__all__ = ["all_options", "differing_options", "method_names", "run_name"]


def differing_options(runs: Sequence[Run]) -> List[Tuple[str, List[str]]]:
    """Options that are not the same in all runs: dotted name, and the value of each run as text ("" = it has none)."""
    flat = [all_options(run) for run in runs]
    names = sorted({name for options in flat for name in options})
    rows = [(name, [options.get(name, "") for options in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def all_options(run: Run) -> Dict[str, str]:
    """The options of a run, as the plain host has them and the settings of each hook under its name: dotted name → text."""
    plain = {name: value for name, value in without_seams(run.options).items() if name != "run_dir"}
    return _flatten({**plain, **{entry.name: dict(entry.settings) for entry in run.methods}})


def method_names(run: Run) -> List[str]:
    """The methods of a run with their settings, such as "DiffAugment color,translation"."""
    return [
        ", ".join(_told(run, each)) or f"{each.method.title} {_described(each)}".strip()
        for each in run.methods
        if each.method is not None
    ]


def run_name(run: Run, letter: str) -> str:
    """Such as "run A", and where a method says what the run is, "run A, ticket of round 2"."""
    return ", ".join([f"run {letter}", *(each[0] for each in (_told(run, entry) for entry in run.methods) if each)])


def _told(run: Run, entry: Entry) -> Tuple[str, ...]:
    """What a method says that the run is, of what it has planned; empty where it says nothing."""
    if entry.method is None or entry.method.told is None:
        return ()
    try:
        return entry.method.told(mapping(mapping(run.whole_plan.get("methods")).get(entry.name)))
    except (AttributeError, KeyError, TypeError, ValueError):  # damaged, or of another version
        return ()


def _described(entry: Entry) -> str:
    config = entry.config()
    if entry.method is None or config is None:
        return ""
    if entry.method.describe is not None:
        return entry.method.describe(config)
    return ", ".join(f"{name} {value}" for name, value in config.to_dict().items())


def _flatten(value: Any, prefix: str = "") -> Dict[str, str]:
    if isinstance(value, dict):
        inner = [_flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {name: text for part in inner for name, text in part.items()}
    return {prefix: json.dumps(value)}
