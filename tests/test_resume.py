"""A run that stops and goes on is the run that never stopped."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import re
import resource
import shutil
import types
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import torch
from support.commands import outcome
from support.host_loops import end_tick
from support.networks import assert_same, differing, load_networks
from support.runs import SCHEDULE, SMALL, Run, drive, finished_run, resumed

from regan_ext.support.errors import UserError
from regan_ext.train import resume_options
from training_hooks.core import files
from training_hooks.core.hook import Training
from training_hooks.core.schedule import Phase
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.nvidia import state as states
from training_hooks.nvidia.host_loop import HostLoop
from training_hooks.nvidia.seams import Ticker
from training_hooks.observers.pairs import Pairs
from training_hooks.observers.progress import Progress


@pytest.mark.parametrize("kimg", [1, 2], ids=["cut at a switch", "cut inside a sparse phase"])
def test_stopped_and_resumed_equals_uninterrupted(whole: Run, kimg: int, tmp_path: Path, host_dir: Path) -> None:
    again = resumed(whole, whole.snapshot(kimg), tmp_path, [*SCHEDULE, "--kimg=3"])
    assert_same(whole, again, 3, host_dir)
    assert not again.snapshot(0).exists()
    ticks = [line["Progress/tick"]["mean"] for line in again.stats]
    assert ticks == [line["Progress/tick"]["mean"] for line in whole.stats][kimg + 1 :]
    assert [line["ReGAN/phase"]["mean"] for line in again.stats] == [1.0] * len(ticks)


def test_two_ranks_cut_inside_a_dense_phase(train: Any, tmp_path: Path, host_dir: Path) -> None:
    options = ["--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=2", "--batch=64", "--gpus=2", "--kimg=2",
               "--regan-regrow=random", "--regan-score=saliency", "--regan-turnover=0.1"]  # fmt: skip
    uninterrupted = train(*options, mode="off")
    assert [line["ReGAN/phase"]["mean"] for line in uninterrupted.stats] == [0, 2, 1]
    last = {name: value["mean"] for name, value in uninterrupted.stats[-1].items() if name.startswith("ReGAN/")}
    assert last["ReGAN/mask_change"] >= 0.1 and last["ReGAN/mask_change/mapping"] >= 0.1
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
    masks = state["hooks"]["regan"]["networks"]["G"]
    weights = sum(torch.Size(shape).numel() for shape in masks["shapes"])
    packed = sum(bits.numel() for bits in masks["keep"])
    assert weights / 8 <= packed < weights / 8 + len(masks["keep"])
    assert not list(whole.folder.glob("*.tmp"))


# ---------------------------------------------------------------- files that cannot be used


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
    (copied / "runs" / "00000-other").mkdir(parents=True)
    (copied / "runs" / "00000-other" / "network-snapshot-000001.pkl").touch()
    code, output = outcome(whole, copied, capsys, value="latest")
    assert code == 2 and "no snapshot with a whole state file" in output
    shutil.copytree(whole.folder, copied / "runs" / whole.folder.name)
    code, output = outcome(whole, copied, capsys, "--kimg=4", value="latest")
    assert code == 0 and "network-snapshot-000003.pkl" in output
    assert f"Resume: goes on from {copied / 'runs' / whole.folder.name / 'network-snapshot-000003.pkl'}, 3.008 kimg\n" in output


@pytest.mark.parametrize("there", [[], ["runs"], ["runs", "runs/00000-killed-in-its-first-tick"]])
def test_latest_begins_where_there_is_nothing_to_go_on_from(whole: Run, tmp_path: Path, capsys: Any, there: List[str]) -> None:
    """So that a job which is started again and again has one command."""
    for name in there:
        (tmp_path / name).mkdir()
    code, output = outcome(whole, tmp_path, capsys, value="latest")
    assert code == 0 and f"--resume=latest: {tmp_path / 'runs'} holds no snapshot yet, so a new run begins." in output
    options = json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]
    assert options.get("resume_pkl") is None


def test_latest_goes_by_counters_and_not_by_clocks(whole: Run, tmp_path: Path, capsys: Any) -> None:
    """And passes over what is no state: a link to nothing, a folder."""
    for number, (name, kimg) in enumerate([("00002-last", 1), ("00002-last", 2), ("00001-before", 3)]):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in (f"network-snapshot-{kimg:06d}.pkl", f"regan-state-{kimg:06d}.pt"):
            shutil.copy(whole.folder / file, folder)
            os.utime(folder / file, (2e9 - number * 1e6, 2e9 - number * 1e6))
    folder = tmp_path / "runs" / "00002-last"
    (folder / "regan-state-000007.pt").symlink_to(folder / "gone.pt")
    (folder / "regan-state-000008.pt").mkdir()
    for kimg in (7, 8):
        shutil.copy(whole.folder / "network-snapshot-000003.pkl", folder / f"network-snapshot-{kimg:06d}.pkl")
    for value in ("latest", str(folder), str(tmp_path / "runs")):
        code, output = outcome(whole, tmp_path, capsys, "--kimg=5", value=value)
        assert code == 0 and '"resume_state"' in output and "00002-last/regan-state-000002.pt" in output, output
        assert "000008.pt: there is no such state file" in output


@pytest.mark.parametrize("keep, left", [(1, [1000000]), (2, [999999, 1000000])])
def test_a_million_kimg_is_newer_than_less(tmp_path: Path, keep: int, left: List[int]) -> None:
    for kimg in (999998, 999999, 1000000):
        (tmp_path / f"regan-state-{kimg:06d}.pt").touch()
    states.prune_old(tmp_path, keep)
    assert {path.name for path in tmp_path.iterdir()} == {f"regan-state-{kimg}.pt" for kimg in left}


def test_other_options_are_listed(whole: Run, copied: Path, capsys: Any) -> None:
    code, output = outcome(whole, copied, capsys, "--regan-ratio=0.5", "--cmax=32", "--seed=1")
    assert code == 2
    for part in ("--regan-ratio was 0.3, is 0.5", "channel_max was 16, is 32", "random_seed was 0, is 1"):
        assert part in output
    assert "copy it into another folder" in output and output.count("ratio was") == 1


def without_defaults(settings: Dict[str, Any]) -> Dict[str, Any]:
    """What an earlier version, which had none of these settings, would have written."""
    defaults = ReconfigurationConfig().to_dict()
    return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}


def test_a_state_of_an_earlier_version_goes_on_with_other_observers(whole: Run, copied: Path, host_dir: Path) -> None:
    """Absent settings have their defaults; ``--stability`` and ``--pairs`` only look on."""
    path = copied / "regan-state-000002.pt"
    state = states.load(path)
    regan, pairs, *_ = state["options"]["loss_kwargs"]["hooks"]
    few = without_defaults(regan["settings"])
    assert len(few) < len(regan["settings"]) / 2
    state["options"]["loss_kwargs"]["hooks"] = [pairs, {**regan, "settings": few}]
    saved = state["hooks"]["regan"]
    saved["config"] = without_defaults(saved["config"])
    states.save(state, path)
    more = ["--stability", "--pairs=none", "--kimg=3"]
    again = resumed(whole, copied / "network-snapshot-000002.pkl", copied / "runs", [*SCHEDULE, *more])
    assert differing(load_networks(whole.snapshot(3), host_dir), load_networks(again.snapshot(3), host_dir)) == []
    assert again.stats[-1]["Stability/mse"]["num"] == 1


def test_what_may_differ_between_two_parts_of_a_run(whole: Run, capsys: Any) -> None:
    def options(*hooks: Dict[str, Any]) -> Dict[str, Any]:
        return {**whole.options, "loss_kwargs": {**whole.options["loss_kwargs"], "hooks": list(hooks)}}

    def differs(saved: Dict[str, Any], now: Dict[str, Any]) -> str:
        try:
            resume_options.check(Path("x.pkl"), saved, now)
        except UserError as err:
            return re.sub(r".*other options: (.*); to begin.*", r"\1", err.message)
        return ""

    reconfiguration, *looking_on = whole.options["loss_kwargs"]["hooks"]
    assert [hook["class_name"].rpartition(".")[2] for hook in looking_on] == ["Pairs", "Progress"]
    stability, apa = ({"method": name, "version": 1, "settings": {}} for name in ("stability", "apa"))
    apa_of_0_1 = {"class_name": "training_hooks.apa.AdaptivePseudoAugmentation", "target": 0.6}
    plain = {**whole.options, "loss_kwargs": whole.options["loss_kwargs"]["inner"], "G_opt_kwargs": unhooked(whole)}
    assert differs(plain, options(stability)) == differs(options(stability), plain) == ""
    assert differs(options(reconfiguration), options(stability, *looking_on, reconfiguration)) == ""
    assert differs(options(apa), options({**apa, "settings": {"target": 0.6}})) == ""
    assert differs(options(apa_of_0_1), options(apa)) == ""
    assert differs(options(apa), options({**apa, "settings": {"target": 0.5}})) == "--apa-target was 0.6, is 0.5"
    assert differs(options(apa, reconfiguration), options(reconfiguration, apa)) == ""
    assert differs(options(reconfiguration), plain) == "Re-GAN was on, is off"
    assert differs(options(reconfiguration), options(reconfiguration, apa)) == "APA was off, is on"
    assert capsys.readouterr().err == ""
    later = {**reconfiguration, "settings": {**reconfiguration["settings"], "shrink": "twice"}}
    assert differs(options(later), options(reconfiguration)) == ""
    assert capsys.readouterr().err == "--resume: Re-GAN knows no shrink=twice: left out\n"
    assert differs(plain, {**plain, "G_reg_interval": 8}) == "G_reg_interval was None, is 8"


def unhooked(run: Run) -> Dict[str, Any]:
    """The optimizer's arguments of a run without hooks."""
    kwargs = {k: v for k, v in run.options["G_opt_kwargs"].items() if k not in ("inner", "network", "configured_lr")}
    return {**kwargs, "class_name": run.options["G_opt_kwargs"]["inner"]}


def test_a_run_begun_from_other_networks_goes_on(whole: Run, copied: Path, capsys: Any) -> None:
    """The host gives a run with ``--resume`` another pace of ADA, and no ramp-up of the average."""
    (copied / "regan-state-000001.pt").unlink()
    other = (copied / "network-snapshot-000001.pkl").rename(copied / "other.pkl")

    def options(*more: str) -> Dict[str, Any]:
        code, output = outcome(whole, copied, capsys, *more, value=str(other))
        assert code == 0, output
        return json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]

    begun = options()
    assert (begun["ada_kimg"], begun["ema_rampup"]) == (100, None)
    state = copied / "regan-state-000002.pt"
    states.save({**states.load(state), "options": begun}, state)
    folder = copied / "runs" / "00000-begun"
    folder.mkdir(parents=True)
    for path in copied.glob("*-000002.*"):
        path.rename(folder / path.name)
    again = options("--resume=latest")
    assert (again["ada_kimg"], again["ema_rampup"]) == (100, None) and again["resume_pkl"].startswith(str(folder))


def test_a_plain_snapshot_of_another_architecture_is_refused(whole: Run, copied: Path, capsys: Any) -> None:
    (copied / "regan-state-000002.pt").unlink()
    code, output = outcome(whole, copied, capsys, "--cfg=paper256")
    assert code == 2 and "another architecture" in output and "G.mapping.fc2.weight is nothing there" in output
    assert outcome(whole, copied, capsys)[0] == 0


def test_frozen_layers_go_with_networks_that_have_none(whole: Run, copied: Path, capsys: Any) -> None:
    """Transfer learning with frozen layers of D, from a run in which they trained; in the host they become buffers."""
    other = copied / "other.pkl"
    (copied / "network-snapshot-000001.pkl").rename(other)
    code, output = outcome(whole, copied, capsys, "--freezed=2", value=str(other))
    assert code == 0 and '"freeze_layers": 2' in output
    free = outcome(whole, copied, capsys, value=str(other))[1]
    (cost, free_cost) = (re.search(r"the run (.+) PFLOPs", text) for text in (output, free))  # D's share is in it
    assert cost is not None and free_cost is not None and cost[1] == free_cost[1]
    code, output = outcome(whole, copied, capsys, "--freezed=2", "--cmax=8", value=str(other))
    assert code == 2 and "another architecture" in output


@pytest.mark.parametrize("what", ["data", "subset"])
def test_a_snapshot_of_other_images_is_a_beginning(whole: Run, copied: Path, capsys: Any, what: str) -> None:
    """As in the host; where a folder was named, which means to go on, it is an error."""
    data, count = Path(whole.options["training_set_kwargs"]["path"]), whole.options["training_set_kwargs"]["max_size"]
    if what == "data":
        (copied / "elsewhere").mkdir()
        others = copied / "elsewhere" / data.name  # of the same name, with as many images, two of them exchanged
        with zipfile.ZipFile(data) as source, zipfile.ZipFile(others, "w") as target:
            names = sorted(source.namelist())
            for name, content in zip(names, [names[1], names[0], *names[2:]]):
                target.writestr(name, source.read(content))
        more, told = [f"--data={others}"], "their content is another"
    else:
        more, told = [f"--subset={count - 1}"], f"max_size was {count}, is {count - 1}"
    code, output = outcome(whole, copied, capsys, *more)
    assert code == 0 and f"trained on other images ({told}): a new run begins" in output
    assert "-resumecustom" in output and "-resumed" not in output
    code, output = outcome(whole, copied, capsys, *more, value=str(copied))
    assert code == 2 and f"trained on other images ({told})" in output and "begins a new run from its networks" in output


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_the_same_images_may_lie_elsewhere(whole: Run, copied: Path, capsys: Any, kind: str) -> None:
    data, moved = Path(whole.options["training_set_kwargs"]["path"]), copied / f"renamed.{kind}"
    if kind == "zip":
        shutil.copy(data, moved)
    else:
        zipfile.ZipFile(data).extractall(moved)
    code, output = outcome(whole, copied, capsys, f"--data={moved}")
    assert code == 0 and "-resumed" in output


def test_the_name_decides_where_the_content_was_not_recorded(whole: Run, copied: Path, capsys: Any) -> None:
    """As in runs of earlier versions."""
    path = copied / "regan-state-000002.pt"
    state = states.load(path)
    del state["options"]["progress_fn"]["data"]
    states.save(state, path)
    assert "-resumed" in outcome(whole, copied, capsys)[1]
    data = Path(whole.options["training_set_kwargs"]["path"])
    output = outcome(whole, copied, capsys, f"--data={shutil.copy(data, copied / 'others.zip')}")[1]
    assert f"trained on other images (data was {data.stem}, is others): a new run begins" in output


def test_a_plain_snapshot_of_a_run_with_other_images_is_a_beginning(whole: Run, copied: Path, capsys: Any) -> None:
    """Its folder says what they were."""
    (copied / "regan-state-000002.pt").unlink()
    options = whole.options
    (copied / "training_options.json").write_text(json.dumps(options))
    assert "-resumed" in outcome(whole, copied, capsys)[1]
    options["progress_fn"]["data"]["all"] = "0" * 32
    (copied / "training_options.json").write_text(json.dumps(options))
    code, output = outcome(whole, copied, capsys)
    assert code == 0 and "-resumecustom" in output and "-resumed" not in output


def test_end_of_the_budget(whole: Run, copied: Path, capsys: Any) -> None:
    code, output = outcome(whole, copied, capsys, "--kimg=2", value=str(copied))
    assert code == 2 and "2.08 kimg" in output and "larger --kimg" in output
    code, output = outcome(whole, copied, capsys, "--kimg=2")
    assert code == 0 and "a new run begins from its networks" in output


def test_not_a_pickle(whole: Run, copied: Path, capsys: Any) -> None:
    (copied / "regan-state-000002.pt").unlink()
    (copied / "network-snapshot-000002.pkl").write_text("hello")
    code, output = outcome(whole, copied, capsys)
    assert code == 2 and "network-snapshot-000002.pkl is not a network pickle" in output
    for name in ("missing.pkl", "missing"):
        code, output = outcome(whole, copied, capsys, value=str(copied / name))
        assert code == 2 and f"{name} does not exist" in output and "Traceback" not in output
    assert outcome(whole, copied, capsys, "--resume=ffhq256")[0] == 0


# ---------------------------------------------------------------- snapshots of the plain host


@pytest.fixture
def plain(copied: Path, host_dir: Path) -> Path:
    """A snapshot of 2 kimg without a state, whose augmentation had come to p = 0.5."""
    for state in copied.glob("regan-state-*.pt"):
        state.unlink()
    snapshot = copied / "network-snapshot-000002.pkl"
    content = load_networks(snapshot, host_dir)
    content["augment_pipe"].p.fill_(0.5)
    snapshot.write_bytes(pickle.dumps(content))
    return snapshot


def test_a_plain_snapshot_of_the_same_data_goes_on(whole: Run, plain: Path, tmp_path: Path) -> None:
    """It goes on at iteration 63, in the middle of a sparse phase."""
    data = whole.options["training_set_kwargs"]["path"]
    arguments = [f"--outdir={tmp_path / 'runs'}", f"--data={data}", *SMALL, *SCHEDULE, "--kimg=4", f"--resume={plain}"]
    run = finished_run(tmp_path / "runs", drive("probed", *arguments))
    assert f"{plain} has no state file: going on from its networks, 2 kimg and p=0.5; optimizers, masks and" in run.output
    assert sorted(path.name for path in run.folder.glob("network-snapshot-*")) == [run.snapshot(k).name for k in (3, 4)]
    assert [line["Progress/kimg"]["mean"] for line in run.stats] == pytest.approx([3.04, 4.0])
    assert [line["Progress/tick"]["mean"] for line in run.stats] == [3, 4]
    assert run.stats[0]["Progress/augment"]["mean"] == pytest.approx(0.5, abs=0.01)
    assert "ada_kimg" not in run.options and run.options["ema_rampup"] == whole.options["ema_rampup"] == 0.05
    assert run.options["progress_fn"]["resume_batches"] == 63
    begun = [record for record in run.records if record["event"] == "on_iteration"]
    assert [record["iteration"] for record in begun] == list(range(63, 125))
    selected = whole.plan["selected_weights"]
    assert begun[0]["G"]["sparse"] and begun[0]["G"]["leaks"] == begun[0]["G"]["ema_leaks"] == 0
    assert 0.29 * selected < begun[0]["G"]["pruned"] <= 0.3 * selected


@pytest.mark.parametrize("how", ["other images", "no number in its name", "nothing known of its images", "0 kimg"])
def test_a_plain_snapshot_of_something_else_is_a_beginning(
    whole: Run, plain: Path, how: str, capsys: Any, host_dir: Path
) -> None:
    options: List[str] = []
    if how == "other images":
        options = ["--mirror=1"]
    elif how == "nothing known of its images":
        content = load_networks(plain, host_dir)
        del content["training_set_kwargs"]
        plain.write_bytes(pickle.dumps(content))
    else:
        plain = plain.rename(plain.with_name("mine.pkl" if how.startswith("no") else "network-snapshot-000000.pkl"))
    code, output = outcome(whole, plain.parent, capsys, *options, value=str(plain))
    assert code == 0 and "-resumecustom" in output and '"ada_kimg": 100' in output
    assert "going on" not in output and "resume_plain" not in output


def test_a_plain_snapshot_at_the_end_of_the_budget_is_a_beginning(whole: Run, plain: Path, capsys: Any) -> None:
    code, output = outcome(whole, plain.parent, capsys, "--kimg=2")
    assert code == 0 and "--kimg=2 leaves nothing to train: a new run begins from its networks" in output
    assert "-resumecustom" in output and "going on" not in output
    code, output = outcome(whole, plain.parent, capsys, "--aug=noaug")
    assert code == 0 and "going on from its networks, 2 kimg; optimizers" in output  # no p where nothing is augmented


def test_a_loop_without_hooks_goes_on_from_a_plain_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training_hooks.nvidia.current._engine", None)

    def training_loop(ticker: Ticker) -> List[float]:
        batch_size, kimg_per_tick = 32, 1
        cur_nimg = cur_tick = tick_start_nimg = batch_idx = 0
        augment_pipe = types.SimpleNamespace(p=torch.zeros([]))
        ticker(0, 4)
        del batch_size, kimg_per_tick
        return [cur_nimg, batch_idx, cur_tick, tick_start_nimg, float(augment_pipe.p)]

    assert training_loop(Ticker(resume_plain={"cur_nimg": 2016, "augment_p": 0.25})) == [2016, 63, 3, 2016, 0.25]
    assert training_loop(Ticker(resume_plain={"cur_nimg": 2016})) == [2016, 63, 3, 2016, 0.0]


# ---------------------------------------------------------------- the pieces


def test_counters_of_a_loop_can_be_set() -> None:
    def training_loop(cur_nimg: int) -> "tuple[int, ...]":
        batch_idx = cur_tick = tick_start_nimg = 0
        set_from_below()
        return cur_nimg, batch_idx, cur_tick, tick_start_nimg

    def set_from_below() -> None:
        loop = HostLoop.running()
        loop.set_counters(images=70, iteration=7, tick=2)
        assert (loop.images, loop.iteration, loop.tick) == (70, 7, 2)
        with pytest.raises(RuntimeError, match="training_loop has no variable kimg_per_tick"):
            loop.end_tick_now()
        with pytest.raises(RuntimeError, match="training_loop has no variable batch_size"):
            print(loop.batch_size)

    assert training_loop(1) == (70, 7, 2, 70)
    assert HostLoop.find() is None
    with pytest.raises(RuntimeError, match="no function called training_loop is running"):
        HostLoop.running()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "regan-state-000001.pt"
    path.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        states.save({"a": 1}, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_text() == "old"


# ---------------------------------------------------------------- a full disk


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file of this process may grow beyond ``room`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_state(folder: Path) -> None:
    def training_loop(run_dir: str, snapshot_pkl: str) -> None:
        Ticker(states=True, keep_states=1)._write_state(HostLoop.running(), None)

    training_loop(str(folder), str(folder / "network-snapshot-000002.pkl"))


def write_pair(folder: Path) -> None:
    def training_loop() -> None:
        G = torch.nn.Linear(100, 100)
        training_set_kwargs: Dict[str, Any] = {}
        pairs._write(Phase.SPARSE)
        del G, training_set_kwargs

    pairs = Pairs()
    pairs._training, pairs._switch_kimg = Training({}, {}, run_dir=str(folder)), 1
    training_loop()


def write_best(folder: Path) -> None:
    end_tick(folder / "network-snapshot-000001.pkl", {"fid50k_full": 3.0}, 1000)


def write_status(folder: Path) -> None:
    progress = Progress(every=0)
    progress.start(Training({}, {}, run_dir=str(folder)))
    progress.on_iteration(0)
    progress.on_iteration(1)


@pytest.mark.parametrize(
    "write, room, name",
    [
        (write_state, 2000, "regan-state-000002.pt"),
        (write_pair, 2000, "network-pair-000001-sparse.pkl"),
        (write_best, 2000, "network-best-fid50k_full-dense.pkl"),
        (write_status, 10, "regan-status.json"),
    ],
)
def test_a_full_disk_costs_a_file_and_not_the_run(
    write: Any, room: int, name: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "collect", lambda *_: {"a": torch.zeros(5000), "b": torch.zeros(5000)})
    monkeypatch.setattr(files, "_told", set())
    for kimg in (1, 2):
        (tmp_path / f"network-snapshot-{kimg:06d}.pkl").write_bytes(bytes(5000))
    (tmp_path / "regan-state-000001.pt").write_text("older")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(room):
        write(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and "File too large" in line and line.endswith("training goes on.")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write(tmp_path)
    assert (tmp_path / name).stat().st_size > 10 and not capsys.readouterr().err
    assert (tmp_path / "regan-state-000001.pt").exists() == (write is not write_state)


def test_a_disk_that_fills_up_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        states.save({"a": 1}, tmp_path / "regan-state-000001.pt")
    assert list(tmp_path.iterdir()) == []


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


# ---------------------------------------------------------------- a state and a snapshot of two moments


@pytest.mark.parametrize("how", ["half", "newer"])
def test_a_state_beside_another_snapshot_is_passed_over(whole: Run, copied: Path, how: str, capsys: Any) -> None:
    """A stopped run that is killed while it writes its last snapshot anew leaves the older state beside it."""
    snapshot = copied / "network-snapshot-000002.pkl"
    content = snapshot.read_bytes()
    newer = (whole.folder / "network-snapshot-000003.pkl").read_bytes()
    snapshot.write_bytes(content[: len(content) // 2] if how == "half" else newer)
    code, output = outcome(whole, copied, capsys, value=str(copied))
    assert code == 0 and "Skipping" in output and str(copied / "network-snapshot-000001.pkl") in output
    code, output = outcome(whole, copied, capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and "is of another snapshot than network-snapshot-000002.pkl" in line
