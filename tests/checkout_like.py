"""A folder of the shape of a checkout: the embedded host's modules with a small train.py of our own words.

It stands in for NVIDIA's train.py only where the shape of the script matters: launching it as the main program, patching
it, and spawning ranks from it. The training loop is the real one.
"""

import shutil
from pathlib import Path

TRAIN_PY = '''"""Train."""
import os
import click
import tempfile
import torch
import dnnlib
import wheel_train
from training import training_loop
from torch_utils import training_stats


def setup_training_loop_kwargs(**options):
    return wheel_train.setup_training_loop_kwargs(**options)


def subprocess_fn(rank, args, temp_dir):
    if args.num_gpus > 1:
        init_method = f"file://{temp_dir}/store"
        torch.distributed.init_process_group(
            backend="nccl", init_method=init_method, rank=rank, world_size=args.num_gpus)
    device = torch.device("cuda", rank) if args.num_gpus > 1 else None
    training_stats.init_multiprocessing(rank=rank, sync_device=device)
    training_loop.training_loop(rank=rank, **args)


@click.command()
@click.pass_context
@click.option("--outdir", required=True)
@click.option("--data", required=True)
@click.option("--gpus", type=int)
@click.option("--kimg", type=int)
@click.option("--batch", type=int)
@click.option("--fp32", type=bool)
@click.option("--snap", type=int)
@click.option("--workers", type=int)
@click.option("--metrics", type=lambda text: [])
@click.option("-n", "--dry-run", is_flag=True)
def main(ctx, outdir, dry_run, **options):
    """Train a network."""
    description, args = setup_training_loop_kwargs(**options)
    args.run_dir = os.path.join(outdir, "00000-" + description)
    if dry_run:
        print("Dry run; exiting.")
        return
    os.makedirs(args.run_dir)
    torch.multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as temp_dir:
        if args.num_gpus == 1:
            subprocess_fn(rank=0, args=args, temp_dir=temp_dir)
        else:
            torch.multiprocessing.spawn(fn=subprocess_fn, args=(args, temp_dir), nprocs=args.num_gpus)


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
