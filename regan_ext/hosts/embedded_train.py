"""The embedded host's ``train.py``: the command line of StyleGAN2-ADA-PyTorch over the modules of the wheel.

The wheel has the training loop and the function that turns options into its arguments, but no command line. This module has
the shape that ``regan_ext.train.attach`` knows: ``setup_training_loop_kwargs``, ``subprocess_fn``, and the click command
``main``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional, Tuple

import click

from training_hooks.core.files import whole_file

from ..support.text import echo
from . import embedded

__all__ = ["host_module", "main", "setup_training_loop_kwargs", "subprocess_fn"]


def host_module(name: str) -> ModuleType:
    """The embedded host's module ``name``, such as "training.training_loop"; unpacks the host where need be."""
    path = str(embedded.obtain())
    if path not in sys.path:
        sys.path.insert(0, path)
    if name in sys.modules:
        return sys.modules[name]
    with warnings.catch_warnings():
        # The host and setuptools both bring distutils; which comes first is nothing that the user can mend.
        warnings.filterwarnings("ignore", ".*distutils", UserWarning)
        return _imported(name)


def _imported(name: str) -> ModuleType:
    if name != "train":
        return importlib.import_module(name)
    # The wheel's train.py imports slideflow for a kind of data set that is not used here.
    missing = "slideflow" not in sys.modules
    if missing:
        sys.modules["slideflow"] = ModuleType("slideflow")
    try:
        return importlib.import_module(name)
    finally:
        if missing:
            del sys.modules["slideflow"]


def setup_training_loop_kwargs(**options: Any) -> Tuple[str, Any]:
    """Description and keyword arguments of the training loop for the options of ``main``, as the host makes them.

    Raises:
        click.UsageError: the host refuses an option.
    """
    train = host_module("train")
    if options.get("metrics") is None:
        options["metrics"] = ["fid50k_full"]
    try:
        return train.setup_training_loop_kwargs(**options)
    except train.UserError as err:
        raise click.UsageError(str(err)) from err


def subprocess_fn(rank: int, args: Any, temp_dir: str) -> None:
    """Train as process ``rank``."""
    host_module("train").subprocess_fn(rank, args, temp_dir)


class _CommaSeparated(click.ParamType):
    name = "list"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> List[str]:
        if isinstance(value, list):
            return value
        return [] if value.lower() in ("", "none") else value.split(",")


_AUGPIPES = ["blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"]
_CFGS = ["auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar"]


@click.command()
@click.option("--outdir", required=True, metavar="DIR", help="Folder for the run folders.")
@click.option("--gpus", type=int, metavar="INT", help="Number of GPUs, or of processes on the CPU.  [default: 1]")
@click.option("--snap", type=int, metavar="INT", help="Ticks between snapshots.  [default: 50]")
@click.option("--metrics", type=_CommaSeparated(), help="Comma-separated names, or none.  [default: fid50k_full]")
@click.option("--seed", type=int, metavar="INT", help="Random seed.  [default: 0]")
@click.option("-n", "--dry-run", is_flag=True, help="Show what the run would do, and exit.")
@click.option("--data", required=True, metavar="PATH", help="Training images: zip or folder.")
@click.option("--cond", type=bool, metavar="BOOL", help="Train on the labels of dataset.json.  [default: false]")
@click.option("--subset", type=int, metavar="INT", help="Train on N of the images only.  [default: all]")
@click.option("--mirror", type=bool, metavar="BOOL", help="Add mirrored images.  [default: false]")
@click.option("--cfg", type=click.Choice(_CFGS), help="Base configuration.  [default: auto]")
@click.option("--gamma", type=float, help="Weight of R1 regularisation.  [default: by --cfg]")
@click.option("--kimg", type=int, metavar="INT", help="Length of training, in thousands of images.  [default: by --cfg]")
@click.option("--batch", type=int, metavar="INT", help="Images per iteration.  [default: by --cfg]")
@click.option("--aug", type=click.Choice(["noaug", "ada", "fixed"]), help="Augmentation.  [default: ada]")
@click.option("--p", type=float, help="Augmentation probability for --aug=fixed, which needs it.")
@click.option("--target", type=float, help="ADA target for --aug=ada.  [default: 0.6]")
@click.option("--augpipe", type=click.Choice(_AUGPIPES), help="Augmentation pipeline.  [default: bgc]")
@click.option("--resume", metavar="PKL", help="Go on: latest, a run folder or a snapshot.  [default: noresume]")
@click.option("--freezed", type=int, metavar="INT", help="Layers of D to freeze.  [default: 0]")
@click.option("--fp32", type=bool, metavar="BOOL", help="No half precision.  [default: false; true on the CPU]")
@click.option("--nhwc", type=bool, metavar="BOOL", help="Channels-last memory with half precision.  [default: false]")
@click.option("--nobench", type=bool, metavar="BOOL", help="No cuDNN benchmarking.  [default: false]")
@click.option("--allow-tf32", type=bool, metavar="BOOL", help="Let PyTorch use TF32.  [default: false]")
@click.option("--workers", type=int, metavar="INT", help="Data loader processes.  [default: 3; none on the CPU]")
def main(outdir: str, dry_run: bool, **options: Any) -> None:
    """Train StyleGAN2-ADA on the images in --data."""
    description, args = setup_training_loop_kwargs(**options)
    args["run_dir"] = _next_run_dir(outdir, description)
    _print_options(args)
    if dry_run:
        echo("Dry run; exiting.")
        return
    os.makedirs(args["run_dir"])
    with whole_file(Path(args["run_dir"], "training_options.json")) as file:
        file.write(json.dumps(args, indent=2).encode())

    import torch.multiprocessing as multiprocessing

    multiprocessing.set_start_method("spawn", force=True)
    with tempfile.TemporaryDirectory() as meeting_place:
        if args["num_gpus"] > 1:
            multiprocessing.spawn(subprocess_fn, (args, meeting_place), args["num_gpus"])
        else:
            subprocess_fn(args=args, rank=0, temp_dir=meeting_place)


def _next_run_dir(outdir: str, description: str) -> str:
    """The first free ``outdir/NNNNN-description``."""
    names = [entry.name for entry in os.scandir(outdir) if entry.is_dir()] if os.path.isdir(outdir) else []
    numbers = [int(match[0]) for match in (re.match(r"\d+", name) for name in names) if match]
    return os.path.join(outdir, f"{max(numbers, default=-1) + 1:05d}-{description}")


def _print_options(args: Dict[str, Any]) -> None:
    dataset = args["training_set_kwargs"]
    echo("\nTraining options:")
    echo(json.dumps(args, indent=2))
    echo(f"\nOutput directory:   {args['run_dir']}")
    echo(f"Training data:      {dataset['path']}")
    echo(f"Training duration:  {args['total_kimg']} kimg")
    echo(f"Processes:          {args['num_gpus']}")
    echo(f"Number of images:   {dataset['max_size']}")
    echo(f"Image resolution:   {dataset['resolution']}")
    echo(f"Conditional model:  {dataset['use_labels']}")
    echo(f"Dataset x-flips:    {dataset['xflip']}\n")
