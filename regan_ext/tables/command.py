"""The command of a cell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from ..support.errors import UserError
from ..support.process import module_command
from .model import Cell

__all__ = ["Job", "Place"]

# Arguments that would make a cell another than its folder says, and how to say what they would say.
_RESERVED = {
    "--outdir": "give --out before the --",
    "--data": "give --data-dir before the --",
    "--seed": "give --seeds before the --",
    "--gpus": "give it before the --",
    "--host": "give it before the --",
    "-n": "give --dry-run before the --",
    "--dry-run": "give it before the --",
    "--help": "see regan-ext train --help",
}


@dataclass(frozen=True)
class Place:
    """Where cells are run.

    Args:
        data: folder of the data files.
        out: folder of the tables' results.
        host: of ``train``; None as it finds one.
        gpus: of ``train``; None for its default.
        extra: further arguments for ``train``, which win over a cell's own.
        trust: go on from and measure snapshots that none of the user's own runs wrote on this machine.

    Raises:
        UserError: one of the further arguments is the table's to give.
    """

    data: Path
    out: Path
    host: Optional[str] = None
    gpus: Optional[int] = None
    extra: Tuple[str, ...] = ()
    trust: bool = False

    def __post_init__(self) -> None:
        for argument in self.extra:
            flag = argument.split("=")[0]
            if flag in _RESERVED or argument == "--resume=latest":
                raise UserError(f"{flag} cannot be given to the cells: {_RESERVED.get(flag, 'interrupted cells go on anyway')}")


@dataclass(frozen=True)
class Job:
    """A cell with a seed, in its own folder."""

    cell: Cell
    seed: int
    place: Place

    @property
    def name(self) -> str:
        return f"{self.cell.name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Holds the run folder, or several where a run was interrupted."""
        return self.place.out / self.cell.table.name / self.name

    @property
    def settings(self) -> Tuple[str, ...]:
        """The arguments that make it what it is: not where files lie, nor how many GPUs work on it."""
        return (f"--seed={self.seed}", *self.cell.options, *self.place.extra)

    @property
    def files(self) -> List[Path]:
        """The data files that it reads."""
        return [self.place.data / name for name in self.cell.column.files().values()]

    def command(self, resume: bool) -> List[str]:
        """The whole command; ``resume`` goes on from the newest state in the cell's folder."""
        where = [*self._host, f"--outdir={self.folder}", *self._files]
        where += [] if self.place.gpus is None else [f"--gpus={self.place.gpus}"]
        going_on = ["--resume=latest"] if resume else []
        return module_command("regan_ext", "train", *where, *self.settings, *going_on)

    def measuring(self, snapshot: Path, metrics: Sequence[str]) -> List[str]:
        """The command that measures a snapshot and notes the results beside it."""
        given = [f"--metrics={','.join(metrics)}", "--save", f"--seed={self.seed}", *(["--trust"] if self.place.trust else [])]
        return module_command("regan_ext", "metrics", "run", str(snapshot), *self._host, *self._files, *given)

    @property
    def _host(self) -> List[str]:
        return [] if self.place.host is None else [f"--host={self.place.host}"]

    @property
    def _files(self) -> List[str]:
        return [f"{option}={self.place.data / name}" for option, name in self.cell.column.files().items()]

    def shell(self, resume: bool) -> str:
        """The same as a line for a shell."""
        return shlex.join(self.command(resume))
