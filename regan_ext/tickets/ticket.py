"""A ticket's folder: what its runs are given, how its masks are found, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ..runs.chain import last_run
from ..steps.training import difference, noted, settings_of
from ..support.errors import UserError
from ..support.reading import Damaged, mapping, read_json
from ..train.faults import FilesFault

__all__ = ["INIT_FILE", "REFERENCE", "SETTINGS_FILE", "Rule", "Ticket", "begin", "rule_of_folder"]

SETTINGS_FILE = "ticket.json"
INIT_FILE = "ticket-init.pt"
# Options that would make a run another than its folder says, and how to say what they would say.
_RESERVED = {
    "--resume=latest": "runs that were interrupted go on anyway",
    "--ticket-init": "it is the ticket's own file",
    "--ticket-mask": "it is the ticket's own file",
    "--ticket-transfer": "see regan-ext tickets train --help",
}


@dataclass(frozen=True)
class Rule:
    """How the masks of a round are found from the end of the one before.

    Args:
        networks: that are pruned, "both", "G" or "D".
        share: of the weights kept that a round prunes, in (0, 1).
        score: what magnitudes are measured in, "scaled", "raw" or "effective".
        source: which generator's magnitudes count, "live" or "ema" of the last snapshot, or "best", the live one of the best.
        scope: which weights can go, see ``training_hooks.methods.tickets.prune.selected``.
    """

    networks: str = "both"
    share: float = 0.2
    score: str = "scaled"
    source: str = "live"
    scope: str = "convolutions"

    @property
    def kinds(self) -> Tuple[str, ...]:
        """The networks by name."""
        return ("G", "D") if self.networks == "both" else (self.networks,)

    @property
    def options(self) -> Dict[str, str]:
        """Field → the option that it is given by."""
        return {each.name: "--from" if each.name == "source" else f"--{each.name}" for each in fields(self)}

    @property
    def arguments(self) -> Tuple[str, ...]:
        """As they would be typed."""
        return tuple(f"{option}={getattr(self, name)}" for name, option in self.options.items())


#: As the public code of the paper has it.
REFERENCE = Rule("G", 0.2, "raw", "ema", "convolutions")


@dataclass(frozen=True)
class Ticket:
    """What the runs of a folder share.

    Args:
        folder: holds a folder of each run, the initial weights and the masks.
        about: arguments of the command that say how masks are found.
        options: further ones, of ``train``.
        data: zip or folder of the training images.
        host: of ``train``; None as it finds one.
        gpus: of ``train``; None for its default.
        trust: open snapshots that none of the user's own runs wrote on this machine.
    """

    folder: Path
    about: Tuple[str, ...]
    options: Tuple[str, ...]
    data: str
    host: Optional[str] = None
    gpus: Optional[int] = None
    trust: bool = False

    @property
    def init(self) -> Path:
        """The weights that all runs begin with."""
        return self.folder / INIT_FILE

    @property
    def note(self) -> Path:
        """The file that says what the folder was begun with."""
        return self.folder / SETTINGS_FILE

    @property
    def settings(self) -> Tuple[str, ...]:
        """The arguments that make the folder what it is: of the data the name, wherever it lies."""
        return (*self.about, f"--data={Path(self.data).name}", *self.options)

    @property
    def where(self) -> Dict[str, Any]:
        """What may change from one call to the next."""
        return {"data": self.data, "host": self.host, "gpus": self.gpus}

    @property
    def has_begun(self) -> bool:
        """Whether anything in the folder has trained: what was mistyped before that binds nobody."""
        return any(last_run(each) is not None for each in self.folder.glob("*/"))

    def mask(self, title: str) -> Path:
        """The file of a mask."""
        return self.folder / f"ticket-mask-{title}.pt"

    def round(self, number: int) -> Path:
        """The folder of a round's run."""
        return self.folder / f"round-{number}"


def rule_of_folder(folder: Path, given: Mapping[str, Any], preset: Optional[str]) -> Rule:
    """How masks are found in a folder.

    Args:
        folder: of the ticket.
        given: fields of ``Rule``; None for what the folder was begun with, else for the preset's or the default.
        preset: "reference", or None.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    known = _known(settings_of(noted(folder / SETTINGS_FILE)) or ())
    return Rule(**{**(known if preset is None else vars(REFERENCE)), **chosen})


def _known(before: Sequence[str]) -> Dict[str, Any]:
    """The fields of the rule that a folder was begun with."""
    names, found = {option: name for name, option in Rule().options.items()}, {}
    for flag, _, value in (argument.partition("=") for argument in before[: len(names)]):
        if flag in names:
            found[names[flag]] = float(value) if names[flag] == "share" else value
    return found


def _noted(path: Path) -> Mapping[str, Any]:
    """What is written down of a folder; empty where nothing is."""
    try:
        return mapping(read_json(path)) if path.exists() else {}
    except Damaged as err:
        raise FilesFault(f"{path} {err}; delete it, and give all options as the folder was begun with") from err


def begin(
    folder: Path,
    about: Tuple[str, ...],
    options: Sequence[str],
    data: Optional[str],
    host: Optional[str],
    gpus: Optional[int],
    trust: bool,
) -> Ticket:
    """The ticket of a folder, with what it was begun with where nothing else is said.

    Args:
        folder, about, trust: see ``Ticket``.
        options: see there; none for those that it was begun with.
        data, host, gpus: see there; None for what it was begun with.

    Raises:
        UserError: options that are the command's own, no data, or the folder was begun with others.
        FilesFault: what it was begun with cannot be read.
    """
    for option in options:
        flag = option if option in _RESERVED else option.split("=")[0]
        if flag in _RESERVED:
            raise UserError(f"{flag} cannot be given to the runs of a ticket: {_RESERVED[flag]}")
    note = _noted(folder / SETTINGS_FILE)
    before, where = settings_of(note), mapping(note.get("where"))
    if before is not None and not options:
        options = before[len(about) + 1 :]
    data, host, gpus = data or where.get("data"), host or where.get("host"), gpus or where.get("gpus")
    if data is None:
        raise UserError("--data is missing: the zip or folder of the training images")
    above = (folder, *folder.absolute().parents)
    file = next((each for each in above if each.exists() and not each.is_dir()), None)
    if file is not None:
        raise UserError(f"--outdir: {folder} cannot be made: {file} is no folder")
    outer = next((parent for parent in folder.absolute().parents if (parent / SETTINGS_FILE).exists()), None)
    if outer is not None:
        raise UserError(f"--outdir: {folder} lies in {outer}, which is the folder of another ticket; name one outside of it")
    host = str(Path(host).absolute()) if host is not None and Path(host).is_dir() else host
    ticket = Ticket(folder, about, tuple(options), str(Path(data).absolute()), host, gpus, trust)
    differs = difference(before, ticket.settings)
    if differs is not None and ticket.has_begun:
        raise UserError(
            f"--outdir: {folder} was begun with other options ({differs}): give the same or none at all, or name another folder"
        )
    return ticket
