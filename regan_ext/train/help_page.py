"""The help of a host's command with this package's options: in groups, under the name that was typed."""

from __future__ import annotations

import functools
import sys
from typing import Dict, List, Optional, Tuple

import click

from training_hooks.methods.method import Method, methods

from .options import Option

__all__ = ["in_groups", "named_as_typed"]

_HOSTS, _OTHERS = "Options of the host", "Other methods"
_OWN_GROUP = 4  # a method with more options than this has a group of its own
_RUN, _METRICS = "Run control", "Metrics"
_WIDEST = 120
_BEGINNING = (
    "With few images begin with --regan-preset=explore. -n shows what a run would do, and does nothing. "
    "--resume=latest goes on where the newest run in --outdir stopped."
)


def in_groups(command: click.Command) -> None:
    """Let the help of a host's command tell the options that it has now from those that are added to it later."""
    theirs = frozenset(param.name for param in command.params)
    command.format_options = functools.partial(_format, command, theirs)  # type: ignore[method-assign]
    command.epilog = command.epilog or _BEGINNING
    command.context_settings.setdefault("max_content_width", _WIDEST)


def _format(
    command: click.Command, theirs: "frozenset[Optional[str]]", ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    own = [method.title for method in methods() if _has_own_group(method)]
    theirs_and_ours: Dict[str, List[Tuple[str, str]]] = {heading: [] for heading in (_HOSTS, *own, _OTHERS, _RUN, _METRICS)}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            theirs_and_ours[_HOSTS if param.name in theirs else _heading(param)].append(record)
    for heading, records in theirs_and_ours.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _has_own_group(method: Method) -> bool:
    return sum(not each.is_hidden for each in method.settings) > _OWN_GROUP


def _heading(param: click.Parameter) -> str:
    method = param.method if isinstance(param, Option) else None
    if method is not None:
        return method.title if _has_own_group(method) else _OTHERS
    if param.name == "hook":
        return _OTHERS
    return _METRICS if str(param.name).startswith("metric") else _RUN


def named_as_typed(command: click.Command) -> None:
    """Let usage and errors of a script's command begin with ``python`` and the script as it was typed."""
    command.main = functools.partial(command.main, prog_name=f"python {sys.argv[0]}")  # type: ignore[method-assign]
