"""The command line of StyleGAN3 over the modules of a wheel that has none: ``train.py`` of the embedded StyleGAN3.

It lies beside those modules once they are unpacked, ``wheel_train`` among them, and imports nothing of regan_ext.
"""

import importlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, List, Optional

import click
import torch

__all__ = ["launch_training", "main", "subprocess_fn"]


def subprocess_fn(rank: int, c: Any, temp_dir: str) -> None:
    """Train as process ``rank``."""
    util = importlib.import_module("dnnlib.util")
    util.Logger(file_name=os.path.join(c["run_dir"], "log.txt"), file_mode="a", should_flush=True)
    device = None
    if c["num_gpus"] > 1:
        meeting_place = Path(temp_dir, "processes").resolve().as_uri()
        backend = "gloo" if os.name == "nt" else "nccl"
        torch.distributed.init_process_group(backend, init_method=meeting_place, rank=rank, world_size=c["num_gpus"])
        device = torch.device("cuda", rank)
    importlib.import_module("torch_utils.training_stats").init_multiprocessing(rank=rank, sync_device=device)
    importlib.import_module("training.training_loop").training_loop(rank=rank, **c)


def launch_training(c: Any, desc: str, outdir: str, dry_run: bool) -> None:
    """Make the run folder, and train in as many processes as there are GPUs."""
    c["run_dir"] = _next_run_dir(outdir, desc)
    print("\nTraining options:", json.dumps(c, indent=2), sep="\n")
    print(f"\nImages {c['training_set_kwargs']['path']}, {c['total_kimg']} kimg, into {c['run_dir']}", flush=True)
    if dry_run:
        return
    os.makedirs(c["run_dir"])
    Path(c["run_dir"], "training_options.json").write_text(json.dumps(c, indent=2), encoding="utf-8")
    torch.multiprocessing.set_start_method("spawn", force=True)
    with tempfile.TemporaryDirectory() as temp_dir:
        if c["num_gpus"] > 1:
            torch.multiprocessing.spawn(subprocess_fn, (c, temp_dir), c["num_gpus"])
        else:
            subprocess_fn(0, c, temp_dir)


def _next_run_dir(outdir: str, description: str) -> str:
    """The first free ``outdir/NNNNN-description``."""
    names = [entry.name for entry in os.scandir(outdir) if entry.is_dir()] if os.path.isdir(outdir) else []
    numbers = [int(match[0]) for match in (re.match(r"\d+", name) for name in names) if match]
    return os.path.join(outdir, f"{max(numbers, default=-1) + 1:05d}-{description}")


class _CommaSeparated(click.ParamType):
    name = "list"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> List[str]:
        if isinstance(value, list):
            return value
        return [] if value.lower() in ("", "none") else value.split(",")


_COUNT, _PART = click.IntRange(min=1), click.FloatRange(0, 1)


@click.command()
@click.option("--outdir", required=True, metavar="DIR", help="Folder for the run folders.")
@click.option("--cfg", type=click.Choice(["stylegan3-t", "stylegan3-r", "stylegan2"]), required=True, help="Networks.")
@click.option("--data", required=True, metavar="PATH", help="Training images: zip or folder.")
@click.option("--gpus", type=_COUNT, metavar="INT", required=True, help="Number of GPUs, or of processes on the CPU.")
@click.option("--batch", type=_COUNT, metavar="INT", required=True, help="Images per iteration.")
@click.option("--gamma", type=click.FloatRange(min=0), metavar="FLOAT", required=True, help="Weight of R1 regularisation.")
@click.option("--cond", type=bool, default=False, help="Train on the labels of dataset.json.  [default: false]")
@click.option("--mirror", type=bool, default=False, help="Add mirrored images.  [default: false]")
@click.option("--aug", type=click.Choice(["noaug", "ada", "fixed"]), default="ada", help="Augmentation.  [default: ada]")
@click.option("--resume", metavar="PKL", help="Go on: latest, a run folder or a snapshot.  [default: none]")
@click.option("--freezed", type=int, default=0, metavar="INT", help="Layers of D to freeze.  [default: 0]")
@click.option("--p", type=_PART, default=0.2, metavar="FLOAT", help="Probability for --aug=fixed.  [default: 0.2]")
@click.option("--target", type=_PART, default=0.6, metavar="FLOAT", help="Target for --aug=ada.  [default: 0.6]")
@click.option("--batch-gpu", type=_COUNT, metavar="INT", help="Images at once.  [default: batch / gpus]")
@click.option("--cbase", type=_COUNT, default=32768, metavar="INT", help="Channels times resolution.  [default: 32768]")
@click.option("--cmax", type=_COUNT, default=512, metavar="INT", help="Most channels of a layer.  [default: 512]")
@click.option("--glr", type=float, metavar="FLOAT", help="Learning rate of G.  [default: by --cfg]")
@click.option("--dlr", type=float, default=0.002, metavar="FLOAT", help="Learning rate of D.  [default: 0.002]")
@click.option("--map-depth", type=_COUNT, metavar="INT", help="Layers of the mapping network.  [default: by --cfg]")
@click.option("--mbstd-group", type=_COUNT, default=4, metavar="INT", help="Images of a minibatch group.  [default: 4]")
@click.option("--desc", metavar="STR", help="Words for the run folder's name.  [default: none]")
@click.option("--metrics", type=_CommaSeparated(), default="fid50k_full", help="Names, or none.  [default: fid50k_full]")
@click.option("--kimg", type=_COUNT, default=25000, metavar="INT", help="Length of training.  [default: 25000]")
@click.option("--tick", type=_COUNT, default=4, metavar="INT", help="Length of a tick, in kimg.  [default: 4]")
@click.option("--snap", type=_COUNT, default=50, metavar="INT", help="Ticks between snapshots.  [default: 50]")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="INT", help="Random seed.  [default: 0]")
@click.option("--fp32", type=bool, default=False, help="No half precision.  [default: false; true on the CPU]")
@click.option("--nobench", type=bool, default=False, help="No cuDNN benchmarking.  [default: false]")
@click.option("--workers", type=_COUNT, default=3, metavar="INT", help="Data loader processes.  [default: 3; none on the CPU]")
@click.option("-n", "--dry-run", is_flag=True, help="Show what the run would do, and exit.")
def main(**options: Any) -> None:
    """Train StyleGAN3, or StyleGAN2 with --cfg=stylegan2, on the images in --data."""
    importlib.import_module("dnnlib")  # the wheel's modules import each other in a circle; this is the way in
    wheel = importlib.import_module("wheel_train")
    vars(wheel)["launch_training"] = launch_training  # its own calls another subprocess_fn than the one here
    wheel.train(**options)


if __name__ == "__main__":
    main()
