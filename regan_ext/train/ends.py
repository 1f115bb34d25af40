"""How a run ends: what it cost, how it goes on where it was stopped, and the exit code."""

from __future__ import annotations

import shlex
from typing import Any, Mapping, Optional

import click

from training_hooks.nvidia import state as states
from training_hooks.nvidia import stop

from ..runs import summary as run_summary
from ..support.text import echo
from . import options

__all__ = ["DIVERGED", "DIVERGED_ELSEWHERE", "diverged_code", "tell"]

DIVERGED = 3  # exit code of a run that was ended because weights or losses were not finite
DIVERGED_ELSEWHERE = 6  # the same of a host that asks with 3 to be started again


def diverged_code(restart: Optional[int]) -> int:
    """Exit code of a run that has diverged, of a host that asks with ``restart`` to be started again."""
    return DIVERGED_ELSEWHERE if restart == DIVERGED else DIVERGED


def tell(
    folder: str, plan: Mapping[str, Any], request: options.Request, is_time_up: bool, restart: Optional[int], asks: bool
) -> None:
    """Say what a run cost and how it goes on.

    Args:
        folder: of the run.
        plan: what the methods planned.
        request: what was asked for.
        is_time_up: whether ``--max-hours`` has stopped it.
        restart: exit code by which its host asks to be started again; None = it never does.
        asks: whether it does.

    Raises:
        click.exceptions.Exit: the run has diverged, or the host asks to be started again.
    """
    if any(plan.get("methods", {}).values()):  # of a method that plans something
        run_summary.tell(folder)
    if stop.diverged():
        then = "There is no sound state to go on from."
        if states.in_order(folder):
            then = f"The same command with --resume={shlex.quote(folder)} goes on from the last sound state; "
            then += "the same options may well come to the same end."
        echo(f"Ended, because weights or losses are not finite. {then}", err=True)
        raise click.exceptions.Exit(diverged_code(restart))
    if stop.requested():
        stopped = f"Stopped by --max-hours={request.max_hours:g}" if is_time_up else "Stopped"
        goes_on = f"{stopped}. The same command {'' if restart else f'with --resume={shlex.quote(folder)} '}goes on."
        echo(goes_on if request.states else f"{stopped}, with a snapshot in {folder}.")
    elif asks and restart is not None:
        raise click.exceptions.Exit(restart)
