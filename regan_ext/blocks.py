"""``regan-ext blocks``: what spreading a training over processes costs, before anybody writes the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .support.errors import UserError
from .support.numbers import COUNT, FiniteFloat, Int
from .support.text import echo

if TYPE_CHECKING:
    from training_hooks.methods.blocks.cost import Work

    from .tables.sheet import Sheet

__all__ = ["blocks"]

_MILLIONS = FiniteFloat(1e-6, 1e6)
_SECONDS = FiniteFloat(1e-9, 1e6)


def _pairs(context: click.Context, option: click.Parameter, value: int) -> int:
    if value % 2:
        raise click.BadParameter(f"{value} is odd, and blocks go in pairs; give {value + 1}.")
    return value


@click.group()
def blocks() -> None:
    """Generators and discriminators in processes of their own, for a loop of your own."""


@blocks.command("cost", short_help="Hold blocks against data parallelism, from what you have measured.")
@click.option("--processes", type=Int(2, 65_536), default=2, show_default=True, callback=_pairs, help="All of them, one a GPU.")
@click.option("--batch", type=COUNT, required=True, help="Images of an iteration over all processes.")
@click.option("--resolution", type=Int(1, 65_536), required=True, help="Height and width of the images.")
@click.option("--channels", type=Int(1, 4096), default=3, show_default=True, help="Channels of the images.")
@click.option("--value-bytes", type=Int(1, 8), default=4, show_default=True, help="Bytes of a value of an image as it crosses.")
@click.option("--g-params", type=_MILLIONS, required=True, help="Millions of parameters of G, of 4 bytes.")
@click.option("--d-params", type=_MILLIONS, required=True, help="Millions of parameters of D, of 4 bytes.")
@click.option("--g-sec", type=_SECONDS, required=True, help="Seconds an image: G's forward and backward pass.")
@click.option("--d-sec", type=_SECONDS, required=True, help="Seconds an image: D's passes of a real image and a fake.")
@click.option("--answer-sec", type=_SECONDS, required=True, help="Seconds an image: D's passes of a fake for G's loss.")
@click.option("--link", type=FiniteFloat(1e-6, 1e6), required=True, help="Gbit/s between two processes.")
@click.option(
    "--server-sec", type=FiniteFloat(0, 1e6), default=0.0, show_default=True, help="Seconds a GB of a parameter server's work."
)
@click.option("--format", "form", type=click.Choice(["text", "markdown", "html"]), default="text", show_default=True)
def cost(
    processes: int,
    batch: int,
    resolution: int,
    channels: int,
    value_bytes: int,
    g_params: float,
    d_params: float,
    g_sec: float,
    d_sec: float,
    answer_sec: float,
    link: float,
    server_sec: float,
    form: str,
) -> None:
    """Print what an iteration costs: in one process, with data parallelism by a parameter server and by ring all-reduce, and in
    blocks, by the model in training_hooks/methods/blocks/card.md. Nothing is measured here: sizes and seconds are yours.
    """
    from training_hooks.methods.blocks.cost import Work

    from .tables.sheet import FORMATS

    if batch < processes:
        raise UserError(f"--batch={batch} leaves some of {processes} processes without an image; give {processes} or more")
    image = channels * resolution**2 * value_bytes
    sizes = (4e6 * g_params, 4e6 * d_params)
    work = Work(processes, batch, image, *sizes, g_sec, d_sec, answer_sec, 1.25e8 * link, server_sec / 1e9)
    echo(FORMATS[form](_sheet(work)), nl=False)


def _sheet(work: "Work") -> "Sheet":
    """Seconds of an iteration in each way."""
    from training_hooks.methods.blocks import cost as model

    from .tables.sheet import Grid, Sheet
    from .tables.show import number

    ring = model.ring_all_reduce(work)
    ways = {
        "one process": model.alone(work),
        "data parallel, parameter server": model.data_parallel_by_server(work),
        "data parallel, ring all-reduce": ring,
        "blocks, parameter server (thesis)": model.blocks_by_server(work),
        "blocks, ring all-reduce": model.blocks(work),
    }
    rows = []
    for name, each in ways.items():
        parts = (each.computing, each.weights, each.gradients, each.server, each.images, each.seconds)
        rows.append((name, *map(number, parts), number(each.seconds / ring.seconds)))
    header = ("way", "computing", "weights", "gradients", "server", "fakes and answers", "iteration", "of ring all-reduce")
    told = (
        f"{work.processes} processes, {work.images} images of {work.image_bytes / 1e6:.3g} MB an iteration; parameters of G "
        f"{work.g_bytes / 1e6:.3g} MB, of D {work.d_bytes / 1e6:.3g} MB; {work.speed / 1e6:.4g} MB/s. Counted, not measured."
    )
    return Sheet("What an iteration costs", (told, Grid("Seconds of an iteration:", header, tuple(rows))))
