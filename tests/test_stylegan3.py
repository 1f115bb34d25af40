"""A host of another shape of loop: the embedded StyleGAN3 and, where $REGAN_TEST_HOSTS names a folder with it, the checkout."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from support.commands import call
from support.detectors import write_detector
from support.parameters import parameters
from support.processes import run_fresh_python, run_python
from support.runs import Run, finished_run

from regan_ext.data.hashes import hashes
from regan_ext.hosts import embedded
from regan_ext.hosts.checkout import HostError, recognise
from training_hooks.core.state_check import averages, check_fit

REGAN_EXT = ["-m", "regan_ext"]
PRISTINE = str(Path(__file__).with_name("support") / "pristine.py")
SMALL = ["--gpus=1", "--gamma=1", "--batch=32", "--cbase=128", "--cmax=16", "--map-depth=2", "--kimg=1", "--tick=1", "--snap=1",
         "--metrics=none", "--fp32=1"]  # fmt: skip
# Warm-up 0-7, sparse 8-19, dense 20-31, sparse 32-43, dense 44-55, sparse 56-62; 32 iterations are the first kimg.
SPARSE_AT_END = ["--regan-ratio=0.3", "--regan-interval=12", "--regan-warmup=8", "--regan-finish=sparse"]
FOLDER = os.environ.get("REGAN_TEST_HOSTS")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder of the host."""
    source = Path(FOLDER, "stylegan3") if FOLDER else embedded.obtain(embedded.STYLEGAN3)
    folder = tmp_path_factory.mktemp("hosts") / "stylegan3"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    return folder


@pytest.fixture(scope="module")
def train(host: Path, data_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train with the launcher, or with another program, and return the run."""

    def run(*options: str, program: "List[str] | None" = None, cfg: str = "stylegan2") -> Run:
        outdir = tmp_path_factory.mktemp("runs")
        chosen = program or [*REGAN_EXT, "train", f"--host={host}", "--device=cpu"]
        return finished_run(
            outdir, run_python([*chosen, f"--outdir={outdir}", f"--data={data_zip}", f"--cfg={cfg}", *SMALL, *options])
        )

    return run


@pytest.fixture(scope="module")
def whole(train: Any) -> Run:
    """Two kimg of weights."""
    run: Run = train(*SPARSE_AT_END, "--kimg=2")
    return run


def assert_equal(one: Path, other: Path, host: Path) -> None:
    a, b = parameters(one, host), parameters(other, host)
    assert [name for name in {**a, **b} if not torch.equal(a[name], b[name])] == []


def weights(snapshot: Path, host: Path) -> Dict[str, torch.Tensor]:
    """Those of G and G_ema."""
    return {name: p for name, p in parameters(snapshot, host).items() if name[0] == "G" and p.ndim >= 2}


def pruned(snapshot: Path, host: Path) -> List[str]:
    """Those with exactly as many zeros as 0.3 of them are."""
    return [name for name, p in weights(snapshot, host).items() if int((p == 0).sum()) == math.floor(0.3 * p.numel()) > 0]


def test_off_means_off(train: Any, host: Path) -> None:
    ours, theirs = train("--workers=1"), train("--workers=1", program=[PRISTINE, str(host)])
    assert_equal(ours.snapshot(1), theirs.snapshot(1), host)


def test_weights_are_exact_zeros_in_g_and_its_average(whole: Run, host: Path) -> None:
    expected = [name for name in weights(whole.snapshot(2), host) if "torgb" not in name]
    assert pruned(whole.snapshot(2), host) == expected and len(expected) > 20
    assert pruned(whole.snapshot(0), host) == []  # in the warm-up


def test_a_run_goes_on_bit_for_bit(whole: Run, train: Any, host: Path) -> None:
    again = train(*SPARSE_AT_END, "--kimg=2", f"--resume={whole.snapshot(1)}")
    assert_equal(again.snapshot(2), whole.snapshot(2), host)
    one, other = (torch.load(run.folder / "regan-state-000002.pt", weights_only=True) for run in (whole, again))
    assert all(torch.equal(a, b) for a, b in zip(tensors(one["optimizers"]), tensors(other["optimizers"])))


def tensors(value: Any) -> List[torch.Tensor]:
    if isinstance(value, dict):
        return [t for each in value.values() for t in tensors(each)]
    return [value] if isinstance(value, torch.Tensor) else []


def test_whole_channels_with_the_two_lines_in_its_script(host: Path, train: Any, tmp_path: Path) -> None:
    patched = tmp_path / "patched"
    shutil.copytree(host, patched)
    before = (patched / "train.py").read_bytes()
    for command, code in (("check", 1), ("apply", 0), ("check", 0)):
        assert run_python([*REGAN_EXT, "patch", command, str(patched)]).returncode == code
    few = ["--device=cpu", "--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=2"]
    run = train(*SPARSE_AT_END, *few, program=[str(patched / "train.py")])
    for kind in ("G", "G_ema"):
        weight = parameters(run.snapshot(1), host)[f"{kind}.synthesis.b8.conv1.weight"]
        assert int((weight == 0).flatten(2).all(2).all(0).sum()) == int(0.3 * weight.shape[1])  # channels that nothing reads
    assert run_python([*REGAN_EXT, "patch", "revert", str(patched)]).returncode == 0
    assert (patched / "train.py").read_bytes() == before


@pytest.mark.parametrize("cfg", ["stylegan3-t", "stylegan3-r"])
def test_whole_channels_are_refused_elsewhere(cfg: str, host: Path, data_zip: Path, tmp_path: Path) -> None:
    options = [f"--host={host}", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}", f"--cfg={cfg}", *SMALL, *SPARSE_AT_END]
    result = run_fresh_python([*REGAN_EXT, "train", *options, "--regan-granularity=channel"])
    assert result.returncode == 2 and "Traceback" not in result.stdout and not (tmp_path / "runs").exists()
    assert "channels can be pruned in StyleGAN2 synthesis networks only" in result.stdout


@pytest.fixture(scope="module")
def own_networks(host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of StyleGAN3's own networks, small and untrained."""
    path = tmp_path_factory.mktemp("own") / "network-snapshot-000000.pkl"
    sizes = "z_dim=16, c_dim=0, w_dim=16, img_resolution=16, img_channels=3, channel_base=64, channel_max=8, num_layers=4"
    code = (
        f"import pickle, sys, regan_ext; sys.path.insert(0, {str(host)!r})\n"
        "import dnnlib; from training.networks_stylegan3 import Generator\n"
        f"G = Generator({sizes}, margin_size=2, mapping_kwargs=dict(num_layers=2)).eval()\n"
        f"pickle.dump(dict(G=G, G_ema=G), open({str(path)!r}, 'wb'))\n"
    )
    assert run_python(["-c", code]).returncode == 0
    return path


def test_its_own_networks_are_exported_but_for_whole_channels(own_networks: Path, host: Path) -> None:
    for to, said in (
        ("images", "32 images of 16x16 pixels"), ("onnx", "z [1, 16] -> image [1, 3, 16, 16]"),
        ("narrow", "--to=narrow: does not fit stylegan3: whole channels"),
    ):  # fmt: skip
        before = set(own_networks.parent.iterdir())
        result = run_python([*REGAN_EXT, "export", str(own_networks), f"--to={to}", f"--host={host}", "--trust"])
        assert result.returncode == (2 if to == "narrow" else 0) and said in result.stdout, result.stdout
        assert len(set(own_networks.parent.iterdir()) - before) == (to != "narrow")


def test_one_file_of_a_detector_serves_this_host_too(whole: Run, host: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """This host would download a pickle; nothing is left in the current folder."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    source = write_detector(tmp_path / "inception.pt", features=2048)
    assert run_python([*REGAN_EXT, "metrics", "fetch", f"--from={source}"]).returncode == 0
    (tmp_path / "here").mkdir()
    given = ["metrics", "run", str(whole.snapshot(2)), f"--host={host}", "--metrics=kid1k_full", "--device=cpu"]
    result = run_python([*REGAN_EXT, *given], cwd=tmp_path / "here")
    assert '"detector": "inception-2015-12-05", "detector_sha256": "' + hashes(source)["sha256"] in result.stdout, result.stdout
    assert list((tmp_path / "here").iterdir()) == []


def test_help_has_the_options_of_both(host: Path) -> None:
    page = run_python([*REGAN_EXT, "train", f"--host={host}", "--help"]).stdout
    assert "--map-depth INT" in page and "--regan-ratio FLOAT" in page and page.count("--cbase INT") == 1


@pytest.mark.parametrize("way", ["os.makedirs(run_dir)", "assert not os.path.exists(run_dir)"])
def test_a_folder_that_another_run_was_faster_to_make(way: str, data_zip: Path, tmp_path: Path) -> None:
    """stylegan3-fun makes it in a function of another file, and says which once it is there."""
    folder, taken, free = (tmp_path / name for name in ("host", "taken", "free"))
    shutil.copytree(embedded.obtain(embedded.STYLEGAN3), folder, ignore=shutil.ignore_patterns("__pycache__"))
    taken.mkdir()
    (folder / "elsewhere.py").write_text(
        f"import os\nfolders = iter([{str(taken)!r}, {str(free)!r}])\n"
        f"def make():\n    run_dir = next(folders)\n    {way}\n    return run_dir\n"
    )
    script = (folder / "train.py").read_text()
    (folder / "train.py").write_text(
        script.replace("_next_run_dir(outdir, desc)", "importlib.import_module('elsewhere').make()")
    )
    options = [f"--host={folder}", f"--outdir={tmp_path}", f"--data={data_zip}", "--cfg=stylegan2", *SMALL, "-n"]
    result = run_python([*REGAN_EXT, "train", *options])
    assert result.returncode == 0 and f"into {free}" in result.stdout, result.stdout
    assert f"Another run has just taken {taken}; this one takes the next number." in result.stdout


def test_doctor_names_it(host: Path, capsys: Any) -> None:
    _, output = call(["doctor", f"--host={host}"], capsys)
    assert f"stylegan3 in {host}" in output.replace("\n", " ")


def test_a_state_holds_all_averages_and_fits_the_network_that_it_is_of() -> None:
    """StyleGAN3's own networks have some by another name than StyleGAN2's; to train them takes minutes."""
    G = torch.nn.Linear(2, 2)
    for name in ("w_avg", "magnitude_ema", "noise_const"):
        G.register_buffer(name, torch.ones(2))
    assert list(averages(G)) == ["w_avg", "magnitude_ema"]
    rank = {"averages": averages(G)}
    state = {"optimizers": {}, "ranks": [rank]}
    check_fit(state, {"G": G}, 1)
    G.register_buffer("more_ema", torch.ones(2))
    with pytest.raises(ValueError, match="averages"):
        check_fit(state, {"G": G}, 1)


@pytest.mark.parametrize("file, name", [("training/triplane.py", "eg3d"), ("pg_modules/projector.py", "stylegan-xl")])
def test_relatives_are_refused_by_their_names(file: str, name: str, host: Path, tmp_path: Path) -> None:
    folder = tmp_path / "relative"
    shutil.copytree(host, folder)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("")
    with pytest.raises(HostError, match=f"a checkout of {name}, which is not supported yet"):
        recognise(folder)
