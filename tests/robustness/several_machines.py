"""Training under ``torchrun``: whether two agents of one process each do what one agent of two does.

Command: ``python tests/robustness/several_machines.py [--host ~/stylegan2-ada-pytorch]``

Trains on the CPU (gloo), the agents meeting at 127.0.0.1 as two machines would: by two agents, by one, and by the host's own
processes (``--gpus=2``). Compares all parameters of G, D and G_ema, and what the metric came to. Then stops a run of two agents
by a signal to the process of the second alone, goes on with it, and compares again; and gives what cannot train: another number
of GPUs, an unknown option, a dry run. Prints one JSON line; exits with 1 if anything is not as it should be. Eight starts take
some four minutes of two cores.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import click
import psutil
from common import SMALL, Run, describe, finished_run, host_folder, load_networks, wait_for_iteration, write_small_digits
from support.detectors import write_detector
from support.networks import differing
from support.processes import free_port

METHOD = ["--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=6", "--batch=32", "--kimg=2", "--snap=2"]


class Machines:
    """Starts runs of one host, each into a folder of its own.

    Args:
        folder: scratch.
        host: "embedded" or a checkout.
    """

    def __init__(self, folder: Path, host: str):
        write_small_digits(folder / "digits8.zip", side=8)
        detector = write_detector(folder / "tiny.pt")
        self.folder = folder
        self.train = [
            "regan_ext", "train", f"--host={host if host == 'embedded' else host_folder(host)}",
            f"--data={folder / 'digits8.zip'}", *SMALL, *METHOD, "--metrics=fid1k_full", f"--metric-detector={detector}",
        ]  # fmt: skip
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "DNNLIB_CACHE_DIR": str(folder / "cache")}

    def start(self, arguments: List[str]) -> "subprocess.Popen[str]":
        command = [sys.executable, *arguments]
        options: Dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment)
        return subprocess.Popen(command, **options)

    def agents(self, count: int, *options: str) -> "List[subprocess.Popen[str]]":
        """``torchrun`` on so many machines, of two processes together."""
        meet = [f"--nnodes={count}", f"--nproc-per-node={2 // count}", "--rdzv-backend=c10d", "--rdzv-id=digits"]
        torchrun = ["-m", "torch.distributed.run", *meet, f"--rdzv-endpoint=127.0.0.1:{free_port()}", "-m"]
        return [self.start([*torchrun, *self.train, *options]) for _ in range(count)]

    def outdir(self, name: str) -> str:
        return f"--outdir={self.folder / name}"

    def run(self, name: str, count: int, *options: str) -> Run:
        """A finished run by ``count`` agents; by the host's own processes for 0."""
        options = (self.outdir(name), *options)
        processes = self.agents(count, *options) if count else [self.start(["-m", *self.train, "--gpus=2", *options])]
        return finished_run(self.folder / name, ended(processes))

    def refused(self, *options: str) -> Tuple[List[int], str]:
        """Exit codes that ``torchrun`` reports of the processes of two agents, and what they say."""
        output = [process.communicate(timeout=300)[0] for process in self.agents(2, *options)]
        said = "\n".join(output)
        codes = [int(line.split()[2]) for line in said.splitlines() if line.strip().startswith("exitcode")]
        return codes, "\n".join(line for line in said.splitlines() if line.startswith("Error: "))


def ended(processes: "List[subprocess.Popen[str]]") -> "subprocess.CompletedProcess[str]":
    """What all of them print, and the worst exit code."""
    output = [process.communicate(timeout=600)[0] for process in processes]
    return subprocess.CompletedProcess([], max(abs(p.returncode) for p in processes), "\n".join(output))


def stopped(machines: Machines, name: str) -> int:
    """Stop a run of two agents by the process of the second; returns how many iterations it came to."""
    first, second = machines.agents(2, machines.outdir(name))
    wait_for_iteration(machines.folder / name, 8, first)
    (process,) = psutil.Process(second.pid).children()
    process.send_signal(signal.SIGUSR1)
    result = ended([first, second])
    assert result.returncode == 0 and "Stopped. The same command with --resume=" in result.stdout, result.stdout[-3000:]
    (folder,) = (machines.folder / name).iterdir()
    return int(json.loads((folder / "regan-status.json").read_text())["iteration"])


@click.command(help=__doc__)
@click.option("--host", default="embedded", show_default=True, help="Checkout to train.")
def main(host: str) -> None:
    """Print what was found."""
    with tempfile.TemporaryDirectory() as temporary:
        machines, modules = Machines(Path(temporary), host), host_folder(host)
        whole = machines.run("one", 1)

        def same(other: Run) -> bool:
            return not differing(*(load_networks(run.snapshot(2), modules) for run in (whole, other)))

        def values(run: Run) -> List[float]:
            lines = (run.folder / "metric-fid1k_full.jsonl").read_text().splitlines()
            return [json.loads(line)["results"]["fid1k_full"] for line in lines]

        found: Dict[str, Any] = {}
        for name, count in (("two", 2), ("spawned", 0)):
            run = machines.run(name, count)
            found[name] = {"same_parameters": same(run), "same_metric": values(run) == values(whole)}
        at = stopped(machines, "stopped")
        (folder,) = (machines.folder / "stopped").iterdir()
        again = machines.run("resumed", 2, f"--resume={folder}")
        found["resumed"] = {"stopped_at": at, "same_parameters": same(again)}
        outdir = machines.outdir("none")
        gpus, unknown = machines.refused(outdir, "--gpus=3"), machines.refused(outdir, "--bogus=1")
        found["refused"] = {
            "gpus": set(gpus[0]) == {2} and gpus[1].count("--gpus: 3 processes") == 1,
            "option": set(unknown[0]) == {2} and unknown[1].count("--bogus") == 1,
            "dry_run": machines.refused(outdir, "-n") == ([], ""),
            "no_folder": not (machines.folder / "none").exists(),
        }
    sound = all(value for part in found.values() for value in part.values())
    ran = "python tests/robustness/several_machines.py" + ("" if host == "embedded" else f" --host {Path(host).name}")
    print(json.dumps({"check": "several_machines", "host": Path(host).name, **found, "command": ran, **describe("cpu")}))
    sys.exit(not sound)


if __name__ == "__main__":
    main()
