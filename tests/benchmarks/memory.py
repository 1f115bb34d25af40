"""Peak memory of training with and without the hook: ``python tests/benchmarks/memory.py``.

Trains for a few iterations in a process of its own, plain, with single weights and with whole channels, and prints the largest
resident memory of each process as one JSON line; on a GPU, the largest memory that its tensors took there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

import click
from hook_overhead import train, write_noise

from regan_ext.support.machine import describe

KINDS = {
    "plain": [],
    "weight": ["--regan-ratio=0.3", "--regan-interval=5"],
    "channel": ["--regan-ratio=0.3", "--regan-interval=5", "--regan-granularity=channel"],
}


def peak_bytes(host: str, options: List[str]) -> int:
    """Largest resident memory of a training run, its loader's process left out."""
    command = [sys.executable, "-m", "regan_ext", "train", f"--host={host}", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise click.ClickException(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=256, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
@click.option("--cbase", type=int, help="Channels times resolution of a layer.  [default: no limit but --channels]")
@click.argument("more", nargs=-1)
def main(
    resolution: int, channels: int, batch: int, device: str, host: str, cbase: Optional[int], more: "tuple[str, ...]"
) -> None:
    """Print the peak memory as one JSON line; MORE are options of train, after --."""
    peaks = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "noise.zip"
        write_noise(data, 64, resolution)
        common = [f"--device={device}", f"--cbase={cbase or channels * resolution}", f"--cmax={channels}", "--kimg=1",
                  f"--batch={batch}", "--tick=1", "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug",
                  "--max-hours=0.02", "--states=false", "--pairs=none", *more]  # fmt: skip
        for kind, options in KINDS.items():
            outdir = Path(temporary) / kind
            if device.startswith("cuda"):
                peaks[kind] = train(outdir, data, [*common, *options], host)["Resources/peak_gpu_mem_gb"] * 2**30
            else:
                peaks[kind] = peak_bytes(host, [f"--outdir={outdir}", f"--data={data}", *common, *options])
    result = {
        "benchmark": "memory",
        "resolution": resolution,
        "channels": channels,
        "batch": batch,
        "host": "embedded" if host == "embedded" else "checkout",
        "options": list(more),
        "peak_mb": {kind: round(peak / 1e6, 1) for kind, peak in peaks.items()},
        "over_plain": {kind: round(peak / peaks["plain"], 3) for kind, peak in peaks.items()},
        **describe(device),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
