"""Run folders made by hand, as the host writes them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from PIL import Image

HOOK = {"ratio": 0.3, "interval": 200, "warmup": 100}


def stat(value: Any) -> Dict[str, Any]:
    return {"num": 1, "mean": value, "std": 0.0}


def tick(number: int, kimg: float, length: float = 1.0, sec_per_kimg: float = 10.0, **values: Any) -> Dict[str, Any]:
    """One line of stats.jsonl; keyword arguments name statistics with __ for the slash."""
    line: Dict[str, Any] = {
        "Progress/tick": stat(number),
        "Progress/kimg": stat(kimg),
        "Timing/sec_per_tick": stat(length * sec_per_kimg),
        "Timing/sec_per_kimg": stat(sec_per_kimg),
        "Timing/total_sec": stat(kimg * sec_per_kimg),
        "Loss/G/loss": stat(1.5),
        "Loss/D/loss": stat(0.5),
        "timestamp": 1.0,
    }
    line.update({name.replace("__", "/"): stat(value) for name, value in values.items()})
    return line


def make_run(
    folder: Path, ticks: Sequence[Dict[str, Any]], hook: Optional[Dict[str, Any]] = None, kimg: int = 9, **options: Any
) -> Path:
    """A run of batch 10; with a ``hook``, of Re-GAN with these settings, and with what it has under "plan"."""
    folder.mkdir(parents=True)
    loss: Dict[str, Any] = {"class_name": "training.loss.StyleGAN2Loss", "r1_gamma": 10}
    optimizer: Dict[str, Any] = {"class_name": "torch.optim.Adam", "lr": 0.0025}
    if hook is not None:
        whole = {"iterations": kimg * 100, "batch_size": 10, "methods": {"regan": hook.get("plan", {})}}
        (folder / "regan-plan.json").write_text(json.dumps({**whole, **hook.get("whole_plan", {})}))
        settings = {name: value for name, value in hook.items() if name not in ("plan", "whole_plan")}
        entry = {"method": "regan", "version": 2, "settings": settings}
        loss = {"class_name": "training_hooks.nvidia.seams.HookedLoss", "inner": loss, "hooks": [entry]}
        optimizer = {**optimizer, "class_name": "training_hooks.nvidia.seams.hooked_optimizer", "inner": "torch.optim.Adam"}
        optimizer.update(network="G", configured_lr=0.0025)
    written = {
        "training_set_kwargs": {"path": "/data/obama.zip", "resolution": 32, "max_size": 100},
        "loss_kwargs": loss,
        "G_opt_kwargs": optimizer,
        "total_kimg": kimg,
        "batch_size": 10,
        "run_dir": str(folder),
        **options,
    }
    (folder / "training_options.json").write_text(json.dumps(written))
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ticks))
    return folder


def ticks_of_one_kimg(count: int, **values: Any) -> List[Dict[str, Any]]:
    """The host's first tick of one batch, then ticks of 1 kimg."""
    first = [tick(0, 0.01, 0.01, 500.0, **values)]
    return first + [tick(number, number + 0.01, **values) for number in range(1, count)]


def add_metric(folder: Path, name: str, values: Dict[int, float]) -> None:
    """The file in which the host notes a metric, by kimg of the snapshot."""
    lines = [
        json.dumps({"results": {name: value}, "metric": name, "snapshot_pkl": f"network-snapshot-{kimg:06d}.pkl"})
        for kimg, value in values.items()
    ]
    (folder / f"metric-{re.sub(r'[^a-z0-9_]', '', name)}.jsonl").write_text("\n".join(lines) + "\n")


def write_status(folder: Path, iteration: int, age: float = 0.0, **fields: Any) -> None:
    """What a job with Re-GAN said ``age`` seconds ago."""
    status = {"iteration": iteration, "total": 900, "batch_size": 10, "pid": 1, "sec_per_iteration": 0.1, **fields}
    (folder / "regan-status.json").write_text(json.dumps({**status, "time": time.time() - age}))


def ended_job() -> Dict[str, Any]:
    """The fields of a status by which a job is known, of a process of this machine that was and has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {"pid": process.pid, "host": socket.gethostname()}


def add_snapshot(folder: Path, kimg: int, with_state: bool = True) -> None:
    """Empty files, named as a snapshot and its state."""
    (folder / f"network-snapshot-{kimg:06d}.pkl").touch()
    if with_state:
        (folder / f"regan-state-{kimg:06d}.pt").touch()


def add_fakes(folder: Path, kimgs: Sequence[int], side: int = 256) -> None:
    """Sample grids of noise, which no compression makes smaller."""
    for kimg in kimgs:
        noise = np.random.RandomState(kimg).randint(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"fakes{kimg:06d}.png")
