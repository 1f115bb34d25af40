"""Whether the folder of the runs can be written, and whether the disk has room for what a run will leave on it."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from rich.filesize import decimal

from training_hooks.nvidia import host_loop as loop

from ..support.errors import UserError
from ..support.text import echo
from . import options

__all__ = ["Plan", "check", "plan"]

_FLOAT = 4  # bytes; parameters and moments are single precision in every configuration of the hosts


@dataclass(frozen=True)
class Plan:
    """What a run will write, from the number of its parameters; pictures and logs are small beside it.

    Args:
        snapshot: bytes of a network pickle.
        state: bytes of a state file; 0 where none are written.
        pickles: network pickles over the whole run: snapshots, members of pairs, best ones.
        states: state files that lie there at once.
    """

    snapshot: int
    state: int
    pickles: int
    states: int

    @property
    def least(self) -> int:
        """Bytes of the first snapshot with its state file."""
        return self.snapshot + self.state

    @property
    def whole(self) -> int:
        """Bytes of all that will lie in the run folder at once."""
        return self.pickles * self.snapshot + self.states * self.state


def plan(
    args: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Sequence[int]]], request: options.Request, sparse_phases: int = 0
) -> Plan:
    """Estimate what the run of these keyword arguments will write, were it to run from its beginning.

    Args:
        args: the edited keyword arguments of the loop.
        shapes: "G" and "D" → parameter name → shape.
        request: what was asked for.
        sparse_phases: number of sparse phases of the run; 0 without a method that has some.
    """
    G, D = (sum(math.prod(shape) for shape in shapes[kind].values()) for kind in ("G", "D"))
    snapshots = loop.snapshots(args)
    members, kinds = 0, 1
    if sparse_phases:
        members, kinds = {"last": 2, "all": 2 * sparse_phases, "none": 0}[request.pairs], 2
    best = kinds * len(args["metrics"]) if snapshots else 0
    states = 0
    if request.states:
        states = min(snapshots, request.keep_states + 1) if request.keep_states else snapshots  # one more while it is replaced
    state = 2 * (G + D) * _FLOAT + (G + D) // 8  # Adam's two moments, and a bit for the mask of each weight
    return Plan((2 * G + D) * _FLOAT, state if request.states else 0, snapshots + members + best, states)


def check(outdir: str, planned: Plan) -> None:
    """Try to write where ``outdir`` is or will be, and compare the room there with what is planned. Leaves nothing there.

    Warns on stderr where the room is not enough for the whole run.

    Raises:
        UserError: nothing can be written there, or not even one snapshot with its state file.
    """
    folder = Path(outdir).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as err:
        reason = f"{folder}: {err.strerror or err}"
        raise UserError(f"--outdir: {outdir} cannot be written ({reason}); name a folder that you may write to") from err
    if free < planned.least:
        files = "a snapshot with its state file takes" if planned.state else "a snapshot takes"
        raise UserError(
            f"--outdir: {files} about {decimal(planned.least)}, and {folder} has {decimal(free)} free; "
            "free some space or name a folder on another disk"
        )
    if free < planned.whole:
        pickles = f"{planned.pickles} network pickles of {decimal(planned.snapshot)}"
        states = f"{planned.states} state files of {decimal(planned.state)}"
        echo(
            f"Warning: this run will write about {decimal(planned.whole)} ({pickles}, {states}), and {folder} has "
            f"{decimal(free)} free; a larger --snap, --keep-states=1, --pairs=none or --states=false makes it less.",
            err=True,
        )
