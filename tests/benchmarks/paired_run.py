"""What whole runs take, with and without Re-GAN, in turn: ``python tests/benchmarks/paired_run.py``.

Trains the real loop four ways, one after the other, as often as ``--rounds``, every second time from the last to the first:
plain, with single weights of G, with whole channels of G, and with those of G and D. Warm-up and phases have the shares of
a run that ``--regan-preset=few-shot`` gives them, a quarter and an eighth; a run is one kimg of noise, so that every phase
of 16 iterations holds one of the iterations with R1. Prints one JSON line a round: seconds per kimg without the first
iteration, those over the plain run's of the same round, and an iteration of dense phases over a plain one. Dense phases
hold R1 in 3 of 45 iterations, the plain run in 7 of 124.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import click
from hook_overhead import train, write_noise

from regan_ext.support.machine import describe

SHARES = ["--regan-ratio=0.3", "--regan-warmup=0.25kimg", "--regan-interval=0.125kimg"]


def ways(settings: List[str]) -> Dict[str, List[str]]:
    """Name of a run → its options: plain, and with ratio and phases as in ``settings`` at each granularity."""
    channel = [*settings, "--regan-granularity=channel"]
    return {"plain": [], "weight": settings, "channel": channel, "channel of both": [*channel, "--regan-target=both"]}


WAYS = ways(SHARES)


@click.command()
@click.option("--resolution", default=32, show_default=True)
@click.option("--channels", default=128, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Images of an iteration; 8 for phases of 16 iterations.")
@click.option("--rounds", default=4, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
def main(resolution: int, channels: int, batch: int, rounds: int, device: str, host: str) -> None:
    """Print what whole runs take as one JSON line a round."""
    common = [f"--device={device}", f"--cbase={channels * resolution}", f"--cmax={channels}", f"--batch={batch}",
              "--kimg=1", "--tick=1000", "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug", "--pairs=none",
              "--states=false"]  # fmt: skip
    for number in range(rounds):
        found: Dict[str, Dict[str, Any]] = {}
        with tempfile.TemporaryDirectory() as temporary:
            data = Path(temporary) / "noise.zip"
            write_noise(data, 64, resolution)
            for way in list(WAYS)[:: 1 if number % 2 == 0 else -1]:  # a machine that becomes slower does so for both ends
                found[way] = train(Path(temporary) / way, data, [*common, *WAYS[way]], host)
        seconds = {way: found[way]["Timing/sec_per_kimg"] for way in WAYS}
        plain = seconds["plain"] * batch / 1000
        result = {
            "benchmark": "paired_run",
            **{"resolution": resolution, "channels": channels, "batch": batch, "round": number + 1},
            "host": "embedded" if host == "embedded" else "checkout",
            "sec_per_kimg": {way: round(each, 2) for way, each in seconds.items()},
            "over_plain": {way: round(each / seconds["plain"], 4) for way, each in seconds.items() if way != "plain"},
            "dense_over_plain": {way: round(found[way]["ReGAN/sec_dense"] / plain, 4) for way in WAYS if way != "plain"},
            **describe(device),
        }
        click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
