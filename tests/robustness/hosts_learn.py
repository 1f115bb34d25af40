"""Whether StyleGAN3's and R3GAN's own networks learn with Re-GAN: digits at 32x32 for 20 kimg, their distance, and a picture.

Command: ``python tests/robustness/hosts_learn.py FOLDER HOST --out=PICTURE.png``, where FOLDER holds the checkout

The checkout is copied, and its networks are made small enough for a CPU (small_hosts.py). G's exponential average is drawn, and
measured against all digits, which are trained on, before training and after it, by the features of the file that
``regan-ext metrics detector digits`` makes, unless it is there. Prints one JSON line.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Tuple

import click
from common import describe, finished_run, write_small_digits
from PIL import Image
from small_hosts import make_r3gan_small, make_stylegan3_small

_METRIC = "fid1k_full"
_TRAINING = (
    "--device=cpu", "--gpus=1", "--kimg=20", "--tick=1", "--snap=20", f"--metrics={_METRIC}", "--regan-ratio=0.3",
    "--states=false", "--pairs=none",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """A host as it is trained.

    Args:
        folder: of its checkout.
        options: of the run; its last phase is a dense one.
        prepare: makes the networks of the copy small.
    """

    folder: str
    options: Tuple[str, ...]
    prepare: Callable[[Path], None]


HOSTS = {
    "stylegan3-t": Host(
        "stylegan3",
        ("--cfg=stylegan3-t", "--batch=16", "--gamma=0.1", "--cbase=256", "--cmax=16", "--aug=noaug",
         "--regan-warmup=200", "--regan-interval=175"),
        lambda folder: make_stylegan3_small(folder, 8),
    ),
    "R3GAN": Host(
        "R3GAN",
        ("--preset=CIFAR10", "--batch=8", "--aug=0", "--regan-warmup=400", "--regan-interval=350"),
        lambda folder: make_r3gan_small(folder, 32, 8),
    ),
}  # fmt: skip


def _regan_ext(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "regan_ext", *arguments]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("name", metavar="HOST", type=click.Choice(list(HOSTS)))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where the picture goes.")
@click.option("--detector", type=click.Path(exists=True, path_type=Path), help="That of the digits.  [default: makes one]")
def main(folder: Path, name: str, out: Path, detector: Optional[Path]) -> None:
    """Train HOST, whose checkout lies in FOLDER, and show what it draws."""
    host = HOSTS[name]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hosts-") as scratch:
        copy, data, outdir = (Path(scratch, each) for each in ("host", "digits.zip", "runs"))
        shutil.copytree(folder / host.folder, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        host.prepare(copy)
        write_small_digits(data, 32, "RGB", count=1797)
        if detector is None:
            detector = Path(scratch, "detector.pt")
            made = _regan_ext("metrics", "detector", "digits", str(detector), "--folds=0")
            assert made.returncode == 0, made.stdout
        given = (f"--host={copy}", f"--outdir={outdir}", f"--data={data}", f"--metric-detector={detector}")
        run = finished_run(outdir, _regan_ext("train", *given, *_TRAINING, *host.options))
        values = [json.loads(line) for line in (run.folder / f"metric-{_METRIC}.jsonl").read_text().splitlines()]
        distances = {each["snapshot_pkl"]: round(each["results"][_METRIC], 2) for each in values}
        facts = {"options": " ".join([*_TRAINING, *host.options]), _METRIC: distances, "ends_in": run.plan["ends_in"]}
        with Image.open(max(each for each in run.folder.glob("fakes*.png") if "init" not in each.name)) as drawn:
            drawn.convert("L").save(out, optimize=True)
    told = {
        "seconds": round(time.monotonic() - begin),
        "command": f"python tests/robustness/hosts_learn.py $REGAN_TEST_HOSTS {name}",
    }
    click.echo(json.dumps({"check": "hosts_learn", "host": name, **facts, **told, **describe("cpu")}))


if __name__ == "__main__":
    main()
