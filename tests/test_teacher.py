"""A teacher: against the sum written out, in loops of one's own and in the embedded host's loss, and what it refuses."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from support.digits import write_small_digits
from support.networks import host_module, write_networks
from support.runs import SMALL
from torch import nn
from torch.nn.functional import softplus

from regan_ext.cli import main
from training_hooks import AdvAug, DiffAugment, Hook, Loop, Teacher
from training_hooks.core.hook import Round, Training
from training_hooks.methods.teacher.config import TeacherConfig
from training_hooks.methods.teacher.judge import Judge

pytestmark = pytest.mark.usefixtures("one_thread")
BATCH = 6


class Generator(nn.Module):
    z_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 64)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(z))).view(-1, 1, 8, 8)


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(images.flatten(1))))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a loop that trained others of these networks."""
    torch.manual_seed(77)
    path = tmp_path_factory.mktemp("teacher") / "state.pt"
    torch.save(Loop({"G": Generator(), "D": Discriminator()}, {}, []).state_dict(), path)
    return path


def reals(number: int, generator: torch.Generator) -> Tuple[torch.Tensor, None]:
    return torch.rand(number, 1, 8, 8, generator=generator) - 0.5, None


class Mine:
    """A loop with these methods, always with the same random numbers."""

    def __init__(self, *methods: Hook):
        torch.manual_seed(0)
        self.networks: Dict[str, Any] = {"G": Generator(), "D": Discriminator()}
        self.optimizers = {name: torch.optim.Adam(each.parameters(), lr=0.01) for name, each in self.networks.items()}
        self.methods = list(methods)
        self.loop = Loop(self.networks, self.optimizers, self.methods, batch_size=BATCH)
        self.grads: Dict[str, Optional[torch.Tensor]] = {}  # of G in its last step

    def train(self, iterations: int, rounds: int = 1) -> "Mine":
        for _ in range(iterations):
            with self.loop.iteration():
                for _ in range(rounds):
                    batch = self.loop.round("Gmain", gen_z=torch.randn(BATCH, 4))
                    softplus(-self.loop.run_D(self.loop.run_G(batch.gen_z))).mean().backward()
                self.grads = {name: p.grad.clone() for name, p in self.networks["G"].named_parameters()}
                self.step("G")
                batch = self.loop.round("Dmain", real_img=torch.rand(BATCH, 1, 8, 8))
                fakes = self.loop.run_D(self.loop.run_G(torch.randn(BATCH, 4)).detach())
                (softplus(fakes).mean() + softplus(-self.loop.run_D(batch.real_img)).mean()).backward()
                self.step("D")
        return self

    def step(self, name: str) -> None:
        self.optimizers[name].step()
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)

    def weights(self) -> Dict[str, torch.Tensor]:
        named = ((f"{name}.{key}", p) for name, each in self.networks.items() for key, p in each.state_dict().items())
        return {name: p.clone() for name, p in named}


def same(one: Dict[str, Any], other: Dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def of_teacher(mine: Mine, name: str = "D") -> Dict[str, torch.Tensor]:
    """The weights that a teacher that trains has now."""
    return copy.deepcopy(mine.methods[0].state_dict()["networks"][name])


# ---------------------------------------------------------------- what G is given


@settings(max_examples=6, deadline=None)
@given(alpha=st.floats(0, 1, width=32), rounds=st.integers(1, 2))
def test_gs_gradient_is_that_of_the_sum_written_out(file: Path, alpha: float, rounds: int) -> None:
    mine = Mine(Teacher(network=str(file), alpha=str(alpha))).train(1, rounds)
    teacher = Discriminator()
    teacher.load_state_dict(torch.load(file, weights_only=True)["networks"]["D"])
    plain = Mine()
    for _ in range(rounds):
        images = plain.networks["G"](torch.randn(BATCH, 4))
        losses = [softplus(-D(images)).mean() for D in (plain.networks["D"], teacher)]
        (alpha * losses[0] + (1 - alpha) * losses[1]).backward()
    for name, p in plain.networks["G"].named_parameters():
        torch.testing.assert_close(mine.grads[name], p.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["fixed", "live", "own"])
def test_with_all_weight_on_d_the_run_is_the_plain_one(file: Path, mode: str) -> None:
    given = {"network": str(file), "alpha": "1", "mode": mode, "augment": True}
    taught = Mine(Teacher(**given, reals=None if mode == "fixed" else reals), DiffAugment(["color"]))
    assert same(taught.train(4).weights(), Mine(DiffAugment(["color"])).train(4).weights())


def test_with_all_weight_on_the_teacher_g_knows_nothing_of_d(file: Path) -> None:
    one = Mine(Teacher(network=str(file), alpha="0")).train(1)
    other = Mine(Teacher(network=str(file), alpha="0"))
    with torch.no_grad():
        other.networks["D"].last.weight.fill_(float("nan"))
    assert same(other.train(1).grads, one.grads)


def test_alpha_goes_evenly_to_its_end_and_stays() -> None:
    config = TeacherConfig(alpha="0.9:0.5@100kimg")
    assert config.ramp(50) == 2000
    assert [config.alpha_at(i, 2000) for i in (0, 1000, 2000, 9000)] == pytest.approx([0.9, 0.7, 0.5, 0.5])
    assert TeacherConfig(alpha="0.25").alpha_at(7, TeacherConfig(alpha="0.25").ramp(None)) == 0.25
    for alpha, said in (("1:0@1kimg", "needs batch_size"), ("1:0@0", "less than one iteration")):
        with pytest.raises(ValueError, match=f"^alpha {alpha}: .*{said}"):
            TeacherConfig(alpha=alpha).ramp(None)


def test_advaug_looks_for_its_slope_without_the_teacher(file: Path) -> None:
    def shift(*methods: Hook) -> float:
        mine = Mine(*methods, AdvAug(halves=["g"], place_g="first"))
        return mine.train(1).loop.end_tick()["AdvAug/shift_G"]

    assert shift(Teacher(network=str(file), alpha="0.01")) == shift() > 0


# ---------------------------------------------------------------- what becomes of the teacher


def test_a_live_teacher_learns_from_the_fakes_of_this_run_and_images_of_its_own(file: Path) -> None:
    seen: List[torch.Tensor] = []

    def noted(number: int, generator: torch.Generator) -> Tuple[torch.Tensor, None]:
        seen.append(reals(number, generator)[0])
        return seen[-1], None

    fakes: List[torch.Tensor] = []
    mine = Mine(Teacher(network=str(file), reals=noted))
    run_g = mine.networks["G"].forward
    mine.networks["G"].forward = lambda z: fakes.append(run_g(z)) or fakes[-1]
    mine.train(1)
    teacher = Discriminator()
    teacher.load_state_dict(torch.load(file, weights_only=True)["networks"]["D"])
    (softplus(teacher(fakes[1].detach())).mean() + softplus(-teacher(seen[0])).mean()).backward()
    torch.optim.Adam(teacher.parameters(), lr=0.01).step()
    assert same(of_teacher(mine), teacher.state_dict())


def test_one_of_its_own_learns_from_its_own_generator(file: Path) -> None:
    one, other = (Mine(Teacher(network=str(file), mode="own", reals=reals)) for _ in range(2))
    with torch.no_grad():
        other.networks["G"].last.weight.mul_(2)  # what the run's fakes are makes no difference to it
    begun = {name: of_teacher(one, name) for name in ("G", "D")}
    one.train(2)
    other.train(2)
    for name in ("G", "D"):
        assert same(of_teacher(one, name), of_teacher(other, name))
        assert not any(torch.equal(value, begun[name][key]) for key, value in of_teacher(one, name).items())


def test_a_fixed_one_never_moves(file: Path) -> None:
    mine = Mine(Teacher(network=str(file), alpha="0.5"))
    seen = []
    hooks = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(copy.deepcopy(module.state_dict())) if isinstance(module, Discriminator)
        and module is not mine.networks["D"] else None
    )  # fmt: skip
    mine.train(3)
    hooks.remove()
    assert len(seen) == 3 and all(same(each, torch.load(file, weights_only=True)["networks"]["D"]) for each in seen)


@pytest.mark.parametrize("mode", ["live", "own"])
def test_one_that_trains_goes_on_bit_for_bit(file: Path, mode: str) -> None:
    whole = Mine(Teacher(network=str(file), alpha="0.9:0.2@8", mode=mode, reals=reals)).train(3)
    saved = io.BytesIO()
    torch.save(whole.loop.state_dict(), saved)
    whole.train(3)
    again = Mine(Teacher(network=str(file), alpha="0.9:0.2@8", mode=mode, reals=reals))
    again.loop.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    assert same(again.train(3).weights(), whole.weights())
    assert same(of_teacher(again), of_teacher(whole)) and again.loop.end_tick()["Teacher/alpha"] < 0.9
    state = torch.load(io.BytesIO(saved.getvalue()), weights_only=True)["methods"]["teacher"]
    state["networks"]["D"]["last.bias"].fill_(float("inf"))
    with pytest.raises(ValueError, match="its teacher is not finite"):
        Teacher.check_state(state, again.networks)
    with pytest.raises(ValueError, match="not of the mode"):
        Teacher.check_state({**state, "networks": {}}, again.networks)


def test_a_loop_that_passes_it_by_and_a_file_that_is_none_are_told(file: Path, tmp_path: Path) -> None:
    mine = Mine(Teacher(network=str(file)))
    with mine.loop.iteration(), pytest.raises(RuntimeError, match=r"trained without the teacher.*loop\.round"):
        mine.networks["G"](torch.randn(1, 4)).sum().backward()
        mine.optimizers["G"].step()
    (tmp_path / "no.pt").write_bytes(b"no")
    for settings_of, said in (
        ({"network": str(file), "mode": "live"}, "mode live needs images"),
        ({"network": str(tmp_path / "no.pt")}, "network .*no.pt is no state of a Loop"),
        ({"network": str(file), "checksum": 1}, "it is another file"),
        ({}, "network is the file of the teacher"),
    ):
        with pytest.raises(ValueError, match=said):
            Mine(Teacher(**settings_of))


@pytest.mark.parametrize("step, is_regularised", [(0, True), (1, False), (15, False), (32, True)])
def test_its_step_is_the_one_written_out_with_r1_in_each_sixteenth(step: int, is_regularised: bool) -> None:
    torch.manual_seed(3)
    D, fakes = Discriminator(), torch.randn(BATCH, 1, 8, 8)
    judge, other = Judge({"D": copy.deepcopy(D)}, torch.device("cpu")), torch.optim.Adam(D.parameters(), 0.02, (0.0, 0.9), 1e-6)
    judge.learn({"D": other}, r1=3.0)
    given: List[torch.Tensor] = []
    judge.step(
        [(fakes, None)], lambda number, generator: (given.append(reals(number, generator)[0]) or given[0], None), 1, step
    )
    true = given[0].requires_grad_()
    loss = softplus(D(fakes)).mean() + softplus(-D(true)).mean()
    (slope,) = torch.autograd.grad(D(true).sum(), true, create_graph=True)
    (loss + is_regularised * 16 * 1.5 * slope.square().sum((1, 2, 3)).mean()).backward()
    other.step()
    for name, value in judge.networks["D"].state_dict().items():
        torch.testing.assert_close(value, D.state_dict()[name], rtol=1e-5, atol=1e-7)


def test_on_the_cpu_it_computes_in_single_precision() -> None:
    D = Discriminator()
    D.first.use_fp16 = True
    assert not Judge({"D": D}, torch.device("cpu")).networks["D"].first.use_fp16


def test_a_teacher_that_is_no_longer_finite_ends_the_run(tmp_path: Path) -> None:
    broken = Discriminator()
    with torch.no_grad():
        broken.last.bias.fill_(float("nan"))
    torch.save({"networks": {"D": broken.state_dict()}}, tmp_path / "broken.pt")
    with pytest.raises(RuntimeError, match="says of images what is not finite"):
        Mine(Teacher(network=str(tmp_path / "broken.pt"))).train(1).loop.end_tick()


# ---------------------------------------------------------------- the host


@pytest.mark.parametrize("phase", ["Gmain", "Gboth", "Greg"])
def test_in_the_hosts_own_loss_the_sum_is_exact_and_regularisation_its_own(host_dir: Path, tmp_path: Path, phase: str) -> None:
    module = host_module(host_dir, "training.networks")
    torch.manual_seed(0)
    size, image = dict(channel_base=64, channel_max=8), dict(c_dim=3, img_resolution=8, img_channels=1)
    G = module.Generator(z_dim=8, w_dim=8, mapping_kwargs=dict(num_layers=1), synthesis_kwargs=size, **image)
    D, teacher = (module.Discriminator(**size, **image, mapping_kwargs=dict(num_layers=1)) for _ in range(2))
    torch.save({"networks": {"D": teacher.state_dict()}}, tmp_path / "teacher.pt")
    z, c = torch.randn(4, 8), torch.eye(3)[[0, 1, 2, 0]]
    loss = host_module(host_dir, "training.loss").StyleGAN2Loss(
        torch.device("cpu"), G.mapping, G.synthesis, D, style_mixing_prob=0
    )

    def grads() -> Dict[str, torch.Tensor]:
        G.requires_grad_(True).zero_grad(set_to_none=True), D.requires_grad_(False), loss.pl_mean.zero_()
        torch.manual_seed(1)
        loss.accumulate_gradients(phase, None, None, z, c, True, 1)
        return {name: p.grad.clone() for name, p in G.named_parameters() if p.grad is not None}

    plain = grads()
    loss.D = teacher
    of_teacher = grads()
    loss.D = D
    hook = Teacher(network=str(tmp_path / "teacher.pt"), alpha="0.3")
    training = Training({"G": G, "D": D}, {}, loss=loss, batch_size=4)
    hook.start(training)
    hook.on_round(Round(phase, 0, None, None, z, c))
    for name, found in grads().items():  # what both have of regularisation is counted once
        torch.testing.assert_close(found, 0.3 * plain[name] + 0.7 * of_teacher[name], rtol=1e-4, atol=1e-6)
    assert training.wraps is not None
    training.wraps.clear()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, host_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("files")
    networks = pickle.loads(write_networks(folder / "networks.pkl", host_dir).read_bytes())
    (folder / "no-d.pkl").write_bytes(pickle.dumps({"G": networks["G"], "G_ema": networks["G_ema"]}))
    other = host_module(host_dir, "training.networks").Discriminator(0, 8, 1, channel_base=256, channel_max=16)
    (folder / "small.pkl").write_bytes(pickle.dumps({**networks, "D": other}))
    write_small_digits(folder / "small.zip", side=8, count=2)
    (folder / "no.zip").write_bytes(b"no")
    return folder


@pytest.mark.parametrize("options, said", [
    (["--teacher-alpha=1.5"], "--teacher-alpha: alpha must be in [0, 1], got '1.5'"),
    (["--teacher-alpha=0.9:0.5"], "a ramp such as 0.9:0.5@100kimg"),
    (["--teacher-alpha=0.9:0.5@1it:2"], "a ramp such as 0.9:0.5@100kimg"),
    (["--teacher-alpha=1:0@0"], "its ramp is less than one iteration"),
    (["--teacher-mode=live", "--teacher-augment"], "mode live needs --teacher-data=ZIP"),
    (["--teacher-mode=own"], "mode own needs --teacher-data=ZIP"),
    (["--teacher-mode=fixed", "--teacher-data={data}"], "a fixed one does not train"),
    (["--teacher-data={files}/small.zip"], "has images of 8x8x1"),
    (["--teacher-data={files}/no.zip"], "is no data set of the host"),
    (["--teacher={files}/no.zip"], "no.zip"),
    (["--teacher={files}/nothing.pkl"], "does not exist"),
    (["--teacher={files}/no-d.pkl"], "--teacher: {files}/no-d.pkl is no network pickle: it holds G, G_ema"),
    (["--teacher={files}/small.pkl"], "is for images of resolution 8, this run's are of 16"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_cannot_be_is_one_line_before_training(
    options: List[str], said: str, files: Path, data_zip: Path, tmp_path: Path
) -> None:
    places = {"files": files, "data": data_zip}
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL]
    arguments = [f"--teacher={files}/networks.pkl", *(each.format(**places) for each in options)]
    result = CliRunner().invoke(main, [*common, *arguments], prog_name="regan-ext")
    told = result.output.strip().splitlines()[-1]
    assert result.exit_code == 2 and told.startswith("Error: ") and said.format(**places) in told, result.output


def test_the_snapshot_that_a_run_begins_with_may_be_its_teacher(files: Path, data_zip: Path, tmp_path: Path) -> None:
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL]
    options = [f"--teacher={files}/networks.pkl", f"--resume={files}/networks.pkl", "--teacher-augment"]
    result = CliRunner().invoke(main, [*common, *options], prog_name="regan-ext")
    assert result.exit_code == 0, result.output
    assert "Note: --teacher is the snapshot that the run begins with." in result.output
    assert "Note: It does not train, and G learns to exploit that" in result.output
    assert "networks.pkl, augment true; the rest as by default" in result.output
    assert "-teacher-fixed-a0.9-augment" in result.output
