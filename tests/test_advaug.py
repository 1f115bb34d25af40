"""AdvAug: against its definition in the embedded host's own loss and in loops of one's own, in one process and two."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import host_module, load_networks
from torch import nn
from torch.nn.functional import softplus
from torch.nn.parallel import DistributedDataParallel

from regan_ext.cli import main
from regan_ext.hosts import dvschultz, projected_gan, r3gan
from training_hooks import AdvAug, DiffAugment, Loop, Reconfiguration
from training_hooks.core.hook import Round, Step, Training
from training_hooks.methods.advaug.config import AdvAugConfig
from training_hooks.methods.advaug.places import Place, located, outlook
from training_hooks.methods.method import Facts

pytestmark = pytest.mark.usefixtures("one_thread")
BATCH = 4
BEGUN: List[AdvAug] = []
Grads = Dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while BEGUN:
        BEGUN.pop().close()


# ---------------------------------------------------------------- the host's own loss


class Host:
    """The embedded host's loss and networks, as its loop has them; every computation begins with the same random numbers."""

    def __init__(self, host_dir: Path, classes: int = 0, wrapped: bool = False, **of_loss: Any):
        module = host_module(host_dir, "training.networks")
        self.stats = host_module(host_dir, "training.loss").training_stats
        torch.manual_seed(0)
        size, image = dict(channel_base=64, channel_max=8), dict(c_dim=classes, img_resolution=8, img_channels=1)
        kwargs = dict(num_layers=2)
        self.G = module.Generator(z_dim=16, w_dim=16, mapping_kwargs=kwargs, synthesis_kwargs=size, **image)
        self.D = module.Discriminator(**size, **image, mapping_kwargs=kwargs)
        self.c = torch.eye(max(classes, 1))[torch.arange(BATCH) % max(classes, 1)][:, :classes]
        self.z, self.reals = torch.randn(BATCH, 16), torch.randn(BATCH, 1, 8, 8)
        wrap: Callable[[nn.Module], nn.Module] = DistributedDataParallel if wrapped else lambda network: network
        options = {"style_mixing_prob": 0, **of_loss}
        self.loss = host_module(host_dir, "training.loss").StyleGAN2Loss(
            torch.device("cpu"), wrap(self.G.mapping), wrap(self.G.synthesis), wrap(self.D), **options
        )

    def begin(self, **given: Any) -> AdvAug:
        """A method that has started. The module of statistics is one for all tests, so each is closed."""
        hook = AdvAug(**given)
        BEGUN.append(hook)
        hook.start(Training({"G": self.G, "D": self.D}, {}, loss=self.loss, stats=self.stats))
        return hook

    def of(self, phase: str) -> nn.Module:
        """The network that trains, the other one at rest."""
        for network, name in ((self.G, "G"), (self.D, "D")):
            network.requires_grad_(phase.startswith(name))
            network.zero_grad(set_to_none=True)
        return self.G if phase.startswith("G") else self.D

    def compute(self, phase: str, hook: Optional[AdvAug] = None, sync: bool = True, seed: int = 1) -> "Tuple[Grads, Any]":
        """Gradients of a phase, and the host's statistics of it."""
        collector = self.stats.Collector(regex="Loss/.*", keep_previous=False)
        network = self.of(phase)
        self.loss.pl_mean.zero_()
        torch.manual_seed(seed)
        if hook is not None:
            hook.on_round(Round(phase, 0, self.reals, self.c, self.z, self.c))
        self.loss.accumulate_gradients(phase, self.reals, self.c, self.z, self.c, sync, 1)
        collector.update()
        told = {name: each for name, each in collector.as_dict().items() if each["num"]}
        return grads(network), told

    def written_out(self, phase: str, config: AdvAugConfig, seed: int = 1) -> Grads:
        """Gradients of the loss as the card has it, with the perturbed half computed by all that comes after the feature."""
        network = self.of(phase)
        torch.manual_seed(seed)
        amount, weight = config.step, config.weight
        ws = self.G.mapping(self.z, self.c)
        if phase == "Gmain":
            logits = self.D(self.G.synthesis(ws), self.c)
            slope = torch.autograd.grad(logits.sum(), ws, retain_graph=True)[0]
            moved = self.D(self.G.synthesis(ws - amount * slope.sign()), self.c)
            plain, perturbed = softplus(-logits).mean(), softplus(-moved).mean()
        else:
            fakes = self.G.synthesis(ws)
            pairs = [self.twice(fakes, amount), self.twice(self.reals, -amount)]
            plain, perturbed = (softplus(pairs[0][i]).mean() + softplus(-pairs[1][i]).mean() for i in (0, 1))
        ((plain + weight * perturbed) / (1 + weight)).backward()
        return grads(network)

    def twice(self, images: torch.Tensor, amount: float) -> "Tuple[torch.Tensor, torch.Tensor]":
        """D's logits, and those with a step of a signed length at the input of its last layer."""
        features: List[torch.Tensor] = []
        with layer_given(self.D.b4.out, lambda feature: features.append(feature) or feature):
            logits = self.D(images, self.c)
        (slope,) = torch.autograd.grad(logits.sum(), features[0], retain_graph=True)
        with layer_given(self.D.b4.out, lambda feature: feature + amount * slope.sign()):
            return logits, self.D(images, self.c)


class layer_given:
    """While the block runs, a layer is given what ``change`` makes of its input."""

    def __init__(self, layer: nn.Module, change: Callable[[torch.Tensor], Any]):
        self.handle = layer.register_forward_pre_hook(lambda _, args: (change(args[0]),))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()


def grads(network: nn.Module) -> Grads:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def assert_close(one: Grads, other: Grads, atol: float = 2e-7) -> None:
    assert one.keys() == other.keys() and any(bool(grad.any()) for grad in one.values())
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=atol, msg=lambda told, name=name: f"{name}: {told}")


@pytest.fixture
def host(host_dir: Path) -> Host:
    return Host(host_dir)


BOTH = {"halves": ("g", "d")}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("phase", ["Gmain", "Dmain"])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_gradients_are_those_of_the_loss_written_out(host_dir: Path, phase: str, weight: float, classes: int) -> None:
    host = Host(host_dir, classes)
    given = {**BOTH, "step": 0.1, "weight": weight}
    plain, expected = host.compute(phase)[0], host.written_out(phase, AdvAugConfig(**given))
    assert_close(host.compute(phase, host.begin(**given))[0], expected)
    assert any(not torch.allclose(plain[name], expected[name], rtol=1e-2) for name in plain)


@pytest.mark.parametrize("phase", ["Gmain", "Dmain", "Greg", "Dreg"])
@pytest.mark.parametrize("given", [{"step": 0.0}, {"weight": 0.0}])
def test_no_step_and_no_weight_are_the_plain_run_bit_for_bit(host: Host, phase: str, given: Dict[str, float]) -> None:
    (plain, stats), drawn = host.compute(phase), torch.rand(3)
    (same, told), drawn_too = host.compute(phase, host.begin(**BOTH, **given)), torch.rand(3)
    assert plain.keys() == same.keys() and all(torch.equal(plain[name], same[name]) for name in plain)
    assert stats == told and torch.equal(drawn, drawn_too)


@pytest.mark.parametrize("phase", ["Gmain", "Dmain", "Greg", "Dreg"])
def test_the_hosts_statistics_are_those_of_the_plain_run(host: Host, phase: str) -> None:
    stats = host.compute(phase)[1]
    hook = host.begin(**BOTH, step=0.3)
    assert host.compute(phase, hook)[1] == stats and stats
    told = hook.on_report()
    if phase.endswith("reg"):
        assert told == {}
    else:
        assert set(told) == {f"AdvAug/{name}_{phase[0]}" for name in ("shift", "loss", "delta")}
        assert told[f"AdvAug/loss_{phase[0]}"] > stats[f"Loss/{phase[0]}/loss"]["mean"]  # perturbed against who trains
    hook.close()
    assert host.compute(phase)[1] == stats and "report_plain" not in repr(host.stats.report)


@pytest.mark.parametrize("phase", ["Greg", "Dreg"])
def test_regularisation_is_left_alone(host: Host, phase: str) -> None:
    hook = host.begin(**BOTH, step=0.3)
    host.compute(phase[0] + "main", hook)
    after, plain = host.compute(phase, hook)[0], host.compute(phase)[0]
    assert all(torch.equal(after[name], plain[name]) for name in plain)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("given", [{}, {"steps": 3}, {"relative": True}, {"direction": "reference"}, {"noise": 0.1}])
def test_with_a_linear_head_the_shift_is_what_d_gives_with_the_perturbed_feature(
    host_dir: Path, classes: int, given: Dict[str, Any]
) -> None:
    host = Host(host_dir, classes)
    hook = host.begin(halves=("d",), **given)
    features: List[torch.Tensor] = []
    with layer_given(host.D.b4.out, lambda feature: features.append(feature.detach()) or feature):
        host.of("Dmain")
        hook.on_round(Round("Dmain", 0, host.reals, host.c, host.z, host.c))
        fakes = host.loss.run_G(host.z, host.c, sync=True)[0]
        pairs = []
        for images in (fakes, host.reals):
            torch.manual_seed(5)
            pairs.append(host.loss.run_D(images, host.c, sync=True))
    assert len(features) == 2  # D has computed once for each
    for (plain, moved), feature, images, kind in zip(map(halved, pairs), features, (fakes, host.reals), ("fake", "real")):
        rms = feature.square().mean(1, keepdim=True).sqrt() if given.get("relative") else 1
        with layer_given(host.D.b4.out, lambda x, seen=(kept := []): seen.append(x) or x):
            slope = torch.autograd.grad(host.D(images, host.c).sum(), kept[0])[0]
        sign = 1 if kind == "fake" or given.get("direction") == "reference" else -1
        torch.manual_seed(5)
        delta = sign * given.get("steps", 1) * 0.01 * rms * slope.sign()
        delta = 0.1 * torch.randn_like(feature) if "noise" in given else delta
        with layer_given(host.D.b4.out, lambda x, delta=delta: x + delta):
            torch.testing.assert_close(moved, host.D(images, host.c), rtol=0, atol=5e-7)
        if "noise" not in given:
            assert bool((sign * (moved - plain) > 0).all())


def halved(both: torch.Tensor) -> "Tuple[torch.Tensor, torch.Tensor]":
    assert both.shape[0] == 2 * BATCH
    return both[:BATCH], both[BATCH:]


def test_a_host_that_changes_some_reals_shows_reals_after_its_fakes(host: Host) -> None:
    hook = host.begin(halves=("d",), step=0.1)
    host.of("Dmain")
    hook.on_round(Round("Dmain", 0, host.reals, host.c, host.z, host.c))
    fakes = host.loss.run_G(host.z, host.c, sync=True)[0]
    mixed = torch.cat([host.reals[:2], fakes[2:].detach()])
    (fake, fake_moved), (real, real_moved) = (halved(host.loss.run_D(each, host.c, sync=True)) for each in (fakes, mixed))
    assert bool((fake_moved > fake).all()) and bool((real_moved < real).all())
    assert host.loss.run_D(host.reals, host.c, sync=True).shape[0] == BATCH  # whatever else D is shown


@pytest.mark.parametrize("place", ["b4", "synthesis.b8.conv0", "w"])
def test_gs_feature_is_the_named_one_and_the_mapping_network_computes_once(host: Host, place: str) -> None:
    calls: List[str] = []
    host.G.mapping.register_forward_hook(lambda *_: calls.append("mapping"))
    hook = host.begin(halves=("g",), place_g=place, relative=True)
    before = host.G.mapping.w_avg.clone()
    host.compute("Gmain", hook)
    moved_once = host.G.mapping.w_avg.clone()
    assert calls == ["mapping"] and not torch.equal(before, moved_once)
    assert hook.on_report()["AdvAug/delta_G"] == pytest.approx(0.01, rel=0.05)
    for module in (*host.G.modules(), *host.D.modules()):
        assert not module._forward_pre_hooks and (module is host.G.mapping or not module._forward_hooks)


# ---------------------------------------------------------------- a loop of one's own


class Mine:
    """Small networks of double precision that can be differentiated, and a step of either."""

    def __init__(self, seed: int, *hooks: Any, D: Optional[nn.Module] = None, dtype: torch.dtype = torch.float64):
        torch.manual_seed(seed)
        self.G = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 16), nn.Unflatten(1, (1, 4, 4))).to(dtype)
        self.D = (
            D or nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
        ).to(dtype)
        self.z, self.reals = torch.randn(BATCH, 3, dtype=dtype), torch.randn(BATCH, 1, 4, 4, dtype=dtype)
        networks = {"G": self.G, "D": self.D}
        self.optimizers = {name: torch.optim.SGD(network.parameters(), 0.1) for name, network in networks.items()}
        self.loop = Loop(networks, self.optimizers, hooks, batch_size=BATCH)
        self.loop.begin_iteration()

    def logits(self, phase: str) -> "Dict[str, torch.Tensor]":
        """What D says: "g", or "fake" and "real"."""
        batch = self.loop.round(phase, real_img=self.reals, gen_z=self.z)
        fakes = self.loop.run_G(batch.gen_z)
        if phase.startswith("G"):
            return {"g": self.loop.run_D(fakes)}
        return {"fake": self.loop.run_D(fakes.detach()), "real": self.loop.run_D(batch.real_img)}

    def loss(self, phase: str) -> torch.Tensor:
        return sum((softplus(x if kind == "fake" else -x).mean() for kind, x in self.logits(phase).items()), torch.zeros(()))


PLACES: List[Dict[str, Any]] = [
    {"place_g": "0", "place_d": "5"},  # linear from there on
    {"place_g": "2", "place_d": "3", "steps": 3},
    {"place_g": "0", "place_d": "1", "relative": True},
]
places = pytest.mark.parametrize("given", PLACES, ids=["head", "middle", "relative"])


@places
@pytest.mark.parametrize("direction", ["paper", "reference"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_each_kind_moves_the_way_that_its_direction_says(given: Dict[str, Any], direction: str, seed: int) -> None:
    """To first order, in the paper's direction against the network that trains."""
    mine = Mine(seed, AdvAug(halves=("g", "d"), step=1e-5, direction=direction, **given))
    moves = {k: halved(both) for phase in ("Gmain", "Dmain") for k, both in mine.logits(phase).items()}
    for kind, (plain, moved) in moves.items():
        up = direction == "reference" or kind == "fake"
        assert bool(((moved - plain) * (1 if up else -1) > 0).all()), kind


@places
@pytest.mark.parametrize("phase", ["Gmain", "Dmain"])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), weight=st.floats(0.1, 4))
def test_gradients_agree_with_finite_differences(given: Dict[str, Any], phase: str, seed: int, weight: float) -> None:
    """Signs stay as they are for small steps, so what is perturbed by is a constant. A relative size follows the feature."""
    if given.get("relative"):
        weight = 1.0
    mine = Mine(seed, AdvAug(halves=("g", "d"), step=0.01, weight=weight, **{**given, "relative": False}))
    network = mine.G if phase == "Gmain" else mine.D
    mine.loss(phase).backward()
    direction = [torch.randn_like(p) for p in network.parameters()]
    expected = sum(float((p.grad * d).sum()) for p, d in zip(network.parameters(), direction) if p.grad is not None)

    def at(length: float) -> float:
        with torch.no_grad():
            for p, d in zip(network.parameters(), direction):
                p.add_(d, alpha=length)
        plain, moved = (
            sum(float(softplus(x if kind == "fake" else -x).mean()) for kind, x in halves.items())
            for halves in zip_halves({kind: x.detach() for kind, x in mine.logits(phase).items()})
        )
        with torch.no_grad():
            for p, d in zip(network.parameters(), direction):
                p.sub_(d, alpha=length)
        return (plain + weight * moved) / (1 + weight)

    assert (at(1e-6) - at(-1e-6)) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7)


def zip_halves(logits: Dict[str, torch.Tensor]) -> "Tuple[Dict[str, torch.Tensor], Dict[str, torch.Tensor]]":
    pairs = {kind: halved(both) for kind, both in logits.items()}
    return {kind: plain for kind, (plain, _) in pairs.items()}, {kind: moved for kind, (_, moved) in pairs.items()}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_linear_rest_gives_what_computing_it_gives(steps: int) -> None:
    """The last layer and a layer before it that nothing bends, against one that D cannot know to be linear."""

    class Bent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0 * x.square()

    results = []
    for between in (nn.Identity(), Bent()):
        torch.manual_seed(0)
        D = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 5), between, nn.Linear(5, 1))
        passes: List[int] = []
        D[0].register_forward_hook(lambda *_, passes=passes: passes.append(1))
        mine = Mine(3, AdvAug(halves=("d",), place_d="3", step=0.2, steps=steps), D=D)
        loss = mine.loss("Dmain")
        loss.backward()
        results.append((loss, grads(mine.D), len(passes)))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)
    assert results[0][2] == 2 and results[1][2] == 2 * (1 + steps)


def test_each_step_goes_by_the_slope_where_the_last_one_ended() -> None:
    class Wave(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cos(5 * x).sum(1, keepdim=True)

    mine = Mine(
        1, AdvAug(halves=("d",), place_d="1", step=0.2, steps=4), D=nn.Sequential(nn.Flatten(), nn.Linear(16, 16), Wave())
    )
    _, moved = halved(mine.logits("Dmain")["real"])
    feature, signs = mine.reals.flatten(1), []
    for _ in range(4):
        feature = feature.detach().requires_grad_()
        (slope,) = torch.autograd.grad(mine.D[1:](feature).sum(), feature)
        signs.append(slope.sign())
        feature = feature - 0.2 * slope.sign()
    torch.testing.assert_close(moved, mine.D[1:](feature))
    assert not torch.equal(signs[0], signs[-1])


def test_later_images_of_a_round_are_those_of_regularisation() -> None:
    """A loop without lazy regularisation computes them in the same phase."""
    mine = Mine(0, AdvAug(halves=("g",), place_g="0"))
    mine.loop.round("Gboth", gen_z=mine.z)
    first, second = mine.loop.run_G(mine.z), mine.loop.run_G(mine.z[:2])
    assert mine.loop.run_D(second).shape[0] == 2 and halved(mine.loop.run_D(first)) and mine.loop.run_D(first).shape[0] == BATCH


def test_the_pipe_of_augmentation_comes_before_ds_feature_and_once() -> None:
    mine = Mine(0, DiffAugment(["translation"]), AdvAug(halves=("d",), place_d="3", step=1e-5))
    for kind, both in mine.logits("Dmain").items():
        plain, moved = halved(both)
        assert bool(((moved - plain) * (1 if kind == "fake" else -1) > 0).all()), kind  # known through the pipe
        torch.testing.assert_close(plain, moved, rtol=0, atol=1e-3)


@pytest.mark.parametrize("direction, reaches", [("paper", True), ("reference", False)])
def test_noise_reaches_what_comes_before_the_feature_as_its_source_has_it(direction: str, reaches: bool) -> None:
    mine = Mine(0, AdvAug(halves=("g", "d"), noise=0.1, direction=direction, place_g="0", place_d="5"))
    for phase, network, below in (("Gmain", mine.G, "0.weight"), ("Dmain", mine.D, "1.weight")):
        moved = sum(halved(both)[1].sum() for both in mine.logits(phase).values())
        network.zero_grad()
        assert isinstance(moved, torch.Tensor)
        moved.backward()
        grad = network.get_parameter(below).grad
        assert (grad is not None and bool(grad.any())) == reaches


def test_noise_is_of_its_size() -> None:
    for direction, rms in (("paper", 1.0), ("reference", 3**-0.5)):
        mine = Mine(0, AdvAug(halves=("g",), noise=0.5, relative=True, direction=direction, place_g="2"))
        for _ in range(50):
            mine.logits("Gmain")
        assert mine.loop.end_tick()["AdvAug/delta_G"] == pytest.approx(0.5 * rms, rel=0.1)


def test_half_precision_gives_a_finite_perturbation() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.out = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 1)

        def to(self, *_: Any) -> "Half":  # type: ignore[override]
            self.first.half(), self.second.half()
            return self

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.first(images.flatten(1).half() * 100)
            return self.out(self.second(torch.relu(x) / 8).float() / 1000)

    for relative in (False, True):
        mine = Mine(0, AdvAug(halves=("d",), place_d="second", relative=relative), D=Half(), dtype=torch.float32)
        mine.loss("Dmain").backward()
        told = mine.loop.end_tick()
        assert all(torch.isfinite(p.grad).all() for p in mine.D.parameters() if p.grad is not None)
        assert 0 < told["AdvAug/shift_D"] < 1 and 0 < told["AdvAug/delta_D"] < 1


def test_whole_channels_compute_the_perturbed_images_too(host: Host) -> None:
    G, D, z = host.G, host.D, host.z
    prune = Reconfiguration(ratio=0.5, interval=2, granularity="channel", channel_multiple=1, channel_min=1)
    loop = Loop({"G": G, "D": D}, {"G": torch.optim.Adam(G.parameters())}, [AdvAug(halves=["g"], place_g="b4"), prune])
    widths: List[int] = []
    G.synthesis.b8.conv1.affine.register_forward_hook(lambda module, args, styles: widths.append(styles.shape[1]))
    loop.begin_iteration()
    loop.round("Gmain", gen_z=z)
    assert halved(loop.run_D(loop.run_G(z, host.c), host.c)) and widths == [4, 4]


# ---------------------------------------------------------------- two processes


def two_rounds(host: Host, phase: str, hook: AdvAug, rank: int) -> Grads:
    """Gradients of two rounds of accumulation, with data and noise that are this rank's."""
    for index, sync in enumerate((False, True)):
        network = host.of(phase) if index == 0 else (host.G if phase.startswith("G") else host.D)
        torch.manual_seed(10 * rank + index)
        z, reals = torch.randn_like(host.z), torch.randn_like(host.reals)
        hook.on_round(Round(phase, index, reals, host.c, z, host.c))
        host.loss.accumulate_gradients(phase, reals, host.c, z, host.c, sync, 1)
    return grads(network)


def train_rank(rank: int, folder: str, host_dir: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    given = {**BOTH, "place_d": "b4.fc", "step": 0.1}
    alone, shared = Host(host_dir), Host(host_dir, wrapped=True, pl_weight=0)
    for phase in ("Gmain", "Dmain"):
        single = [two_rounds(alone, phase, alone.begin(**given), each) for each in (0, 1)]
        together = two_rounds(shared, phase, shared.begin(**given), rank)
        assert_close(together, {name: (single[0][name] + single[1][name]) / 2 for name in together})
        torch.save(together, f"{folder}/{phase}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_mean_of_their_gradients(host_dir: Path, tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(train_rank, (str(tmp_path), host_dir), nprocs=2, start_method="fork")
    for phase in ("Gmain", "Dmain"):
        one, other = (torch.load(tmp_path / f"{phase}-{rank}.pt", weights_only=True) for rank in (0, 1))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_real_loop_keeps_two_ranks_equal_and_leaves_nothing_behind(train_tiny: Any, host_dir: Path) -> None:
    """The host compares its ranks before each snapshot."""
    run = train_tiny("--advaug=g,d", "--batch=256", "--aug=noaug", "--gpus=2", mode="off")
    names = {f"AdvAug/{name}_{network}" for name in ("shift", "loss", "delta") for network in "GD"}
    assert names <= set(run.stats[-1]) and all(run.stats[-1][name]["mean"] > 0 for name in names)
    assert b"training_hooks" not in run.snapshot(1).read_bytes()
    for network in ("G", "D", "G_ema"):
        for module in load_networks(run.snapshot(1), host_dir)[network].modules():
            assert not module._forward_hooks and not module._forward_pre_hooks


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("options, said", [
    (["--advaug=g,e"], "--advaug: 'e' is none of g, d"),
    (["--advaug=d", "--advaug-step=-0.01"], "--advaug-step: -0.01 is not in the range 0<=x<=1000"),
    (["--advaug=d", "--advaug-steps=0"], "--advaug-steps: 0 is not in the range 1<=x<=100"),
    (["--advaug=d", "--advaug-weight=-1"], "--advaug-weight: -1.0 is not in the range"),
    (["--advaug=d", "--advaug-noise=0.1", "--advaug-steps=2"], "--advaug-noise: noise is drawn once and takes no steps"),
    (["--advaug=d", "--advaug-d=b32.conv0"], "--advaug-d: 'b32.conv0' is no layer of D with weights; there are b"),
    (["--advaug=d", "--advaug-d=b4"], "--advaug-d: 'b4' is no layer of D"),
    (["--advaug=g", "--advaug-g=mapping.fc0"], "--advaug-g: 'mapping.fc0' is no layer of G"),
    (["--advaug=d", "--advaug-g=b4"], "--advaug-g: --advaug-g says where g is perturbed, and it is not"),
    (["--advaug-step=0.1"], "--advaug-step needs --advaug"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(options: List[str], said: str, data_zip: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    common = ["train", "--host=embedded", f"--outdir={tmp_path}", f"--data={data_zip}", "--device=cpu", "--metrics=none"]
    result = CliRunner().invoke(main, [*common, "--cbase=256", "--cmax=16", *options])
    told = result.output.replace("\n", " ").replace("'--", "--").replace("':", ":")
    assert result.exit_code == 2 and said in told and not list(tmp_path.iterdir())


def test_hosts_that_it_does_not_fit_refuse_it() -> None:
    for flavour in (projected_gan.FLAVOUR, r3gan.FLAVOUR):
        assert flavour.refusal("advaug", {}) is not None
    fork = dvschultz.FLAVOUR
    assert fork.refusal("advaug", {"loss_kwargs": {}}) is None
    assert "--topk" in str(fork.refusal("advaug", {"loss_kwargs": {"G_top_k": True}}))


def test_a_plan_says_where_and_what_it_costs_and_refuses_loops_without_lazy_regularisation() -> None:
    shapes = {"G": {"synthesis.b4.conv1.weight": (8, 8)}, "D": {"b4.out.weight": (1, 8)}}

    def planned(interval: Optional[int], **given: Any) -> Any:
        return outlook(AdvAugConfig(**given), Facts(4, 10, shapes, shapes, {"D": {"reg_interval": interval}}))

    plan = planned(16, **BOTH, steps=2)
    assert plan.values == {"places": {"g": "synthesis", "d": "b4.out"}}
    assert plan.notes == (
        "AdvAug perturbs G's w and D's b4.out by 2 x 0.01, direction paper.",
        "Where G trains, images and D's logits are computed 2 times more.",
    )
    assert planned(None, halves=("g",), place_g="b4").values == {"places": {"g": "synthesis.b4.conv1"}}
    with pytest.raises(ValueError, match=r"^halves: d needs a loop that regularises D in steps of their own"):
        planned(None, halves=("d",))
    assert "does nothing" in planned(None, **BOTH, step=0.0).notes[0]


def test_layers_are_known_by_their_weights() -> None:
    config = AdvAugConfig(halves=("g", "d"), place_g="main.0", place_d="out")
    assert located(config, "g", ["main.0.weight_orig", "main.0.bias"]) == "main.0"
    assert located(config, "d", ["out.parametrizations.weight.original0"]) == "out"
    with pytest.raises(ValueError, match=r"place_g w is the input of G\.synthesis, and this G has none; name a layer of G"):
        located(AdvAugConfig(halves=("g",)), "g", ["main.0.weight"])


def test_a_loop_that_goes_past_it_is_told() -> None:
    def step(network: str) -> Step:
        return Step(network, f"{network}main", 0)

    for halves, network in ((("g",), "G"), (("d",), "D")):
        hook = AdvAug(halves=halves, place_g="0" if "g" in halves else "w", place_d="5" if "d" in halves else "head")
        mine = Mine(0, hook)
        mine.loss(f"{network}main")
        hook.before_step(step(network))
        with pytest.raises(RuntimeError, match=f"a step of {network} was trained without perturbed features"):
            hook.before_step(step(network))
        hook.before_step(step("D" if network == "G" else "G"))
    mine.loop.round("Dmain", real_img=mine.reals)
    assert halved(mine.loop.run_D(mine.reals))  # and fakes from elsewhere
    with pytest.raises(RuntimeError, match="each by itself"):
        hook.before_step(step("D"))
    mine.loop.round("Dmain", real_img=mine.reals)
    both = torch.cat([mine.loop.run_G(mine.z).detach(), mine.reals])
    assert mine.loop.run_D(both).shape[0] == 2 * BATCH
    with pytest.raises(RuntimeError, match="each by itself"):
        hook.before_step(step("D"))
    with pytest.raises(RuntimeError, match="regularises D in a phase of its own"):
        mine.loop.round("Dboth", real_img=mine.reals)


def test_a_d_of_many_logits_and_a_feature_that_is_none_are_told() -> None:
    patches = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Conv2d(2, 1, 1))
    with pytest.raises(RuntimeError, match=r"one logit an image, and this one gives \[4, 1, 2, 2\]"):
        Mine(0, AdvAug(halves=("d",), place_d="2"), D=patches).logits("Dmain")
    shared = nn.Linear(16, 16)
    twice = nn.Sequential(nn.Flatten(), shared, nn.Tanh(), shared, nn.Linear(16, 1))
    with pytest.raises(RuntimeError, match=r"D\.1 is computed 2 times in a pass"):
        Mine(0, AdvAug(halves=("d",), place_d="1"), D=twice).logits("Dmain")
    flat = nn.Linear(3, 1)
    place = Place(lambda: flat, flat, False, "D.flat")
    with pytest.raises(RuntimeError, match=r"the feature at D\.flat is no batch of numbers \[batch, \.\.\.\] but \[3\]"):
        place.catch(lambda: flat(torch.zeros(3)))
    assert not flat._forward_pre_hooks
    with pytest.raises(ValueError, match="goes through D; SimpleNamespace has none"):
        loss = SimpleNamespace(run_G=lambda z: z)
        AdvAug(halves=("d",), place_d="2").start(Training({"D": copy.deepcopy(patches)}, {}, loss=loss))
