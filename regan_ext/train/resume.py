"""``--resume``: which snapshot, whether the run goes on or a new one begins from its networks, and whether it fits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from training_hooks.nvidia import state as states
from training_hooks.nvidia.seams import without_seams

from ..hosts.flavour import Flavour
from ..support.errors import UserError
from ..support.paths import is_address
from ..support.reading import Damaged, read_json
from ..support.text import echo
from .data_identity import is_same
from .resume_networks import Networks

__all__ = [
    "IMAGES", "LATEST", "Resume", "check_architecture", "continuation", "find", "keep_beginning",
    "newest_pair", "unless_other_images", "unless_over",
]  # fmt: skip

IMAGES = "data"  # key of the progress callback's arguments, where the identity of the training images is kept
LATEST = "latest"  # --resume of the newest pair in --outdir


@dataclass(frozen=True)
class Resume:
    """A snapshot to go on from.

    Args:
        snapshot: the network pickle.
        state: content of its state file; None where there is none, so that only the networks are known.
        state_file: where that content came from.
        of_other_images: its state tells of other training images, so it is a beginning only.
        asked_for_folder: the user named a folder or "latest", not this snapshot.
        shapes: network → parameter name → shape, of a pickle without a state; None while it has not been opened.
        sums: network → parameter name → checksum of its values, likewise.
        plain: what such a pickle tells of a run that can go on: "cur_nimg" (images trained on) and, where augmentation
            adapts, "augment_p"; None where it tells nothing.
    """

    snapshot: Path
    state: Optional[Dict[str, Any]] = None
    state_file: Optional[Path] = None
    asked_for_folder: bool = False
    of_other_images: bool = False
    shapes: "Optional[Shapes]" = None
    sums: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    plain: Optional[Mapping[str, Any]] = None

    @property
    def goes_on(self) -> bool:
        """Whether a run goes on; otherwise one begins from these networks."""
        return self.state is not None or self.plain is not None

    @property
    def images(self) -> int:
        """Images trained on so far. Only where a run goes on."""
        return int((self.state or self.plain or {})["cur_nimg"])

    @property
    def outcome(self) -> str:
        """What comes of it, in words."""
        if self.goes_on:
            return f"goes on from {self.snapshot}, {self.images / 1000:g} kimg"
        return f"a new run begins from the networks of {self.snapshot}"


def _pairs(folder: Path) -> Iterator[Tuple[Path, Path]]:
    """(state file, snapshot) below ``folder``, newest first: of the last run, and in it of the most kimg."""
    files = [*folder.glob("regan-state-*.pt"), *folder.glob("*/regan-state-*.pt")]
    for file in sorted(files, key=_count, reverse=True):
        snapshot = states.snapshot_path(file)
        if snapshot.is_file():
            yield file, snapshot


def _count(state_file: Path) -> Tuple[int, int]:
    """The host's number of the run that a state is of, and its kimg; clocks are set back, and copies have a new time."""
    match = re.match(r"(\d+)-", state_file.absolute().parent.name)
    return int(match[1]) if match else -1, states.kimg_of(state_file)


def newest_pair(folder: Path) -> Resume:
    """The newest snapshot with a whole state file in a run folder or in a folder of run folders.

    Raises:
        UserError: there is none.
    """
    for file, snapshot in _pairs(folder):
        try:
            return Resume(snapshot, states.load(file, snapshot), file, asked_for_folder=True)
        except (states.StateError, OSError) as err:
            echo(f"Skipping {err}", err=True)
    raise UserError(f"--resume: {folder} holds no snapshot with a whole state file (regan-state-*.pt)")


def find(value: Optional[str], outdir: str) -> Optional[Resume]:
    """What ``--resume=VALUE`` means; None where the host alone knows (its presets, URLs, nothing) and for the first "latest".

    Raises:
        UserError: there is no such file, or its state file cannot be used.
    """
    if value is None or value == "noresume" or is_address(value):
        return None
    if value == LATEST:
        folder = Path(outdir)
        if any(next(folder.glob(pattern), None) for pattern in ("network-snapshot-*.pkl", "*/network-snapshot-*.pkl")):
            return newest_pair(folder)
        echo(f"--resume=latest: {folder} holds no snapshot yet, so a new run begins.", err=True)
        return None
    path = Path(value)
    if path.is_dir():
        return newest_pair(path)
    if not path.is_file():
        if path.suffix == ".pkl" or path.exists():
            raise UserError(f"--resume: {value} {'is no file' if path.exists() else 'does not exist'}")
        return None
    if re.fullmatch(r"regan-state-.*\.pt", path.name):
        raise UserError(f"--resume: {value} is a state file; name the snapshot that it is of, {states.snapshot_path(path)}")
    file = states.state_path(path)
    if path.suffix != ".pkl" or not file.is_file():  # whatever else has its name is refused for what it is
        return Resume(path)
    try:
        return Resume(path, states.load(file, path), file)
    except states.StateError as err:
        remedy = "to begin a new run from the networks alone, copy the snapshot into another folder and name the copy"
        raise UserError(f"--resume: {err}; {remedy}") from err


_SAME_DATA = ("resolution", "max_size", "use_labels", "xflip")


def _data(training_set_kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    """What tells one set of training images from another; its name is the same for a folder and for its zip."""
    last = re.split(r"[/\\]", str(training_set_kwargs.get("path", "")).rstrip("/\\"))[-1]
    return {"data": re.sub(r"\.zip$", "", last), **{key: training_set_kwargs.get(key) for key in _SAME_DATA}}


def _recorded(options: Any) -> Any:
    """The identity of a run's images among its options; None in those of earlier versions and of the plain host."""
    progress = options.get("progress_fn") if isinstance(options, Mapping) else None
    return progress.get(IMAGES) if isinstance(progress, Mapping) else None


def _recorded_beside(snapshot: Path) -> Any:
    """The same, of the run that a snapshot lies in the folder of."""
    try:
        return _recorded(read_json(snapshot.with_name("training_options.json")))
    except Damaged:
        return None


def _other(before: Mapping[str, Any], recorded: Any, now: Mapping[str, Any], images: Any) -> str:
    """How two runs' training sets, of these arguments and identities, differ in words; empty where they do not. Where the
    content is not known of both, the name decides."""
    same = is_same(recorded, images, bool(now.get("use_labels")))
    one, other = _data(before), _data(now)
    differing = [f"{key} was {one[key]}, is {other[key]}" for key in other if one[key] != other[key]]
    if same is not None:
        differing = [text for text in differing if not text.startswith("data was ")]
    return "; ".join(differing + (["their content is another"] if same is False else []))


def unless_other_images(found: Resume, args: Mapping[str, Any], images: Optional[Mapping[str, Any]] = None) -> Resume:
    """``found``, or its networks alone where its run was trained on other images: transfer learning then, as in the host.

    Args:
        found: a snapshot with its state.
        args: keyword arguments of this run's loop.
        images: ``data_identity.identity`` of its training images.

    Raises:
        UserError: they are other images, and a folder was asked for, which can only mean to go on.
    """
    options = None if found.state is None else found.state["options"]
    if options is None:
        return found
    other = _other(options["training_set_kwargs"], _recorded(options), args["training_set_kwargs"], images)
    if not other:
        return found
    where = f"{found.snapshot} was trained on other images ({other})"
    remedy = f"--resume={found.snapshot} begins a new run from its networks"
    return replace(_beginning(found, where, remedy), of_other_images=True)


def continuation(
    found: Resume, networks: Networks, args: Mapping[str, Any], flavour: Flavour, images: Optional[Mapping[str, Any]] = None
) -> Resume:
    """``found`` with ``plain`` where its snapshot is of a run on the same images and its name tells how far that had come.

    The number of images is the least multiple of the batch size with that name, so that it agrees with a whole number of
    iterations.

    Args:
        found: a snapshot without a state file.
        networks: what its pickle holds.
        args: keyword arguments of this run's loop.
        flavour: family of hosts.
        images: ``data_identity.identity`` of its training images.
    """
    match = re.fullmatch(r"network-snapshot-(\d{6,})", found.snapshot.stem)
    data = networks.training_set
    if found.of_other_images or match is None or int(match[1]) == 0 or data is None:
        return found
    if _other(data, _recorded_beside(found.snapshot), args["training_set_kwargs"], images):
        return found
    plain: Dict[str, Any] = {"cur_nimg": math.ceil(int(match[1]) * 1000 / args["batch_size"]) * args["batch_size"]}
    if args.get(flavour.adaptive) is not None and networks.augment_p is not None:
        plain["augment_p"] = networks.augment_p
    return replace(found, plain=plain)


def unless_over(found: Resume, total_kimg: float) -> Resume:
    """``found``, or its networks alone where the budget of the run is spent already: a beginning then, not an error.

    Raises:
        UserError: it is spent, and a folder was asked for, which can only mean to go on.
    """
    if found.images < total_kimg * 1000:
        return found
    where = f"{found.snapshot} is at {found.images / 1000:g} kimg, and --kimg={total_kimg} leaves nothing to train"
    return _beginning(found, where, "give a larger --kimg")


def _beginning(found: Resume, why: str, remedy: str) -> Resume:
    """Its networks alone; an error with the remedy where a folder was asked for."""
    if found.asked_for_folder:
        raise UserError(f"--resume: {why}; {remedy}")
    echo(f"{why}: a new run begins from its networks.", err=True)
    return replace(found, state=None, state_file=None, plain=None)


def keep_beginning(found: Resume, args: Any, flavour: Flavour) -> None:
    """Edit the loop's keyword arguments, so that a run which began from other networks goes on as it began.

    Args:
        found: the snapshot of the run that goes on.
        args: as the host makes them without ``--resume``.
        flavour: family of hosts.
    """
    options = None if found.state is None else found.state["options"]
    if options is None:
        return
    plain = without_seams(options)
    for path in flavour.of_beginning:
        flavour.copy(path, plain, args)


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
