"""Fixtures shared by all tests: small real data, the embedded host, and a way to run it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List

# Two processes test at a time, and idle threads of theirs would spin on the cores. Has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

pytest.register_assert_rewrite("support")

from support.digits import write_small_digits  # noqa: E402
from support.runs import REGAN, SCHEDULE, SMALL, Run, drive, finished_run  # noqa: E402

# Files that share one of these runs are tested by one process, so that it is made once.
SHARED = ("whole", "regan_run")
# Other files that take long, longest first, so that none is left to one process at the end.
SLOW = (
    "test_launch",
    "test_stylegan3",
    "test_channel_training",
    "test_tables",
    "test_demo",
    "test_releases",
    "test_metrics",
    "test_tune",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """What one process tests belongs together, a file at least; the slowest first."""
    group_of: Dict[Path, str] = {}
    for item in items:
        shared = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
        group_of[item.path] = shared[0] if shared else group_of.get(item.path, item.path.stem)
    order = (*SHARED, *SLOW)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of[item.path]))
    items.sort(key=lambda item: order.index(group_of[item.path]) if group_of[item.path] in order else len(order))


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


@pytest.fixture(scope="session")
def tiny_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same digits at 8x8, on which a run takes half of the time: for tests that do not look at layers or pictures."""
    path = tmp_path_factory.mktemp("data") / "digits8.zip"
    write_small_digits(path, side=8)
    return path


@pytest.fixture(scope="session")
def train(host_dir: Path, data_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the embedded host through ``drive.py``; see there for the modes."""

    def run(*options: str, mode: str = "probed") -> Run:
        outdir = tmp_path_factory.mktemp("runs")
        arguments = [f"--outdir={outdir}", f"--data={data_zip}", *SMALL, *options]
        return finished_run(outdir, drive(mode, *arguments))

    return run


@pytest.fixture(scope="session")
def train_tiny(train: Any, tiny_zip: Path) -> Any:
    """``train`` on the digits at 8x8."""

    def run(*options: str, mode: str = "probed") -> Run:
        return train(f"--data={tiny_zip}", *options, mode=mode)

    return run


@pytest.fixture(scope="session")
def regan_run(train: Any) -> Run:
    """63 iterations in two rounds each: warm-up 0-9, sparse 10-19, dense 20-29, ..., sparse 50-59, dense 60-62."""
    return train(*REGAN, "--batch-gpu=8", "--aug=ada")


@pytest.fixture(scope="session")
def whole(train_tiny: Any) -> Run:
    """A run of ``SCHEDULE`` with a snapshot and a state in the middle of it."""
    return train_tiny(*SCHEDULE, "--kimg=3", mode="off")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors this small gain nothing from a second thread, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def copied(whole: Run, tmp_path: Path) -> Path:
    """A folder with the snapshots and states of ``whole`` at 1 and 2 kimg, to be changed as one likes."""
    for name in (
        "network-snapshot-000002.pkl",
        "regan-state-000002.pt",
        "network-snapshot-000001.pkl",
        "regan-state-000001.pt",
    ):
        shutil.copy2(whole.folder / name, tmp_path / name)
    return tmp_path
