"""Discriminators are exchanged between runs that have stopped: in their last snapshots and states, and nowhere else."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from training_hooks.core import own_snapshots
from training_hooks.core.files import whole_file
from training_hooks.nvidia import state as states

from ..runs.chain import last_run
from ..snapshots.open import open_snapshot
from ..support.reading import Damaged, mapping, read_json

__all__ = ["check", "exchanged", "make", "remedy"]

_OF_D = ("D", "augment_pipe")  # in a pickle; the strength of augmentation is in the second
_OF_D_IN_STATE = ("augment_p", "ada_pending")
_HOOKS_OF_D = ("apa",)  # methods whose state tells how far a discriminator overfits
_JOURNAL = "exchange.json"


def check(record: Path, partners: Sequence[int]) -> Optional[str]:
    """Why the record of an exchange is of another one; None where it is not."""
    try:
        found = mapping(read_json(record)).get("partners")
    except Damaged as err:
        return f"{record} {err}"
    return None if found == list(partners) else f"{record} tells of another exchange"


def remedy(partners: Sequence[int]) -> str:
    """What to do about a record that is lost or damaged: made anew, it would have discriminators exchanged a second time."""
    return f"bring it back, or write {json.dumps({'partners': list(partners)})} into it, but do not delete it"


def make(record: Path, folders: Sequence[Path], until: int, partners: Sequence[int], host: Optional[str], trust: bool) -> None:
    """Exchange the discriminators of runs that have trained so far, and write the record of it.

    New files are written beside the old ones first, and take their places once all are there: killed at any time, and called
    again, it ends with each discriminator in exactly one run.

    Args:
        record: file that is there once all is done.
        folders: of the groups, each with its run folders.
        until: iterations that they have trained.
        partners: group → the group whose discriminator it gets.
        host: checkout of their classes; None = as train finds it.
        trust: open snapshots that none of the user's own runs wrote on this machine.

    Raises:
        ValueError, UserError: a run has left nothing that can be used.
    """
    part = record.with_suffix(".part")
    if not (part / _JOURNAL).exists():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        _stage(part, [_end_of(folder, until) for folder in folders], until, partners, host, trust)
    journal = mapping(read_json(part / _JOURNAL))
    for name, place in journal["places"].items():
        if (part / name).exists():
            os.replace(part / name, record.parent / place)
    os.replace(part / _JOURNAL, record)
    shutil.rmtree(part)


def _end_of(folder: Path, until: int) -> Path:
    """The snapshot that a group's run has at ``until`` iterations."""
    run = last_run(folder)
    if run is not None and run.iteration_at(run.kimg) > until:
        raise ValueError(f"{folder} is ahead of the others, at {run.kimg:g} kimg, without the exchange")
    found = [] if run is None else [path for kimg, path in run.starts if kimg == int(run.in_kimg(until))]
    if not found:
        raise ValueError(f"{folder} holds no snapshot with a state of iteration {until}")
    return found[-1]


def _stage(
    part: Path, snapshots: Sequence[Path], until: int, partners: Sequence[int], host: Optional[str], trust: bool
) -> None:
    """Write what each run gets, and last where it goes."""
    data = [open_snapshot(path, host, trust).data for path in snapshots]
    before = [states.load(states.state_path(path), path) for path in snapshots]
    late = next((path for path, state in zip(snapshots, before) if state["batch_idx"] != until), None)
    if late is not None:
        raise ValueError(f"{late} is of another iteration than {until}")
    places: Dict[str, str] = {}
    for group, (snapshot, partner) in enumerate(zip(snapshots, partners)):
        pickled, state = part / f"{group}.pkl", part / f"{group}.pt"
        members, after = exchanged((data[group], before[group]), (data[partner], before[partner]))
        with whole_file(pickled) as file:
            pickle.dump(members, file)
        own_snapshots.remember(pickled)
        states.save({**after, "snapshot": states.fingerprint(pickled)}, state)
        for path, target in ((pickled, snapshot), (state, states.state_path(snapshot))):
            places[path.name] = os.path.relpath(target, part.parent.resolve())
    with whole_file(part / _JOURNAL) as file:
        file.write(json.dumps({"iterations": until, "partners": list(partners), "places": places}).encode() + b"\n")


_Pair = Tuple[Mapping[str, Any], Mapping[str, Any]]


def exchanged(mine: _Pair, partners: _Pair) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What a run goes on from: its own content of pickle and state, but for what belongs to its partner's discriminator."""
    (data, state), (others, other) = mine, partners
    members = {**data, **{name: others[name] for name in _OF_D if name in others}}
    ranks: List[Dict[str, Any]] = [
        {**own, **{name: value for name, value in theirs.items() if name == "averages_of_D"}}
        for own, theirs in zip(state["ranks"], other["ranks"])
    ]
    return members, {
        **state,
        **{name: other[name] for name in _OF_D_IN_STATE},
        "optimizers": {**state["optimizers"], "D": other["optimizers"]["D"]},
        "hooks": {**state["hooks"], **{name: value for name, value in other["hooks"].items() if name in _HOOKS_OF_D}},
        "ranks": ranks,
    }
