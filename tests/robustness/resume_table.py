"""N + M iterations against N, an end, and M in a new process.

Command: ``python tests/robustness/resume_table.py --host ~/stylegan2-ada-pytorch``

Trains a checkout (or ``--host=embedded``) on 16x16 images on the CPU, once without interruption and once in two processes, for
each place where a run can be cut, and compares what both leave element by element: parameters and buffers of G, D, G_ema and of
the augmentation, but the average of w, which the host disturbs when it prints its summary; optimizers, masks, counters and
random states of the state files. Prints a line for each case and one JSON line; exits with 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import click
import torch
from common import (
    SCHEDULE,
    Run,
    describe,
    finished_run,
    host_folder,
    load_networks,
    run_fresh_python,
    stopped_run,
    train_command,
    wait_for_iteration,
    write_small_digits,
)

from regan_ext.runs.folder import read_run
from training_hooks.nvidia import state as states


@dataclass(frozen=True)
class Case:
    """A place to cut a run at.

    Args:
        name: in the table.
        options: of the run, but for its length.
        kimg: length of the run.
        cut: kimg of the snapshot that the second process goes on from; None for a run that SIGTERM stops.
        place: phases of the iterations before and after the cut; empty where chance decides.
    """

    name: str
    options: Tuple[str, ...]
    kimg: int
    cut: Optional[int]
    place: str


DENSE_CUT = ("--regan-ratio=0.3", "--regan-interval=20", "--regan-warmup=4", "--batch=32")
CASES = [
    Case("cut at a switch", tuple(SCHEDULE), 3, 1, "sparse 1 | dense 1"),
    Case("cut inside a sparse phase", tuple(SCHEDULE), 3, 2, "sparse 2 | sparse 2"),
    Case("cut inside a dense phase", DENSE_CUT, 2, 1, "dense 1 | dense 1"),
    Case("ADA at work", (*DENSE_CUT, "--aug=ada", "--target=0.1"), 4, 2, "dense 2 | dense 2"),
    Case("two ranks", (*DENSE_CUT, "--gpus=2"), 2, 1, "dense 1 | dense 1"),
    Case("stopped by SIGTERM", tuple(SCHEDULE), 3, None, ""),
]


class Table:
    """Runs the cases.

    Args:
        host: a checkout or "embedded".
        scratch: folder for the data and the runs.
    """

    def __init__(self, host: str, scratch: Path):
        self.host, self.scratch, self.data = host, scratch, scratch / "digits.zip"
        self.whole: Dict[Tuple[str, ...], Run] = {}
        write_small_digits(self.data)

    def train(self, *options: str) -> Run:
        """A run that has to succeed."""
        outdir = Path(tempfile.mkdtemp(dir=self.scratch))
        return finished_run(outdir, run_fresh_python(train_command(self.host, outdir, self.data, *options)))

    def stopped(self, *options: str) -> Run:
        """A run that is asked to stop in the middle of a tick."""
        outdir = Path(tempfile.mkdtemp(dir=self.scratch))
        command = [sys.executable, *train_command(self.host, outdir, self.data, *options, "--tick=50")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for_iteration(outdir, 15, process)
        process.send_signal(signal.SIGTERM)
        return stopped_run(outdir, process)

    def result(self, case: Case) -> Dict[str, Any]:
        """Train both ways and compare."""
        options = (*case.options, f"--kimg={case.kimg}")
        if options not in self.whole:
            self.whole[options] = self.train(*options)
        whole = self.whole[options]
        first = self.stopped(*options) if case.cut is None else whole
        snapshot = whole.snapshot(case.cut) if case.cut is not None else max(first.folder.glob("network-snapshot-*.pkl"))
        saved = states.load(states.state_path(snapshot))
        resumed = self.train(*options, f"--resume={first.folder if case.cut is None else snapshot}")
        left = [self.left(run, case) for run in (whole, resumed)]
        elements, differing = compare(*left)
        if case.cut is None:
            ended = states.load(states.state_path(resumed.snapshot(case.kimg)))
            differing += compare(take_python_random(saved), take_python_random(ended))[1]
        place = f"{phase(whole, saved['batch_idx'] - 1)} | {phase(whole, saved['batch_idx'])}"
        if case.place not in ("", place):
            differing.append(f"the cut lies in {place}, not in {case.place}")
        p = float(left[1]["augment_pipe"]["p"])
        if not 0 < saved["augment_p"] < p:
            differing.append(f"augmentation probability was {saved['augment_p']}, is {p}")
        return {
            "case": case.name,
            "iterations": f"{saved['batch_idx']} + {left[1]['state']['batch_idx'] - saved['batch_idx']}",
            "place": place,
            "augment_p": [round(saved["augment_p"], 6), round(p, 6)],
            "elements": elements,
            "differing": differing[:8],
        }

    def left(self, run: Run, case: Case) -> Dict[str, Any]:
        """Everything that a run leaves and that has to agree."""
        snapshot = run.snapshot(case.kimg)
        networks = load_networks(snapshot, host_folder(self.host))
        content: Dict[str, Any] = {
            kind: {name: t for name, t in tensors(networks[kind]) if not name.endswith("w_avg")}
            for kind in ("G", "D", "G_ema", "augment_pipe")
        }
        state = states.load(states.state_path(snapshot))
        state.pop("options")  # they name the run's folder
        state.pop("snapshot")  # the pickle holds the average that the host disturbs
        if case.cut is None:
            state.pop("cur_tick")  # a stop by hand ends a tick where the uninterrupted run has none
            take_python_random(state)  # NVIDIA's host does not seed this one, so that two beginnings differ in it
        for rank in state["ranks"]:
            rank.pop("averages")
        return {**content, "state": state}


def take_python_random(state: Dict[str, Any]) -> List[Any]:
    """Remove the states of Python's own random numbers, which training does not draw; returns them."""
    return [rank["random"].pop("python") for rank in state["ranks"]]


def tensors(network: torch.nn.Module) -> Iterator[Tuple[str, torch.Tensor]]:
    """Parameters and buffers."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def leaves(value: Any, name: str = "") -> Iterator[Tuple[str, Any]]:
    """What nested dicts and lists hold, with where it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{name}[{index}]")
    else:
        yield name, value


def compare(a: Any, b: Any) -> Tuple[int, List[str]]:
    """Number of elements (of tensors, and plain values) compared, and names of what is not the same."""
    first, second = dict(leaves(a)), dict(leaves(b))
    differing, elements = sorted(first.keys() ^ second.keys()), 0
    for name in first.keys() & second.keys():
        x, y = first[name], second[name]
        is_tensor = isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
        elements += x.numel() if is_tensor else 1
        if not (x.dtype == y.dtype and torch.equal(x, y) if is_tensor else type(x) is type(y) and x == y):
            differing.append(name)
    return elements, differing


def phase(run: Run, iteration: int) -> str:
    """The phase of an iteration by the run's own settings, such as "dense 1"."""
    schedule = read_run(run.folder).schedule
    return "?" if schedule is None else schedule.span(iteration).title


@click.command()
@click.option("--host", default="embedded", show_default=True, help="A checkout; it is not written to.")
def main(host: str) -> None:
    """Print the table and one JSON line."""
    results = []
    with tempfile.TemporaryDirectory(prefix="resume-table-") as temporary:
        table = Table(host, Path(temporary))
        for case in CASES:
            result = table.result(case)
            verdict = "equal" if not result["differing"] else f"differs in {', '.join(result['differing'][:4])}"
            click.echo(
                f"{case.name:<26} {result['iterations']:>8} iterations  {result['place']:<24} "
                f"p {result['augment_p'][0]:.4f} -> {result['augment_p'][1]:.4f}  {result['elements']:>8} elements: {verdict}"
            )
            results.append(result)
    command = " ".join(["python", *sys.argv])
    click.echo(json.dumps({"check": "resume_table", "command": command, "cases": results, **describe("cpu")}))
    if any(result["differing"] for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
