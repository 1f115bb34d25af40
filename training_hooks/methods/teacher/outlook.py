"""What a run with a teacher will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..method import Facts, Plan
from .config import TeacherConfig
from .files import identified

__all__ = ["completed", "describe", "label", "outlook"]


def completed(config: TeacherConfig, facts: Facts) -> TeacherConfig:
    """The settings with the mode by its name, and with the checksums by which a run that goes on knows its files.

    Raises:
        ValueError: a file cannot be read.
    """
    return identified(config)


def describe(config: TeacherConfig) -> str:
    """The settings as one line for the reader of a report."""
    images = f", on {Path(config.data).name}" if config.data else ""
    return f"{Path(config.network).name}, {config.way}{images}, alpha {config.alpha}" + (
        ", augmented" if config.augment else ""
    )


def label(given: Any, config: TeacherConfig) -> str:
    """Such as "-teacher-live-a0.9", what the name of a run folder says."""
    return f"-teacher-{config.mode}-a{config.alpha.replace(':', '-')}" + ("-augment" if config.augment else "")


def outlook(config: TeacherConfig, facts: Facts) -> Plan:
    """What a run will do.

    Raises:
        ValueError: a teacher that trains has no images, or a ramp is shorter than an iteration.
    """
    if config.trains and not config.data:
        raise ValueError(f"mode {config.mode} needs --teacher-data=ZIP, the images that the teacher trains on")
    ramp = config.ramp(facts.batch_size)
    first, last = config.alpha_at(0, ramp), config.alpha_at(facts.total - 1, ramp)
    notes = [f"The teacher counts {1 - first:g}" + (f", and {1 - last:g} at the end of the run." if first != last else ".")]
    if config.mode != "live" and min(first, last) < 1:
        what = "does not train" if config.mode == "fixed" else "never sees this run's fakes"
        live = "with --teacher-mode=live" if config.data else "with --teacher-data"
        notes.append(f"It {what}, and G learns to exploit that, the more the more it counts; {live} it is live.")
    return Plan({"alpha_first": first, "alpha_last": last}, tuple(notes))
