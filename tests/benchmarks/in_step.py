"""What an iteration takes with and without Re-GAN, iteration by iteration: ``python tests/benchmarks/in_step.py``.

Starts the real loop once for each way, each in a process of its own that does one iteration when it is told to and waits while
the others do theirs. So the machine is as fast for one as for the others, which it is not for runs one after the other, and
iterations of the same place in the schedule of regularisation are held against each other. Who comes first is drawn for each
iteration. The second plain run says what the measurement itself errs by.

Prints one JSON line: for each way and each kind of phase the mean over phases of 16 iterations of the time over the first plain
run's for the same iterations, with its 95 % interval (Student's t). Warm-up without its first two iterations is apart: in it
nothing has been pruned yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import click
import numpy as np
from hook_overhead import write_noise
from paired_run import ways

from regan_ext.support.machine import describe
from regan_ext.tables.paired import difference

PHASE = 16  # iterations, so that each phase has one with R1 and four with path length
RATIO = ["--regan-ratio=0.3", f"--regan-warmup={PHASE}", f"--regan-interval={PHASE}"]
WAYS = {**ways(RATIO), "plain again": [], "schedule": [*RATIO, "--regan-score=none"]}
KINDS = {"warm-up": 0, "sparse": 1, "dense": 2}


class Run:
    """A training process that does one iteration at a time."""

    def __init__(self, folder: Path, options: List[str]) -> None:
        told, self._tell = os.pipe()
        self._hear, said = os.pipe()
        command = [sys.executable, __file__, "follow", str(told), str(said), f"--outdir={folder}", *options]
        with open(f"{folder}.log", "wb") as log:
            self._process = subprocess.Popen(command, pass_fds=(told, said), stdout=log, stderr=subprocess.STDOUT)
        os.close(told)
        os.close(said)
        self._log = Path(f"{folder}.log")
        self._wait()

    def _wait(self) -> None:
        if not os.read(self._hear, 1):
            raise click.ClickException(f"a run ended: {self._log.read_text(encoding='utf-8')[-2000:]}")

    def iterate(self) -> float:
        """Seconds of the next iteration."""
        begun = time.perf_counter()
        os.write(self._tell, b".")
        self._wait()
        return time.perf_counter() - begun

    def end(self) -> None:
        """Without a snapshot."""
        self._process.kill()
        self._process.wait()


def follow(told: int, said: int, options: List[str]) -> None:
    """Train, but wait for a byte before each iteration, that is when the loop asks for the next images."""
    import torch.utils.data

    from regan_ext.cli import main as cli

    plain = torch.utils.data.DataLoader.__iter__

    def iterate(loader: Any) -> Iterator[Any]:
        for batch in plain(loader):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            os.write(said, b".")
            if not os.read(told, 1):
                raise SystemExit("whoever takes the times has ended")
            yield batch

    torch.utils.data.DataLoader.__iter__ = iterate  # type: ignore[method-assign,assignment]
    cli(["train", *options])


def over(times: np.ndarray, plain: np.ndarray, kind: str) -> Dict[str, Any]:
    """Mean over the phases of a kind, of the time over the plain run's, and its interval.

    Args:
        times: float [iterations], seconds of one way.
        plain: float [iterations], of the plain run.
        kind: of ``KINDS``.
    """
    first = KINDS[kind]
    if first == 0:
        return {"mean": round(times[2:PHASE].sum() / plain[2:PHASE].sum(), 4)}
    sums = [each.reshape(-1, PHASE).sum(axis=1)[first::2] for each in (times, plain)]
    found = difference(list(sums[0] / sums[1]), [1.0] * len(sums[0]), "lower")
    return {"mean": round(1 + found.mean, 4), "interval": [round(1 + bound, 4) for bound in (found.low, found.high)]}


@click.command()
@click.option("--resolution", default=32, show_default=True)
@click.option("--channels", default=128, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--ways", "held", default=",".join(list(WAYS)[1:]), show_default=True, help="Held against a plain run.")
@click.option(
    "--phases", type=click.IntRange(min=2), default=6, show_default=True, help="Sparse ones, and as many dense ones after them."
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
def main(resolution: int, channels: int, batch: int, held: str, phases: int, device: str, host: str) -> None:
    """Print what iterations take over the plain run's, as one JSON line."""
    chosen = ["plain", *held.split(",")]
    options = [f"--host={host}", f"--device={device}", f"--cbase={channels * resolution}", f"--cmax={channels}",
               f"--batch={batch}", "--kimg=1000", "--tick=1000", "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug",
               "--pairs=none", "--states=false"]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        data = Path(temporary) / "noise.zip"
        write_noise(data, 64, resolution)
        runs: Dict[str, Run] = {}
        for way in chosen:
            runs[way] = Run(Path(temporary) / way.replace(" ", "-"), [f"--data={data}", *options, *WAYS[way]])
            stack.callback(runs[way].end)
        times: Dict[str, List[float]] = {way: [] for way in chosen}
        random = np.random.RandomState(0)
        for _ in range(PHASE * (1 + 2 * phases)):
            for way in random.permutation(chosen):  # none has another always before it
                times[way].append(runs[way].iterate())
    arrays = {way: np.asarray(each) for way, each in times.items()}
    result = {
        "benchmark": "in_step",
        **{"resolution": resolution, "channels": channels, "batch": batch, "phases": phases},
        "host": "embedded" if host == "embedded" else "checkout",
        "plain_ms": round(1000 * float(arrays["plain"][PHASE:].mean()), 1),
        "over_plain": {way: {kind: over(arrays[way], arrays["plain"], kind) for kind in KINDS} for way in chosen[1:]},
        **describe(device),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["follow"]:
        follow(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        main()
