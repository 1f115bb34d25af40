"""How far a cell has come, and what is written down of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

from ..steps import training
from ..steps.step import Standing
from ..steps.training import note_settings, settings_of
from .command import SETTINGS_FILE, Job

__all__ = ["note_settings", "noted", "read_standing", "settings_of"]


def read_standing(job: Job) -> Standing:
    """How far the job has come."""
    return job.standing()


def noted(folder: Path) -> Dict[str, Any]:
    """What is written down of the cell in ``folder``; empty where nothing is."""
    return training.noted(folder / SETTINGS_FILE)
