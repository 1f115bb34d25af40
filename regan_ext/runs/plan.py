"""What the methods of a run plan to do, as numbers in a file of the run folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Mapping

from training_hooks.core.files import tolerate_write_failure, whole_file

from ..support.reading import Damaged, mapping, read_json

__all__ = ["PLAN_FILE", "read_plan", "write_plan"]

PLAN_FILE = "regan-plan.json"
_COUNT = re.compile(r"(\w+) (\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=,|$)")


def write_plan(folder: "str | Path", plan: Mapping[str, Any]) -> None:
    """Write a plan into a run folder, whole or not at all; a failure is told and training goes on."""
    with tolerate_write_failure(PLAN_FILE), whole_file(Path(folder) / PLAN_FILE) as file:
        file.write(json.dumps(plan, indent=2).encode() + b"\n")


def read_plan(folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of a run; empty where it has none, and where it cannot be read.

    Args:
        folder: run folder.
        options: the run's training options, in which 0.1.0 has kept it.
    """
    try:
        return mapping(read_json(folder / PLAN_FILE)) if (folder / PLAN_FILE).is_file() else _of_0_1_0(options)
    except Damaged:
        return {}


def _of_0_1_0(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The plan as keyword arguments of a hook, with sentences for some of the numbers."""
    hooks = mapping(options.get("loss_kwargs")).get("hooks")
    for hook in hooks if isinstance(hooks, list) else []:
        plan = mapping(mapping(hook).get("plan"))
        if plan:
            theory = dict(mapping(plan.get("theory")))
            layers, channels = mapping(theory.get("layers")), mapping(theory.get("channels"))
            theory["layers"] = {name: {k: float(v) for k, v in _COUNT.findall(str(text))} for name, text in layers.items()}
            theory["channels"] = {name: [*map(float, re.findall(r"\d+", str(text)))] for name, text in channels.items()}
            whole = {name: plan.get(name) for name in ("iterations", "batch_size")}
            return {**whole, "methods": {"regan": {**plan, "theory": theory}}}
    return {}
