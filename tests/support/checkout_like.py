"""A folder of the shape of a checkout: the embedded host's modules with a small train.py of our own words.

It stands in for NVIDIA's train.py only where the shape of the script matters: launching it as the main program, patching
it, and spawning ranks from it. The training loop is the real one.
"""

import shutil
from pathlib import Path

TRAIN_PY = '''"""Train."""
import pathlib
import tempfile

import click
import torch

import dnnlib
import wheel_train
from torch_utils import training_stats
from training import training_loop


def setup_training_loop_kwargs(**options):
    return wheel_train.setup_training_loop_kwargs(**options)


def subprocess_fn(rank, args, temp_dir) -> None:
    here = None
    if args["num_gpus"] != 1:
        meeting = pathlib.Path(temp_dir, "store").as_uri()
        torch.distributed.init_process_group("nccl", init_method=meeting, world_size=args["num_gpus"], rank=rank)
        here = torch.device("cuda", rank)
    training_stats.init_multiprocessing(rank, here)
    training_loop.training_loop(**args, rank=rank)


def train_in_processes(args):
    torch.multiprocessing.set_start_method(method="spawn")
    with tempfile.TemporaryDirectory(prefix="like-") as folder:
        if args["num_gpus"] != 1:
            torch.multiprocessing.spawn(subprocess_fn, (args, folder), args["num_gpus"])
        else:
            subprocess_fn(0, args, folder)


@click.command(help="Train a network.")
@click.option("--outdir", type=pathlib.Path, required=True)
@click.option("--data", required=True)
@click.option("--gpus", type=int)
@click.option("--kimg", type=int)
@click.option("--batch", type=int)
@click.option("--fp32", type=bool)
@click.option("--snap", type=int)
@click.option("--workers", type=int)
@click.option("--metrics", type=lambda text: [])
@click.option("--aug")
@click.option("-n", "--dry-run", is_flag=True)
@click.pass_context
def main(ctx, outdir, dry_run, **options):
    words, args = setup_training_loop_kwargs(**options)
    folder = outdir / f"00000-{words}"
    args["run_dir"] = str(folder)
    if dry_run:
        click.echo("Dry run: nothing is trained.")
    else:
        folder.mkdir(parents=True)
        train_in_processes(args)


if __name__ == "__main__":
    main()
'''


def make_checkout(folder: Path, host_dir: Path) -> Path:
    """Make the folder and return it."""
    shutil.copytree(host_dir, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "train.py").rename(folder / "wheel_train.py")
    (folder / "slideflow.py").write_text("")
    (folder / "train.py").write_text(TRAIN_PY)
    return folder
