"""The commands of ``regan-ext tables``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

import click

from ..support.numbers import SEED, FiniteFloat, Int, SeedList
from ..support.paths import UserPath
from ..support.text import echo

if TYPE_CHECKING:
    from .model import Table
    from .results import Result

__all__ = ["tables"]

_FOLDER = UserPath(path_type=Path)
_OUT = click.option("--out", type=_FOLDER, default="tables", show_default=True, metavar="DIR", help="Folder of the results.")


def _patterns(context: click.Context, option: click.Parameter, values: Tuple[str, ...]) -> List[str]:
    return [part.strip() for part in ",".join(values).split(",") if part.strip()]


_RESULTS = click.option("--results", type=_FOLDER, metavar="FILE", help="JSON lines of 'tables results', instead of --out.")
_ONLY = click.option(
    "--only",
    multiple=True,
    callback=_patterns,
    metavar="PATTERNS",
    help="Rows, columns or cells, such as obama,re-*; can be given again.  [default: all]",
)
_SEEDS = click.option(
    "--seeds",
    type=SeedList(1000),
    callback=lambda context, option, seeds: seeds and tuple(dict.fromkeys(seeds)),
    metavar="LIST",
    help="Such as 0,1,2 or 0-2.  [default: the table's]",
)


def _read(table: Table, out: Path, results: Optional[Path]) -> List[Result]:
    """What was measured: in a file, or else in the run folders."""
    from .results import read_file, read_folder

    return read_folder(table, out) if results is None else read_file(table, results)


@click.group()
def tables() -> None:
    """Run the tables of the paper, and hold what comes out against it."""


@tables.command("list")
def list_tables() -> None:
    """Print the tables."""
    from .model import NAMES, load

    for name in NAMES:
        table = load(name)
        echo(f"{name:<22} {len(table.cells()):>3} cells  {table.title} ({table.source})")


@tables.command("run", short_help="Train the cells of a table that are not finished yet.")
@click.argument("table", metavar="TABLE")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN_OPTION...]")
@click.option("--data-dir", type=_FOLDER, default="data", show_default=True, metavar="DIR", help="Folder of the data files.")
@_OUT
@click.option("--host", type=UserPath(), metavar="DIR", help="Checkout to train with.  [default: as train finds it]")
@_ONLY
@_SEEDS
@click.option("--gpus", type=Int(1, 256), metavar="INT", help="GPUs of each cell.  [default: 1]")
@click.option("--dry-run", is_flag=True, help="Print the commands and exit.")
@click.option("--trust", is_flag=True, help="Also open snapshots in OUT that none of your own runs wrote on this machine.")
def run_table(
    table: str,
    extra: Tuple[str, ...],
    data_dir: Path,
    out: Path,
    host: Optional[str],
    only: List[str],
    seeds: Optional[Tuple[int, ...]],
    gpus: Optional[int],
    dry_run: bool,
    trust: bool,
) -> None:
    """Train the cells of TABLE, each in a folder of its own: OUT/TABLE/ROW-COLUMN-seedN.

    What is finished is left alone, what was interrupted goes on, and a cell that fails does not stop the others. Several of
    these commands can work on one table at the same time. Ctrl-C stops with a snapshot.

    Exit code: 0 all is finished, 1 something failed, 2 something is missing, 130 stopped.
    """
    from .command import Place
    from .model import load
    from .runner import dry_run as show_commands
    from .runner import jobs_of, run

    jobs = jobs_of(load(table).cells(only), seeds, Place(data_dir, out, host, gpus, extra, trust))
    if not jobs:
        echo("Nothing of this table can be run.", err=True)
    if dry_run:
        show_commands(jobs)
    else:
        click.get_current_context().exit(run(jobs, echo))


@tables.command("results", short_help="Print what was measured, as JSON lines.")
@click.argument("table", metavar="TABLE")
@_OUT
def print_results(table: str, out: Path) -> None:
    """Print what is in the folders of TABLE's cells, one JSON line a seed: to keep or to publish without the snapshots.

    'tables show --results' reads it.
    """
    from .model import load
    from .results import dumps, read_folder

    echo(dumps(read_folder(load(table), out)), nl=False)


@tables.command("show", short_help="Print the paper's numbers, ours, and the difference.")
@click.argument("table", metavar="TABLE")
@_OUT
@_RESULTS
@click.option("--paired", is_flag=True, help="Hold the rows against a baseline, seed by seed.")
@click.option("--last", type=Int(1, 1000), metavar="INT", help="With --paired: checkpoints of a run that count.  [default: 3]")
@click.option("--baseline", metavar="ROW", help="With --paired.  [default: the table's]")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "html", "json"]), default="text", show_default=True)
def show_table(
    table: str, out: Path, results: Optional[Path], paired: bool, last: Optional[int], baseline: Optional[str], form: str
) -> None:
    """Print what the paper reports for TABLE and, as far as there are runs in OUT, what came out here.

    With --paired: the differences of the rows' finished runs to the baseline's runs of the same seeds, with an interval of 95 %
    and two one-sided tests of equivalence within 10 %.
    """
    from .model import load
    from .results import dumps
    from .sheet import FORMATS
    from .show import sheet_of

    if not paired and (last is not None or baseline is not None):
        raise click.UsageError(f"{'--last' if baseline is None else '--baseline'} goes with --paired; give that too.")
    wanted = load(table)
    found = _read(wanted, out, results)
    if not paired:
        echo(dumps(found) if form == "json" else FORMATS[form](sheet_of(wanted, found)), nl=False)
        return
    from . import paired as pairs  # imports SciPy

    comparison = pairs.compare(wanted, found, baseline, 3 if last is None else last)
    echo(pairs.dumps(comparison) if form == "json" else FORMATS[form](pairs.sheet_of(comparison, found)), nl=False)


@tables.command("picture", short_help="Draw the last samples of a table's runs side by side.")
@click.argument("table", metavar="TABLE")
@click.argument("file", type=_FOLDER, metavar="FILE.png")
@_OUT
@_ONLY
@click.option("--seed", type=SEED, default=0, show_default=True, metavar="INT", help="Seed of the runs.")
def draw_picture(table: str, file: Path, out: Path, only: List[str], seed: int) -> None:
    """Draw FILE.png: real images, and for each cell of TABLE the first samples of its last grid."""
    from .model import load
    from .picture import draw

    wanted = load(table)
    for line in draw(wanted, wanted.cells(only), seed, out, file):
        echo(line)


@tables.command("figure", short_help="Draw a table's runs over training, and their differences from a baseline.")
@click.argument("table", metavar="TABLE")
@click.argument("file", type=_FOLDER, metavar="FILE.png")
@_OUT
@_RESULTS
@_ONLY
@click.option("--measure", metavar="TITLE", help="A metric of the table.  [default: its first]")
@click.option("--last", type=Int(1, 1000), default=3, show_default=True, metavar="INT", help="Checkpoints of a run that count.")
@click.option("--baseline", metavar="ROW", help="Row that the others are held against.  [default: the table's]")
def draw_figure(
    table: str,
    file: Path,
    out: Path,
    results: Optional[Path],
    only: List[str],
    measure: Optional[str],
    last: int,
    baseline: Optional[str],
) -> None:
    """Draw FILE.png: a metric of the cells of TABLE over training, every seed and their mean, with the phases behind them.

    Beside it, where two seeds of a row and of the baseline are finished: the mean differences, seed by seed, with intervals of
    95 %.
    """
    from ..data.archive import same
    from .figure import draw
    from .model import load

    if results is not None and same(results, file):
        raise click.UsageError(f"{file} is the file of --results; give the figure another name.")
    wanted = load(table)
    found = _read(wanted, out, results)
    for line in draw(wanted, wanted.cells(only), measure, found, baseline, last, file):
        echo(line)


@tables.command("estimate", short_help="Say what the cells of a table will cost.")
@click.argument("table", metavar="TABLE")
@_ONLY
@_SEEDS
@click.option("--sec-per-kimg", type=FiniteFloat(1e-6, 1e9), help="Measured on your machine, for all cells.")
@click.option("--pflops", type=FiniteFloat(1e-6, 1e6), help="Sustained PFLOP/s of one GPU.  [default: 0.015]")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "html"]), default="text", show_default=True)
def estimate_table(
    table: str,
    only: List[str],
    seeds: Optional[Tuple[int, ...]],
    sec_per_kimg: Optional[float],
    pflops: Optional[float],
    form: str,
) -> None:
    """Estimate the GPU-hours of TABLE, from counted operations and an assumed speed, or from a speed that you measured."""
    from .estimate import estimate
    from .model import load
    from .sheet import FORMATS

    if sec_per_kimg is not None and pflops is not None:
        raise click.UsageError("--sec-per-kimg and --pflops are two ways to say the same; give one of them.")
    echo(FORMATS[form](estimate(load(table), only, seeds, sec_per_kimg, pflops)), nl=False)
