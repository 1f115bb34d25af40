"""The commands of ``regan-ext tickets``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Tuple

import click

from ..support.errors import UserError
from ..support.numbers import SEED, FiniteFloat, Int
from ..support.options import added, of_runs
from ..support.paths import UserPath
from ..support.text import echo, terminal

if TYPE_CHECKING:
    from .check import Wish
    from .masks import Level
    from .plan import TicketRun
    from .ticket import Rule, Ticket

__all__ = ["tickets"]

_FOLDER = UserPath(path_type=Path)
_SHARE = FiniteFloat(0, 1, min_open=True, max_open=True)
_ROUNDS = Int(1, 1000)
_OF_TRAIN = {"ignore_unknown_options": True}
_RULE = ("networks", "share", "score", "source", "scope")

_RUNS = of_runs("the ticket")
_RULES = added(
    click.option("--networks", type=click.Choice(["both", "G", "D"]), help="Which are pruned.  [default: both]"),
    click.option("--share", type=_SHARE, help="Of the weights kept, that a round prunes.  [default: 0.2]"),
    click.option(
        "--score", type=click.Choice(["scaled", "raw", "effective"]), help="What magnitudes are measured in.  [default: scaled]"
    ),
    click.option(
        "--from",
        "source",
        type=click.Choice(["live", "ema", "best"]),
        help="Whose count: G's or its average's in the last snapshot, or G's in the best.  [default: live]",
    ),
    click.option("--scope", metavar="WHICH", help="convolutions, weights, or patterns of names.  [default: convolutions]"),
    click.option("--preset", type=click.Choice(["reference"]), help="As the public code: G alone, raw, from its average."),
)
_LEVEL = added(
    click.option("--round", "round_", type=_ROUNDS, metavar="INT", help="As many weights as the ticket of this round."),
    click.option("--sparsity", type=_SHARE, help="Or this share of the weights in scope pruned."),
)


@click.group()
def tickets() -> None:
    """Find GAN tickets: train, prune, rewind, again and again; and what they are compared with.

    TRAIN_OPTIONs are those of regan-ext train, and the same in all runs of a folder; a folder that was begun knows them. The
    same command goes on where it was stopped or killed.

    Exit code: 0 all is finished, 1 something failed, 2 a mistake, 4 a file of DIR is damaged, 130 stopped. After 2
    and 4 nothing was begun.
    """


@tickets.command(context_settings=_OF_TRAIN, short_help="Find tickets by iterative magnitude pruning with rewinding.")
@_RUNS
@click.option("--rounds", type=_ROUNDS, default=10, show_default=True, help="Of pruning; one training more.")
@_RULES
@click.pass_context
def find(ctx: click.Context, rounds: int, dry_run: bool, **given: Any) -> None:
    """Train, prune a share of the weights of lowest magnitude, put the others back to where training began, and so on.

    Round r's run in DIR/round-r is its ticket, trained. DIR/ticket-mask-r.pt is its mask, DIR/ticket-init.pt what all begin
    with; with --resume=PKL of train that is the network in PKL.
    """
    from .check import Wish
    from .masks import Level
    from .plan import magnitude

    ticket, rule = _begun(**given)
    ctx.exit(_do(magnitude(ticket, rule, rounds), dry_run, Wish(rule, Level(rounds), f"--rounds={rounds}")))


@tickets.command("random", context_settings=_OF_TRAIN, short_help="Train a random ticket.")
@_RUNS
@_LEVEL
@click.option(
    "--like",
    type=click.Choice(["total", "counts"]),
    default="total",
    show_default=True,
    help="What is as in the round's ticket: all weights, or those of each layer.",
)
@click.option("--mask-seed", type=SEED, default=0, show_default=True, help="Of the draw, not of the run.")
@_RULES
@click.pass_context
def find_random(
    ctx: click.Context, round_: Optional[int], sparsity: Optional[float], like: str, mask_seed: int, dry_run: bool, **given: Any
) -> None:
    """Train a ticket of as many weights, drawn at random, from the same initial weights."""
    from .check import Wish
    from .plan import random

    level, option = _level(round_, sparsity)
    if like == "counts" and round_ is None:
        raise UserError("--like=counts takes the numbers of a round's ticket: give --round instead of --sparsity")
    ticket, rule = _begun(**given)
    ctx.exit(_do(random(ticket, rule, level, mask_seed, like), dry_run, Wish(rule, level, option)))


@tickets.command("one-shot", context_settings=_OF_TRAIN, short_help="Train a ticket that is pruned at once.")
@_RUNS
@_LEVEL
@_RULES
@click.pass_context
def find_one_shot(ctx: click.Context, round_: Optional[int], sparsity: Optional[float], dry_run: bool, **given: Any) -> None:
    """Train a ticket that is pruned from the end of round 0 in one step, and rewound."""
    from .check import Wish
    from .plan import one_shot

    level, option = _level(round_, sparsity)
    ticket, rule = _begun(**given)
    ctx.exit(_do(one_shot(ticket, rule, level), dry_run, Wish(rule, level, option)))


@tickets.command("small-dense", context_settings=_OF_TRAIN, short_help="Train dense networks of as many parameters.")
@_RUNS
@_LEVEL
@_RULES
@click.pass_context
def find_small_dense(ctx: click.Context, round_: Optional[int], sparsity: Optional[float], dry_run: bool, **given: Any) -> None:
    """Train dense networks with the largest --cbase that has no more parameters than the ticket keeps."""
    from .check import Wish
    from .plan import small_dense

    level, option = _level(round_, sparsity)
    ticket, rule = _begun(**given)
    ctx.exit(_do(small_dense(ticket, rule, level), dry_run, Wish(rule, level, option)))


@tickets.command("train", context_settings=_OF_TRAIN, short_help="Train a ticket with other options, or on other data.")
@click.argument("mask", type=UserPath(path_type=Path, exists=True, dir_okay=False), metavar="MASK")
@_RUNS
@click.option(
    "--init", type=_FOLDER, metavar="FILE", help="Weights that it begins with.  [default: ticket-init.pt beside MASK]"
)
@click.option(
    "--transfer", is_flag=True, help="Other weights than MASK was found with: --init, by default new ones, or of --resume=PKL."
)
@click.pass_context
def train_mask(
    ctx: click.Context, mask: Path, init: Optional[Path], transfer: bool, outdir: Path, dry_run: bool, **given: Any
) -> None:
    """Train the ticket MASK, a ticket-mask-….pt, in a folder of its name in DIR."""
    from .plan import of_mask
    from .ticket import INIT_FILE, Ticket

    init = (init or (outdir / INIT_FILE if transfer else mask.with_name(INIT_FILE))).absolute()
    if not transfer and not init.is_file():
        raise UserError(
            f"--init: there is no {init}; name the file that round 0 has written, or give --transfer for other weights"
        )
    ticket = Ticket.begin(outdir, (f"--init={init}", f"--transfer={transfer}".lower()), **given)
    ctx.exit(_do(of_mask(ticket, mask.absolute(), init, transfer), dry_run))


@tickets.command("show", short_help="Print sparsity, overlap and metrics of a folder's tickets.")
@click.argument("folder", type=UserPath(path_type=Path, exists=True, file_okay=False), metavar="DIR")
@click.option("--layers", is_flag=True, help="Also the sparsity of each layer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def show(folder: Path, layers: bool, as_json: bool) -> None:
    """Print what is known of the tickets in DIR.

    Overlap is the Jaccard index of a mask with that of the round before: weights that both keep per weight that one keeps.

    Exit code: 0, 2 there are none, 4 one of their files is damaged.
    """
    from ..train.faults import FilesFault
    from .show import dumps, read, tables

    found = read(folder)
    if as_json:
        echo(dumps(found), nl=False)
    else:
        console = terminal(width=None if terminal().is_terminal else 200)
        for table in tables(found, layers):
            console.print(table)
    notes = [each.note for each in found if each.note]
    if notes:
        raise FilesFault("; ".join(notes))


def _level(round_: Optional[int], sparsity: Optional[float]) -> "Tuple[Level, str]":
    """How many weights the ticket keeps, and the option that says so."""
    from .masks import Level

    if (round_ is None) == (sparsity is None):
        raise UserError("give either --round or --sparsity: how many weights the ticket keeps")
    return Level(round_, sparsity or 0.0), f"--sparsity={sparsity:g}" if round_ is None else f"--round={round_}"


def _begun(outdir: Path, preset: Optional[str], **given: Any) -> "Tuple[Ticket, Rule]":
    from .ticket import Ticket, rule_of_folder

    rule = rule_of_folder(outdir, {name: given.pop(name) for name in _RULE}, preset)
    return Ticket.begin(outdir, rule.arguments, **given), rule


def _do(wanted: "TicketRun", dry_run: bool, wish: "Optional[Wish]" = None) -> int:
    from ..steps import runner
    from .check import check
    from .plan import SmallDense

    cbase = check(wanted, wish)
    if not dry_run:
        return runner.run([wanted], echo)
    from .show import estimate

    runner.dry_run([replace(wanted, cbase=cbase) if isinstance(wanted, SmallDense) else wanted])
    said = estimate(wanted)
    if said is not None:
        echo(said, err=True)
    return 0
