"""What a preset of Re-GAN sets: of Re-GAN, by name or from a file, and of the host's own options that are left unset."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, MutableMapping, Optional

from training_hooks.core.schedule import Length
from training_hooks.methods.regan.config import PRESETS, ReconfigurationConfig

from ..support.paths import expanded
from ..support.reading import Damaged, read_json
from ..support.text import echo

__all__ = ["HOST_PRESETS", "fill", "read_file", "say", "settings"]

_LENGTHS = ("interval", "warmup")

# The network, budget, batch and R1 weight of StyleGAN2 in its own paper (config F) and in the code published with Re-GAN;
# snapshots so often that the best of them can be chosen. DiffAugment's few-shot runs set the 300 kimg.
HOST_PRESETS: Dict[str, Dict[str, Any]] = {
    "few-shot": {
        "cfg": "stylegan2",
        "kimg": 300,
        "batch": 16,
        "gamma": 10.0,
        "snap": 10,
        "metrics": ["fid5k_full", "kid5k_full"],
    },
    "ffhq": {"cfg": "stylegan2", "kimg": 25000, "batch": 32, "gamma": 10.0, "snap": 80},
}


def fill(preset: Optional[str], values: MutableMapping[str, Any]) -> List[str]:
    """Set in place the host's options that have no value, and return them as they would be given.

    Args:
        preset: name of a preset of Re-GAN; None and those without options of the host set nothing.
        values: the host's options by the names of its callback's arguments; None = not given.
    """
    missing = {n: v for n, v in HOST_PRESETS.get(preset or "", {}).items() if n in values and values[n] is None}
    values.update(missing)
    return [f"--{name}={_text(value)}" for name, value in missing.items()]


def say(preset: Optional[str], values: MutableMapping[str, Any], ours: Mapping[str, Any]) -> None:
    """The same, with a line on stderr about all that the preset sets.

    Args:
        preset: its name or file; None says nothing.
        values: the host's options.
        ours: this package's options, by the names of their parameters; None = not given.
    """
    filled = fill(preset, values)
    unset = {name: value for name, value in settings(preset).items() if ours.get(f"regan_{name}") is None}
    flags = {name: f"--regan-{name.replace('_', '-')}" if f"regan_{name}" in ours else name for name in unset}
    told = [f"{flags[name]}={_text(value)}" for name, value in unset.items()]
    if told or filled:
        echo(f"Preset {preset}: {' '.join([*told, *filled])}", err=True)


def settings(preset: Optional[str]) -> Dict[str, Any]:
    """Fields of ``ReconfigurationConfig``, lengths not yet in iterations; of a name, of a file that ends in .json, or none.

    Raises:
        ValueError: the file is no preset.
    """
    return read_file(preset) if preset is not None and preset.endswith(".json") else dict(PRESETS.get(preset or "", {}))


def read_file(path: str) -> Dict[str, Any]:
    """The settings in a preset's file, as ``regan-ext tune`` writes it.

    Raises:
        ValueError: there is no such file, or it is no preset.
    """
    file = Path(expanded(path))
    try:
        content = read_json(file)
    except Damaged as err:
        raise ValueError(f"{path} {err}" + (f" ({err.__cause__})" if isinstance(err.__cause__, ValueError) else "")) from err
    values = content.get("regan") if isinstance(content, dict) else None
    if not isinstance(values, dict) or "ratio" not in values:
        raise ValueError(f'{path} is no preset: it has no "regan" with a "ratio" in it')
    try:
        return _checked(values)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{path}: {err}") from err


def _checked(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values with lengths as lengths; each has to be one that a configuration can have, but patterns are a text."""
    checked = {name: Length.parse(str(value)) if name in _LENGTHS else value for name, value in values.items()}
    if not isinstance(checked.get("exclude", ""), str):
        raise ValueError(f"exclude must be a text of patterns, got {checked['exclude']!r}")
    # Lengths in kimg have no number of iterations before the batch size is known.
    whole = {name: 1 if name in _LENGTHS else value for name, value in checked.items() if name != "exclude"}
    ReconfigurationConfig.from_dict(whole)
    if "interval" in checked and checked["interval"].value == 0:
        raise ValueError("interval must be at least 1 iteration, got 0")
    return checked


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
