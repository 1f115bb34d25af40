"""The command ``regan-ext tune``."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Optional, Tuple

import click

from ..support.errors import UserError
from ..support.numbers import HOURS, SEED, FiniteFloat, Int
from ..support.paths import UserPath
from ..support.text import echo, terminal

__all__ = ["tune"]


@click.command(short_help="Search for the Re-GAN settings that make a metric best, by training many runs.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN_OPTION...]")
@click.option("--study", "path", type=UserPath(path_type=Path, dir_okay=False), required=True, metavar="FILE.db",
              help="File of the study. Its runs and its winner lie beside it.")  # fmt: skip
@click.option("--trials", type=Int(1, 1_000_000), default=30, show_default=True, help="How many the study is to have.")
@click.option(
    "--metric", metavar="NAME", default="fid5k_full", show_default=True, help="What is made best, as --metrics of train has it."
)
@click.option("--objective", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Of the snapshots.")
@click.option("--space", default="", metavar="NAME=LOW:HIGH,...", help="Narrower ranges, choices or fixed values.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the search, not of the runs.")
@click.option("--prune-from", type=FiniteFloat(0, 1), default=0.3, show_default=True,
              help="Share of a run before which it is not cut short; 1: never.")  # fmt: skip
@click.option("--timeout-hours", type=HOURS, help="Stop after this time, with a snapshot.")
@click.option("--baseline", is_flag=True, help="Also train once without Re-GAN, to compare with.")
@click.option("--keep-all", is_flag=True, help="Keep all snapshots of runs that are over, not the best of each.")
@click.option("--trust", is_flag=True, help="Also go on from snapshots that none of your own runs wrote on this machine.")
@click.option("--show", is_flag=True, help="Print the trials and the winner, and exit.")
@click.pass_context
def tune(
    ctx: click.Context,
    options: Tuple[str, ...],
    path: Path,
    trials: int,
    metric: str,
    objective: str,
    space: str,
    seed: int,
    prune_from: float,
    timeout_hours: Optional[float],
    baseline: bool,
    keep_all: bool,
    trust: bool,
    show: bool,
) -> None:
    """Train one run a trial with the TRAIN_OPTIONs and settings of Re-GAN that Optuna chooses from the trials before it.

    Runs that are worse than the median of the others at the same kimg are cut short. The winner is written as FILE.preset.json,
    for --regan-preset. The same command goes on where it was stopped or killed; several can work on one study on one machine.

    Exit code: 0 there are enough trials or the time is up, 1 trials fail one after the other, 2 a mistake, 130 stopped.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError('tune needs optuna: pip install "regan-ext[tune]"')

    from .objective import Objective
    from .study import StudyFile
    from .training import Training
    from .winner import show as show_trials

    # A pipe has no width; a table that is cut to 80 columns would lose its numbers.
    console = terminal() if sys.stdout.isatty() else terminal(width=140)
    if show:
        show_trials(StudyFile.open(path), console)
        return
    from .runner import Search, prepare

    goal = Objective.parse(metric, objective)
    training = Training.parse(options, goal.host_metric)
    file, plan, searched = prepare(path, training, goal, space)
    until = None if timeout_hours is None else time.monotonic() + 3600 * timeout_hours
    search = Search(file, training, plan, searched, echo, trials, seed, prune_from, until, keep_all, trust)
    echo(f"{file.runs}: {trials} trials, up to {plan.total_kimg:g} kimg, {plan.iterations} iterations each: {searched}")
    code = search.run(baseline)
    show_trials(file, console)
    ctx.exit(code)
