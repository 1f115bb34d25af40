"""The help of a host's command with this package's options: in groups, under the name that was typed."""

from __future__ import annotations

import functools
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import click

__all__ = ["in_groups", "named_as_typed"]

_HOSTS = "Options of the host"
# Heading → how the flags of its options begin; the rest of ours runs the training.
_GROUPS = (
    ("Re-GAN", ("--regan-",)),
    ("Other methods", ("--DiffAugment", "--apa", "--stability", "--hook")),
    ("Metrics", ("--metric",)),
)
_RUN = "Run control"
_WIDEST = 120
_BEGINNING = (
    "With few images begin with --regan-preset=few-shot. -n shows what a run would do, and does nothing. "
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
    groups: Dict[str, List[Tuple[str, str]]] = {heading: [] for heading in (_HOSTS, "Re-GAN", "Other methods", _RUN, "Metrics")}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            groups[_HOSTS if param.name in theirs else _heading(param)].append(record)
    for heading, records in groups.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _heading(param: click.Parameter) -> str:
    flag = param.opts[0]
    return next((heading for heading, beginnings in _GROUPS if flag.startswith(beginnings)), _RUN)


def named_as_typed(command: click.Command) -> None:
    """Let usage and errors of a script's command begin with ``python`` and the script as it was typed."""
    plain = command.main

    def main(args: Optional[Sequence[str]] = None, prog_name: Optional[str] = None, **more: Any) -> Any:
        return plain(args=args, prog_name=prog_name or f"python {sys.argv[0]}", **more)

    command.main = main  # type: ignore[assignment, method-assign]
