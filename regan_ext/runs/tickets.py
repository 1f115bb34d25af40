"""Masks of the tickets that runs were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from .folder import Run

if TYPE_CHECKING:
    from training_hooks.methods.tickets.files import Mask

__all__ = ["is_masked", "mask_of"]


def is_masked(run: Run) -> bool:
    """Whether it is of a ticket with masks, so that its snapshots have zeros."""
    return bool(_files(run))


def mask_of(run: Run) -> "Optional[Mask]":
    """The masks of a run of a ticket, from their file as it was named or where the run's folder was moved with it; None where
    the run has none, and where they are not there any more."""
    for path in _files(run):
        from training_hooks.methods.tickets.files import read_mask  # which imports torch

        try:
            mask = read_mask(path)
        except (ValueError, OSError):
            continue
        if mask.checksum == _setting(run, "mask_checksum"):
            return mask
    return None


def _files(run: Run) -> List[Path]:
    path = _setting(run, "mask")
    return [Path(path), run.folder.parent.parent / Path(path).name] if isinstance(path, str) and path else []


def _setting(run: Run, name: str) -> object:
    return next((entry.settings.get(name) for entry in run.methods if entry.name == "ticket"), None)
