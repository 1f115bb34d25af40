"""Runs that their host takes up by itself: the same command finds the folder, and goes on with the snapshot there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Mapping, Optional

from training_hooks.nvidia import state as states

from ..hosts.flavour import Flavour
from ..support.text import echo
from .resume import Resume

__all__ = ["find"]


def find(flavour: Flavour, args: Mapping[str, Any], outdir: str, description: str) -> Optional[Resume]:
    """What the host is about to go on from; None where it begins a run, or where nothing but its networks is known.

    Args:
        flavour: family of hosts.
        args: keyword arguments of the loop.
        outdir: folder of the runs.
        description: of this run, by which the host knows its folder again.
    """
    if flavour.rolling is None or args.get("restart_every", 0) <= 0:
        return None
    for snapshot in sorted(Path(outdir).glob(f"*/{flavour.rolling}")):
        if re.fullmatch(rf"\d{{5}}-{description}", snapshot.parent.name):  # as the host does, without escapes
            return _state_of(snapshot)
    return None


def _state_of(snapshot: Path) -> Optional[Resume]:
    for file in reversed(states.in_order(snapshot.parent)):
        try:
            found = Resume(snapshot, states.load(file, snapshot), file, asked_for_folder=True)
        except (states.StateError, OSError):  # of another snapshot, or damaged
            continue
        echo(f"The host goes on in {snapshot.parent}, from {found.images / 1000:g} kimg.", err=True)
        return found
    echo(
        f"The host goes on in {snapshot.parent}, whose {snapshot.name} has no whole state file: optimizers, masks and random "
        "state begin anew.",
        err=True,
    )
    return None
