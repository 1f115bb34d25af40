"""The values of a host's own options, before the host sees them: numbers within bounds, paths expanded."""

from __future__ import annotations

import math
import os
from typing import Any, Dict, Mapping, Tuple

import click

from ..support.errors import UserError
from ..support.paths import expanded, is_address

__all__ = ["check_run_folder", "checked", "given"]

# Bounds of what the hosts take as it comes and fail of later, or never come to the end of. None: they have no such option.
_BOUNDS: Dict[str, Tuple[float, float]] = {
    "kimg": (1, 10_000_000),
    "batch": (1, 65_536),
    "gpus": (1, 256),
    "snap": (1, 1_000_000),
    "seed": (0, 2**32 - 1),
    "gamma": (0, 1e6),
    "freezed": (0, 100),
    "workers": (1, 256),
}
_LONGEST_FILE = 100  # characters of a name in a run folder
_PATHS = ("outdir", "data", "resume")


def checked(values: Mapping[str, Any], choices: Mapping[str, Tuple[str, ...]] = {}) -> Dict[str, Any]:
    """The values with ``~`` expanded.

    Args:
        values: by the names of the arguments of the host's command; None = not given.
        choices: name → values that it takes, of those that the host does not check.

    Raises:
        click.BadParameter: a number that is not finite or out of bounds, a path that can be none, or another value than there
            is.
    """
    for name, known in choices.items():
        if values.get(name) not in (None, *known):
            raise _refused(name, f"{values[name]!r} is not one of {', '.join(known)}")
    for name, value in values.items():
        if isinstance(value, (int, float)):
            _check_number(name, value)
    seed, processes = values.get("seed") or 0, values.get("gpus") or 1
    if isinstance(seed, int) and isinstance(processes, int) and (seed + 1) * processes > 2**32:
        raise _refused("seed", f"{seed} is too large for {processes} processes, which have seeds from {seed * processes} on")
    return {name: _path(name, value) if name in _PATHS and isinstance(value, str) else value for name, value in values.items()}


def given(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values, None for those of options that nobody has given: a host may have a default of its own for them."""
    context = click.get_current_context(silent=True)
    sources = click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP  # the host's, a preset's
    unset = {name for name in values if context is not None and context.get_parameter_source(name) in sources}
    return {name: None if name in unset else value for name, value in values.items()}


def check_run_folder(outdir: str, description: str) -> None:
    """Check that the folder of a run can be made, and files in it.

    Args:
        outdir: folder of the run folders.
        description: of the run, which the host makes of its options and the name of its data.

    Raises:
        UserError: its name is too long.
    """
    try:
        expanded(os.path.join(os.path.abspath(outdir), f"00000-{description}", "x" * _LONGEST_FILE))
    except ValueError as err:
        raise UserError(f"the run folder's name is made of --data and the options, and {err}; rename the data") from err


def _check_number(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise _refused(name, f"{value} is not a finite number")
    low, high = _BOUNDS.get(name, (-math.inf, math.inf))
    if not low <= value <= high:
        unit = " (thousands of images)" if name == "kimg" else ""
        raise _refused(name, f"{value} is not in the range from {low:,.10g} to {high:,.10g}{unit}".replace(",", " "))


def _path(name: str, value: str) -> str:
    if is_address(value):
        return value
    try:
        return expanded(value)
    except ValueError as err:
        raise _refused(name, str(err)) from err


def _refused(name: str, problem: str) -> click.BadParameter:
    return click.BadParameter(problem, param_hint=f"--{name.replace('_', '-')}")
