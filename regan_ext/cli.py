"""``regan-ext``: what a person calls. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

from typing import List, Optional, Tuple

import click

from . import __version__

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regan-ext")
def main() -> None:
    """Re-GAN for your StyleGAN2-ADA checkout: prune and regrow the generator while it trains."""


def _split_host(arguments: Tuple[str, ...]) -> Tuple[Optional[str], List[str]]:
    """Take ``--host DIR`` or ``--host=DIR`` out of the arguments; the rest is for the host's own parser."""
    host: Optional[str] = None
    rest: List[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--host":
            if position + 1 == len(arguments):
                raise click.UsageError("Option '--host' requires an argument: a checkout of stylegan2-ada-pytorch.")
            host, position = arguments[position + 1], position + 1
        elif argument.startswith("--host="):
            host = argument[len("--host=") :]
        else:
            rest.append(argument)
        position += 1
    return host, rest


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
    short_help="Train, with every option of the host's train.py and the --regan options.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: Tuple[str, ...]) -> None:
    """Train with the host in --host=DIR, else in the current folder, else in $STYLEGAN2_ADA, else the embedded one."""
    from .launch import train as run

    host, rest = _split_host(arguments)
    run(host, rest)


if __name__ == "__main__":
    main()
