"""A run that stops and goes on is the run that never stopped."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from conftest import SCHEDULE, SMALL, TESTS, Run, finished_run, load_networks, run_python
from test_launch import call
from test_training_loop import differing

from training_hooks import state as states


def resumed(whole: Run, snapshot: Path, outdir: Path, options: List[str]) -> Run:
    data = whole.options["training_set_kwargs"]["path"]
    arguments = [f"--outdir={outdir}", f"--data={data}", *SMALL, *options, f"--resume={snapshot}"]
    return finished_run(outdir, run_python([str(TESTS / "drive.py"), "off", *arguments]))


def assert_same(a: Run, b: Run, kimg: int, host: Path) -> None:
    """Parameters and buffers but w_avg's twin runs, optimizers, masks, augmentation, counters and random states agree."""
    first, second = load_networks(a.snapshot(kimg), host), load_networks(b.snapshot(kimg), host)
    assert differing(first, second) == []
    assert torch.equal(first["augment_pipe"].p, second["augment_pipe"].p) and float(first["augment_pipe"].p) > 0
    one, two = (states.load(states.state_path(run.snapshot(kimg))) for run in (a, b))
    for state in (one, two):
        state.pop("options")
        for rank in state["ranks"]:
            rank.pop("averages")  # the host feeds uninitialised memory into w_avg when it prints its summary
    assert_equal(one, two, "state")


def assert_equal(a: Any, b: Any, where: str) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b)):
            assert_equal(x, y, f"{where}[{index}]")
    else:
        assert a == b, where


@pytest.mark.parametrize("kimg", [1, 2], ids=["cut at a switch", "cut inside a sparse phase"])
def test_stopped_and_resumed_equals_uninterrupted(whole: Run, kimg: int, tmp_path: Path, host_dir: Path) -> None:
    again = resumed(whole, whole.snapshot(kimg), tmp_path, [*SCHEDULE, "--kimg=3"])
    assert_same(whole, again, 3, host_dir)
    assert not again.snapshot(0).exists()
    ticks = [line["Progress/tick"]["mean"] for line in again.stats]
    assert ticks == [line["Progress/tick"]["mean"] for line in whole.stats][kimg + 1 :]
    assert [line["ReGAN/phase"]["mean"] for line in again.stats] == [1.0] * len(ticks)


def test_two_ranks_cut_inside_a_dense_phase(train: Any, tmp_path: Path, host_dir: Path) -> None:
    options = ["--regan-ratio=0.3", "--regan-interval=20", "--regan-warmup=4", "--batch=32", "--gpus=2", "--kimg=2"]
    uninterrupted = train(*options, mode="off")
    assert uninterrupted.options["loss_kwargs"]["hooks"][0]["plan"]["phases"][2].startswith("dense 1: iterations 24-43")
    again = resumed(uninterrupted, uninterrupted.snapshot(1), tmp_path, options)
    assert_same(uninterrupted, again, 2, host_dir)


def test_training_goes_on_after_a_resume(whole: Run, host_dir: Path) -> None:
    """The comparison above would also hold if nothing had moved between the snapshots."""
    changed = differing(load_networks(whole.snapshot(2), host_dir), load_networks(whole.snapshot(3), host_dir))
    assert {name.split(".")[0] for name in changed} == {"G", "D", "G_ema"}


def test_state_files_are_small_and_few(whole: Run) -> None:
    kept = sorted(path.name for path in whole.folder.glob("regan-state-*.pt"))
    assert kept == [f"regan-state-{kimg:06d}.pt" for kimg in (1, 2, 3)]
    state = states.load(whole.folder / kept[-1])
    masks = state["hooks"]["Reconfiguration"]["networks"]["G"]
    weights = sum(torch.Size(shape).numel() for shape in masks["shapes"])
    packed = sum(bits.numel() for bits in masks["keep"])
    assert weights / 8 <= packed < weights / 8 + len(masks["keep"])
    assert not list(whole.folder.glob("*.tmp"))


# ---------------------------------------------------------------- files that cannot be used


def outcome(whole: Run, folder: Path, capsys: Any, *more: str, value: str = "") -> "tuple[int, str]":
    data = whole.options["training_set_kwargs"]["path"]
    value = value or str(folder / "network-snapshot-000002.pkl")
    common = ["train", "--host=embedded", f"--outdir={folder / 'runs'}", f"--data={data}", *SMALL, *SCHEDULE, "--kimg=3"]
    return call([*common, f"--resume={value}", "-n", *more], capsys)


@pytest.fixture
def copied(whole: Run, tmp_path: Path) -> Path:
    for name in (
        "network-snapshot-000002.pkl",
        "regan-state-000002.pt",
        "network-snapshot-000001.pkl",
        "regan-state-000001.pt",
    ):
        shutil.copy2(whole.folder / name, tmp_path / name)
    return tmp_path


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "bit flipped":
        content[len(content) // 2] ^= 1
    elif how == "empty":
        content = bytearray()
    elif how == "foreign":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hello", "world")
        return
    elif how == "older version":
        state = torch.load(path, weights_only=True)
        state["version"] = 0
        torch.save(state, path)
        return
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["truncated", "bit flipped", "empty", "foreign", "older version"])
def test_damaged_state_is_one_line_and_nothing_is_touched(whole: Run, copied: Path, how: str, capsys: Any) -> None:
    damage(copied / "regan-state-000002.pt", how)
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    code, output = outcome(whole, copied, capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and "regan-state-000002.pt" in line and "Traceback" not in output
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_latest_and_folders_take_the_newest_whole_pair(whole: Run, copied: Path, capsys: Any) -> None:
    code, output = outcome(whole, copied, capsys, value=str(copied))
    assert code == 0 and str(copied / "network-snapshot-000002.pkl") in output
    damage(copied / "regan-state-000002.pt", "truncated")
    code, output = outcome(whole, copied, capsys, value=str(copied))
    assert code == 0 and "Skipping" in output and str(copied / "network-snapshot-000001.pkl") in output
    (copied / "network-snapshot-000001.pkl").unlink()
    code, output = outcome(whole, copied, capsys, value=str(copied))
    assert code == 2 and "no snapshot with a whole state file" in output
    (copied / "runs").mkdir()
    code, output = outcome(whole, copied, capsys, value="latest")
    assert code == 2 and "no snapshot with a whole state file" in output
    shutil.copytree(whole.folder, copied / "runs" / whole.folder.name)
    code, output = outcome(whole, copied, capsys, "--kimg=4", value="latest")
    assert code == 0 and "network-snapshot-000003.pkl" in output


def test_other_options_are_listed(whole: Run, copied: Path, capsys: Any) -> None:
    code, output = outcome(whole, copied, capsys, "--regan-ratio=0.5", "--cmax=32", "--seed=1")
    assert code == 2
    for part in ("ratio was 0.3, is 0.5", "channel_max was 16, is 32", "random_seed was 0, is 1"):
        assert part in output


def test_a_plain_snapshot_of_another_architecture_is_refused(whole: Run, copied: Path, capsys: Any) -> None:
    (copied / "regan-state-000002.pt").unlink()
    code, output = outcome(whole, copied, capsys, "--cfg=paper256")
    assert code == 2 and "another architecture" in output and "G.mapping.fc2.weight is nothing there" in output
    assert outcome(whole, copied, capsys)[0] == 0


def test_end_of_the_budget(whole: Run, copied: Path, capsys: Any) -> None:
    code, output = outcome(whole, copied, capsys, "--kimg=2", value=str(copied))
    assert code == 2 and "2.08 kimg" in output and "larger --kimg" in output
    code, output = outcome(whole, copied, capsys, "--kimg=2")
    assert code == 0 and "a new run begins from its networks" in output


def test_not_a_pickle(whole: Run, copied: Path, capsys: Any) -> None:
    (copied / "regan-state-000002.pt").unlink()
    (copied / "network-snapshot-000002.pkl").write_text("hello")
    code, output = outcome(whole, copied, capsys)
    assert code == 2 and "cannot be read as a network pickle" in output
    code, output = outcome(whole, copied, capsys, value=str(copied / "missing.pkl"))
    assert code == 2 and "does not exist" in output


# ---------------------------------------------------------------- the pieces


def test_loop_variables_can_be_set() -> None:
    from training_hooks import loop

    def training_loop(counter: int) -> "tuple[int, int]":
        batch_idx = 0
        set_from_below(loop)
        return counter, batch_idx

    def set_from_below(module: Any) -> None:
        frame = module.find_loop()
        module.set_variables(frame, {"counter": 7, "batch_idx": 5})
        with pytest.raises(RuntimeError, match="no variable kimg"):
            module.set_variables(frame, {"kimg": 1})

    assert training_loop(1) == (7, 5)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "regan-state-000001.pt"
    path.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(states.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        states.save({"a": 1}, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_text() == "old"


@pytest.mark.parametrize("keep, left", [(0, 5), (2, 2), (9, 5)])
def test_the_newest_states_are_kept(tmp_path: Path, keep: int, left: int) -> None:
    for kimg in range(5):
        (tmp_path / f"regan-state-{kimg:06d}.pt").write_text("")
    states.prune_old(tmp_path, keep)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"regan-state-{kimg:06d}.pt" for kimg in range(5 - left, 5)]


def test_the_options_in_a_state_are_the_runs_own(whole: Run) -> None:
    state: Dict[str, Any] = states.load(whole.folder / "regan-state-000003.pt")
    assert state["options"] == json.loads((whole.folder / "training_options.json").read_text())
