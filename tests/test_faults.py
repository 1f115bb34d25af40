"""What a full disk, too little memory, a deleted file and a race do to a run: one line, and an exit code of its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Dict, Type

import click
import pytest
import torch
from support.checkout_like import make_checkout
from support.processes import run_python, spawn
from support.runs import SMALL, drive

from regan_ext.support.errors import UserError
from regan_ext.train.faults import FilesFault, MemoryFault, explained, explained_imports

resource = pytest.importorskip("resource", reason="limits of POSIX")


def os_error(number: int, path: "Path | None" = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if path is None else [str(path)]))


@pytest.fixture
def args(tmp_path: Path) -> Dict[str, Any]:
    run = tmp_path / "00000-run"
    run.mkdir()
    return {"run_dir": str(run), "batch_gpu": 16}


def ending(err: BaseException, args: Dict[str, Any]) -> click.ClickException:
    with pytest.raises(click.ClickException) as caught, explained(lambda: args):
        raise err
    return caught.value


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES])
def test_a_folder_that_cannot_be_written(args: Dict[str, Any], number: int) -> None:
    folder = Path(args["run_dir"])
    fault = ending(os_error(number), args)
    assert isinstance(fault, FilesFault) and fault.exit_code == 4
    assert os.strerror(number) in fault.message and str(folder) in fault.message and "--resume" not in fault.message
    (folder / "regan-state-000001.pt").write_bytes(b"")
    assert f"--resume={folder} goes on" in ending(os_error(number, folder / "stats.jsonl"), args).message


def test_a_folder_that_has_gone(args: Dict[str, Any]) -> None:
    shutil.rmtree(args["run_dir"])
    message = ending(os_error(errno.ENOENT, Path(args["run_dir"], "fakes000001.png")), args).message
    assert message.startswith(f"the run folder {args['run_dir']} is not there any more")


def test_a_file_that_has_gone(args: Dict[str, Any], tmp_path: Path) -> None:
    assert str(tmp_path / "data.zip") in ending(os_error(errno.ENOENT, tmp_path / "data.zip"), args).message


def test_a_failed_write_behind_torchs_own_error(args: Dict[str, Any]) -> None:
    try:
        try:
            raise os_error(errno.ENOSPC)
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904
    except RuntimeError as err:
        assert isinstance(ending(err, args), FilesFault)


def too_much_asked_for() -> BaseException:
    try:
        torch.empty(2**60)
    except RuntimeError as err:
        return err
    raise AssertionError


@pytest.mark.parametrize(
    "err, where",
    [
        (MemoryError(), "machine"),
        (too_much_asked_for(), "machine"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "GPU"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "machine"),
        (os_error(errno.ENOMEM), "machine"),
    ],
)
def test_too_little_memory(args: Dict[str, Any], err: BaseException, where: str) -> None:
    fault = ending(err, args)
    assert isinstance(fault, MemoryFault) and fault.exit_code == 5
    assert f"on the {where}" in fault.message and "--batch-gpu below 16" in fault.message and "\n" not in fault.message


def test_a_file_beside_the_run_folder_is_none_of_it(args: Dict[str, Any]) -> None:
    with pytest.raises(PermissionError), explained(lambda: args):
        raise os_error(errno.EACCES, Path(args["run_dir"] + "-copy", "notes.txt"))


def test_a_mistake_stays_one_whatever_is_behind_it(args: Dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught, explained(lambda: args):
        raise UserError("--data: no image") from MemoryError()
    assert caught.value.message == "--data: no image"


@pytest.mark.parametrize(
    "err",
    [RuntimeError("Trying to resize storage"), ValueError("memory"), os_error(errno.EACCES, Path("/x")), KeyError("a")],
)  # fmt: skip
def test_other_failures_stay_what_they_are(args: Dict[str, Any], err: BaseException) -> None:
    with pytest.raises(type(err)) as caught, explained(lambda: args):
        raise err
    assert caught.value is err


def _end(rank: int, kind: str) -> None:
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    with explained(lambda: {"run_dir": "/nowhere", "batch_gpu": 4}):
        raise {"full": os_error(errno.ENOSPC), "memory": MemoryError(), "mistake": UserError("--data: no image")}[kind]


@pytest.mark.parametrize(
    "kind, expected, words",
    [
        ("full", FilesFault, "No space left"),
        ("memory", MemoryFault, "--batch-gpu below 4"),
        ("mistake", UserError, "--data: no image"),
        ("killed", MemoryFault, "too little memory"),
    ],
)
def test_the_end_of_one_of_several_ranks(kind: str, expected: Type[BaseException], words: str) -> None:
    with pytest.raises(expected, match=words), explained(dict):
        spawn(_end, args=(kind,), nprocs=1)


def test_a_package_or_a_file_of_the_host_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"augment\.py: 'git -C"), explained_imports(tmp_path):
        raise ModuleNotFoundError("No module named 'training.augment'", name="training.augment")
    with pytest.raises(UserError, match="needs psutil, which is not installed"), explained_imports(tmp_path):
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")


# ---------------------------------------------------------------- whole runs


def test_a_disk_that_is_full_when_the_host_writes_its_snapshot(host_dir: Path, data_zip: Path, tmp_path: Path) -> None:
    result = drive("full", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL)
    assert result.returncode == 4, result.stdout[-3000:]
    last = result.stdout.splitlines()[-1]
    assert (
        last.startswith("Error: ") and str(tmp_path) in last and "File too large" in last and "Traceback" not in result.stdout
    )


def test_a_number_that_another_run_has_just_taken(host_dir: Path, data_zip: Path, tmp_path: Path) -> None:
    result = drive("raced", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, "--batch=128")
    assert result.returncode == 0, result.stdout[-3000:]
    first, second = sorted(path for path in tmp_path.iterdir())
    assert not list(first.iterdir()) and second.name.startswith("00001-") and (second / "network-snapshot-000001.pkl").is_file()


def test_a_checkout_without_one_of_its_files(host_dir: Path, data_zip: Path, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout", host_dir)
    (checkout / "torch_utils" / "persistence.py").unlink()
    arguments = ["-m", "regan_ext", "train", "-n", f"--host={checkout}", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}"]
    result = run_python([*arguments, *SMALL])
    assert result.returncode == 2 and "Traceback" not in result.stdout
    assert f"it has no {checkout / 'torch_utils' / 'persistence.py'}" in result.stdout and not (tmp_path / "runs").exists()
