"""What a preset of Re-GAN sets of the host's own options, where the user leaves them unset."""

from __future__ import annotations

from typing import Any, Dict, List, MutableMapping, Optional

import click

__all__ = ["HOST_PRESETS", "fill", "say"]

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


def say(preset: Optional[str], values: MutableMapping[str, Any]) -> None:
    """The same, with a line about it on stderr."""
    filled = fill(preset, values)
    if filled:
        click.echo(f"Preset {preset}: {' '.join(filled)}", err=True)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
