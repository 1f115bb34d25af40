"""The tables as frozen values, read from the JSON files in ``data``."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from training_hooks.nvidia.metrics import direction

from ..runs.folder import Run
from ..runs.metric import MetricPoint, metric_of, series
from ..support.errors import UserError

__all__ = ["NAMES", "Cell", "Column", "Measure", "Row", "Table", "TicketOf", "how_to_get", "load", "table_of"]

NAMES = (
    "few-shot", "ffhq", "cifar10", "tiny-imagenet", "cifar10-limited", "tiny-imagenet-limited", "stability", "ablation",
    "learning-rate", "digits-few-shot", "digits-options", "digits-ablation", "digits-longer",
    "digits-exploration", "digits-tickets", "tickets-few-shot", "tickets-tiny-imagenet", "tickets-imagenet", "tickets-cifar",
    "tickets-levels", "advaug-noise", "fashion-few-shot", "emoji-few-shot", "blocks", "teacher", "digits-teacher",
)  # fmt: skip
_STATISTIC = "stat:"


@dataclass(frozen=True)
class Measure:
    """What a table compares.

    Args:
        key: its name in the data files.
        title: its name for readers.
        result: name of the value in metric-*.jsonl; "stat:NAME" is a statistic of stats.jsonl. None where only the paper
            has it.
    """

    key: str
    title: str
    result: Optional[str] = None

    @property
    def better(self) -> Optional[str]:
        """Whether "lower" or "higher" values are better; None where it is not known."""
        return direction(self.result or self.key)

    @property
    def statistic(self) -> Optional[str]:
        """Name of the statistic; None of a metric."""
        return self.result[len(_STATISTIC) :] if self.result is not None and self.result.startswith(_STATISTIC) else None

    @property
    def metric(self) -> Optional[str]:
        """Name of the metric that has the value; None of a statistic and of what only the paper has."""
        return None if self.result is None or self.statistic is not None else metric_of(self.result)

    def points(self, run: Run) -> List[MetricPoint]:
        """Its values over a run, in the order of their kimg."""
        if self.statistic is None:
            return series(run.metrics, str(self.result))
        name = self.statistic
        return series((MetricPoint(name, tick.kimg, tick.get(name), "") for tick in run.ticks), name)


@dataclass(frozen=True)
class Column:
    """What a table's rows are trained on.

    Args:
        name, title: for the command line and for readers.
        resolution, channels: of the images; a resolution of 0 is not known, and nothing can be run.
        data: name of the zip; None where nothing can be run.
        metricdata: name of the zip that metrics compare with; None for the training data.
        detector: name of the feature network's file; None for the host's own.
        classes: of its labels.
        options: what it adds to the command.
    """

    name: str
    title: str
    resolution: int = 0
    data: Optional[str] = None
    channels: int = 3
    classes: int = 0
    metricdata: Optional[str] = None
    detector: Optional[str] = None
    options: Tuple[str, ...] = ()

    def files(self) -> Dict[str, str]:
        """Option → name of the file that it needs."""
        named = {"--data": self.data, "--metricdata": self.metricdata, "--metric-detector": self.detector}
        return {option: name for option, name in named.items() if name is not None}


@dataclass(frozen=True)
class TicketOf:
    """Which masks a row's runs hold.

    Args:
        round: as many weights as the ticket of this round keeps; 0 is dense.
        kind: how they are found: by "magnitude", from round to round; "one-shot", from the end of round 0; "random".
    """

    round: int
    kind: str = "magnitude"


@dataclass(frozen=True)
class Row:
    """A method.

    Args:
        name, title: for the command line and for readers.
        options: what it adds to the command.
        paper: key of a measure → the paper's number in each column; None where it has none.
        spread: key of a measure → the deviation that the paper prints with each number.
        paper_only: why it cannot be run; None where it can.
        source: where its numbers stand, if not where the table's do.
        ticket: its masks, of a row that is trained from the weights of the table's first ticket; None of all others.
        files: option → name of a further file that it needs.
    """

    name: str
    title: str
    options: Tuple[str, ...] = ()
    paper: Mapping[str, Tuple[Optional[Decimal], ...]] = field(default_factory=dict)
    spread: Mapping[str, Tuple[Optional[Decimal], ...]] = field(default_factory=dict)
    paper_only: Optional[str] = None
    source: Optional[str] = None
    ticket: Optional[TicketOf] = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A row in a column."""

    table: "Table"
    row: Row
    column: Column

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.column.name}"

    @property
    def options(self) -> Tuple[str, ...]:
        """What ``train`` is given besides seed, files and folders."""
        return (*self.table.options, *self.column.options, *self.row.options)

    def paper(self, measure: Measure) -> Optional[Decimal]:
        """The paper's number, digit for digit."""
        values = self.row.paper.get(measure.key)
        return None if values is None else values[self.table.columns.index(self.column)]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name, title: for the command line and for readers.
        source: where the paper has it.
        protocol: what is generated, and what it is compared with.
        about: what a reader of the numbers has to know.
        seeds: that are run if nobody says otherwise.
        measures: what is compared, the most important first.
        options: of all its commands.
        columns, rows: its cells.
        baseline: name of the row that the others are held against, seed by seed; None where there is none.
    """

    name: str
    title: str
    source: str
    protocol: str
    about: Tuple[str, ...]
    seeds: Tuple[int, ...]
    measures: Tuple[Measure, ...]
    options: Tuple[str, ...]
    columns: Tuple[Column, ...]
    rows: Tuple[Row, ...]
    baseline: Optional[str] = None

    def cells(self, only: Sequence[str] = ()) -> List[Cell]:
        """The cells that can be run.

        Args:
            only: patterns of the names of rows, columns or cells; none for all cells.

        Raises:
            UserError: a pattern matches nothing.
        """
        cells = [Cell(self, row, column) for column in self.columns for row in self.rows if row.paper_only is None]
        for pattern in only:
            if not any(_matches(cell, pattern) for cell in cells):
                raise UserError(f"--only={pattern}: no such cell in {self.name}; {self._names()}")
        return [cell for cell in cells if not only or any(_matches(cell, pattern) for pattern in only)]

    def _names(self) -> str:
        runnable = [row.name for row in self.rows if row.paper_only is None]
        if not runnable:
            return "nothing of it can be run"
        return f"rows: {', '.join(runnable)}; columns: {', '.join(column.name for column in self.columns)}"


def _matches(cell: Cell, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (cell.row.name, cell.column.name, cell.name))


@cache
def load(name: str) -> Table:
    """The table of that name.

    Raises:
        UserError: there is none.
    """
    if name not in NAMES:
        raise UserError(f"{name} is no table; there are {', '.join(NAMES)}")
    return table_of(name, _read(name))


def how_to_get(file: str, folder: Path) -> str:
    """The command that makes a data file in ``folder``."""
    return str(_read("files")[file]).replace("{dir}", str(folder))


def _read(name: str) -> Dict[str, Any]:
    path = Path(__file__).with_name("data") / f"{name}.json"
    # Decimals print as the paper does: 224.70 stays 224.70
    content: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    return content


def table_of(name: str, content: Mapping[str, Any]) -> Table:
    """The table in the content of a data file."""
    told = dict(content)
    return Table(
        name=name,
        title=told["title"],
        source=told["source"],
        protocol=told["protocol"],
        about=tuple(told["about"]),
        seeds=tuple(told["seeds"]),
        measures=tuple(Measure(**measure) for measure in told["measures"]),
        options=tuple(told["options"]),
        columns=tuple(Column(**{**column, "options": tuple(column.get("options", ()))}) for column in told["columns"]),
        rows=tuple(_row(row) for row in told["rows"]),
        baseline=told.get("baseline"),
    )


def _row(values: Mapping[str, Any]) -> Row:
    printed = {name: _numbers(values.get(name, {})) for name in ("paper", "spread")}
    ticket = TicketOf(**values["ticket"]) if "ticket" in values else None
    return Row(**{**values, "options": tuple(values.get("options", ())), **printed, "ticket": ticket})


def _numbers(printed: Mapping[str, Any]) -> Dict[str, Tuple[Optional[Decimal], ...]]:
    return {key: tuple(None if v is None else Decimal(v) for v in numbers) for key, numbers in printed.items()}
