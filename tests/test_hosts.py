"""The hosts that are known: recognised by what lies in a folder, and told before training what does not fit them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Set

import pytest
from support.commands import call
from support.host_matrix import PAGE, with_matrix

from regan_ext.hosts import deceived, diffaugment, embedded_train, r3gan, stylegan2_ada, stylegan3, stylegan3_fun
from regan_ext.hosts.checkout import FLAVOURS, HostError, of_script, recognise
from regan_ext.hosts.flavour import Counter, Flavour, Unfit
from regan_ext.hosts.patch import apply
from regan_ext.support.errors import UserError
from regan_ext.train.resume import Resume, continuation
from regan_ext.train.resume_networks import Networks
from regan_ext.train.resume_options import check
from training_hooks.methods.method import methods
from training_hooks.nvidia.host_loop import HostLoop

CHECKS = {"doctor", "patch", "zeros", "resume", "off", "channels", "refusals", "report", "images"}
FURTHER = {"methods", "exports", "metrics"}
named = pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)


def folder_of(flavour: Flavour, folder: Path) -> Path:
    """A folder with what a host is recognised by, and nothing in it."""
    for name in flavour.files:
        text = "import os\n"
        for function in flavour.functions.get(name, ()):
            owner, _, method = function.rpartition(".")
            text += f"class {owner}:\n    def {method}(self): pass\n" if owner else f"def {function}(): pass\n"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + ("if __name__ == '__main__':\n    main()\n" if name == "train.py" else ""))
    return folder


@named
def test_a_host_is_known_by_its_own_name(flavour: Flavour, tmp_path: Path) -> None:
    folder = folder_of(flavour, tmp_path)
    assert recognise(folder).flavour is flavour
    assert of_script({"__file__": str(folder / "train.py")}) is flavour
    assert f"of {flavour.name}: added" in apply(folder)


@named
def test_half_a_host_is_refused_and_taken_for_no_other(flavour: Flavour, tmp_path: Path) -> None:
    folder = folder_of(flavour, tmp_path)
    (folder / "dnnlib/util.py").unlink()
    with pytest.raises(HostError, match=r"it has no dnnlib/util\.py$"):
        recognise(folder)


def test_what_a_fork_alone_has_names_it_where_it_is_not_whole(tmp_path: Path) -> None:
    for flavour in FLAVOURS:
        folder = folder_of(flavour, tmp_path / flavour.name.replace("/", "-"))
        (folder / "torch_utils/misc.py").unlink()
        with pytest.raises(HostError, match=f"is not a {flavour.name} checkout: it has no torch_utils/misc.py"):
            recognise(folder)


def test_an_origin_that_is_not_whole_is_taken_for_no_fork_of_it(tmp_path: Path) -> None:
    for flavour in (stylegan2_ada.FLAVOUR, stylegan3.FLAVOUR):
        for name in flavour.files:
            folder = folder_of(flavour, tmp_path / f"{flavour.name}-{name}".replace("/", "-"))
            (folder / name).unlink()
            with pytest.raises(HostError, match=f"is not a {flavour.name} checkout: it has no {name}"):
                recognise(folder)


def test_a_script_of_no_folder_is_told_by_its_functions() -> None:
    functions = {name: lambda: None for name in ("launch_training", "subprocess_fn")}
    assert of_script(functions) is stylegan3.FLAVOUR
    assert of_script({**functions, "setup_training_loop_kwargs": lambda: None}) is stylegan2_ada.FLAVOUR


# ---------------------------------------------------------------- what does not fit


def test_the_table_in_the_docs_is_what_the_hosts_say() -> None:
    page = PAGE.read_text("utf-8")
    assert with_matrix(page) == page, "run python tests/support/host_matrix.py"
    assert all(f"| {flavour.name} |" in page for flavour in FLAVOURS)


def test_what_the_docs_say_of_checked_hosts_was_measured() -> None:
    page, names = PAGE.read_text("utf-8"), {flavour.name for flavour in FLAVOURS}
    passed: Dict[str, Set[str]] = {}  # commit → checks
    lines = [json.loads(line) for line in (PAGE.parent / "results" / "hosts.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        assert line["host"] in names and [check for check in CHECKS | FURTHER if line.get(check, True) is not True] == []
        passed.setdefault(line["commit"], set()).update(check for check in CHECKS | FURTHER if check in line)
    checked = re.findall(r"commit (\w+) \| checked from end to end", page)
    assert len(checked) >= 4 and all(passed[commit] >= CHECKS for commit in checked)
    listed = re.search(r"Further, of (.+?): ", page, re.DOTALL)
    assert listed is not None
    further = {line["host"] for line in lines if passed[line["commit"]] >= FURTHER}
    assert set(re.split(r",\s+|\s+and\s+", listed[1])) == further


@named
def test_what_does_not_fit_is_a_method_or_a_value_of_its_setting(flavour: Flavour) -> None:
    known = {method.name: method for method in methods()}
    for feature in flavour.unfit:
        name, _, rest = feature.partition(".")
        setting, _, value = rest.partition("=")
        value, _, network = value.partition(" of ")
        choices = {each.name: each.choices for each in known[name].settings}
        assert (not rest or value in choices[setting]) and network in ("", "G", "D")


def test_pseudo_augmentation_is_not_done_twice() -> None:
    refusal = deceived.FLAVOUR.refusal
    assert "--aug=noaug" in str(refusal("apa", {"augment_kwargs": {}}))
    assert refusal("apa", {}) is None
    assert "--with-dataaug" in str(refusal("diffaugment", {"with_dataaug": False}))
    assert refusal("diffaugment", {"with_dataaug": True}) is None and refusal("regan", {}) is None


def test_a_configuration_that_its_own_host_has_not_finished_is_named() -> None:
    refused = {"G_kwargs": {"extended_sgan2": True}}
    assert "--cfg=stylegan2-ext" in str(stylegan3_fun.FLAVOUR.fault(refused))
    assert stylegan3_fun.FLAVOUR.fault({"G_kwargs": {}}) is None


@pytest.mark.parametrize(
    "stages, data, told",
    [
        (4, {"resolution": 64, "use_labels": False}, "makes images of 32 pixels, and those of --data have 64"),
        (5, {"resolution": 64, "use_labels": True}, "leave --cond out"),
        (5, {"resolution": 64, "use_labels": False}, None),
    ],
)
def test_a_preset_is_for_images_of_a_size_and_with_or_without_classes(stages: int, data: Any, told: Any) -> None:
    G_kwargs = {"WidthPerStage": [16] * stages}
    fault = r3gan.FLAVOUR.fault({"G_kwargs": G_kwargs, "training_set_kwargs": data})
    assert fault is None if told is None else told in str(fault)
    conditional = {"G_kwargs": {**G_kwargs, "ConditionEmbeddingDimension": 8}, "training_set_kwargs": data}
    assert ("--cond=1" in str(r3gan.FLAVOUR.fault(conditional))) == (not data["use_labels"] and stages == 5)


def test_augmentations_that_a_host_does_not_know_are_named() -> None:
    for given, told in (("color,colour", "colour is not one of color, translation"), ("color,cutout", "None"), ("", "None")):
        assert told in str(diffaugment.FLAVOUR.fault({"loss_kwargs": {"diffaugment": given}}))


def test_whole_channels_need_networks_of_stylegan2() -> None:
    for name, fits in (("training.networks_stylegan2.Generator", True), ("training.networks_stylegan3.Generator", False)):
        of_g, of_d = (
            stylegan3.FLAVOUR.refusal(f"regan.granularity=channel of {kind}", {"G_kwargs": {"class_name": name}})
            for kind in "GD"
        )
        assert (of_g is None) == fits and of_d is None  # its D is always StyleGAN2's


def dry(data: Path, capsys: Any, *options: str) -> "tuple[int, str]":
    """A dry run on the embedded host."""
    given = ["train", "--host=embedded", "-n", "--outdir=runs", f"--data={data}", "--device=cpu", "--metrics=none", "--kimg=50"]
    return call([*given, *options], capsys)


def test_a_method_that_does_not_fit_is_refused_in_one_line(data_zip: Path, monkeypatch: Any, capsys: Any) -> None:
    unfit = {"apa": Unfit("its fakes are none"), "regan.score=random": Unfit("chance has no place")}
    monkeypatch.setitem(vars(stylegan2_ada.FLAVOUR), "unfit", unfit)
    code, output = dry(data_zip, capsys, "--apa", "--regan-ratio=0.3")
    assert code == 2 and "--apa: does not fit stylegan2-ada-pytorch: its fakes are none\n" in output
    code, output = dry(data_zip, capsys, "--regan-ratio=0.3", "--regan-score=random")
    assert code == 2 and "--regan-score: does not fit stylegan2-ada-pytorch: chance has no place\n" in output


def test_methods_and_a_loop_that_begins_later_do_not_go_together(data_zip: Path, monkeypatch: Any, capsys: Any) -> None:
    # The embedded host has no such option, so another of its numbers stands for it.
    monkeypatch.setitem(vars(stylegan2_ada.FLAVOUR), "counter", Counter("--seed", "random_seed", 1000))
    code, output = dry(data_zip, capsys, "--seed=20", "--regan-ratio=0.3")
    assert code == 2 and "--seed: methods count from a run's first image; --kimg=30 without it trains as many\n" in output
    assert dry(data_zip, capsys, "--seed=20")[0] == dry(data_zip, capsys, "--regan-ratio=0.3")[0] == 0


def test_a_loop_with_other_variables_is_refused(data_zip: Path, monkeypatch: Any, capsys: Any) -> None:
    def training_loop(batch_size: int, total_kimg: int) -> None:
        cur_nimg = cur_tick = batch_idx = tick_start_nimg = 0  # noqa: F841

    dry(data_zip, capsys)  # puts the host's modules in place
    monkeypatch.setattr(embedded_train.host_module("training.training_loop"), "training_loop", training_loop)
    code, output = dry(data_zip, capsys)
    told = "stylegan2-ada-pytorch: its training_loop has no variable kimg_per_tick, network_snapshot_ticks, done, phases, loss"
    assert code == 2 and told in output and output.rpartition("Error: ")[2].count("\n") == 1


def test_a_host_without_the_module_of_its_loss_does_not_begin(data_zip: Path, monkeypatch: Any, capsys: Any) -> None:
    dry(data_zip, capsys)
    monkeypatch.setitem(sys.modules, "training.loss", None)
    monkeypatch.setattr(embedded_train, "host_module", importlib.import_module)
    with pytest.raises(ModuleNotFoundError, match=r"training\.loss"):  # of which the launcher makes one line
        dry(data_zip, capsys)


@pytest.mark.parametrize("name", ["ada_stats", "apa_stats"])
def test_what_adapts_the_augmentation_is_found_by_either_name(name: str) -> None:
    statistics = object()
    loop = HostLoop(SimpleNamespace(f_locals={name: statistics}))  # type: ignore[arg-type]
    assert loop.adaptation is statistics


@pytest.mark.parametrize("flavour, argument", [(stylegan2_ada.FLAVOUR, "ada_target"), (deceived.FLAVOUR, "apa_target")])
def test_a_run_without_a_state_takes_over_how_strong_its_augmentation_was(flavour: Flavour, argument: str) -> None:
    data = {"path": "digits.zip", "resolution": 16}
    networks = Networks({}, data, augment_p=0.25)
    found = Resume(Path("network-snapshot-000100.pkl"))
    for target, plain in ((0.6, {"cur_nimg": 100_000, "augment_p": 0.25}), (None, {"cur_nimg": 100_000})):
        args = {"training_set_kwargs": data, "batch_size": 10, argument: target}
        assert continuation(found, networks, args, flavour).plain == plain


def test_where_a_fork_measures_and_how_large_it_draws_may_change_at_resume() -> None:
    loss = {"loss_kwargs": {"class_name": "training.loss.StyleGAN2Loss"}, "training_set_kwargs": {"path": "a.zip"}}
    before = {**loss, "metric_dataset_kwargs": {"path": "a.zip"}, "snap_res": "4k", "batch_size": 8}
    check(Path("a.pkl"), before, {**before, "metric_dataset_kwargs": {"path": "b.zip"}, "snap_res": "8k"})
    with pytest.raises(UserError, match="batch_size was 8, is 16"):
        check(Path("a.pkl"), before, {**before, "batch_size": 16})
