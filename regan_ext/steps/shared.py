"""A folder of several runs that are given the same: what they share, and what it was begun with."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar

from ..runs.chain import last_run
from ..runs.metric import last_values
from ..support.errors import UserError
from ..support.process import module_command
from ..support.reading import Damaged, mapping, read_json
from ..train.faults import FilesFault
from .step import Standing
from .training import Training, difference, settings_of

__all__ = ["Shared", "SharedRun", "read_note"]

_S = TypeVar("_S", bound="Shared")


@dataclass(frozen=True)
class Shared:
    """What the runs of a folder share.

    Args:
        folder: holds a folder of each run, and what lies between them.
        about: arguments of the command that make the folder what it is.
        options: further ones, of ``train``.
        data: zip or folder of the training images.
        host: of ``train``; None as it finds one.
        gpus: of ``train``; None for its default.
        trust: open snapshots that none of the user's own runs wrote on this machine.
    """

    #: Name of the file that says what the folder was begun with.
    NOTE: ClassVar[str]
    #: What the folder holds, after "the", such as "ticket".
    NOUN: ClassVar[str]
    #: Options that would make a run another than its folder says, and how to say what they would say.
    RESERVED: ClassVar[Mapping[str, str]] = {"--resume=latest": "runs that were interrupted go on anyway"}

    folder: Path
    about: Tuple[str, ...]
    options: Tuple[str, ...]
    data: str
    host: Optional[str] = None
    gpus: Optional[int] = None
    trust: bool = False

    @property
    def note(self) -> Path:
        """The file that says what the folder was begun with."""
        return self.folder / self.NOTE

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

    @classmethod
    def begin(
        cls: Type[_S],
        folder: Path,
        about: Tuple[str, ...],
        options: Sequence[str],
        data: Optional[str],
        host: Optional[str],
        gpus: Optional[int],
        trust: bool,
    ) -> _S:
        """Those of a folder, with what it was begun with where nothing else is said.

        Args:
            folder, about, trust: see the class.
            options: see there; none for those that it was begun with.
            data, host, gpus: see there; None for what it was begun with.

        Raises:
            UserError: options that are the command's own, no data, or the folder was begun with others.
            FilesFault: what it was begun with cannot be read.
        """
        for option in options:
            flag = option if option in cls.RESERVED else option.split("=")[0]
            if flag in cls.RESERVED:
                raise UserError(f"{flag} cannot be given to the runs of a {cls.NOUN}: {cls.RESERVED[flag]}")
        note = read_note(folder / cls.NOTE)
        before, where = settings_of(note), mapping(note.get("where"))
        if before is not None and not options:
            options = before[len(about) + 1 :]
        data, host, gpus = data or where.get("data"), host or where.get("host"), gpus or where.get("gpus")
        if data is None:
            raise UserError("--data is missing: the zip or folder of the training images")
        _check_place(folder, cls.NOTE, cls.NOUN)
        host = str(Path(host).absolute()) if host is not None and Path(host).is_dir() else host
        shared = cls(folder, about, tuple(options), str(Path(data).absolute()), host, gpus, trust)
        differs = difference(before, shared.settings)
        if differs is not None and shared.has_begun:
            raise UserError(
                f"--outdir: {folder} was begun with other options ({differs}): give the same or none at all, or name another "
                "folder"
            )
        return shared


class SharedRun(Training):
    """A run in a folder of such runs, with one of its own."""

    @property
    @abc.abstractmethod
    def shared(self) -> Shared:
        """What it shares with the others."""

    def own_options(self) -> List[str]:
        """What this run is given, and the others are not."""
        return []

    @property
    def folder(self) -> Path:
        return self.shared.folder / self.name

    @property
    def note(self) -> Path:
        return self.shared.note

    @property
    def settings(self) -> Tuple[str, ...]:
        return self.shared.settings

    @property
    def is_bound(self) -> bool:
        return self.shared.has_begun

    @property
    def where(self) -> Mapping[str, Any]:
        return self.shared.where

    @property
    def trust(self) -> bool:
        return self.shared.trust

    def command(self, resume: bool) -> List[str]:
        shared = self.shared
        where = [] if shared.host is None else [f"--host={shared.host}"]
        where += [f"--outdir={self.folder}", f"--data={shared.data}"]
        where += [] if shared.gpus is None else [f"--gpus={shared.gpus}"]
        going_on = ["--resume=latest"] if resume else []
        return module_command("regan_ext", "train", *where, *shared.options, *self.own_options(), *going_on)

    def result(self, now: Standing) -> str:
        values = {} if now.run is None else last_values(now.run.metrics)
        return ", ".join([now.detail, *(f"{name} {value:.5g}" for name, value in values.items())])


def read_note(path: Path) -> Mapping[str, Any]:
    """What is written down of a folder; empty where nothing is.

    Raises:
        FilesFault: it cannot be read.
    """
    try:
        return mapping(read_json(path)) if path.exists() else {}
    except Damaged as err:
        raise FilesFault(f"{path} {err}; delete it, and give all options as the folder was begun with") from err


def _check_place(folder: Path, note: str, noun: str) -> None:
    """Check that a folder can be made where it shall be, and lies in no other of its kind."""
    above = (folder, *folder.absolute().parents)
    file = next((each for each in above if each.exists() and not each.is_dir()), None)
    if file is not None:
        raise UserError(f"--outdir: {folder} cannot be made: {file} is no folder")
    outer = next((parent for parent in folder.absolute().parents if (parent / note).exists()), None)
    if outer is not None:
        raise UserError(f"--outdir: {folder} lies in {outer}, which is the folder of another {noun}; name one outside of it")
