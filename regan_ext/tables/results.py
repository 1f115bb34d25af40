"""What was measured in the folders of a table's cells, as plain values that can be kept without the snapshots."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..runs.chain import last_run
from ..runs.folder import Run
from ..runs.metric import MetricPoint, read_series
from ..steps.training import noted, settings_of
from ..support.errors import UserError
from ..support.reading import LINES_BYTES, Damaged, mapping, number, parse, read_text
from .command import SETTINGS_FILE
from .model import Measure, Table

__all__ = ["Result", "dumps", "read_file", "read_folder"]


@dataclass(frozen=True)
class Result:
    """One seed of one cell.

    Args:
        cell: the cell's name.
        seed: of the training run.
        arguments: the arguments that made the run what it is; None where they are not known.
        kimg: how far it has come.
        finished: whether it has reached its budget.
        hours: measured time of all its jobs.
        values: a measure's result → pairs of kimg and value, in the order of kimg.
        protocols: a metric → what was measured against what.
        machine: hardware, versions and date, as far as they were noted.
    """

    cell: str
    seed: int
    arguments: Optional[Tuple[str, ...]]
    kimg: float
    finished: bool
    hours: float
    values: Mapping[str, Tuple[Tuple[float, float], ...]]
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    def points(self, measure: Measure) -> List[MetricPoint]:
        """The measure's values, in the order of kimg."""
        name = str(measure.result)
        return [MetricPoint(name, kimg, value, "") for kimg, value in self.values.get(name, ())]


def read_folder(table: Table, out: Path) -> List[Result]:
    """The results of all cells that have a tick, from the run folders below ``out``."""
    found = []
    for cell in table.cells():
        for folder in sorted((out / table.name).glob(f"{cell.name}-seed*")):
            seed = re.fullmatch(r"-seed(\d+)", folder.name[len(cell.name) :])
            run = None if seed is None else last_run(folder)
            if seed is not None and run is not None and run.ticks:
                found.append(_result(table, cell.name, int(seed[1]), noted(folder / SETTINGS_FILE), run))
    return found


def read_file(table: Table, path: Path) -> List[Result]:
    """The results in a file of JSON lines, as :func:`dumps` writes them.

    Raises:
        UserError: it cannot be read, or holds results of another table.
    """
    names = {cell.name for cell in table.cells()}
    found = []
    try:
        text = read_text(path, LINES_BYTES)
    except Damaged as err:
        raise UserError(f"--results={path} {err}") from err
    for position, line in enumerate(text.splitlines(), 1):
        try:
            found.append(_parsed(mapping(parse(line))))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as err:
            written = f"--results={path} is no file that 'regan-ext tables results' wrote"
            raise UserError(f"{written}: line {position} {err if isinstance(err, Damaged) else 'is no result'}") from err
    unknown = [result.cell for result in found if result.cell not in names]
    if unknown:
        raise UserError(f"--results={path}: {unknown[0]} is no cell of {table.name}")
    return found


def _parsed(content: Mapping[str, Any]) -> Result:
    """The result in a line. What is missing or of another kind is an error of one kind or another."""
    arguments = content["arguments"]
    kimg, hours = number(content["kimg"]), number(content["hours"])
    values = {name: tuple((number(at), number(value)) for at, value in pairs) for name, pairs in content["values"].items()}
    points = [point for pairs in values.values() for point in pairs]
    if not all(math.isfinite(known) for known in (kimg, *(part for point in points for part in point))):
        raise ValueError("a number is none")
    return Result(
        cell=str(content["cell"]),
        seed=int(content["seed"]),
        arguments=None if arguments is None else tuple(str(argument) for argument in arguments),
        kimg=kimg,
        finished=content["finished"] is True,
        hours=hours,
        values={name: pairs for name, pairs in values.items() if pairs},
        protocols={name: mapping(protocol) for name, protocol in mapping(content.get("protocols")).items()},
        machine=mapping(content.get("machine")),
    )


def dumps(results: Sequence[Result]) -> str:
    """One JSON line for each result."""
    return "".join(json.dumps(asdict(result)) + "\n" for result in results)


def _result(table: Table, cell: str, seed: int, note: Mapping[str, Any], run: Run) -> Result:
    measured = {str(m.result): m.points(run) for m in table.measures if m.result is not None}
    return Result(
        cell=cell,
        seed=seed,
        arguments=settings_of(note),
        kimg=run.kimg,
        finished=run.is_finished,
        hours=run.total_sec / 3600,
        values={name: tuple((point.kimg, point.value) for point in found) for name, found in measured.items() if found},
        protocols=_protocols(run.folder),
        machine=mapping(note.get("machine")),
    )


def _protocols(folder: Path) -> Dict[str, Dict[str, Any]]:
    """The last protocol of each metric's series."""
    records = [record for path in sorted(folder.glob("metric-*.jsonl")) for record in read_series(path)[0]]
    return {str(r["metric"]): dict(r["protocol"]) for r in records if "metric" in r and mapping(r.get("protocol"))}
