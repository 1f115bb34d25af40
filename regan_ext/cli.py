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


@main.command()
@click.option("--outdir", type=click.Path(file_okay=False), default="regan-demo", show_default=True, metavar="DIR")
@click.option("--kimg", type=click.IntRange(min=3), default=20, show_default=True, help="Thousands of images to train on.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def demo(outdir: str, kimg: int, device: str) -> None:
    """Train on 100 handwritten digits and draw real, dense and sparse samples side by side."""
    from pathlib import Path

    from rich.console import Console

    from .demo import DemoSettings, run_demo

    run_demo(Path(outdir), DemoSettings(kimg), device, Console())


@main.group()
def patch() -> None:
    """Attach to a checkout's train.py with two lines, and take them out again byte for byte."""


@patch.command("apply")
@click.argument("folder", metavar="DIR")
def patch_apply(folder: str) -> None:
    """Add the two lines to DIR/train.py. Patched already: nothing changes."""
    from .patching import apply

    click.echo(apply(folder))


@patch.command("check")
@click.argument("folder", metavar="DIR")
def patch_check(folder: str) -> None:
    """Say whether DIR/train.py has the two lines.

    Exit code: 0 patched, 1 not patched, 2 broken or not a host, 3 patched and edited afterwards.
    """
    from .patching import check

    state = check(folder)
    click.echo(str(state))
    click.get_current_context().exit({"patched": 0, "not patched": 1, "broken": 2, "edited": 3}[state.kind])


@patch.command("revert")
@click.argument("folder", metavar="DIR")
@click.option("--force", is_flag=True, help="Also where the file was edited after the patch; the edits are kept.")
def patch_revert(folder: str, force: bool) -> None:
    """Delete the two lines from DIR/train.py. Not patched: nothing changes."""
    from .patching import revert

    click.echo(revert(folder, force))


@patch.command("show")
def patch_show() -> None:
    """Print the static patch, for git apply --unidiff-zero in a pristine StyleGAN2-ADA-PyTorch."""
    from .patching import packaged_patch

    click.echo(packaged_patch(), nl=False)


@main.command()
@click.option("--host", default=None, metavar="DIR", help="Checkout to look at.  [default: as train finds it]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.pass_context
def doctor(ctx: click.Context, host: Optional[str], as_json: bool) -> None:
    """Look at Python, PyTorch, the GPU, the host and the folders, and say what to do where something is wrong.

    Exit code: 0 nothing to do, 1 something to do, 2 --host is no host.
    """
    from .doctor import run

    ctx.exit(run(host, as_json))


if __name__ == "__main__":
    main()
