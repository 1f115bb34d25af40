"""``--resume``: which snapshot, whether the run goes on or a new one begins from its networks, and whether it fits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import click

from training_hooks import state as states

from .errors import UserError

__all__ = ["Resume", "check_architecture", "check_options", "find", "newest_pair"]

# Arguments of the loop that may differ between the two parts of a run.
_FREE = {
    "run_dir", "metrics", "total_kimg", "image_snapshot_ticks", "network_snapshot_ticks", "kimg_per_tick",
    "resume_pkl", "data_loader_kwargs", "progress_fn", "abort_fn", "cudnn_benchmark", "allow_tf32", "batch_gpu",
    "slideflow_kwargs",
}  # fmt: skip


@dataclass(frozen=True)
class Resume:
    """A snapshot to go on from.

    Args:
        snapshot: the network pickle.
        state: content of its state file; None where there is none, so that only the networks are known.
        state_file: where that content came from.
        asked_for_folder: the user named a folder or "latest", not this snapshot.
    """

    snapshot: Path
    state: Optional[Dict[str, Any]] = None
    state_file: Optional[Path] = None
    asked_for_folder: bool = False

    @property
    def images(self) -> int:
        """Images trained on so far, by the state."""
        assert self.state is not None
        return int(self.state["cur_nimg"])


def _pairs(folder: Path) -> Iterator[Tuple[Path, Path]]:
    """(state file, snapshot) below ``folder``, newest first."""
    files = [*folder.glob("regan-state-*.pt"), *folder.glob("*/regan-state-*.pt")]
    for file in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        snapshot = file.with_name(file.stem.replace("regan-state-", "network-snapshot-") + ".pkl")
        if snapshot.is_file():
            yield file, snapshot


def newest_pair(folder: Path) -> Resume:
    """The newest snapshot with a whole state file in a run folder or in a folder of run folders.

    Raises:
        UserError: there is none.
    """
    for file, snapshot in _pairs(folder):
        try:
            return Resume(snapshot, states.load(file), file, asked_for_folder=True)
        except states.StateError as err:
            click.echo(f"Skipping {err}", err=True)
    raise UserError(f"--resume: {folder} holds no snapshot with a whole state file (regan-state-*.pt)")


def find(value: Optional[str], outdir: str) -> Optional[Resume]:
    """What ``--resume=VALUE`` means; None where the host alone knows (its presets, URLs, nothing).

    Raises:
        UserError: there is no such file, or its state file cannot be used.
    """
    if value is None or value == "noresume" or re.match(r"https?://", value):
        return None
    if value == "latest":
        return newest_pair(Path(outdir))
    path = Path(value)
    if path.is_dir():
        return newest_pair(path)
    if path.suffix != ".pkl":
        return None
    if not path.is_file():
        raise UserError(f"--resume: {value} does not exist")
    file = states.state_path(path)
    if not file.is_file():
        return Resume(path)
    try:
        return Resume(path, states.load(file), file)
    except states.StateError as err:
        raise UserError(f"--resume: {err}; delete it to start from the networks alone") from err


# ---------------------------------------------------------------- does it fit?


def _flat(value: Any, prefix: str = "") -> Dict[str, Any]:
    """Nested dicts and lists as one dict of dotted names."""
    if isinstance(value, Mapping):
        items: Sequence[Tuple[str, Any]] = [(str(k), v) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(i), v) for i, v in enumerate(value)]
    else:
        return {prefix[:-1]: value}
    flat: Dict[str, Any] = {}
    for key, inner in items:
        flat.update(_flat(inner, f"{prefix}{key}."))
    return flat


def _binding(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The options that both parts of a run have to share. Where the images lie is not one of them."""
    flat = _flat({key: value for key, value in options.items() if key not in _FREE})
    return {name: v for name, v in flat.items() if ".plan." not in name and name != "training_set_kwargs.path"}


def check_options(resume: Resume, args: Mapping[str, Any]) -> None:
    """Compare the state's options with those of this run.

    Raises:
        UserError: they differ; the message lists how.
    """
    assert resume.state is not None
    if resume.state["options"] is None:
        return
    saved, now = _binding(resume.state["options"]), _binding(args)
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    if names:
        listed = "; ".join(f"{name} was {saved.get(name)}, is {now.get(name)}" for name in names[:6])
        more = f"; and {len(names) - 6} more" if len(names) > 6 else ""
        raise UserError(f"--resume: {resume.snapshot} was trained with other options: {listed}{more}")


Shapes = Mapping[str, Mapping[str, Sequence[int]]]


def check_architecture(snapshot: Path, found: Shapes, wanted: Shapes) -> None:
    """Compare the parameters of a pickle's networks with those of the requested configuration.

    The host copies what has the same name and leaves the rest as it is, so a generator with another mapping depth loads
    without a word.

    Args:
        snapshot: the pickle, for the message.
        found: network → parameter name → shape, in the pickle.
        wanted: the same for the networks of this run.

    Raises:
        UserError: they differ; the message lists how.
    """
    differences: List[str] = []
    for kind in wanted:
        for name in {**wanted[kind], **found[kind]}:
            there, here = found[kind].get(name), wanted[kind].get(name)
            if there is None or here is None or tuple(there) != tuple(here):
                was = "nothing" if there is None else list(there)
                differences.append(f"{kind}.{name} is {was} there and {'nothing' if here is None else list(here)} here")
    if differences:
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise UserError(f"--resume: {snapshot} has another architecture: {'; '.join(differences[:4])}{more}")
