"""The command of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from ..runs.folder import Run
from ..steps.step import Standing
from ..steps.training import Training
from ..support.errors import UserError
from ..support.process import module_command
from .model import Cell

__all__ = ["SETTINGS_FILE", "Job", "Place"]

SETTINGS_FILE = "cell.json"

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
class Job(Training):
    """A cell with a seed, in its own folder."""

    cell: Cell
    seed: int
    place: Place

    @property
    def name(self) -> str:
        return f"{self.cell.name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        return self.place.out / self.cell.table.name / self.name

    @property
    def note(self) -> Path:
        return self.folder / SETTINGS_FILE

    @property
    def trust(self) -> bool:
        return self.place.trust

    @property
    def settings(self) -> Tuple[str, ...]:
        return (f"--seed={self.seed}", *self.cell.options, *self.place.extra)

    @property
    def files(self) -> List[Path]:
        """The data files that it reads."""
        named = (*self.cell.column.files().values(), *self.cell.row.files.values())
        return [self.place.data / name for name in dict.fromkeys(named)]

    def command(self, resume: bool) -> List[str]:
        where = [*self._host, f"--outdir={self.folder}", *self._files, *self.own_files()]
        where += [] if self.place.gpus is None else [f"--gpus={self.place.gpus}"]
        going_on = ["--resume=latest"] if resume else []
        return module_command("regan_ext", "train", *where, *self.settings, *going_on)

    def unmeasured(self, run: Run) -> List[str]:
        """A statistic that has no value is of a method that the run does without."""
        missing = (m for m in self.cell.table.measures if m.metric is not None and not m.points(run))
        return list(dict.fromkeys(str(measure.metric) for measure in missing))

    def measuring(self, snapshot: Path, metrics: Sequence[str]) -> List[str]:
        given = [f"--metrics={','.join(metrics)}", "--save", f"--seed={self.seed}", *(["--trust"] if self.place.trust else [])]
        return module_command("regan_ext", "metrics", "run", str(snapshot), *self._host, *self._files, *given)

    def own_files(self) -> List[str]:
        """Options of ``train`` that name further files."""
        return [f"{option}={self.place.data / name}" for option, name in self.cell.row.files.items()]

    @property
    def _host(self) -> List[str]:
        return [] if self.place.host is None else [f"--host={self.place.host}"]

    @property
    def _files(self) -> List[str]:
        return [f"{option}={self.place.data / name}" for option, name in self.cell.column.files().items()]

    def result(self, now: Standing) -> str:
        """The last values."""
        assert now.run is not None
        found = [(m.title, m.points(now.run)) for m in self.cell.table.measures if m.result is not None]
        return ", ".join(f"{title} {points[-1].value:.5g}" for title, points in found if points)
