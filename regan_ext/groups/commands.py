"""The command ``regan-ext groups``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import click

from ..support.errors import UserError
from ..support.numbers import FiniteFloat, Int
from ..support.options import of_runs
from ..support.text import echo

__all__ = ["groups"]


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Train several GANs that exchange discriminators (MGGAN).",
)
@of_runs("the groups")
@click.option("--groups", type=Int(1, 256), metavar="INT", help="How many; 1 is a plain run.  [required to begin]")
@click.option("--interval", metavar="LENGTH", help="Before the first exchange, such as 500 or 20kimg.  [required for several]")
@click.option("--grow", type=FiniteFloat(1, 100), help="Factor from one interval to the next.  [default: 1.2]")
@click.option("--longest", metavar="LENGTH", help="Longest interval.  [default: ten times the first]")
@click.option(
    "--window", type=Int(0, 1_000_000), help="Iterations before and after an exchange with pushed rates.  [default: 10]"
)
@click.option("--push", type=FiniteFloat(0, 10), help="What each of them adds to the rates, as a share.  [default: 0.05]")
@click.option("--limit", type=FiniteFloat(1, 100), help="Factor of the rates at most.  [default: 2]")
@click.option("--still", type=FiniteFloat(0, 1e6), help="Change of G's loss up to which rates are pushed.  [default: 0.05]")
@click.option("--at-once", type=Int(1, 256), default=1, show_default=True, help="Groups that train side by side.")
@click.pass_context
def groups(
    ctx: click.Context,
    at_once: int,
    dry_run: bool,
    outdir: Path,
    options: Tuple[str, ...],
    data: Optional[str],
    host: Optional[str],
    gpus: Optional[int],
    trust: bool,
    **settings: Any,
) -> None:
    """Train several groups of a generator and a discriminator, which exchange discriminators now and then.

    TRAIN_OPTIONs are those of regan-ext train, the same in all groups but for the seed; a folder that was begun knows them.
    The same command goes on where it was stopped or killed.

    Exit code: 0 all is finished, 1 something failed, 2 a mistake, 4 DIR/groups.json is damaged, 130 stopped. After 2 and 4
    nothing was begun.
    """
    from ..steps import runner
    from .check import devices_of, moments_of
    from .plan import GroupsFolder, plan

    folder = GroupsFolder.begin(outdir, _about(outdir, settings), options, data, host, gpus, trust)
    devices = devices_of(min(at_once, folder.count), folder.gpus)
    moments = moments_of(folder)
    if not moments and folder.count > 1:
        echo("Note: the run ends before the first exchange, so nothing is exchanged.", err=True)
    last = plan(folder, moments, devices)
    if dry_run:
        runner.dry_run([last])
    else:
        ctx.exit(runner.run([last], echo))


def _about(folder: Path, given: Dict[str, Any]) -> Tuple[str, ...]:
    """The options that make the folder what it is: as they are given, as it was begun with, or their defaults."""
    from training_hooks.methods.groups.config import GroupsConfig
    from training_hooks.methods.setting import as_text

    from ..steps.shared import read_note
    from ..steps.training import settings_of
    from .plan import GroupsFolder

    defaults = {each.name: getattr(GroupsConfig(), each.name) for each in fields(GroupsConfig)}
    names = ("groups", *defaults)
    before = (option.partition("=") for option in settings_of(read_note(folder / GroupsFolder.NOTE)) or ())
    known = {flag[2:]: value for flag, _, value in before if flag[2:] in names}
    chosen = {**defaults, **known, **{name: value for name, value in given.items() if value is not None}}
    if chosen.get("groups") is None:
        raise UserError("--groups is missing: how many groups there are")
    if int(chosen["groups"]) > 1 and chosen["interval"] in (0, "0"):
        raise UserError("--interval is missing: how long groups train before the first exchange, such as 500 or 20kimg")
    return tuple(f"--{name}={as_text(chosen[name])}" for name in names)
