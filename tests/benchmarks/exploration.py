"""Do the masks of Re-GAN move? ``python tests/benchmarks/exploration.py DIGITS.zip > docs/results/mask-change.jsonl``.

Trains the networks of the digits tables (32x32, ``regan-ext data prepare digits - DIGITS.zip --count=100``) with the embedded
host, once for each arm: seed 0, no augmentation, no metrics, one thread. Pruning happens at the end of the warm-up and of every
dense phase. Prints one JSON line an arm: ``mask_change`` is, for each pruning but the first and each role of a layer, the share
of the pruned weights that the pruning before had kept; ``explored`` the share of weights that a sparse network ever had.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Tuple

import click

from regan_ext.runs.chain import last_run
from regan_ext.runs.folder import Run
from regan_ext.support.machine import describe
from regan_ext.support.process import error_of, module_command

ARMS: Dict[str, List[str]] = {
    "zero x0.1": ["--regan-regrow=zero", "--regan-lr-scale=0.1"],
    "zero x1": ["--regan-regrow=zero", "--regan-lr-scale=1"],
    "value x1": ["--regan-regrow=value", "--regan-lr-scale=1"],
    "value + saliency x1": ["--regan-regrow=value", "--regan-score=saliency", "--regan-lr-scale=1"],
    "value x1, turnover 0.1": ["--regan-regrow=value", "--regan-turnover=0.1", "--regan-lr-scale=1"],
}
ROLES = ("conv", "affine", "mapping")
COMMON = ["--seed=0", "--cfg=auto", "--cond=1", "--cbase=512", "--cmax=32", "--gamma=0.1", "--batch=16", "--tick=1",
          "--snap=50", "--aug=noaug", "--metrics=none", "--regan-ratio=0.3"]  # fmt: skip


def by_role(run: Run, statistic: str, cycle: int) -> Dict[str, float]:
    """A statistic by role at the end of a cycle."""
    tick = [tick for tick in run.ticks if tick.get("ReGAN/cycle") == cycle][-1]
    values = {role: tick.get(f"ReGAN/{statistic}/{role}") for role in ROLES}
    return {role: round(value, 6) for role, value in values.items() if not math.isnan(value)}


def trained(options: List[str], data: Path, outdir: Path) -> Run:
    """Train in a process of its own."""
    outdir.mkdir()
    command = module_command("regan_ext", "train", "--host=embedded", "--device=cpu", f"--outdir={outdir}", f"--data={data}")
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True, env=alone)
    run = last_run(outdir)
    if done.returncode or run is None:
        raise click.ClickException(error_of(done.stdout + done.stderr))
    return run


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--kimg", default=12, show_default=True, help="Length of each run.")
@click.option("--phase", default=2, show_default=True, help="kimg of the warm-up and of each phase.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), default=list(ARMS), help="Which; all by default.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time.")
def main(data: Path, kimg: int, phase: int, arms: Tuple[str, ...], jobs: int) -> None:
    """Print what each arm's masks did, a JSON line each."""
    lengths = [f"--kimg={kimg}", f"--regan-warmup={phase}kimg", f"--regan-interval={phase}kimg"]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(jobs) as pool:

        def measured(arm: Tuple[int, str]) -> Dict[str, Any]:
            number, name = arm
            options = [*COMMON, *lengths, *ARMS[name]]
            run = trained(options, data, Path(temporary) / str(number))
            last = int(max(tick.get("ReGAN/cycle") for tick in run.ticks))
            return {
                "benchmark": "exploration",
                "arm": name,
                "mask_change": {str(cycle): by_role(run, "mask_change", cycle) for cycle in range(2, last + 1)},
                "explored": by_role(run, "explored", last),
                "command": shlex.join(["regan-ext", "train", "--host=embedded", f"--data={data.name}", *options]),
                **describe("cpu"),
            }

        for line in pool.map(measured, enumerate(arms)):
            click.echo(json.dumps(line))


if __name__ == "__main__":
    main()
