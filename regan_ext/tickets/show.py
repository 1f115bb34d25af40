"""What is known of the tickets in a folder, as values, tables and JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple

from rich.table import Table

from training_hooks.core.tensor_files import TensorFileError
from training_hooks.methods.tickets import prune
from training_hooks.methods.tickets.files import Mask, read_mask

from ..runs.chain import last_run
from ..runs.folder import Run
from ..runs.metric import last_values
from ..runs.tickets import mask_of
from ..steps.making import ANEW
from ..steps.step import FINISHED, Step, with_needs
from ..support.errors import UserError
from ..support.text import counted, duration
from .check import init_fault
from .plan import TicketRun
from .ticket import INIT_FILE, Ticket

__all__ = ["Shown", "dumps", "estimate", "read", "tables"]

_BEGIN = "ticket-mask-"


@dataclass(frozen=True)
class Shown:
    """A run of a folder, and its mask.

    Args:
        name: of its folder.
        sparsity: "G" and "D", those that have masks → share of the weights in scope that are pruned.
        overlap: the same → Jaccard index with the masks of the round before, of other tickets with those of the round that
            they keep as many weights as; empty where there are none.
        layers: name of a tensor, with its network → share of it that is pruned.
        kimg: how far the run has come; NaN where there is none.
        finished: whether it has reached its budget.
        seconds: measured time of all its jobs; NaN where there is none.
        metrics: name → last value.
        note: what is wrong with the file of its mask, and how to mend it; "" for nothing.
    """

    name: str
    sparsity: Mapping[str, float] = field(default_factory=dict)
    overlap: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, float] = field(default_factory=dict)
    kimg: float = math.nan
    finished: bool = False
    seconds: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def read(folder: Path) -> List[Shown]:
    """The runs of a ticket's folder and its masks, rounds first; before them its initial weights where these are damaged.

    Raises:
        UserError: there are none.
    """
    if not folder.is_dir():  # click lets pipes and devices pass
        raise UserError(f"{folder} is no folder")
    masks = {path.stem[len(_BEGIN) :]: path for path in folder.glob(f"{_BEGIN}*.pt")}
    runs = {path.name for path in folder.iterdir() if path.is_dir() and last_run(path) is not None}
    titles = {(f"round-{name}" if name.isdecimal() else name) for name in masks} | runs
    if not titles:
        raise UserError(f"{folder} holds no tickets: neither runs nor {_BEGIN}N.pt")
    opened = {name: _mask(path) for name, path in masks.items()}
    found = []
    for title in sorted(titles, key=_order):
        kind, number = _parts(title)
        mask, note = opened.get(title if kind != "round" else str(number), (None, ""))
        other, _ = opened.get(str(number - 1 if kind == "round" else number), (None, ""))
        run = last_run(folder / title)
        if mask is None and run is not None and not note:
            mask = mask_of(run)  # of another folder
        found.append(_shown(title, mask, other, run, note))
    fault = init_fault(Ticket(folder, (), (), ""))
    return found if fault is None else [Shown(INIT_FILE, note=fault), *found]


def _parts(title: str) -> Tuple[str, int]:
    """What a run is, and the number of the round that it is or keeps as many weights as; -1 where it is of none."""
    match = re.fullmatch(r"(round|random|one-shot)-(\d+)(-.*)?", title)
    return (match[1], int(match[2])) if match is not None else (title, -1)


def _order(title: str) -> Tuple[bool, int, str]:
    kind, number = _parts(title)
    return (kind != "round", number, title)


def _mask(path: Optional[Path]) -> Tuple[Optional[Mask], str]:
    try:
        return (None if path is None else read_mask(path)), ""
    except (TensorFileError, OSError) as err:
        return None, f"{err}; {ANEW}"


def _shown(title: str, mask: Optional[Mask], other: Optional[Mask], run: Optional[Run], note: str) -> Shown:
    networks = {} if mask is None else mask.networks
    shared = {} if other is None else {kind: other.networks[kind] for kind in networks if kind in other.networks}
    return Shown(
        name=title,
        sparsity={} if mask is None else {kind: mask.sparsity(kind) for kind in networks},
        overlap={kind: prune.overlap(networks[kind], keeps) for kind, keeps in shared.items()},
        layers={f"{kind}.{name}": share for kind, keeps in networks.items() for name, share in prune.sparsity(keeps).items()},
        kimg=math.nan if run is None else run.kimg,
        finished=run is not None and run.is_finished,
        seconds=math.nan if run is None else run.total_sec,
        metrics={} if run is None else last_values(run.metrics),
        note=note,
    )


def dumps(found: Sequence[Shown]) -> str:
    """One JSON line for each run."""
    lines = ({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in vars(each).items()} for each in found)
    return "".join(json.dumps(line) + "\n" for line in lines)


def tables(found: Sequence[Shown], layers: bool = False) -> List[Table]:
    """The runs as a table; with ``layers`` another, of the sparsity of each tensor."""
    kinds = [kind for kind in ("G", "D") if any(kind in each.sparsity for each in found)]
    metrics = list(dict.fromkeys(name for each in found for name in each.metrics))
    head = ["run", "trained", *(f"pruned of {kind}" for kind in kinds), *(f"overlap in {kind}" for kind in kinds), *metrics]
    rows = [
        [
            each.name,
            "damaged" if each.note else _trained(each),
            *(_percent(each.sparsity.get(kind)) for kind in kinds),
            *(_percent(each.overlap.get(kind)) for kind in kinds),
            *(f"{each.metrics[name]:.5g}" if name in each.metrics else "" for name in metrics),
        ]
        for each in found
    ]
    shown = [_table(head, rows)]
    masked = [each for each in found if each.layers]
    if layers and masked:
        names = dict.fromkeys(name for each in masked for name in each.layers)
        of_layers = [[name, *(_percent(each.layers.get(name)) for each in masked)] for name in names]
        shown.append(_table(["pruned of", *(each.name for each in masked)], of_layers))
    return shown


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for position, title in enumerate(head):
        table.add_column(title, justify="right" if position else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _trained(each: Shown) -> str:
    if math.isnan(each.kimg):
        return "not begun"
    return f"{each.kimg:g} kimg" if each.finished else f"{each.kimg:g} kimg, not finished"


def _percent(share: Optional[float]) -> str:
    return "" if share is None else f"{share:.2%}"


def estimate(wanted: Step) -> Optional[str]:
    """How long the runs that are left for it will take, by those that are finished; None where that is not known."""
    runs = [(step, step.standing()) for step in with_needs([wanted]) if isinstance(step, TicketRun)]
    done = [now.run.total_sec for _, now in runs if now.kind == FINISHED and now.run is not None]
    left = sum(now.kind != FINISHED for _, now in runs)
    if not done or not left or not math.isfinite(sum(done)):
        return None
    each = sum(done) / len(done)
    return f"{counted(left, 'run')} to go, about {duration(left * each)} at {duration(each)} each, as finished ones have taken."
