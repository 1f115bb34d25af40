"""Cost of the state files in a run with the demo's settings: ``python tests/benchmarks/state_cost.py``.

Trains the embedded host as ``regan-ext demo`` does, only shorter, with a state file at the end of every tick, and times their
writing beside the ticks of the same run. Prints one JSON line. ``percent`` is the median time of a write over the median time
of a tick, its snapshots included; the budget is 2. Masks may take an eighth of a byte per selected weight, rounded up to whole
bytes for each tensor.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import click
import torch

from regan_ext.data.prepare import prepare
from regan_ext.data.request import Request
from regan_ext.demo import DemoSettings
from regan_ext.support.machine import describe
from regan_ext.train.launch import train
from training_hooks.nvidia import seams, state


def timed_run(arguments: List[str], log: Path) -> List[float]:
    """Train in this process, its output in ``log``; seconds of each write of a state."""
    seconds: List[float] = []
    plain = seams.Ticker._write_state

    def write_state(*args: Any) -> None:
        begin = time.perf_counter()
        plain(*args)
        seconds.append(time.perf_counter() - begin)

    seams.Ticker._write_state = write_state  # type: ignore[assignment, method-assign]
    with open(log, "w", encoding="utf-8") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            train("embedded", arguments)
        except SystemExit as end:  # how a click command returns
            if end.code:
                raise RuntimeError(log.read_text(encoding="utf-8")[-3000:]) from end
    return seconds


def tick_seconds(folder: Path) -> List[float]:
    """Training and maintenance of each tick but the first, which is one iteration."""
    ticks = [json.loads(line) for line in (folder / "stats.jsonl").read_text(encoding="utf-8").splitlines()]
    timing = [[tick[f"Timing/{name}"]["mean"] for name in ("sec_per_tick", "maintenance_sec")] for tick in ticks]
    return [training + maintenance for training, maintenance in timing[1:]]


def mask_sizes(saved: Dict[str, Any]) -> Dict[str, Any]:
    """Bytes of the masks in a state, and how many weights they are of."""
    networks = saved["hooks"]["regan"]["networks"].values()
    weights = sum(torch.Size(shape).numel() for network in networks for shape in network["shapes"])
    tensors = sum(len(network["shapes"]) for network in networks)
    packed = sum(bits.numel() * bits.element_size() for network in networks for bits in network["keep"])
    return {
        "selected_weights": weights,
        "mask_bytes": packed,
        "mask_bytes_per_weight": round(packed / weights, 6),
        "masks_in_budget": packed <= weights / 8 + tensors,
    }


@click.command()
@click.option("--kimg", default=6, show_default=True, help="Length; from 10 on a state is no longer written in every tick.")
def main(kimg: int) -> None:
    """Print the cost of the state files as one JSON line."""
    with tempfile.TemporaryDirectory() as temporary:
        outdir, data = Path(temporary) / "runs", Path(temporary) / "digits.zip"
        outdir.mkdir()
        prepare(Request("digits", "-", data, count=100))
        arguments = [a for a in DemoSettings(kimg=kimg).arguments(outdir, data, "cpu") if not a.startswith("--host=")]
        writes = timed_run(arguments, Path(temporary) / "log.txt")
        (folder,) = outdir.iterdir()
        newest = max(folder.glob("regan-state-*.pt"))
        ticks = tick_seconds(folder)
        size, saved = newest.stat().st_size, state.load(newest)
    write, tick = statistics.median(writes), statistics.median(ticks)
    result = {
        "benchmark": "state_cost",
        "kimg": kimg,
        "states": len(writes),
        "write_ms_median": round(1000 * write, 2),
        "write_ms_max": round(1000 * max(writes), 2),
        "tick_seconds_median": round(tick, 3),
        "percent": round(100 * write / tick, 3),
        "percent_max": round(100 * max(writes) / min(ticks), 3),
        "budget_percent": 2,
        "state_bytes": size,
        **mask_sizes(saved),
        "threads": torch.get_num_threads(),
        **describe("cpu"),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
