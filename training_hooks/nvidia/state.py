"""What a run needs besides its network pickle to go on as if it had never stopped.

A state is a dict of tensors and plain values, saved as ``regan-state-KKKKKK.pt`` beside ``network-snapshot-KKKKKK.pkl``. It
loads with ``weights_only=True``. The networks' parameters are in the pickle, which stays the host's own.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

from ..core.engine import of_hook, states_of
from ..core.hook import Hook
from ..core.random_state import random_states, set_random_states
from ..core.ranks import gather
from ..core.state_check import averages, averages_of, check_fields
from ..core.tensor_files import TensorFileError, load_tensors, save_tensors
from .host_loop import HostLoop

__all__ = [
    "VERSION", "StateError", "collect", "fingerprint", "in_order", "kimg_of", "load", "prune_old", "restore",
    "save", "snapshot_path", "state_path",
]  # fmt: skip

VERSION = 2
_FORMAT = "regan-ext state"
_SIGNS = "Loss/signs/real"  # what the host's adaptive augmentation goes by


class StateError(ValueError):
    """A state file that cannot be used. The message names the file and what is wrong with it."""


def state_path(snapshot: "str | Path") -> Path:
    """The state file that belongs to a network pickle."""
    snapshot = Path(snapshot)
    return snapshot.with_name("regan-state-" + re.sub(r"^network-snapshot-", "", snapshot.stem) + ".pt")


def snapshot_path(state_file: Path) -> Path:
    """The network pickle that a state file belongs to."""
    return state_file.with_name(state_file.stem.replace("regan-state-", "network-snapshot-") + ".pkl")


# ---------------------------------------------------------------- files


def save(state: Mapping[str, Any], path: "str | Path") -> None:
    """Write the state whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    save_tensors(state, path)


def fingerprint(path: "str | Path") -> Dict[str, int]:
    """Size in bytes and checksum of a file, by which a state knows the snapshot that it was written for."""
    checksum, size = 0, 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
    return {"bytes": size, "crc32": checksum}


def load(path: "str | Path", snapshot: "Optional[str | Path]" = None) -> Dict[str, Any]:
    """Read a state file.

    Args:
        path: the state file.
        snapshot: the network pickle beside it, which has to be the one that the state was written for.

    Raises:
        StateError: it is missing, damaged (every record's checksum is verified), foreign, of another version, lacks a field
            that a loop needs, has an absurd one, or is of another snapshot: a run that is killed while it writes a snapshot
            anew leaves the older state beside it.
    """
    path = Path(path)
    try:
        state = load_tensors(path, _FORMAT, "state file")
    except TensorFileError as err:
        raise StateError(str(err)) from err
    if state.get("version") != VERSION:
        raise StateError(f"{path}: state version {state.get('version')}, this regan-ext reads version {VERSION}")
    try:
        check_fields(state)
        mark = state["snapshot"]
        # One of another size is not read, however large it is.
        is_of = snapshot is None or (Path(snapshot).stat().st_size == mark["bytes"] and fingerprint(snapshot) == mark)
    except (ValueError, OSError) as err:
        raise StateError(f"{path}: the state cannot be used: {err}") from err
    if snapshot is not None and not is_of:
        raise StateError(f"{path}: the state is of another snapshot than {Path(snapshot).name}, which is newer or damaged")
    return state


def kimg_of(path: Path) -> int:
    """The number in the name of a state file or snapshot; -1 where there is none."""
    match = re.search(r"-(\d+)\.\w+$", path.name)
    return int(match[1]) if match else -1


def in_order(folder: "str | Path") -> List[Path]:
    """The state files of a run folder, by the kimg in their names."""
    return sorted((path for path in Path(folder).glob("regan-state-*.pt") if path.is_file()), key=kimg_of)


def prune_old(folder: "str | Path", keep: int, with_snapshots: bool = False) -> None:
    """Delete all but the newest ``keep`` state files of a run folder; 0 keeps all.

    Args:
        folder: of the run.
        keep: number.
        with_snapshots: delete the snapshots that they are of too.
    """
    for path in in_order(folder)[:-keep] if keep else []:
        path.unlink()
        if with_snapshots:
            snapshot_path(path).unlink(missing_ok=True)


# ---------------------------------------------------------------- the loop


def collect(loop: HostLoop, hooks: Sequence[Hook], first_image: int = 0) -> Dict[str, Any]:
    """The state of a loop at the end of a tick, after its snapshot and statistics. Has to be called on every rank.

    Args:
        loop: the host's.
        hooks: whose ``state_dict`` becomes part of the state.
        first_image: real images that the loop counts as shown before its first iteration.
    """
    augment, ada = loop.augment_pipe, loop.adaptation
    # What each process has for itself: random states, and averages that the hosts never synchronise.
    mine = {
        "random": random_states(loop.device),
        "pl_mean": getattr(loop.loss, "pl_mean", None),
        **averages_of(loop.networks),
    }
    state: Dict[str, Any] = {
        "format": _FORMAT,
        "version": VERSION,
        "cur_nimg": loop.images,
        "first_image": first_image,
        "batch_idx": loop.iteration,
        "cur_tick": loop.tick + 1,
        "optimizers": {name: opt.state_dict() for name, opt in loop.optimizers.items()},
        "augment_p": None if augment is None else float(augment.p),
        "ada_pending": None if ada is None else _pending(ada),
        "hooks": states_of(hooks),
        "ranks": gather(mine, loop.device, loop.num_ranks),
    }
    options = Path(str(loop.run_dir)) / "training_options.json"
    state["options"] = json.loads(options.read_text(encoding="utf-8")) if options.is_file() else None
    return state


def restore(state: Mapping[str, Any], loop: HostLoop, hooks: Sequence[Hook]) -> None:
    """Put a loop that is about to begin into ``state``, which ``check_fit`` has let pass for it. Its networks have to hold the
    pickle's parameters already."""
    networks, augment = loop.networks, loop.augment_pipe
    mine = state["ranks"][loop.rank]
    for name, optimizer in loop.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    with torch.no_grad():
        for kind, key in (("G", "averages"), ("G_ema", "averages"), ("D", "averages_of_D")):
            for name, buffer in averages(networks[kind]).items():
                buffer.copy_(mine[key][name])
        if mine["pl_mean"] is not None:
            loop.loss.pl_mean.copy_(mine["pl_mean"])
        if augment is not None and state["augment_p"] is not None:
            augment.p.fill_(state["augment_p"])
    if loop.adaptation is not None and state["ada_pending"] is not None:
        _set_pending(loop.adaptation, loop.collector, state["ada_pending"])
    for hook in hooks:
        saved = of_hook(state["hooks"], type(hook))
        if saved is not None and (not hook.observes or _is_usable(hook, saved, networks)):
            hook.load_state_dict(saved)
    set_random_states(mine["random"], loop.device)
    loop.set_counters(state["cur_nimg"], state["batch_idx"], state["cur_tick"])


def _is_usable(hook: Hook, saved: Any, networks: Mapping[str, torch.nn.Module]) -> bool:
    """Whether a hook that only looks on can go on where it was; if not, it begins anew, and the run goes on."""
    try:
        hook.check_state(saved, networks)
    except Exception as err:  # of any kind, as ``check_state`` says
        name, what = hook.name or type(hook).__name__, f"{type(err).__name__}: {err}"
        print(f"The state of {name} cannot be used ({what}); it begins anew.", file=sys.stderr, flush=True)
        return False
    return True


def _pending(ada: Any) -> Optional[torch.Tensor]:
    """What the host's collector has counted since the last adjustment of p: number, sum, sum of squares."""
    stats = sys.modules[type(ada).__module__]
    total = stats._cumulative.get(_SIGNS)
    if total is None:
        return None
    seen = ada._cumulative.get(_SIGNS)
    return total.clone() if seen is None else total - seen


def _set_pending(ada: Any, collector: Any, pending: torch.Tensor) -> None:
    stats = sys.modules[type(ada).__module__]
    stats._counters.setdefault(_SIGNS, {})
    stats._cumulative[_SIGNS] = pending.clone()
    collector._cumulative[_SIGNS] = pending.clone()  # already in the statistics of the run before
