"""Loops and networks of the hosts' relatives: D first, rates set by the loop, one rolling snapshot, other layers."""

from __future__ import annotations

import copy
import math
import types
from pathlib import Path
from typing import Any, Dict

import click
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support import relative_loops as loops
from support.relative_loops import Loss, training_loop

from regan_ext.export.files import write_safetensors, write_sparse
from regan_ext.export.pictures import Picture, write_images
from regan_ext.hosts import projected_gan, r3gan, stylegan3
from regan_ext.hosts.checkout import of_script
from regan_ext.snapshots.open import Snapshot
from regan_ext.snapshots.sample import pixels
from regan_ext.support.errors import UserError
from regan_ext.train import arguments, ends, host_values, restart, resume
from training_hooks.core.drawing import drawn
from training_hooks.core.learning_rates import LearningRates
from training_hooks.core.state_check import averages
from training_hooks.methods.method import Facts
from training_hooks.methods.regan import METHOD
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.outlook import outlook
from training_hooks.nvidia import state as states
from training_hooks.nvidia import stop
from training_hooks.nvidia.current import engine
from training_hooks.nvidia.seams import Ticker
from training_hooks.sparsity.anatomy import RGB, role
from training_hooks.sparsity.selection import check_rgb, select

# Warm-up 0-3, sparse 4-9, dense 10-15, sparse 16-21, dense 22-27, sparse 28-31.
REGAN = METHOD.entry(ReconfigurationConfig(0.5, interval=6, warmup=4, lr_scale=0.25))
Networks = Dict[str, torch.nn.Module]


def train(folder: Path, ticker: "Dict[str, Any] | None" = None, hooks: Any = (REGAN,), **given: Any) -> Networks:
    """The networks that the loop leaves."""
    loops.SEEN.clear()
    folder.mkdir(exist_ok=True)
    inner = {"class_name": Loss}
    loss = {"class_name": loops.seams.HookedLoss, "inner": inner, "hooks": list(hooks)}
    return training_loop(str(folder), loss, Ticker({"states": True, **(ticker or {})}), **given)


def assert_equal(one: Networks, other: Networks) -> None:
    for kind, network in one.items():
        theirs = other[kind].state_dict()
        assert [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, theirs[name])] == []


class Plain(torch.nn.Module):
    """A generator without styles, called as R3GAN's is, and as FastGAN's."""

    def __init__(self, classes: int = 0):
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution = 4, classes, 8
        self.weight = torch.nn.Parameter(torch.randn([4 + classes, 3 * 8 * 8]))

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (torch.cat([z, c], 1) @ self.weight).view(-1, 3, 8, 8).tanh()


# ---------------------------------------------------------------- the loop


def test_weights_are_exact_zeros_in_g_and_its_average_whose_half_life_begins_at_0(tmp_path: Path) -> None:
    found = train(tmp_path)
    for kind in ("G", "G_ema"):
        assert int((found[kind].state_dict()["0.weight"] == 0).sum()) == 32
        assert bool(found[kind].state_dict()["torgb.weight"].all())
    assert engine().iteration == 31  # D's phase has begun each once


def test_the_loops_rate_is_scaled_for_the_step_alone(tmp_path: Path) -> None:
    train(tmp_path, hooks=(REGAN, {"class_name": "support.relative_loops.Rates"}), total_kimg=2)
    steps = {kind: [seen[2] for seen in loops.SEEN if seen[:2] == ("step", kind)] for kind in ("G", "D")}
    schedule = [0.01 * (1 - i * loops.BATCH / 10_000) for i in range(16)]
    factors = [0.25 if 10 <= i < 16 else 1.0 for i in range(16)]
    assert steps["D"] == pytest.approx(schedule)
    assert steps["G"] == pytest.approx([rate * factor for rate, factor in zip(schedule, factors)])
    assert {seen for seen in loops.SEEN if seen[0] == "rate"} == {("rate", "D", 1.0), ("rate", "G", 1.0)}


def test_statistics_have_the_rate_of_the_phase() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=8.0)
    rates = LearningRates("G", optimizer, of_loop=True)
    rates.set(0.5)
    optimizer.param_groups[0]["lr"] = 2.0
    assert rates.current == 1.0 and optimizer.param_groups[0]["lr"] == 2.0


def test_without_a_method_the_loop_is_its_own(tmp_path: Path) -> None:
    ours = train(tmp_path / "ours", hooks=())
    (tmp_path / "theirs").mkdir()
    theirs = training_loop(str(tmp_path / "theirs"), {"class_name": Loss}, Ticker(), hooked=False)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("cut", [9, 17, 25])
def test_a_run_that_its_loop_takes_up_by_itself_goes_on_bit_for_bit(cut: int, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    folder = tmp_path / "00000-cut"
    train(folder, stop_after=cut)
    found = restart.find(projected_gan.FLAVOUR, {"restart_every": 1}, str(tmp_path), "cut")
    assert found is not None and found.state is not None and found.state["batch_idx"] == cut
    batches = found.state["batch_idx"] * r3gan.FLAVOUR.batches
    assert_equal(train(folder, {"resume_state": str(found.state_file), "resume_batches": batches}), whole)


def test_of_a_rolling_snapshot_as_many_copies_stay_as_states(tmp_path: Path) -> None:
    train(tmp_path, {"keep_states": 2})
    numbers = ("000003", "000004")
    kept = [f"{begin}-{n}.{end}" for begin, end in (("network-snapshot", "pkl"), ("regan-state", "pt")) for n in numbers]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["network-snapshot.pkl", *kept])
    copied = tmp_path / "network-snapshot-000004.pkl"
    assert copied.read_bytes() == (tmp_path / "network-snapshot.pkl").read_bytes()
    assert states.load(tmp_path / "regan-state-000004.pt", copied)["batch_idx"] == 32


def test_a_loop_that_counts_on_takes_its_methods_along(tmp_path: Path) -> None:
    train(tmp_path, {"states": False}, stop_after=17)
    found = train(tmp_path, {"states": False}, total_kimg=3)  # without a state: masks begin anew, in the phase that it is
    assert engine().iteration == 23 and bool(found["G"].state_dict()["0.weight"].all())


def test_the_file_of_a_rolling_snapshot_is_nobodys_where_it_is_of_another_state(tmp_path: Path) -> None:
    folder = tmp_path / "00003-words"
    train(folder, stop_after=9)
    args = {"restart_every": 1}
    assert restart.find(projected_gan.FLAVOUR, args, str(tmp_path), "other") is None
    assert restart.find(projected_gan.FLAVOUR, {"restart_every": -1}, str(tmp_path), "words") is None
    (folder / "network-snapshot.pkl").write_bytes(b"newer")
    assert restart.find(projected_gan.FLAVOUR, args, str(tmp_path), "words") is None


def test_what_a_forward_pass_changes_is_an_average() -> None:
    found = loops.networks()
    assert list(averages(found["G"])) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert list(averages(found["D"])) == ["0.weight_u", "0.weight_v"]


# ---------------------------------------------------------------- what is known of the hosts


def test_a_script_is_told_by_what_lies_beside_it(tmp_path: Path) -> None:
    for flavour in (projected_gan.FLAVOUR, r3gan.FLAVOUR):
        for name, functions in {**dict.fromkeys(flavour.files, ()), **flavour.functions}.items():
            path = tmp_path / flavour.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"def {each}(): pass\n" for each in functions))
        namespace = {"__file__": str(tmp_path / flavour.name / "train.py"), "launch_training": print, "subprocess_fn": print}
        assert of_script(namespace) is flavour


def test_an_unknown_preset_is_refused_by_its_name() -> None:
    with pytest.raises(click.BadParameter, match="'FFHQ' is not one of CIFAR10, FFHQ-64"):
        host_values.checked({"preset": "FFHQ"}, r3gan.FLAVOUR.choices)
    assert host_values.checked({"preset": "FFHQ-64"}, r3gan.FLAVOUR.choices) == {"preset": "FFHQ-64"}


SIZES = [("fastgan", 64, "128 pixels or more"), ("fastgan", 128, "None"), ("stylegan2", 64, "None")]


@pytest.mark.parametrize("network, resolution, said", SIZES)
def test_fastgan_makes_no_small_images(network: str, resolution: int, said: str) -> None:
    class_name = f"pg_modules.networks_{network}.Generator"
    args = {"G_kwargs": {"class_name": class_name}, "training_set_kwargs": {"resolution": resolution}}
    assert said in str(projected_gan.FLAVOUR.fault(args))


def test_a_package_that_the_networks_need_is_named() -> None:
    def construct(class_name: str, **given: Any) -> Any:
        if class_name == "D":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return types.SimpleNamespace(label_dim=0, resolution=32, num_channels=3)

    host = types.SimpleNamespace(util=types.SimpleNamespace(construct_class_by_name=construct))
    args = {f"{name}_kwargs": {"class_name": name} for name in ("training_set", "G", "D")}
    found = resume.Resume(Path("network-snapshot-000001.pkl"))
    with pytest.raises(UserError, match="the networks of projected-gan need timm, which is not installed"):
        arguments.take_up(args, found, lambda name: host, projected_gan.FLAVOUR)


def test_networks_for_colour_are_given_no_grey_images() -> None:
    data = types.SimpleNamespace(label_dim=0, resolution=32, num_channels=1)
    host = types.SimpleNamespace(util=types.SimpleNamespace(construct_class_by_name=lambda: data))
    for flavour in (projected_gan.FLAVOUR, r3gan.FLAVOUR):
        with pytest.raises(UserError, match="are for images of 3 channels, and those of --data have 1"):
            arguments.networks_of(lambda name: host, {"training_set_kwargs": {}}, flavour)


def test_the_first_rates_of_a_schedule_are_those_of_the_optimizer() -> None:
    schedules = {"lr_scheduler": {"base_value": 2e-4}, "beta2_scheduler": {"base_value": 0.9}}
    found = r3gan.FLAVOUR.optimizer({"G_opt_kwargs": {"betas": [0.0, 0.0]}, **schedules}, "G")
    assert found == {"lr": 2e-4, "betas": (0.0, 0.9), "reg_interval": None}


@pytest.mark.parametrize("restarts, diverged, code", [(None, True, 3), (3, True, 6), (3, False, 3), (None, False, 0)])
def test_a_host_that_asks_to_be_started_again_is_not_taken_for_one_that_diverged(
    restarts: "int | None", diverged: bool, code: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(stop, "diverged", lambda: diverged)
    try:
        ends.tell("none", {}, types.SimpleNamespace(states=True), False, restarts, asks=restarts is not None)  # type: ignore[arg-type]
    except click.exceptions.Exit as end:
        assert end.exit_code == code
    else:
        assert code == 0


# ---------------------------------------------------------------- their networks

ROLES = {
    "synthesis.input.weight": "conv", "synthesis.input.affine.bias": "affine", "synthesis.L0_36_512.weight": "conv",
    "synthesis.L14_256_3.affine.weight": "affine", "synthesis.init.init.0.weight_orig": "conv", "synthesis.to_big.bias": "conv",
    "synthesis.feat_64.5.weight_orig": "conv", "synthesis.feat_8.bn1.gain.weight_orig": "affine",
    "synthesis.se_128.main.1.weight_orig": "affine", "Model.MainLayers.0.Layers.0.Basis": "conv",
    "Model.MainLayers.0.Layers.0.LinearLayer.weight": "affine", "Model.MainLayers.3.Layers.2.LinearLayer.weight": "fc",
    "Model.MainLayers.3.Layers.2.Basis.weight": "conv", "Model.MainLayers.1.Layers.1.LinearLayer3.Layer.weight": "conv",
    "Model.MainLayers.1.Layers.0.LinearLayer.Layer.weight": "conv", "Model.AggregationLayer.Layer.weight": "conv",
    "Model.EmbeddingLayer.weight": "mapping", "Model.MainLayers.1.Layers.1.NonLinearity2.Bias": "conv",
    "decoder.net.0.weight": "",
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
def test_roles_by_name(name: str) -> None:
    assert role(name) == ROLES[name]


LAST = ["synthesis.L14_32_3.weight", "synthesis.to_big.weight_orig", "Model.AggregationLayer.Layer.weight"]


@pytest.mark.parametrize("last", LAST)
def test_what_writes_rgb_is_never_pruned_unasked(last: str) -> None:
    check_rgb("G", [last])
    shapes = {"synthesis.inner.weight": (8, 8), last: (3, 8)}
    assert select(shapes, exclude=RGB["G"], strict=False) == ["synthesis.inner.weight"]


@pytest.mark.parametrize("warmup", [0, 4])
def test_layers_that_begin_at_zero_need_a_warm_up(warmup: int) -> None:
    residual, rgb = "Model.MainLayers.0.Layers.1.LinearLayer3.Layer.weight", "Model.AggregationLayer.Layer.weight"
    known = {"G": {residual: (8, 8, 1, 1), rgb: (3, 8, 1, 1)}, "D": {}}
    optimizers = {"G": {"lr": 0.1, "betas": (0.0, 0.9), "reg_interval": None}}
    facts = Facts(8, 100, known, known, optimizers, zeros={"G": (residual, rgb)})
    notes = outlook(ReconfigurationConfig(0.3, interval=10, warmup=warmup), facts).notes
    assert any("a warm-up is needed" in note for note in notes) == (warmup == 0)
    assert all("AggregationLayer" not in note for note in notes)


def test_images_of_networks_with_noise_and_without() -> None:
    class Noisy(torch.nn.Module):
        def forward(self, z: torch.Tensor, c: torch.Tensor, **more: Any) -> torch.Tensor:
            return z * (1 if more == {"noise_mode": "const"} else math.nan)

    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            return x.bfloat16()

    z = torch.ones(2, 3)
    for generator in (Noisy(), Plain(), copy.deepcopy(Plain())):
        assert torch.equal(drawn(generator, z, z), z)


# ---------------------------------------------------------------- a snapshot in another form


@pytest.mark.parametrize("classes", [0, 3])
def test_a_generator_without_styles_is_drawn_and_exported(classes: int, tmp_path: Path) -> None:
    G = Plain(classes)
    snapshot = Snapshot(Path("network-snapshot-000001.pkl"), {"G": G, "G_ema": G}, r3gan.FLAVOUR)
    write_images(snapshot, tmp_path / "images.png", "G_ema", Picture(range(4)), None)
    with Image.open(tmp_path / "images.png") as sheet:
        first = np.asarray(sheet.convert("RGB"))[:8, :8]
    z = torch.from_numpy(np.random.RandomState(0).randn(1, 4)).float()
    expected = pixels(G(z, torch.eye(3)[:1] if classes else torch.zeros([1, 0])).detach())[0]
    assert np.array_equal(first, expected)
    write_safetensors(snapshot, tmp_path / "G.safetensors", "G_ema")
    assert torch.equal(load_file(tmp_path / "G.safetensors")["weight"], G.weight)
    write_sparse(snapshot, tmp_path / "sparse.pkl", 0.25)
    assert int((G.weight == 0).sum()) == G.weight.numel() // 4


def test_what_a_generator_without_styles_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match="--trunc: this network makes no styles"):
        Picture(range(4), trunc=0.7).check(Plain())
    assert "channels" in str(r3gan.FLAVOUR.export_refusal("narrow", Plain()))
    assert r3gan.FLAVOUR.export_refusal("onnx", Plain()) is None


def test_whole_channels_are_cut_out_of_networks_of_stylegan2() -> None:
    synthesis = {"b4": None}, {"feat_8": None}
    for flavour in (stylegan3.FLAVOUR, projected_gan.FLAVOUR):
        why = [flavour.export_refusal("narrow", types.SimpleNamespace(synthesis=types.SimpleNamespace(**s))) for s in synthesis]
        assert why[0] is None and "StyleGAN2" in str(why[1])
