"""``regan-ext export --to=narrow``: the same images from fewer channels, in a pickle that needs nothing but the host."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.networks import load_networks
from support.processes import run_fresh_python, run_python
from support.runs import SMALL, Run

from regan_ext.cli import main
from regan_ext.export.files import masks_of_state
from training_hooks.nvidia.state import state_path
from training_hooks.sparsity.anatomy import SYNTHESIS
from training_hooks.sparsity.channels import Layout

CHANNELS = ["--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=1"]


@pytest.fixture(scope="module")
def run(train: Any) -> Run:
    """Sparse 4-11, dense 12-19, sparse 20-27, dense 28-31: the last snapshot is dense, its state knows the channels."""
    return train("--regan-ratio=0.3", "--regan-interval=8", "--regan-warmup=4", "--batch=32", *CHANNELS, mode="off")


@pytest.fixture
def sparse(run: Run, tmp_path: Path) -> Path:
    """The sparse member of the last cycle, alone in a folder."""
    return Path(shutil.copy(next(run.folder.glob("network-pair-*-sparse.pkl")), tmp_path))


@pytest.fixture
def dense(run: Run, tmp_path: Path) -> Path:
    """The last snapshot, which is dense, alone in a folder."""
    return Path(shutil.copy(run.snapshot(1), tmp_path))


def export(path: Path, *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["export", str(path), "--host=embedded", "--trust", *options])
    assert result.exit_code == code, (result.output, result.exception)
    if code:
        lines = [line for line in result.output.splitlines() if not line.startswith("Host:")]
        assert len(lines) == 1 and lines[0].startswith("Error: "), result.output
    return result.output


def narrow(path: Path) -> Path:
    return path.with_name(path.stem + "-narrow.pkl")


def generate(network: Any, seeds: "List[int] | range" = range(6)) -> torch.Tensor:
    z = torch.from_numpy(np.concatenate([np.random.RandomState(seed).randn(1, network.z_dim) for seed in seeds])).float()
    c = torch.eye(network.c_dim)[torch.arange(len(z)) % network.c_dim] if network.c_dim else None
    with torch.no_grad():
        return network.eval()(z, c, noise_mode="const", force_fp32=True)


def widths(network: Any) -> List[int]:
    return [f.channels for f in Layout.of({n: p.shape for n, p in network.named_parameters()}).features]


def weights(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def untrained(host_dir: Path, channels: int = 16, **synthesis: Any) -> Any:
    """A network in colour with three classes, in which everything that a layer can have has an effect."""
    from regan_ext.hosts.embedded_train import host_module

    host_module("dnnlib")
    torch.manual_seed(0)
    kwargs = dict(channel_base=channels * 16, channel_max=channels, **synthesis)
    G = host_module("training.networks").Generator(
        z_dim=32, c_dim=3, w_dim=32, img_resolution=16, img_channels=3, synthesis_kwargs=kwargs
    )
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength") or (name.endswith("bias") and "affine" not in name):
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return G.eval().requires_grad_(False)


def unread(network: Any, feature: int, channels: List[int]) -> None:
    """Set every weight to zero that reads these channels of a feature map."""
    for name in Layout.of({n: p.shape for n, p in network.named_parameters()}).features[feature].readers:
        network.get_parameter(name).data[:, channels] = 0


def save(path: Path, **networks: Any) -> Path:
    path.write_bytes(pickle.dumps(networks))
    return path


# ---------------------------------------------------------------- what is written


def test_narrow_gives_the_images_of_the_sparse_member_from_fewer_channels(run: Run, sparse: Path, host_dir: Path) -> None:
    said = export(sparse, "--to=narrow")
    before, after = load_networks(sparse, host_dir), load_networks(narrow(sparse), host_dir)
    assert list(after) == list(before) and after["training_set_kwargs"] == before["training_set_kwargs"]
    kept = torch.load(run.folder / "regan-state-000001.pt")["hooks"]["regan"]["networks"]["G"]["kept"]
    for kind in ("G", "G_ema"):
        assert widths(after[kind]) == [k.numel() for k in kept] == [12] * 6 != widths(before[kind])
        np.testing.assert_allclose(generate(after[kind]).numpy(), generate(before[kind]).numpy(), atol=1e-5)
        assert type(after[kind]).__name__ == "Generator" and not any(p.requires_grad for p in after[kind].parameters())
        assert f"{kind}: 72 of 96 channels and {weights(after[kind])} of {weights(before[kind])} parameters are left" in said
        assert "changes" not in said
    assert generate(after["G"]).std() > 0.01 and not torch.equal(generate(after["G"]), generate(after["G_ema"]))
    assert all(torch.equal(p, q) for p, q in zip(before["D"].parameters(), after["D"].parameters()))
    dropped = sum(weights(before[kind]) - weights(after[kind]) for kind in ("G", "G_ema"))
    assert narrow(sparse).stat().st_size <= sparse.stat().st_size - 3.9 * dropped
    content = narrow(sparse).read_bytes()
    assert b"regan" not in content and b"training_hooks" not in content


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_every_architecture_keeps_its_images(tmp_path: Path, host_dir: Path, architecture: str) -> None:
    G = untrained(host_dir, architecture=architecture)
    gone = [[0, 5], [], [3], list(range(16)), [15], [8, 9]]
    for feature, channels in enumerate(gone):
        unread(G, feature, channels)
    path = save(tmp_path / "colour.pkl", G=G, G_ema=G)
    assert "changes" not in export(path, "--to=narrow")
    after = load_networks(narrow(path), host_dir)
    for kind in ("G", "G_ema"):
        assert widths(after[kind]) == [14, 16, 15, 1, 15, 14]
        np.testing.assert_allclose(generate(after[kind]).numpy(), generate(G).numpy(), atol=1e-5)


def test_only_channels_that_both_networks_spare_go_unless_one_is_asked(tmp_path: Path, host_dir: Path) -> None:
    G, G_ema = untrained(host_dir), untrained(host_dir)
    unread(G, 1, [2, 3, 4])
    path = save(tmp_path / "pair.pkl", G=G, G_ema=G_ema)
    assert "has pruned channels in G only; add --which=G" in export(path, "--to=narrow", code=2)
    assert list(tmp_path.iterdir()) == [path]
    assert "G_ema: 93 of 96" in (said := export(path, "--to=narrow", "--which=G"))
    assert [line.split(":")[0] for line in said.splitlines() if "this changes the images" in line] == ["G_ema"]
    after = load_networks(tmp_path / "pair-G-narrow.pkl", host_dir)
    np.testing.assert_allclose(generate(after["G"]).numpy(), generate(G).numpy(), atol=1e-5)
    unread(G_ema, 1, [2, 3, 4])
    np.testing.assert_allclose(generate(after["G_ema"]).numpy(), generate(G_ema).numpy(), atol=1e-5)

    unread(G_ema, 4, [7])
    path = save(path, G=G, G_ema=G_ema, D=None)
    export(path, "--to=narrow")
    after = load_networks(narrow(path), host_dir)
    assert widths(after["G"]) == widths(after["G_ema"]) == [16, 13, 16, 16, 16, 16] and after["D"] is None


def test_a_pickle_of_the_average_alone(tmp_path: Path, host_dir: Path) -> None:
    G = untrained(host_dir)
    unread(G, 0, [1])
    path = save(tmp_path / "shared.pkl", G_ema=G)
    export(path, "--to=narrow")
    assert list(after := load_networks(narrow(path), host_dir)) == ["G_ema"] and widths(after["G_ema"])[0] == 15
    assert "holds no network G" in export(path, "--to=narrow", "--which=G", code=2)


# ---------------------------------------------------------------- where no channel is zero


def test_a_dense_snapshot_takes_the_channels_of_its_state(run: Run, dense: Path, host_dir: Path) -> None:
    state = Path(shutil.copy(state_path(run.snapshot(1)), dense.parent))
    said = export(dense, "--to=narrow")
    assert f"Pruned by the masks of {state.name}, as by --to=sparse: this changes the images" in said
    export(dense, "--to=sparse")
    before, after = load_networks(dense.with_name(dense.stem + "-sparse.pkl"), host_dir), load_networks(narrow(dense), host_dir)
    whole, keep = load_networks(dense, host_dir), masks_of_state(state, dense)["G"]
    for kind in ("G", "G_ema"):
        for name, parameter in before[kind].named_parameters():  # exactly the zeros of the masks
            expected = whole[kind].get_parameter(name)
            assert torch.equal(parameter, expected * keep[name] if name in keep else expected), name
            assert name not in keep or torch.equal(parameter != 0, keep[name]), name
        assert widths(after[kind]) == [12] * 6
        np.testing.assert_allclose(generate(after[kind]).numpy(), generate(before[kind]).numpy(), atol=1e-5)
    assert (generate(after["G_ema"]) - generate(whole["G_ema"])).abs().max() > 1e-3


def test_without_pruned_channels_it_says_what_to_do(run: Run, dense: Path) -> None:
    remedy = "--regan-granularity=channel, such as its network-pair-NNNNNN-sparse.pkl, or add --ratio"
    assert f"{dense} has no pruned channel of G; take" in (said := export(dense, "--to=narrow", code=2)) and remedy in said
    state = torch.load(state_path(run.snapshot(1)))
    network = state["hooks"]["regan"]["networks"]["G"]
    del network["kept"]  # as of single weights
    torch.save(state, state_path(dense))
    assert remedy in export(dense, "--to=narrow", code=2)
    network["kept"] = [torch.arange(3)]
    network["shapes"][0], network["keep"][0] = [3, 5], torch.zeros(2, dtype=torch.uint8)
    torch.save(state, state_path(dense))
    assert "mask of shape [3, 5] for " in export(dense, "--to=narrow", code=2)
    assert sorted(dense.parent.iterdir()) == sorted([dense, state_path(dense)])


@pytest.mark.parametrize("which", ["G_ema", "G"])
def test_ratio_drops_the_channels_with_the_smallest_writers(tmp_path: Path, host_dir: Path, which: str) -> None:
    networks = {"G": untrained(host_dir, 32), "G_ema": untrained(host_dir, 32)}
    for kind, network in networks.items():
        with torch.no_grad():
            network.synthesis.b8.conv0.weight[: 8 if kind == "G" else 4] *= 0.01
    path = save(tmp_path / "pair.pkl", **networks)
    said = export(path, "--to=narrow", "--ratio=0.4", *(["--which=G"] if which == "G" else []))
    assert said.count("Pruned by --ratio=0.4, the channels with the smallest weights: this changes the images") == 1
    after = load_networks(tmp_path / f"pair{'-G' if which == 'G' else ''}-narrow.pkl", host_dir)
    assert widths(after["G"]) == widths(after["G_ema"]) == [24] * 6  # 32 - floor(0.4 * 32) = 20, rounded up
    writers = ["b4.const", *(f"{layer}.weight" for layer in ("b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"))]
    norms = [networks[which].get_parameter(SYNTHESIS + writer).flatten(1).norm(dim=1) for writer in writers]
    for network in networks.values():
        for feature, norm in enumerate(norms):
            unread(network, feature, norm.argsort()[:8].tolist())
    for kind, network in networks.items():
        np.testing.assert_allclose(generate(after[kind]).numpy(), generate(network).numpy(), atol=1e-5)


def test_ratio_counts_what_is_pruned_already(tmp_path: Path, host_dir: Path) -> None:
    G = untrained(host_dir, 32)
    unread(G, 1, list(range(5)))
    unread(G, 2, list(range(16)))
    path = save(tmp_path / "half.pkl", G=G, G_ema=G)
    export(path, "--to=narrow", "--ratio=0.5")
    assert widths(load_networks(narrow(path), host_dir)["G"]) == [16] * 6


def test_ratio_that_prunes_no_channel(dense: Path) -> None:
    said = export(dense, "--to=narrow", "--ratio=0.4", code=2)
    assert "--ratio=0.4 prunes no channel" in said and "widest feature map has 16" in said and "multiple of 8" in said
    assert list(dense.parent.iterdir()) == [dense]


def test_other_networks_are_refused(tmp_path: Path, host_dir: Path) -> None:
    G = untrained(host_dir)
    path = save(tmp_path / "two.pkl", G=G, G_ema=untrained(host_dir, 32))
    assert "G and G_ema have different shapes" in export(path, "--to=narrow", code=2)
    G.synthesis.extra = torch.nn.Linear(2, 2)
    assert "channels can be pruned in StyleGAN2" in export(save(path, G_ema=G), "--to=narrow", code=2)


# ---------------------------------------------------------------- what others do with it

# The calls of generate.py, style_mixing.py and projector.py, whose main programs want a GPU and a download.
_SCRIPTS = """
import copy, sys
sys.modules["regan_ext"] = sys.modules["training_hooks"] = None
sys.path.insert(0, sys.argv[1])
import dnnlib, numpy as np, torch
import legacy
for path in sys.argv[2:]:
    with dnnlib.util.open_url(path) as f:
        G = legacy.load_network_pkl(f)["G_ema"].to("cpu")
    label = torch.zeros([1, G.c_dim])
    z = torch.from_numpy(np.random.RandomState(3).randn(1, G.z_dim))
    images = [G(z, label, truncation_psi=1, noise_mode=mode) for mode in ("const", "none", "random")]
    w = G.mapping(torch.from_numpy(np.random.RandomState(4).randn(2, G.z_dim)), None)
    mixed = w[0].clone()
    mixed[1:3] = w[1][1:3]
    images += [G.synthesis(mixed[np.newaxis], noise_mode="const"), G.synthesis(w, noise_mode="const")]
    G = copy.deepcopy(G).eval().requires_grad_(False)
    noise = {name: buf for name, buf in G.synthesis.named_buffers() if "noise_const" in name}
    w_opt = w[:1, :1].clone().requires_grad_(True)
    for buf in noise.values():
        buf.requires_grad = True
    G.synthesis(w_opt.repeat([1, G.mapping.num_ws, 1]), noise_mode="const").square().sum().backward()
    assert len(noise) == 5 and all(t.grad is not None and bool(t.grad.isfinite().all()) for t in [w_opt, *noise.values()])
    np.savez(path + ".npz", *[i.detach().numpy() for i in images], w_opt.grad.numpy())
"""


def test_the_scripts_of_an_untouched_host_work_on_it(sparse: Path, host_dir: Path) -> None:
    export(sparse, "--to=narrow")
    result = run_fresh_python(["-c", _SCRIPTS, str(host_dir), str(sparse), str(narrow(sparse))])
    assert result.returncode == 0, result.stdout
    with np.load(f"{sparse}.npz") as wide, np.load(f"{narrow(sparse)}.npz") as small:
        assert len(wide.files) == len(small.files) == 6
        for index, name in enumerate(wide.files):
            assert small[name].shape == wide[name].shape and np.isfinite(small[name]).all()
            if index != 2:  # random noise
                np.testing.assert_allclose(small[name], wide[name], atol=1e-5 * max(1, np.abs(wide[name]).max()))


def test_the_other_formats_take_a_narrow_pickle(sparse: Path, host_dir: Path) -> None:
    import onnxruntime

    export(sparse, "--to=narrow")
    small, before = narrow(sparse), load_networks(sparse, host_dir)["G_ema"]
    after = load_networks(small, host_dir)["G_ema"]
    assert "Largest difference from PyTorch" in export(small, "--to=onnx")
    session = onnxruntime.InferenceSession(str(small.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    z = np.concatenate([np.random.RandomState(seed).randn(1, before.z_dim) for seed in range(6)]).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"z": z})[0], generate(before).numpy(), atol=1e-4)
    assert small.with_suffix(".onnx").stat().st_size < 4.5 * weights(before)

    export(small, "--to=images", "--seeds=0-5", "--cols=6")
    grid = np.array(Image.open(small.with_name(small.stem + "-images.png"))).astype(int)
    pixels = (generate(before) * 127.5 + 128).clamp(0, 255).to(torch.uint8)[:, 0].numpy()
    np.testing.assert_allclose(grid, np.hstack(list(pixels)), atol=1)

    export(small, "--to=state-dict")
    tensors: Dict[str, torch.Tensor] = torch.load(small.with_name(small.stem + "-state-dict.pt"), weights_only=True)
    assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in after.state_dict().items()}
    assert "has no pruned channel" in export(small, "--to=narrow", code=2)


def test_training_cannot_go_on_from_it(sparse: Path, data_zip: Path, tmp_path: Path) -> None:
    export(sparse, "--to=narrow")
    options = [f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, f"--resume={narrow(sparse)}", "-n"]
    result = run_python(["-m", "regan_ext", "train", "--host=embedded", *options])
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Error: ")]
    assert (
        result.returncode == 2 and "has another architecture: G.synthesis.b4.const is [12, 4, 4] there and [16, 4, 4]" in line
    )
