"""What is known of a ticket before anything trains: whether its files are sound, and whether there are such masks."""

from __future__ import annotations

import contextlib
import importlib
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

import torch

from training_hooks.core.tensor_files import TensorFileError
from training_hooks.methods.freezed.config import FreezeDConfig
from training_hooks.methods.freezed.layers import frozen
from training_hooks.methods.method import entries
from training_hooks.methods.tickets import prune
from training_hooks.methods.tickets.files import read_init, read_mask
from training_hooks.sparsity.selection import SelectionError, parameter_shapes

from ..hosts import stylegan2_ada
from ..runs.chain import last_run
from ..snapshots.open import prepare_host
from ..steps.making import ANEW, Making
from ..steps.rehearsal import rehearsed
from ..steps.step import DIFFERS, FINISHED, with_needs
from ..support.errors import UserError
from ..support.reading import Damaged, mapping, read_json
from ..train.arguments import networks_of
from ..train.faults import FilesFault
from ..train.resume_networks import shapes_of
from . import masks
from .masks import Level
from .plan import SmallDense, TicketRun
from .ticket import Rule, Ticket

__all__ = ["Wish", "check", "init_fault"]


@dataclass(frozen=True)
class Wish:
    """The masks that a command wants.

    Args:
        rule: how they are found.
        level: how many weights they keep.
        option: that says so, as it is typed.
    """

    rule: Rule
    level: Level
    option: str


def check(wanted: TicketRun, wish: Optional[Wish] = None) -> Optional[int]:
    """Check whatever would be found out only once something has trained.

    Args:
        wanted: the last run.
        wish: its masks; None of a run whose masks are there.

    Returns:
        The capacity of dense networks that are as small as wanted, as ``--cbase`` has it; None where none is to be found.

    Raises:
        FilesFault: a file of the folder is damaged.
        UserError: ``train`` does not take the options, or there are no such masks of these networks.
    """
    steps = with_needs([wanted])
    _check_files(wanted.ticket, [step for step in steps if isinstance(step, Making)])
    runs = [step for step in steps if isinstance(step, TicketRun)]
    if all(run.standing().kind == FINISHED for run in runs):
        return None
    try:
        with _in_a_folder(runs[0]) as run:  # the first needs no file that is yet to be made
            args = rehearsed(run.command(False))
    except UserError as err:
        raise UserError(f"train: {err.message}") from err
    return None if wish is None else _check_masks(args, wanted, wish)


@contextlib.contextmanager
def _in_a_folder(run: TicketRun) -> Iterator[TicketRun]:
    """The run, in a folder that passes where its own is yet to be made: ``train`` writes initial weights to no other."""
    if run.ticket.folder.is_dir():
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        ticket = replace(run.ticket, folder=Path(folder))
        own = [f"--ticket-init={path}" for path in (run.ticket.init, run.ticket.init.absolute())]
        yield replace(run, ticket=ticket, files=tuple(f"--ticket-init={ticket.init}" if f in own else f for f in run.files))


# ---------------------------------------------------------------- files


def init_fault(ticket: Ticket) -> Optional[str]:
    """What is wrong with a folder's initial weights, and how to mend it; None where nothing is, or where there need be none."""
    runs = [last_run(folder) for folder in ticket.folder.glob("round-*")]
    if not ticket.init.exists() and not any(run is not None and (run.is_finished or run.starts) for run in runs):
        return None
    try:
        read_init(ticket.init)
    except (TensorFileError, OSError) as err:
        remedy = "bring back a copy of it, or begin anew in another folder" if ticket.has_begun else "delete it"
        return f"{err}; {remedy}"
    return None


def _check_files(ticket: Ticket, makings: List[Making]) -> None:
    """Check that what the folder holds can be read, and is what would be made.

    Raises:
        FilesFault, UserError: it cannot, or it is not.
    """
    fault = init_fault(ticket)
    if fault is not None:
        raise FilesFault(fault)
    init = read_init(ticket.init).checksum if ticket.init.exists() else 0
    for making in makings:
        now = making.standing()
        if now.kind == DIFFERS:
            raise (FilesFault if _is_damaged(making) else UserError)(now.detail)
        if now.kind != FINISHED:
            break  # whether later ones follow from it is seen once it is made
        if making.path.suffix == ".pt" and read_mask(making.path).init != init:
            raise UserError(f"{making.path} was found with other weights than {ticket.init} holds; {ANEW}")


def _is_damaged(making: Making) -> bool:
    try:
        read_mask(making.path) if making.path.suffix == ".pt" else mapping(read_json(making.path))["cbase"]
    except (TensorFileError, OSError, Damaged, KeyError):
        return True
    return False


# ---------------------------------------------------------------- masks


def _check_masks(args: Dict[str, Any], wanted: TicketRun, wish: Wish) -> Optional[int]:
    """Check that networks have as many weights in scope as the masks prune; returns what ``check`` does."""
    metrics = args.get("metrics") or []
    if wish.rule.source == "best" and len(metrics) != 1:
        told = ",".join(metrics) or "none"
        raise UserError(f"--from=best takes the best snapshot of a run with one of --metrics, and --metrics={told}")
    flavour = prepare_host(wanted.ticket.host)[1] or stylegan2_ada.FLAVOUR  # which the embedded host is of
    networks = {
        kind: each for kind, each in networks_of(importlib.import_module, args, flavour).items() if kind in wish.rule.kinds
    }
    shapes = {kind: _selected(kind, network, wish.rule) for kind, network in networks.items()}
    _check_frozen(args, networks, shapes)
    if isinstance(wanted, SmallDense):
        return masks.capacity(networks, {kind: _numel(of) for kind, of in shapes.items()}, wish.rule, wish.level)["cbase"]
    for kind, of in shapes.items():
        kept, least = wish.level.kept(_numel(of), wish.rule.share), prune.least(of)
        if kept < least:
            raise UserError(
                f"{wish.option}: {kept} of the {_numel(of)} weights of {kind} in scope would be left, and its {least} output "
                f"channels keep one each; at most {_most(_numel(of), least, wish)} can be had"
            )
    return None


def _check_frozen(args: Mapping[str, Any], networks: Mapping[str, torch.nn.Module], shapes: Mapping[str, Any]) -> None:
    """Check that whatever is pruned trains, or nothing makes up for the hole. What a host itself freezes is in no scope."""
    configs = [each.config() for each in entries(args) if "D" in networks]
    for config in (each for each in configs if isinstance(each, FreezeDConfig)):
        held = [name for name in frozen(config, list(shapes_of(networks["D"]))) if name in shapes["D"]]
        if held:
            raise UserError(
                f"--freeze-d: D.{held[0]} would not train, and cannot make up for what is pruned of it; name a resolution or a "
                "number of blocks, which stay dense where the host freezes them, or leave them out by --scope or --networks=G"
            )


def _most(numel: int, least: int, wish: Wish) -> str:
    """The most that can be asked for, as it is typed."""
    flag = wish.option.partition("=")[0]
    if wish.level.round is None:
        return f"{flag}={math.floor(1e4 * (1 - least / numel)) / 1e4:g}"
    fitting = (n for n in range(wish.level.round, 0, -1) if Level(n).kept(numel, wish.rule.share) >= least)
    return f"{flag}={next(fitting, 0)}"


def _selected(kind: str, network: torch.nn.Module, rule: Rule) -> Mapping[str, torch.Size]:
    shapes = parameter_shapes(network)
    try:
        return {name: torch.Size(shapes[name]) for name in prune.selected(kind, shapes, rule.scope)}
    except SelectionError as err:
        both = "; it has to fit both networks, --networks=G or D prunes one" if len(rule.kinds) > 1 else ""
        raise UserError(f"--scope: of {kind}: {err}{both}") from err


def _numel(shapes: Mapping[str, torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes.values())
