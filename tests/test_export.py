"""``regan-ext export``: every format against the network itself, consent, and bad input that leaves nothing behind."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.checkout_like import make_checkout
from support.networks import load_networks
from support.processes import run_fresh_python, run_python
from support.runs import Run

from regan_ext.cli import main
from regan_ext.export import onnx as export_onnx
from regan_ext.export.files import masks_of_state
from regan_ext.snapshots import open as export_snapshot
from regan_ext.support.errors import UserError
from regan_ext.support.pickles import open_pickle, unpickle
from training_hooks.core import own_snapshots
from training_hooks.nvidia import state as states
from training_hooks.nvidia.seams import Ticker
from training_hooks.sparsity import masks

FORMATS = ["dense", "sparse", "state-dict", "safetensors", "onnx", "images", "video"]


@pytest.fixture
def snapshot(regan_run: Run, tmp_path: Path) -> Path:
    """A dense snapshot of a real run, alone in a folder: unconditional, grey."""
    return Path(shutil.copy(regan_run.snapshot(1), tmp_path))


@pytest.fixture
def conditional(host_dir: Path, tmp_path: Path) -> Path:
    """An untrained network in colour that knows three classes."""
    from regan_ext.hosts.embedded_train import host_module

    host_module("dnnlib")
    torch.manual_seed(0)
    G = host_module("training.networks").Generator(
        z_dim=32, c_dim=3, w_dim=32, img_resolution=16, img_channels=3, synthesis_kwargs=dict(channel_base=256, channel_max=16)
    )
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.2)
    G.mapping.w_avg.normal_(std=0.2)
    path = tmp_path / "colour.pkl"
    path.write_bytes(pickle.dumps({"G": G.eval(), "G_ema": G.eval()}))
    return path


def export(path: Path, *options: str, code: int = 0, trust: bool = True, **kwargs: Any) -> str:
    """Run the command in this process; returns what it printed, which is one line (and click's usage) where it fails."""
    given = ["export", str(path), "--host=embedded", *options, *(["--trust"] if trust else [])]
    result: Result = CliRunner().invoke(main, given, **kwargs)
    assert result.exit_code == code, (result.output, result.exception)
    if code:
        lines = [line for line in result.output.splitlines() if line and not line.startswith(("Host:", "Usage:", "Try "))]
        assert len(lines) == 1 and lines[0].startswith("Error: "), result.output
    return result.output


def selected(network: torch.nn.Module) -> Dict[str, torch.Tensor]:
    return {n: p for n, p in network.named_parameters() if p.ndim >= 2 and "torgb" not in n}


def generate(network: Any, seeds: List[int], labels: Any = None, trunc: float = 1.0) -> torch.Tensor:
    z = torch.from_numpy(np.concatenate([np.random.RandomState(seed).randn(1, network.z_dim) for seed in seeds])).float()
    with torch.no_grad():
        return network(z, labels, truncation_psi=trunc, noise_mode="const", force_fp32=True)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal bit for bit. The host's w_avg may hold what is not a number, which torch.equal finds unequal to itself."""
    return a.shape == b.shape and a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def pixels(images: torch.Tensor) -> np.ndarray:
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).squeeze(-1).numpy()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def state_of(regan_run: Run, snapshot: Path) -> Callable[[Dict[str, Dict[str, torch.Tensor]]], Path]:
    """Writes the state that belongs to ``snapshot``, with these masks of each network in place of its own."""

    def write_state(networks: Dict[str, Dict[str, torch.Tensor]]) -> Path:
        path = states.state_path(snapshot)
        state = states.load(states.state_path(regan_run.snapshot(1)))
        state["hooks"]["regan"]["networks"] = {
            network: {
                "names": list(keep),
                "shapes": [list(k.shape) for k in keep.values()],
                "keep": [masks.pack_bits(k) for k in keep.values()],
            }
            for network, keep in networks.items()
        }
        states.save({**state, "snapshot": states.fingerprint(snapshot)}, path)
        return path

    return write_state


# ---------------------------------------------------------------- pickles


def test_dense_is_the_snapshot_itself_and_zeros_are_counted(snapshot: Path) -> None:
    said = export(snapshot, "--to=dense")
    written = snapshot.with_name("network-snapshot-000001-dense.pkl")
    assert written.read_bytes() == snapshot.read_bytes()
    assert str(written) in said and "as in a sparse phase" not in said
    export(snapshot, "--to=sparse", "--ratio=0.4")
    said = export(snapshot.with_name("network-snapshot-000001-sparse.pkl"), "--to=dense")
    assert said.count(" 40.0") + said.count(" 39.9") == 2 and said.count("as in a sparse phase; zeros stay") == 2


@pytest.mark.parametrize("options, ratio", [([], 0.3), (["--ratio=0.55"], 0.55)], ids=["default", "given"])
def test_sparse_has_exactly_the_smallest_weights_at_zero(
    snapshot: Path, host_dir: Path, options: List[str], ratio: float
) -> None:
    said = export(snapshot, "--to=sparse", *options)
    before = load_networks(snapshot, host_dir)
    after = load_networks(snapshot.with_name("network-snapshot-000001-sparse.pkl"), host_dir)
    assert list(after) == list(before)
    for kind in ("G", "G_ema"):
        old, new = before[kind].state_dict(), after[kind].state_dict()
        chosen = selected(before[kind])
        assert len(chosen) > 10
        for name, tensor in old.items():
            if name not in chosen:
                assert same(tensor, new[name]), name
                continue
            pruned = new[name] == 0
            assert int(pruned.sum()) == math.floor(ratio * tensor.numel())
            assert torch.equal(new[name], tensor * ~pruned)
            assert tensor[pruned].abs().max() <= tensor[~pruned].abs().min()
            assert bool((~pruned).flatten(1).any(1).all()), f"a channel of {name} is gone"
        zeros = sum(math.floor(ratio * t.numel()) for t in chosen.values())
        assert f"{kind}: {zeros} weights are exactly zero: " in said
        assert f"of the {sum(t.numel() for t in chosen.values())} weights in the {len(chosen)} tensors that are pruned" in said
    assert said.count(f"the smallest {ratio:g} of each tensor by magnitude") == 2
    assert all(torch.equal(p, q) for p, q in zip(before["D"].parameters(), after["D"].parameters()))


def test_sparse_opens_in_an_untouched_host(snapshot: Path, host_dir: Path) -> None:
    export(snapshot, "--to=sparse")
    path = snapshot.with_name("network-snapshot-000001-sparse.pkl")
    assert b"regan" not in path.read_bytes() and b"training_hooks" not in path.read_bytes()
    code = (
        "import sys, pickle, torch\n"
        "sys.modules['regan_ext'] = sys.modules['training_hooks'] = None\n"
        f"sys.path.insert(0, {str(host_dir)!r})\n"
        "import dnnlib\n"
        f"data = pickle.load(open({str(path)!r}, 'rb'))\n"
        "image = data['G_ema'](torch.randn(2, 512), None)\n"
        "assert image.shape == (2, 1, 16, 16) and bool(image.isfinite().all())\n"
        "print('generated')\n"
    )
    result = run_fresh_python(["-c", code])
    assert result.returncode == 0 and "generated" in result.stdout, result.stdout


def test_sparse_takes_the_masks_of_the_state_file(snapshot: Path, state_of: Any, host_dir: Path) -> None:
    before = load_networks(snapshot, host_dir)
    torch.manual_seed(1)
    keep = {name: masks.keep_smallest_out(torch.randn(p.shape), 0.2) for name, p in list(selected(before["G"]).items())[:5]}
    state = state_of({"G": keep})
    found = masks_of_state(state, snapshot)["G"]
    assert {name: torch.equal(k, keep[name]) for name, k in found.items()} == dict.fromkeys(keep, True)

    said = export(snapshot, "--to=sparse")
    assert said.count("by the masks of regan-state-000001.pt") == 2
    after = load_networks(snapshot.with_name("network-snapshot-000001-sparse.pkl"), host_dir)
    for kind in ("G", "G_ema"):
        for name, tensor in before[kind].named_parameters():
            expected = tensor * keep[name] if name in keep else tensor
            assert torch.equal(after[kind].get_parameter(name), expected), (kind, name)
    assert "the smallest 0.5 of each tensor by magnitude" in export(snapshot, "--to=sparse", "--ratio=0.5")


def test_a_share_of_zeros_says_what_it_is_of(snapshot: Path, state_of: Any, host_dir: Path) -> None:
    """Half of one tensor is little of a network."""
    G = load_networks(snapshot, host_dir)["G"]
    name, tensor = next(iter(selected(G).items()))
    state_of({"G": {name: masks.keep_smallest_out(torch.randn(tensor.shape), 0.5)}})
    zeros, whole = tensor.numel() // 2, sum(p.numel() for p in G.parameters())
    default = sum(p.numel() for p in selected(G).values())
    of_all = f", {zeros / whole:.2%} of all {whole} parameters"
    said = export(snapshot, "--to=sparse")
    assert f"50.00% of the {tensor.numel()} weights in the 1 tensors that are pruned{of_all}" in said
    said = export(snapshot.with_name("network-snapshot-000001-sparse.pkl"), "--to=dense")
    assert f"{zeros / default:.2%} of the {default} weights in the " in said
    assert f"tensors that Re-GAN prunes by default{of_all}" in said


def test_sparse_of_a_real_run_takes_its_masks(regan_run: Run, snapshot: Path, host_dir: Path) -> None:
    """The run ended in a dense phase; its state holds the masks of the last sparse one."""
    state = regan_run.folder / "regan-state-000001.pt"
    shutil.copy(state, snapshot.parent)
    assert "by the masks of regan-state-000001.pt" in export(snapshot, "--to=sparse")
    after = load_networks(snapshot.with_name("network-snapshot-000001-sparse.pkl"), host_dir)
    keep = masks_of_state(state, snapshot)["G"]
    assert set(keep) == set(selected(after["G"]))
    for name, mask in keep.items():
        for kind in ("G", "G_ema"):
            assert torch.equal(after[kind].get_parameter(name) != 0, mask), (kind, name)
        assert int((~mask).sum()) == math.floor(0.3 * mask.numel())


@pytest.mark.parametrize("networks", [{}, {"G": {}}])
def test_a_state_without_masks_means_magnitude(snapshot: Path, state_of: Any, networks: Dict[str, Any]) -> None:
    state_of(networks)
    assert "the smallest 0.3 of each tensor by magnitude, no masks beside" in export(snapshot, "--to=sparse")


def test_masks_of_d_alone_do_not_mean_that_g_was_pruned(snapshot: Path, state_of: Any) -> None:
    state = state_of({"D": {"b16.conv0.weight": torch.ones(16, 16, 3, 3, dtype=torch.bool)}})
    said = export(snapshot, "--to=sparse", code=2)
    assert f"{state.name} has masks of D alone" in said and "add --ratio" in said
    assert "the smallest 0.3 of each tensor by magnitude" in export(snapshot, "--to=sparse", "--ratio=0.3")


@pytest.mark.parametrize("to", ["sparse", "narrow"])
def test_the_state_of_another_snapshot_is_refused(regan_run: Run, snapshot: Path, to: str) -> None:
    """As a run that goes on refuses it: a snapshot that was written anew leaves the older state beside it."""
    shutil.copy(regan_run.folder / "regan-state-000001.pt", snapshot.parent)
    shutil.copy(regan_run.snapshot(0), snapshot)
    before = sorted(snapshot.parent.iterdir())
    said = export(snapshot, f"--to={to}", code=2)
    assert "the state is of another snapshot than network-snapshot-000001.pkl" in said and "give --ratio" in said
    assert sorted(snapshot.parent.iterdir()) == before
    assert "by magnitude" in export(snapshot, "--to=sparse", "--ratio=0.3")


def test_a_state_that_does_not_fit_is_an_error(snapshot: Path, state_of: Any) -> None:
    state = state_of({"G": {"mapping.fc0.weight": torch.ones(3, 5, dtype=torch.bool)}})
    assert "mask of shape [3, 5] for mapping.fc0.weight" in export(snapshot, "--to=sparse", code=2)
    state_of({"G": {"elsewhere": torch.ones(3, 5, dtype=torch.bool)}})
    assert "for elsewhere, but G has no such parameter" in export(snapshot, "--to=sparse", code=2)
    content = state.read_bytes()
    state.write_bytes(content[:300])
    assert "not a state file, or a damaged one" in export(snapshot, "--to=sparse", code=2)
    torch.save({"hooks": {}}, state)
    assert "not a state file of regan-ext" in export(snapshot, "--to=sparse", code=2)
    assert sorted(path.name for path in snapshot.parent.iterdir()) == [snapshot.name, state.name]
    export(snapshot, "--to=sparse", "--ratio=0.3")


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize("which", ["G_ema", "G"])
def test_state_dict_holds_every_tensor(snapshot: Path, host_dir: Path, tmp_path: Path, which: str) -> None:
    export(snapshot, "--to=state-dict", f"--which={which}", f"--out={tmp_path / 'tensors.pt'}")
    loaded = torch.load(tmp_path / "tensors.pt", weights_only=True)
    networks = load_networks(snapshot, host_dir)
    expected = networks[which].state_dict()
    assert list(loaded) == list(expected)
    assert all(same(loaded[name], tensor) for name, tensor in expected.items())
    networks["D" if which == "G" else "G"].eval()
    networks[which].load_state_dict(loaded, strict=True)


def test_safetensors_hold_every_tensor_and_the_shape_of_the_network(snapshot: Path, host_dir: Path) -> None:
    from safetensors import safe_open

    export(snapshot, "--to=safetensors")
    expected = load_networks(snapshot, host_dir)["G_ema"].state_dict()
    with safe_open(str(snapshot.with_suffix(".safetensors")), framework="pt") as file:
        assert set(file.keys()) == set(expected)
        assert all(same(file.get_tensor(name), tensor) for name, tensor in expected.items())
        assert file.metadata() == {
            "c_dim": "0", "z_dim": "512", "w_dim": "512", "img_resolution": "16", "img_channels": "1", "which": "G_ema",
            "kimg": "1",
        }  # fmt: skip


# ---------------------------------------------------------------- onnx


@pytest.mark.parametrize("kind", ["snapshot", "conditional"])
def test_onnx_gives_the_networks_images_at_any_batch_size(kind: str, host_dir: Path, request: Any) -> None:
    import onnxruntime

    path = request.getfixturevalue(kind)
    said = export(path, "--to=onnx")
    assert float(said.split("batch 1 and 3: ")[1].split()[0]) <= export_onnx.TOLERANCE
    network = load_networks(path, host_dir)["G_ema"]
    session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    seeds = [11, 12, 13, 14, 15]
    labels = torch.eye(3)[[2, 0, 1, 1, 2]] if network.c_dim else None
    z = np.concatenate([np.random.RandomState(seed).randn(1, network.z_dim) for seed in seeds]).astype(np.float32)
    (images,) = session.run(None, {"z": z} if labels is None else {"z": z, "c": labels.numpy()})
    np.testing.assert_allclose(images, generate(network, seeds, labels).numpy(), atol=1e-4)


def test_an_onnx_file_that_differs_is_removed(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = export_onnx._Images.forward
    monkeypatch.setattr(export_onnx._Images, "forward", lambda self, z, c=None: 1.01 * plain(self, z, c))
    said = export(snapshot, "--to=onnx", code=1)
    assert "differ from the network's by" in said and "it was removed" in said
    assert list(snapshot.parent.iterdir()) == [snapshot]


# ---------------------------------------------------------------- pictures


def test_images_are_those_of_the_seeds(snapshot: Path, host_dir: Path, tmp_path: Path) -> None:
    export(snapshot, "--to=images", "--seeds=3,7-10", "--cols=2", f"--out={tmp_path / 'grid.png'}")
    grid = Image.open(tmp_path / "grid.png")
    assert (grid.size, grid.mode) == ((32, 48), "L")
    expected = pixels(generate(load_networks(snapshot, host_dir)["G_ema"], [3, 7, 8, 9, 10]))
    for index in range(5):
        top, left = index // 2 * 16, index % 2 * 16
        np.testing.assert_allclose(np.array(grid)[top : top + 16, left : left + 16], expected[index], atol=1)


@pytest.mark.parametrize("options, classes", [([], [0, 1, 2, 0, 1, 2, 0]), (["--class=2"], [2] * 7)])
def test_images_cycle_through_the_classes(conditional: Path, host_dir: Path, options: List[str], classes: List[int]) -> None:
    export(conditional, "--to=images", "--seeds=0-6", *options)
    grid = np.array(Image.open(conditional.with_name("colour-images.png")))
    columns = 7 if options else 3
    assert grid.shape == (math.ceil(7 / columns) * 16, columns * 16, 3)
    expected = pixels(generate(load_networks(conditional, host_dir)["G_ema"], list(range(7)), torch.eye(3)[classes]))
    for index in range(7):
        top, left = index // columns * 16, index % columns * 16
        np.testing.assert_allclose(grid[top : top + 16, left : left + 16].astype(int), expected[index], atol=1)


def test_truncation_draws_to_the_average(conditional: Path, host_dir: Path) -> None:
    network = load_networks(conditional, host_dir)["G_ema"]
    said = export(conditional, "--to=images", "--seeds=0-2", "--trunc=0.6")
    grid = np.array(Image.open(conditional.with_name("colour-images.png"))).astype(int)
    np.testing.assert_allclose(grid, np.hstack(pixels(generate(network, [0, 1, 2], torch.eye(3), trunc=0.6))), atol=1)
    assert "truncation 0.6" in said and "not finite" not in said

    latents = torch.from_numpy(np.random.RandomState(5).randn(20000, 32)).float()
    with torch.no_grad():
        average = network.mapping(latents, torch.eye(3).repeat(6667, 1)[:20000])[:, 0].mean(0)
    network.mapping.w_avg.fill_(float("nan"))
    conditional.write_bytes(pickle.dumps({"G_ema": network}))
    assert "w_avg is not finite; using the mean of 10000" in export(conditional, "--to=images", "--seeds=0-2", "--trunc=0.6")
    assert "not finite: mapping.w_avg" in export(conditional, "--to=state-dict")
    network.mapping.w_avg.copy_(average)
    grid = np.array(Image.open(conditional.with_name("colour-images.png"))).astype(int)
    np.testing.assert_allclose(grid, np.hstack(pixels(generate(network, [0, 1, 2], torch.eye(3), trunc=0.6))), atol=4)


def test_images_that_are_not_finite_are_refused(conditional: Path, host_dir: Path) -> None:
    network = load_networks(conditional, host_dir)["G_ema"]
    network.synthesis.b16.torgb.weight.data.fill_(3e38)  # finite, and beyond what they can be multiplied by
    conditional.write_bytes(pickle.dumps({"G_ema": network}))
    assert "images that are not finite" in export(conditional, "--to=images", code=2)
    assert "differ from the network's by nan" in export(conditional, "--to=onnx", code=1)
    network.synthesis.b16.torgb.bias.data[0] = float("nan")
    conditional.write_bytes(pickle.dumps({"G_ema": network}))
    for to in ("images", "onnx", "state-dict"):
        said = export(conditional, f"--to={to}", code=2)
        assert "G_ema, such as synthesis.b16.torgb.bias, hold NaN or an infinity" in said
    assert list(conditional.parent.iterdir()) == [conditional]


def test_gif_is_a_loop_through_the_seeds(snapshot: Path, host_dir: Path, tmp_path: Path) -> None:
    export(snapshot, "--to=video", "--seeds=1-4", "--seconds=2", "--fps=30", f"--out={tmp_path / 'walk.gif'}")
    video = Image.open(tmp_path / "walk.gif")
    frames, milliseconds = [], 0
    for index in range(video.n_frames):
        video.seek(index)
        milliseconds += video.info["duration"]
        frames.append(np.array(video.convert("L")).astype(int))
    assert (len(frames), milliseconds, video.info["loop"]) == (60, 2000, 0)
    expected = pixels(generate(load_networks(snapshot, host_dir)["G_ema"], [1, 2, 3, 4])).astype(int)
    for seed in range(4):
        assert np.abs(frames[15 * seed] - expected[seed]).max() <= 2
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]])]
    between = np.abs(expected[0] - expected[1]).mean()
    assert max(steps) < between / 3 and steps[-1] > 0


def test_mp4(conditional: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    import imageio

    export(conditional, "--to=video", "--seeds=1-2", "--seconds=1", "--fps=10")
    with imageio.get_reader(conditional.with_name("colour-video.mp4")) as reader:
        assert sum(1 for _ in reader) == 10 and reader.get_meta_data()["size"] == (16, 16)


# ---------------------------------------------------------------- consent, hosts, packages


class Trap:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    path = tmp_path / "network-snapshot-000009.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Trap(tmp_path / "sprung")}))
    return path


def test_without_a_terminal_no_pickle_is_opened_untrusted(trap: Path) -> None:
    said = export(trap, "--to=dense", code=2, trust=False)
    assert "no run of yours wrote on this machine" in said and "runs the code in it; add --trust" in said
    assert list(trap.parent.iterdir()) == [trap]


def test_on_a_terminal_the_user_is_asked(conditional: Path, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_snapshot, "_on_terminal", lambda: True)
    result = CliRunner().invoke(main, ["export", str(trap), "--host=embedded", "--to=dense"], input="n\n")
    assert result.exit_code == 1 and "runs the code in it. Do you trust it? [y/N]" in result.output
    assert not (trap.parent / "sprung").exists()
    export(conditional, "--to=dense", trust=False, input="y\n")


def test_what_an_own_run_wrote_is_opened_without_asking(regan_run: Run, snapshot: Path) -> None:
    """Snapshots and members of pairs, copies of them, and the pickles that are made of them."""
    copy = Path(shutil.copy(snapshot, snapshot.with_name("best.pkl")))
    for own in (snapshot, copy, *regan_run.folder.glob("network-pair-*.pkl")):
        export(own, "--to=images", "--seeds=1", f"--out={snapshot.with_name('a.png')}", trust=False)
    export(snapshot, "--to=sparse", trust=False)
    export(snapshot.with_name("network-snapshot-000001-sparse.pkl"), "--to=dense", trust=False)


def test_what_was_changed_or_planted_beside_an_own_state_is_asked_for(regan_run: Run, snapshot: Path, trap: Path) -> None:
    content = bytearray(snapshot.read_bytes())
    content[-2] ^= 1
    snapshot.write_bytes(content)
    assert "add --trust" in export(snapshot, "--to=dense", code=2, trust=False)
    state = states.load(states.state_path(regan_run.snapshot(1)))
    states.save({**state, "snapshot": states.fingerprint(trap)}, states.state_path(trap))
    assert "add --trust" in export(trap, "--to=dense", code=2, trust=False)
    assert not (trap.parent / "sprung").exists()


@pytest.mark.parametrize("how", ["writable by others", "in the folder of the run", "missing"])
def test_a_list_that_others_could_have_written_is_not_believed(
    trap: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    own_snapshots.remember(trap)
    if how == "writable by others":
        own_snapshots.list_path().chmod(0o666)
    elif how == "in the folder of the run":
        shutil.move(own_snapshots.list_path().parent, trap.parent)
    else:
        shutil.rmtree(tmp_path / "home")
    assert "add --trust" in export(trap, "--to=dense", code=2, trust=False)


def test_the_list_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    for name in ("a.pkl", "b.pkl"):
        own_snapshots.remember(write(tmp_path / name, name.encode()))
    known = own_snapshots.list_path()
    assert known.stat().st_mode & 0o777 == 0o600 and len(known.read_text().splitlines()) == 2
    with open(tmp_path / "b.pkl", "rb") as file:
        assert own_snapshots.is_own(file) and file.read() == b"b.pkl"


def test_a_run_goes_on_where_the_list_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training_hooks.nvidia.current._engine", None)
    monkeypatch.setattr("training_hooks.core.files._told", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(write(tmp_path / "file", b"")))

    def training_loop(ticker: Ticker) -> str:
        batch_idx, batch_size, cur_nimg, rank, stats_metrics = 0, 32, 0, 0, {}
        snapshot_pkl = str(write(tmp_path / "network-snapshot-000001.pkl", b"a snapshot"))
        ticker(0, 4)
        batch_idx, cur_nimg = 32, 1024
        ticker(1, 4)
        del batch_idx, batch_size, cur_nimg, rank, stats_metrics
        return snapshot_pkl

    assert training_loop(Ticker())
    assert "The list of your own snapshots could not be written" in capsys.readouterr().err


def test_with_the_classes_of_a_checkout(snapshot: Path, host_dir: Path) -> None:
    checkout = make_checkout(snapshot.parent / "host", host_dir)
    arguments = ["-m", "regan_ext", "export", str(snapshot), f"--host={checkout}", "--trust", "--to=images", "--seeds=1"]
    result = run_python(arguments)
    assert result.returncode == 0 and f"Host: stylegan2-ada-pytorch in {checkout} (--host)" in result.stdout, result.stdout
    assert Image.open(snapshot.with_name("network-snapshot-000001-images.png")).size == (16, 16)


@pytest.mark.parametrize("to, package", [("safetensors", "safetensors"), ("onnx", "onnxruntime"), ("onnx", "onnxscript")])
def test_a_missing_package_is_named(snapshot: Path, monkeypatch: pytest.MonkeyPatch, to: str, package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    assert f'--to={to} needs {package}: pip install "regan-ext[export]"' in export(snapshot, f"--to={to}", code=2)


def test_video_without_ffmpeg_is_a_gif(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    export(snapshot, "--to=video", "--seeds=1-2", "--seconds=1", "--fps=5")
    assert Image.open(snapshot.with_name("network-snapshot-000001-video.gif")).format == "GIF"
    out = f"--out={snapshot.with_name('a.mp4')}"
    assert "imageio_ffmpeg: pip install" in export(snapshot, "--to=video", out, code=2)


# ---------------------------------------------------------------- bad input


def link(path: Path, target: str) -> Path:
    path.unlink()
    path.symlink_to(target)
    return path


def pipe(path: Path) -> Path:
    path.unlink()
    os.mkfifo(path)
    return path


def saved(path: Path, zip: bool) -> Path:
    torch.save({"G_ema": torch.zeros(3)}, path, _use_new_zipfile_serialization=zip)
    return path


def tensorflow_pickle() -> bytes:
    """The beginning of what NVIDIA published for StyleGAN2: a tuple of three networks of a module that only TensorFlow has."""
    return b"\x80\x02cdnnlib.tflib.network\nNetwork\nq\x00)\x81q\x01h\x01h\x01\x87q\x02."


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda good: good.with_name("absent.pkl"), "does not exist"),
        (lambda good: good.parent.parent, "holds no network-snapshot-NNNNNN.pkl"),
        (lambda good: link(good, "gone.pkl"), "does not exist (it is a link to gone.pkl)"),
        (lambda good: Path("/dev/zero"), "is no regular file"),
        (pipe, "is no regular file"),
        (lambda good: good / "below.pkl", "cannot be read: Not a directory"),
        (lambda good: write(good, b""), "is empty"),
        (lambda good: write(good, b"some text."), "is not a network pickle; give a network pickle"),
        (lambda good: write(good, b"PK\x03\x04 a zip"), "but a zip archive"),
        (lambda good: saved(good.with_name("regan-state-000001.pt"), zip=True), "but the state of a run"),
        (lambda good: saved(good.with_name("old.pt"), zip=False), "is cut short, or no network pickle"),
        (lambda good: write(good, tensorflow_pickle()), "legacy.py --source="),
        (lambda good: write(good, good.read_bytes()[:5000] + b"!"), "is cut short"),
        (lambda good: write(good, good.read_bytes()[:5000] + b"."), "cannot be opened as a network pickle"),
        (lambda good: write(good, pickle.dumps({"G": 1, "D": 2})), "holds no G_ema but a dict of G, D"),
        (lambda good: write(good, pickle.dumps([1, 2])), "holds no G_ema but a list"),
        (lambda good: write(good, pickle.dumps({"G_ema": 7})), "holds no network G_ema; it holds G_ema"),
        (lambda good: write(good, pickle.dumps({"G_ema": torch.nn.Linear(2, 2)})), "G_ema is no generator, it has no z_dim"),
    ],
)
def test_bad_snapshots(snapshot: Path, make: Any, message: str) -> None:
    path = make(snapshot)
    before = sorted(snapshot.parent.iterdir())
    assert message in export(path, "--to=state-dict", code=2)
    assert sorted(snapshot.parent.iterdir()) == before


@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    length=st.floats(0, 1),
    whole=st.booleans(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_pickle_is_one_line(
    conditional: Path, changes: List[Tuple[float, int]], length: float, whole: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or it opens: a byte of a weight may be another one. Nothing else is printed."""
    content = bytearray(conditional.read_bytes())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    damaged = conditional.with_name("damaged.pkl")
    damaged.write_bytes(content if whole else content[: int(length * len(content))] + b".")
    try:
        with open_pickle(damaged) as file:
            unpickle(file, damaged)
    except UserError as err:
        assert err.exit_code == 2 and str(damaged) in err.message and "\n" not in err.message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "options, message",
    [
        (["--to=images", "--seeds=3-1"], "'3-1' is no list of seeds such as"),
        (["--to=images", "--seeds=4294967296"], "'4294967296' goes beyond 4294967295"),
        (["--to=images", "--seeds=0-99999999"], "has more than 4096 seeds"),
        (["--to=images", "--seeds=1,,2"], "'1,,2' is no list of seeds such as"),
        (["--to=images", "--seeds="], "'' is no list of seeds such as"),
        (["--to=images", "--class=0"], "this network knows no classes"),
        (["--to=images", "--trunc=nan"], "'--trunc': 'nan' is not a finite number"),
        (["--to=images", "--cols=0"], "'--cols': 0 is not in the range"),
        (["--to=images", "--out=picture.jpg"], "--to=images writes .png"),
        (["--to=images", "--seconds=3"], "--seconds is for --to=video, not for --to=images"),
        (["--to=video", "--seeds=5"], "a video needs two seeds"),
        (["--to=video", "--seconds=0.01"], "make less than 2 frames"),
        (["--to=video", "--fps=60", "--out=walk.gif"], "50 frames per second at most"),
        (["--to=video", "--out=walk.avi"], "writes .mp4 or .gif"),
        (["--to=sparse", "--ratio=1"], "'--ratio': 1.0 is not in the range 0<=x<1"),
        (["--to=sparse", "--ratio=-0.1"], "'--ratio': -0.1 is not in the range"),
        (["--to=sparse", "--ratio=nan"], "'--ratio': 'nan' is not a finite number"),
        (["--to=sparse", "--ratio=0.999"], "the highest ratio is"),
        (["--to=sparse", "--which=G"], "--which is for"),
        (["--to=dense", "--ratio=0.3"], "--ratio is for --to=sparse and narrow, not for --to=dense"),
        (["--to=dense", "--out=nowhere/a.pkl"], "nowhere cannot be written to"),
        (["--to=dense", "--out=/proc/a.pkl"], "/proc cannot be written to"),
        (["--to=dense", "--out=network-snapshot-000001.pkl"], "is the snapshot itself"),
        (["--to=dense", "--out=."], "is a folder"),
    ],
)
def test_bad_options(snapshot: Path, monkeypatch: pytest.MonkeyPatch, options: List[str], message: str) -> None:
    monkeypatch.chdir(snapshot.parent)
    content = snapshot.read_bytes()
    assert message in export(snapshot, *options, code=2)
    assert list(snapshot.parent.iterdir()) == [snapshot] and snapshot.read_bytes() == content


def test_bad_host(snapshot: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(snapshot), "--to=dense", "--trust", f"--host={snapshot.parent}"])
    assert result.exit_code == 2 and "is not a stylegan2-ada-pytorch checkout" in result.output


def test_class_out_of_range(conditional: Path) -> None:
    assert "--class must be from 0 to 2, got 3" in export(conditional, "--to=images", "--class=3", code=2)


def test_a_full_disk_leaves_what_was_there(snapshot: Path) -> None:
    """In a process whose files may not grow beyond 100 bytes; what an earlier export wrote stays as it was."""
    old = {}
    for to in FORMATS:
        old[to] = snapshot.with_name(f"out-{to}{'.png' if to == 'images' else '.gif'}")
        old[to].write_text("old")
    code = (
        "import resource, sys\n"
        "from click.testing import CliRunner\n"
        "from regan_ext.export import files as export_files, onnx as export_onnx, pictures as export_pictures\n"
        "from regan_ext.cli import main\n"
        f"for to in {FORMATS!r}:\n"
        "    out = sys.argv[2] + f'-{to}' + ('.png' if to == 'images' else '.gif')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "    arguments = ['export', sys.argv[1], '--trust', '--host=embedded', f'--to={to}', '--out=' + out]\n"
        "    result = CliRunner().invoke(main, arguments)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    print(to, result.exit_code, result.output.splitlines()[-1])\n"
    )
    result = run_python(["-c", code, str(snapshot), str(snapshot.with_name("out"))])
    for to in FORMATS:
        assert f"{to} 2 Error: {old[to]} cannot be written: File too large" in result.stdout, result.stdout
        assert old[to].read_text() == "old"
    assert sorted(snapshot.parent.iterdir()) == sorted([snapshot, *old.values()])
