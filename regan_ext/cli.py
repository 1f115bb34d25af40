"""``regan-ext``: what a person calls. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Tuple

import click

from . import __version__
from .blocks import blocks
from .data.commands import data
from .groups.commands import groups
from .metrics.commands import BEST, HOST, TRUST, metrics
from .support.numbers import FiniteFloat, Int, SeedList
from .support.paths import UserPath
from .support.supervised import end_with_supervisor
from .support.text import echo, printable_errors, terminal
from .tables.commands import tables
from .tickets.commands import tickets
from .tune.commands import tune

__all__ = ["main"]


class _Commands(click.Group):
    """Whatever a command says of files and servers in its errors is fit for a terminal."""

    def invoke(self, ctx: click.Context) -> Any:
        with printable_errors():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regan-ext")
def main() -> None:
    """Re-GAN for your StyleGAN2-ADA checkout: prune and regrow the generator while it trains."""
    end_with_supervisor()


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
    short_help="Train, with every option of the host's train.py and the --regan options.",
)
@click.option("--host")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(host: Optional[str], arguments: Tuple[str, ...]) -> None:
    """Train with the host in --host=DIR, else in the current folder, else in $STYLEGAN2_ADA, else the embedded one."""
    from .train.launch import train as run

    run(host, ["--help" if argument == "-h" else argument for argument in arguments])


@main.command()
@click.option("--outdir", type=UserPath(file_okay=False), default="regan-demo", show_default=True, metavar="DIR")
@click.option("--kimg", type=Int(3, 100_000), default=40, show_default=True, help="Thousands of images to train on.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.pass_context
def demo(ctx: click.Context, outdir: str, kimg: int, device: str) -> None:
    """Train on 100 handwritten digits and draw real, dense and sparse samples side by side.

    Ctrl-C stops with a snapshot, and the same command goes on. Once it is finished it only draws the picture again; another
    --kimg or --outdir trains anew.

    Exit code: 0 done, 1 training failed, 2 a mistake, 130 stopped.
    """
    from .demo import DemoSettings, run_demo

    ctx.exit(run_demo(Path(outdir), DemoSettings(kimg), device, terminal()))


@main.group()
def patch() -> None:
    """Attach to a checkout's train.py with two lines, and take them out again byte for byte."""


@patch.command("apply")
@click.argument("folder", type=UserPath(), metavar="DIR")
def patch_apply(folder: str) -> None:
    """Add the two lines to DIR/train.py. Patched already: nothing changes."""
    from .hosts.patch import apply

    echo(apply(folder))


@patch.command("check")
@click.argument("folder", type=UserPath(), metavar="DIR")
def patch_check(folder: str) -> None:
    """Say whether DIR/train.py has the two lines.

    Exit code: 0 patched, 1 not patched, 2 one of them alone or not a host.
    """
    from .hosts.patch import check, name_lines

    lines = check(folder)
    echo("not patched" if lines is None else f"patched ({name_lines(lines)})")
    click.get_current_context().exit(lines is None)


@patch.command("revert")
@click.argument("folder", type=UserPath(), metavar="DIR")
def patch_revert(folder: str) -> None:
    """Delete the two lines from DIR/train.py. Not patched: nothing changes."""
    from .hosts.patch import revert

    echo(revert(folder))


@patch.command("show")
@click.argument("host", type=click.Choice(["stylegan2-ada-pytorch", "stylegan3"]), default="stylegan2-ada-pytorch")
def patch_show(host: str) -> None:
    """Print the static patch for a pristine HOST, for git apply --unidiff-zero. Without HOST: stylegan2-ada-pytorch."""
    from .hosts.patch import packaged_patch

    click.echo(packaged_patch(host), nl=False)


@main.command()
@click.option("--host", type=UserPath(), metavar="DIR", help="Checkout to look at.  [default: as train finds it]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.pass_context
def doctor(ctx: click.Context, host: Optional[str], as_json: bool) -> None:
    """Look at Python, PyTorch, the GPU, the host and the folders, and say what to do where something is wrong.

    Exit code: 0 nothing to do, 1 something to do, 2 --host is no host.
    """
    from .doctor.command import run

    ctx.exit(run(host, as_json))


@main.command(short_help="Turn a snapshot into another form: pickle, tensors, ONNX, images, video.")
@click.argument("snapshot", type=UserPath(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["dense", "sparse", "narrow", "state-dict", "safetensors", "onnx", "images", "video"]),
    help="What to write.",
)
@click.option("--out", type=UserPath(), metavar="FILE", help="File to write.  [default: beside the snapshot, named after it]")
@click.option("--which", type=click.Choice(["G_ema", "G"]), help="Network; pickles hold both.  [default: G_ema]")
@click.option(
    "--ratio", type=FiniteFloat(0, 1, max_open=True), help="sparse, narrow: prune by magnitude.  [default: what the run pruned]"
)
@HOST
@BEST
@TRUST
@click.option("--seeds", type=SeedList(4096), metavar="LIST", help="images, video: such as 1,2,5-9.  [default: 0-31]")
@click.option("--trunc", type=FiniteFloat(-1000, 1000), help="images, video: truncation psi.  [default: 1]")
@click.option(
    "--class", "label", type=Int(0, 1_000_000), metavar="INT", help="images, video: one class.  [default: all in turn]"
)
@click.option("--cols", type=Int(1, 4096), metavar="INT", help="images: columns.  [default: 8, or one a class]")
@click.option(
    "--seconds", type=FiniteFloat(0, 3600, min_open=True), help="video: length of the loop.  [default: one second a seed]"
)
@click.option("--fps", type=Int(1, 240), metavar="INT", help="video: frames per second.  [default: 30]")
def export(snapshot: Path, best: Optional[str], **options: Any) -> None:
    """Turn SNAPSHOT, a network-snapshot-NNNNNN.pkl or a run folder, into another form. Of a folder it is the newest snapshot.

    dense: the snapshot itself. sparse: a pickle with the pruned weights at zero. narrow: a smaller and faster pickle without
    the channels that --regan-granularity=channel pruned. state-dict, safetensors: tensors without code. onnx: checked against
    PyTorch. images: a PNG grid. video: a loop through latent space, MP4 or GIF.

    Exit code: 0 written, 1 failed, 2 something wrong with the options or the snapshot; then nothing is written.
    """
    from .export.command import Export, run
    from .runs.find import chosen_snapshot

    run(Export(chosen_snapshot(snapshot, best), **options))


@main.command(short_help="Write an HTML page about one run, or about several beside each other.")
@click.argument("runs", nargs=-1, required=True, type=UserPath(), metavar="RUN...")
@click.option(
    "--out",
    type=UserPath(dir_okay=False),
    metavar="FILE",
    help="The page.  [default: report.html in the run folder; for several, in this one]",
)
@click.option("--png", is_flag=True, help="Also write the charts as PNG files into a folder next to the page.")
def report(runs: Tuple[str, ...], out: Optional[str], png: bool) -> None:
    """Write one HTML page about the run folders RUN, those of the plain host too: charts, samples, cost, options.

    A folder of run folders, such as a cell of a table, stands for all of them. The page needs no other file and no network.
    Exit code: 0 written, 2 a folder is no run.
    """
    from .report.command import report as write
    from .runs.find import find_runs

    for path in write([str(run) for given in runs for run in find_runs(Path(given))], out, png):
        echo(path)


main.add_command(blocks)
main.add_command(data)
main.add_command(groups)
main.add_command(metrics)
main.add_command(tables)
main.add_command(tickets)
main.add_command(tune)


@main.command(short_help="Show where a run stands, live.")
@click.argument("run", type=UserPath(), metavar="RUN")
@click.option("--once", is_flag=True, help="Print it once and exit.")
def watch(run: str, once: bool) -> None:
    """Show where the job that writes the run folder RUN stands, until it is finished or you press Ctrl-C.

    The job is only looked at, never touched. Exit code: 0, or 2 where RUN is no run folder.
    """
    from .report.watch import watch as show

    show(run, once, terminal())


if __name__ == "__main__":
    main()
