"""Cost of the Re-GAN hook at weights granularity, in the real training loop: ``python tests/benchmarks/hook_overhead.py``.

Trains the embedded host twice on images of noise, with and without the hook, and prints one JSON line. ``ratio`` is the
time that the hook measured for itself, mask updates and statistics included, over the time of an iteration in the same run;
the budget is 0.01. ``wall_ratio`` compares the two runs' seconds per kimg and is as noisy as the machine.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import click
import numpy as np
from PIL import Image

from regan_ext.support.machine import describe


def write_noise(path: Path, count: int, resolution: int) -> None:
    """A data set of grey noise: what the images show does not matter here."""
    random = np.random.RandomState(0)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            encoded = io.BytesIO()
            Image.fromarray(random.randint(0, 256, (resolution, resolution, 3), dtype=np.uint8)).save(encoded, "png")
            archive.writestr(f"{index:05d}.png", encoded.getvalue())


def train(folder: Path, data: Path, options: List[str], host: str = "embedded") -> Dict[str, Any]:
    """Statistics of the last tick of a run, which holds every iteration but the first."""
    command = [sys.executable, "-m", "regan_ext", "train", f"--host={host}", f"--outdir={folder}", f"--data={data}", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (run,) = folder.iterdir()
    lines = (run / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return {name: entry["mean"] for name, entry in json.loads(lines[-1]).items() if isinstance(entry, dict)}


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=128, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--interval", default=20, show_default=True, help="Iterations of a phase: a mask update every second one.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
@click.option("--cbase", type=int, help="Channels times resolution of a layer.  [default: no limit but --channels]")
@click.argument("more", nargs=-1)
def main(
    resolution: int,
    channels: int,
    batch: int,
    interval: int,
    device: str,
    host: str,
    cbase: Optional[int],
    more: "tuple[str, ...]",
) -> None:
    """Print the cost of the hook as one JSON line; MORE are options of train, after --."""
    common = [f"--device={device}", f"--cbase={cbase or channels * resolution}", f"--cmax={channels}", f"--batch={batch}",
              "--kimg=1", "--tick=1", "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug"]  # fmt: skip
    regan = ["--regan-ratio=0.3", f"--regan-interval={interval}", *more]
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "noise.zip"
        write_noise(data, 64, resolution)
        hooked = train(Path(temporary) / "hooked", data, common + regan, host)
        plain = train(Path(temporary) / "plain", data, common, host)
    per_iteration = hooked["Timing/sec_per_kimg"] * batch / 1000
    result = {
        "benchmark": "hook_overhead",
        "resolution": resolution,
        "channels": channels,
        "batch": batch,
        "interval": interval,
        "host": "embedded" if host == "embedded" else "checkout",
        "options": list(more),
        "hook_ms": round(hooked["ReGAN/hook_ms"], 3),
        "iteration_ms": round(1000 * per_iteration, 1),
        "ratio": round(hooked["ReGAN/hook_ms"] / 1000 / per_iteration, 5),
        "budget": 0.01,
        "wall_ratio": round(hooked["Timing/sec_per_kimg"] / plain["Timing/sec_per_kimg"], 4),
        **describe(device),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
