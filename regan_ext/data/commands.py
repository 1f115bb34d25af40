"""The commands of ``regan-ext data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import click

from ..support.numbers import COUNT, SEED, Int
from ..support.paths import UserPath
from ..support.text import echo

__all__ = ["data"]

_FILE = UserPath(path_type=Path)


class _WithExample(click.Command):
    """A command that answers a missing argument with an example."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def parse_args(self, ctx: click.Context, args: List[str]) -> List[str]:
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as err:
            raise click.UsageError(f"{err.format_message()} For example: {self.example}", ctx) from err


@click.group()
def data() -> None:
    """Get the data sets of the papers, prepare them or your own images, check and divide them."""


@data.command("list")
def list_sets() -> None:
    """Print the data sets: images, pixels, how to get them; then the licences."""
    from .table import DATA_SETS

    licences: Dict[str, List[str]] = {}
    for known in DATA_SETS:
        if known.own:
            echo(f"{known.name:<16}        a folder of your own")
            continue
        way = "get fetches it" if known.archives else "get says how to get it yourself" if known.pages else "no download"
        called = f"; also called {', '.join(known.aliases)}" if known.aliases else ""
        echo(f"{known.name:<16} {known.images:>6} images, {known.resolution}x{known.resolution}, {way}{called}")
        licences.setdefault(known.licence, []).append(known.name)
    echo("\nLicences:")
    for licence, names in licences.items():
        echo(f"  {', '.join(names)}: {licence}")


@data.command(
    "get",
    short_help="Fetch a data set and check it, or say how to get it yourself.",
    cls=_WithExample,
    example="regan-ext data get obama",
)
@click.argument("name", metavar="NAME")
@click.option("--dir", "folder", type=_FILE, default="data", show_default=True, metavar="DIR", help="Where to put it.")
@click.option(
    "--accept-licence", "--accept-license", is_flag=True, help="Accept the licence that is shown, without being asked."
)
@click.option("--url", metavar="URL", help="Fetch the archive from this address, or all archives from a folder that ends in /.")
def get_set(name: str, folder: Path, accept_licence: bool, url: Optional[str]) -> None:
    """Fetch the data set NAME, check it, and unpack it into DIR/NAME.

    What is cut off goes on with the same command. Exit code: 0 it is there, 1 the server or the archive is at fault, 2 it takes
    a person: the steps are printed.
    """
    from .fetch import ask, fetch
    from .show import bytes_bar

    fetch(name, folder, lambda: ask(accept_licence), echo, bytes_bar, url)


@data.command(
    "prepare",
    short_help="Make the zip to train from.",
    cls=_WithExample,
    example="regan-ext data prepare my-images photos/ mine.zip",
)
@click.argument("name", metavar="NAME")
@click.argument("source", type=UserPath(), metavar="SRC")
@click.argument("out", type=_FILE, metavar="OUT.zip")
@click.option(
    "--resolution",
    type=Int(4, 4096),
    metavar="INT",
    help="Side in pixels, a power of two.  [default: the set's; my-images: 256]",
)
@click.option("--filter", "resize", type=click.Choice(["box", "lanczos", "bicubic"]), help="For scaling.  [default: the set's]")
@click.option("--split", metavar="PART", help="Of a set that has parts, such as test.  [default: the one to train on]")
@click.option(
    "--class", "only", type=Int(0, 10**6), metavar="INT", help="Of a set with labels: images of this class, without labels."
)
@click.option("--count", type=COUNT, metavar="INT", help="Choose so many images, and list them beside OUT.zip.")
@click.option("--seed", type=SEED, metavar="INT", help="With --count: which.  [default: 0; digits: the first of each class]")
@click.option("--rest", type=_FILE, metavar="ZIP", help="Also write the images that --count did not choose.")
@click.option(
    "--fit", type=click.Choice(["crop", "pad"]), default="crop", show_default=True, help="Middle square, or white at the sides."
)
@click.option(
    "--labels",
    type=click.Choice(["auto", "folders", "none"]),
    default="auto",
    show_default=True,
    help="my-images: of dataset.json, else of the folders; of the folders; none.",
)
@click.option("--strict", is_flag=True, help="Write nothing where there is a fault.")
@click.option("--keep-duplicates", is_flag=True, help="my-images: keep images that have the pixels of another.")
@click.option("--any-count", is_flag=True, help="Take a known set with more or fewer images than it has.")
@click.option("--verbose", is_flag=True, help="my-images: a line for every file that is changed in any way.")
@click.option("--quiet", is_flag=True, help="my-images: no lines about files.")
def prepare_set(**options: Any) -> None:
    """Make OUT.zip of SRC, the folder or archive of the data set NAME; of digits and mnist-5k, SRC is -.

    NAME my-images is a folder or zip of your own: what was done to the images is counted, every file with a fault is named, and
    what can be corrected is. OUT.zip is written whole or not at all, the same bytes every time.

    Exit code: 0 written, 2 something is wrong; then nothing is written.
    """
    from .prepare import prepare
    from .request import Request
    from .show import images_bar

    with images_bar("images") as tick:
        lines = prepare(Request(**options), echo, tick)
    for line in lines:
        echo(line)


@data.command(
    "check",
    short_help="Count, sizes, formats and pixel hashes of a folder or zip.",
    cls=_WithExample,
    example="regan-ext data check my-images mine.zip",
)
@click.argument("name", metavar="NAME")
@click.argument("path", type=_FILE, metavar="PATH")
@click.option("--count", type=COUNT, metavar="INT", help="Number of images to expect.  [default: the set's]")
@click.option("--fingerprint", metavar="HEX", help="Fingerprint to expect.")
@click.option("--hashes", type=_FILE, metavar="FILE", help="Write the SHA-256 over the pixels of every image.")
@click.option("--pixel-md5", type=_FILE, metavar="JSON", help="ffhq: compare each image with FFHQ's ffhq-dataset-v2.json.")
def check_set(
    name: str, path: Path, count: Optional[int], fingerprint: Optional[str], hashes: Optional[Path], pixel_md5: Optional[Path]
) -> None:
    """Decode every image of PATH, a folder or zip, and compare with what is known of the data set NAME.

    Of a zip, and of my-images, it is also checked whether the host can train from it. The fingerprint is one hash over the
    pixels of all images, whatever their names, order and lossless format.

    Exit code: 0 it fits, 1 it does not, 2 PATH cannot be read.
    """
    from .check import check
    from .show import images_bar

    with images_bar("images") as tick:
        lines = check(name, path, count, fingerprint, hashes, pixel_md5, tick)
    for line in lines:
        echo(line)


@data.command(
    "subset",
    short_help="Some images of a prepared zip, and the list of which.",
    cls=_WithExample,
    example="regan-ext data subset mine.zip mine-100.zip --count=100",
)
@click.argument("source", type=_FILE, metavar="SRC.zip")
@click.argument("out", type=_FILE, metavar="OUT.zip")
@click.option("--count", type=COUNT, metavar="INT", help="So many images, chosen at random.")
@click.option("--seed", type=SEED, default=0, show_default=True, metavar="INT", help="With --count: which.")
@click.option("--indices", type=_FILE, metavar="FILE", help="The images that this list names, such as an OUT.indices.txt.")
@click.option("--rest", type=_FILE, metavar="ZIP", help="Also write the others.")
def subset_set(source: Path, out: Path, count: Optional[int], seed: int, indices: Optional[Path], rest: Optional[Path]) -> None:
    """Write OUT.zip with some images of SRC.zip and their labels, and OUT.indices.txt with their names.

    The same seed chooses the same images on every machine, and a smaller choice lies in a larger one.
    """
    from .subset import subset

    for line in subset(source, out, count, seed, indices, rest):
        echo(line)
