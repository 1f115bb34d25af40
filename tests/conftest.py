"""Fixtures shared by all tests: small real data, the embedded host, and a way to run it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

# Two processes test at a time, and idle threads of theirs would spin on the cores. Has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image
from support import warm

TESTS = Path(__file__).parent

# Every run of the host uses these unless a test says otherwise: the smallest network that has every kind of layer.
SMALL = ["--device=cpu", "--cbase=256", "--cmax=16", "--batch=16", "--kimg=1", "--tick=1", "--snap=1",
         "--metrics=none"]  # fmt: skip
# A process beside these loads the images, as it does on a GPU.
REGAN = ["--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=10", "--workers=1"]


# 94 iterations of 32 images: warm-up 0-12, sparse 13-32, dense 33-52, sparse 53-72, dense 73-92, sparse 93.
# Ticks end with iterations 0, 32 (at a switch), 64 (inside a sparse phase) and 93.
SCHEDULE = ["--regan-ratio=0.3", "--regan-interval=20", "--regan-warmup=13", "--regan-moments=restore", "--batch=32",
            "--workers=1"]  # fmt: skip


# Files that take longest, longest first, so that none is left to one process at the end.
SLOW = ["test_resume", "test_training_loop", "test_launch", "test_stop", "test_demo", "test_channel_training", "test_export",
        "test_augment_training", "test_docs", "test_metrics", "test_releases"]  # fmt: skip


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Slow files first."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: Path
    output: str
    records: List[Dict[str, Any]]

    def snapshot(self, kimg: int) -> Path:
        return self.folder / f"network-snapshot-{kimg:06d}.pkl"

    @property
    def options(self) -> Dict[str, Any]:
        return json.loads((self.folder / "training_options.json").read_text())

    @property
    def plan(self) -> Dict[str, Any]:
        """What Re-GAN planned."""
        plan: Dict[str, Any] = json.loads((self.folder / "regan-plan.json").read_text())
        return dict(plan["methods"]["regan"])

    @property
    def stats(self) -> List[Dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "stats.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of the tests' own, so that they neither trust nor add to what this user's runs wrote."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def host_dir() -> Path:
    """The embedded host's folder, fetched from the package index where it is not in the cache."""
    from regan_ext.hosts import embedded

    return embedded.obtain()


@pytest.fixture(scope="session")
def data_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 real handwritten digits at 16x16, grey, with labels."""
    path = tmp_path_factory.mktemp("data") / "digits16.zip"
    write_small_digits(path)
    return path


def write_small_digits(path: Path) -> None:
    """64 real handwritten digits at 16x16, grey, with labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = []
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(64):
            image = Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).resize((16, 16))
            encoded = io.BytesIO()
            image.save(encoded, format="png")
            archive.writestr(f"{index:05d}.png", encoded.getvalue())
            labels.append([f"{index:05d}.png", int(digits.target[index])])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


def environment_with(env: Optional[Dict[str, str]]) -> Dict[str, str]:
    """Of a process that tests: networks this small gain nothing from a second thread, and lose much where cores are busy."""
    return {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", **(env or {})}


def run_python(arguments: List[str], env: Optional[Dict[str, str]] = None, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run this Python in a process of its own, stdout and stderr together."""
    return run_command([sys.executable, *arguments], env, **kwargs)


def run_command(command: List[str], env: Optional[Dict[str, str]] = None, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program, stdout and stderr together."""
    return subprocess.run(
        command,
        env=environment_with(env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        **kwargs,
    )


def drive(mode: str, *arguments: str, env: Optional[Dict[str, str]] = None) -> "subprocess.CompletedProcess[str]":
    """Run the embedded host through ``drive.py``; see there for the modes."""
    return warm.drive([mode, *arguments], environment_with(env))


def finished_run(outdir: Path, result: "subprocess.CompletedProcess[str]") -> Run:
    """The one run folder below ``outdir`` of a run that has to have succeeded."""
    assert result.returncode == 0, result.stdout[-6000:]
    (folder,) = [path for path in outdir.iterdir() if path.is_dir()]
    records = []
    for path in sorted(folder.glob("records-*.jsonl")):
        records += [json.loads(line) for line in path.read_text().splitlines()]
    return Run(folder, result.stdout, records)


@pytest.fixture(scope="session")
def train(host_dir: Path, data_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the embedded host through ``drive.py``; see there for the modes."""

    def run(*options: str, mode: str = "probed") -> Run:
        outdir = tmp_path_factory.mktemp("runs")
        arguments = [f"--outdir={outdir}", f"--data={data_zip}", *SMALL, *options]
        return finished_run(outdir, drive(mode, *arguments))

    return run


@pytest.fixture(scope="session")
def regan_run(train: Any) -> Run:
    """63 iterations in two rounds each: warm-up 0-9, sparse 10-19, dense 20-29, ..., sparse 50-59, dense 60-62."""
    return train(*REGAN, "--batch-gpu=8")


@pytest.fixture(scope="session")
def whole(train: Any) -> Run:
    """A run of ``SCHEDULE`` with a snapshot and a state in the middle of it."""
    return train(*SCHEDULE, "--kimg=3", mode="off")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors this small gain nothing from a second thread, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load_networks(snapshot: Path, host: Path) -> Dict[str, Any]:
    """A snapshot's content, in this process."""
    import importlib
    import pickle

    if str(host) not in sys.path:
        sys.path.insert(0, str(host))
    importlib.import_module("dnnlib")  # the embedded host's modules import each other in a circle; this is the way in
    with open(snapshot, "rb") as file:
        return pickle.load(file)
