"""Methods in a loop of one's own: each of them by its row of cases, several at once, going on, and taken off again."""

from __future__ import annotations

import copy
import functools
import io
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
import torch
from cases import CASES, Case, combined
from torch import nn
from torch.nn.functional import softplus

from training_hooks import (
    AdaptivePseudoAugmentation,
    Config,
    DiffAugment,
    Hook,
    Length,
    Loop,
    Reconfiguration,
    ReconfigurationConfig,
    RegenerativePruning,
    Round,
    Step,
    Training,
    setting,
)
from training_hooks.core.engine import construct_hook
from training_hooks.core.ranks import average_gradients, rank_and_size
from training_hooks.methods.method import find
from training_hooks.observers.stability import Stability

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH = 8


class Generator(nn.Module):
    z_dim, c_dim = 4, 0

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Linear(4, 16)
        self.torgb = nn.Linear(16, 64)

    def forward(self, z: torch.Tensor, c: Any = None, noise_mode: str = "random") -> torch.Tensor:
        return self.torgb(torch.tanh(self.mapping(z))).view(-1, 1, 8, 8).tanh()


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fromrgb = nn.Linear(64, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.fromrgb(images.flatten(1)))).mean(1)


class Mine:
    """Somebody's own training, in the order of NVIDIA's loops, with regularisation of D in every fourth iteration."""

    def __init__(self, methods: Callable[[], List[Hook]], **given: Any):
        torch.manual_seed(0)
        self.networks: Dict[str, Any] = {"G": Generator(), "D": Discriminator()}
        self.networks["G_ema"] = copy.deepcopy(self.networks["G"])
        self.optimizers = {
            name: torch.optim.Adam(self.networks[name].parameters(), lr=0.01, betas=(0.5, 0.9)) for name in ("G", "D")
        }
        self.methods = methods()
        self.loop = Loop(self.networks, self.optimizers, self.methods, batch_size=BATCH, **given)

    def train(self, iterations: int) -> "Mine":
        for _ in range(iterations):
            with self.loop.iteration() as i:
                reals = torch.rand(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(i)) * 2 - 1
                z = self.loop.round("Gmain", gen_z=torch.randn(BATCH, 4)).gen_z
                self.step("G", softplus(-self.loop.run_D(self.loop.run_G(z))).mean())
                reals = self.loop.round("Dmain", real_img=reals).real_img
                fakes = self.loop.run_G(torch.randn(BATCH, 4)).detach()
                self.step("D", (softplus(self.loop.run_D(fakes)) + softplus(-self.loop.run_D(reals))).mean())
                if i % 4 == 0:
                    with self.loop.extra_step():
                        self.step("D", self.loop.run_D(reals).square().mean())
                with torch.no_grad():
                    for average, p in zip(self.networks["G_ema"].parameters(), self.networks["G"].parameters()):
                        average.lerp_(p, 0.5)
        return self

    def step(self, name: str, loss: torch.Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        if rank_and_size()[1] > 1:
            average_gradients(list(self.networks[name].parameters()), rank_and_size()[1])
        self.optimizers[name].step()

    def weights(self) -> Dict[str, torch.Tensor]:
        named = ((f"{name}.{k}", v) for name, network in self.networks.items() for k, v in network.state_dict().items())
        return {name: value.clone() for name, value in named}


def same(a: Dict[str, torch.Tensor], b: Dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def pruning(**settings: Any) -> Reconfiguration:
    """Sparse in iterations 1-3 and 7-9, dense in 4-6 and 10-12."""
    return Reconfiguration(ratio=0.25, interval=3, warmup=1, target="both", **settings)


def replacing() -> AdaptivePseudoAugmentation:
    return AdaptivePseudoAugmentation(target=-1, kimg=0.02, interval=2)


def of_case(case: Case) -> List[Hook]:
    method = find(case.name)
    assert method is not None
    return [construct_hook(method=case.name, version=method.version, settings=case.own_loop)]


def of_cases(cases: List[Case]) -> List[Hook]:
    return [hook for case in cases for hook in of_case(case)]


METHODS: Dict[str, Callable[[], List[Hook]]] = {
    **{case.name: functools.partial(of_case, case) for case in CASES},
    "regan of both": lambda: [pruning()],
    **{f"all with {cases[0].name}": functools.partial(of_cases, cases) for cases in combined()},
    "regan, values by saliency": lambda: [pruning(regrow="value", score="saliency", turnover=0.2)],
    "regan, drawn by change": lambda: [pruning(regrow="random", score="change", moments="reset")],
    "regan, initial by chance": lambda: [pruning(regrow="initial", score="random", lr_scale="0.5:2")],
    "regan, in turn": lambda: [pruning(phases_d="in-turn", ratio_d="0.5", regrow="value", moments="restore")],
    "regan, schedule only": lambda: [pruning(score="none")],
}
each_method = pytest.mark.parametrize("methods", METHODS.values(), ids=METHODS)


# ---------------------------------------------------------------- each method


def test_a_loop_without_methods_is_the_loop_itself() -> None:
    mine = Mine(lambda: []).train(6)
    torch.manual_seed(0)
    plain = Mine(lambda: [Hook()])
    plain.loop.run_G, plain.loop.run_D = plain.networks["G"], plain.networks["D"]  # type: ignore[method-assign]
    assert same(mine.weights(), plain.train(6).weights())


def test_both_networks_and_the_average_are_sparse_in_sparse_phases() -> None:
    mine = Mine(METHODS["regan of both"])
    zeros: Dict[str, List[int]] = {"G.mapping.weight": [], "D.head.weight": [], "G_ema.mapping.weight": []}
    for _ in range(8):
        mine.train(1)
        for name, count in zeros.items():
            count.append(int((mine.weights()[name] == 0).sum()))
    assert zeros == {name: [0, 16, 16, 16, 0, 0, 0, 16] for name in zeros}
    assert mine.loop.end_tick()["ReGAN/sparsity"] == 0.25


def test_in_turn_one_network_is_sparse_while_the_other_is_dense() -> None:
    """D's warm-up lasts until G is dense for the first time; learning rates follow each network's own phases."""
    mine = Mine(METHODS["regan, in turn"])
    zeros: Dict[str, List[int]] = {"G.mapping.weight": [], "D.head.weight": []}
    rates: Dict[str, List[float]] = {"G": [], "D": []}
    for done in range(1, 14):
        mine.train(1)
        for name, count in zeros.items():
            count.append(int((mine.weights()[name] == 0).sum()))
        for name, used in rates.items():
            used.append(mine.optimizers[name].param_groups[0]["lr"])
        (regan,) = mine.methods
        assert regan.is_sparse() == (zeros["G.mapping.weight"][-1] > 0)
        spared = 0.25 * sum(map(bool, zeros["G.mapping.weight"])) + 0.5 * sum(map(bool, zeros["D.head.weight"]))
        assert regan.on_report()["ReGAN/flops_ratio"] == pytest.approx(1 - spared / 2 / done)
    assert zeros == {
        "G.mapping.weight": [0, 16, 16, 16, 0, 0, 0, 16, 16, 16, 0, 0, 0],
        "D.head.weight": [0, 0, 0, 0, 32, 32, 32, 0, 0, 0, 32, 32, 32],
    }
    assert rates["G"] == pytest.approx([0.01] * 4 + [0.001] * 3 + [0.01] * 3 + [0.001] * 3)
    assert rates["D"] == pytest.approx([0.01] * 7 + [0.001] * 3 + [0.01] * 3)


def test_diffaugment_changes_what_d_is_shown_and_nothing_else() -> None:
    mine = Mine(METHODS["diffaugment"])
    images, seen = torch.rand(4, 1, 8, 8), []
    mine.networks["D"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    mine.loop.run_D(images)
    assert seen[0].shape == images.shape and not torch.equal(seen[0], images)
    z = torch.randn(2, 4)
    assert torch.equal(mine.loop.run_G(z), mine.networks["G"](z))


def test_apa_follows_what_d_says_of_reals_and_gives_it_fakes() -> None:
    mine = Mine(METHODS["apa"])
    mine.train(2)
    assert mine.loop.end_tick() == {"APA/p": 0.0, "APA/replaced": 0.0}
    mine.train(1)  # p moves by 2 · 8 / 20 as iteration 2 begins
    statistics = mine.loop.end_tick()
    assert statistics["APA/p"] == pytest.approx(0.8) and 0.3 < statistics["APA/replaced"] <= 1
    with mine.loop.iteration():
        z = mine.loop.round("Gmain", gen_z=torch.zeros(BATCH, 4)).gen_z
        fakes, reals = mine.loop.run_G(z), torch.full((BATCH, 1, 8, 8), 9.0)
        batch = mine.loop.round("Dmain", real_img=reals)
        replaced = (batch.real_img != 9).flatten(1).all(1)
        assert replaced.any() and torch.equal(batch.real_img[replaced], fakes[replaced])


def test_apa_that_is_shown_no_reals_says_so_once() -> None:
    mine = Mine(METHODS["apa"])

    def of_g_alone() -> None:
        with mine.loop.iteration():
            z = mine.loop.round("Gmain", gen_z=torch.randn(BATCH, 4)).gen_z
            mine.step("G", softplus(-mine.loop.run_D(mine.loop.run_G(z))).mean())

    of_g_alone()
    with pytest.warns(UserWarning, match=r'APA has been shown no real images.*loop\.round\("Dmain", real_img=') as told:
        mine.loop.end_tick()
    assert told[0].filename == __file__
    of_g_alone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine.loop.end_tick()
        Mine(METHODS["apa"]).train(1).loop.end_tick()
    with pytest.raises(RuntimeError, match=r'loop\.round\("Dmain", real_img='):
        mine.loop.round("Dmain")


def test_stability_measures_the_average_from_tick_to_tick() -> None:
    mine = Mine(METHODS["stability"]).train(2)
    mine.loop.end_tick()
    assert mine.loop.end_tick()["Stability/mse"] == 0
    assert mine.train(1).loop.end_tick()["Stability/mse"] > 0


def test_a_generator_of_channels_computes_with_those_that_are_kept(host_dir: Path) -> None:
    sys.path.insert(0, str(host_dir))
    __import__("dnnlib")
    from training.networks import Generator as HostGenerator  # type: ignore[import-not-found]

    torch.manual_seed(0)
    G = HostGenerator(8, 0, 8, img_resolution=8, img_channels=1, synthesis_kwargs={"channel_base": 96, "channel_max": 12})
    method = Reconfiguration(ratio=0.5, interval=2, granularity="channel", channel_multiple=1, channel_min=1)
    optimizer = torch.optim.Adam(G.parameters(), lr=0.01)
    before = set(vars(G))
    loop = Loop({"G": G}, {"G": optimizer}, [method])
    z, widths, sparse = torch.randn(2, 8), [], []
    G.synthesis.b8.conv1.affine.register_forward_hook(lambda module, args, styles: widths.append(styles.shape[1]))
    for _ in range(4):
        with loop.iteration():
            narrow = loop.run_G(z, None, noise_mode="const")
            sparse.append(method.is_sparse())
            torch.testing.assert_close(narrow, G(z, None, noise_mode="const"), rtol=1e-5, atol=1e-5)
            optimizer.zero_grad()
            narrow.square().mean().backward()
            optimizer.step()
    assert sparse == [True, True, False, False] and widths == [6, 12, 6, 12, 12, 12, 12, 12]
    assert set(vars(G)) == before
    with pytest.raises(RuntimeError, match=r"or loop\.run_G\(z, c\)"), loop.iteration():
        G(z, None).square().mean().backward()
        optimizer.step()


@each_method
def test_every_method_trains_and_reports(methods: Callable[[], List[Hook]]) -> None:
    mine = Mine(methods, total_iterations=20)
    before = mine.weights()
    statistics = {**mine.train(4).loop.end_tick(), **mine.train(4).loop.end_tick()}
    declared = [each for hook in mine.methods for method in [find(hook.name)] if method for each in method.statistics]
    assert {each.name for each in declared if each.is_always} <= set(statistics) <= {each.name for each in declared}
    assert all(isinstance(value, float) for value in statistics.values())
    frozen = {name for hook in mine.methods for case in CASES if case.name == hook.name for name in case.frozen}
    assert {name for name, value in mine.weights().items() if torch.equal(before[name], value)} == frozen


# ---------------------------------------------------------------- going on


@each_method
@pytest.mark.parametrize("first", [1, 2, 5])
def test_stopped_and_resumed_equals_uninterrupted(methods: Callable[[], List[Hook]], first: int) -> None:
    whole = Mine(methods, total_iterations=20).train(first)
    file = io.BytesIO()
    torch.save(whole.loop.state_dict(), file)
    whole.train(6)
    torch.manual_seed(77)
    again = Mine(methods, total_iterations=20)
    again.loop.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    again.train(6)
    assert same(whole.weights(), again.weights())
    mine, theirs = whole.loop.state_dict(), again.loop.state_dict()
    assert mine["iteration"] == theirs["iteration"] == first + 6
    assert mine["methods"].keys() == theirs["methods"].keys() and len(mine["methods"]) == len(whole.methods)
    assert [group["lr"] for group in mine["optimizers"]["G"]["param_groups"]] == [
        group["lr"] for group in theirs["optimizers"]["G"]["param_groups"]
    ]


def test_a_method_may_join_and_one_that_is_missing_is_named() -> None:
    state = copy.deepcopy(Mine(METHODS["regan"]).train(5).loop.state_dict())
    more = Mine(lambda: [Reconfiguration(ratio=0.25, interval=3, warmup=1), replacing()])
    more.loop.load_state_dict(state)
    more.train(3)
    with pytest.warns(UserWarning, match="has methods that this loop has not: regan") as told:
        Mine(METHODS["apa"]).loop.load_state_dict(state)
    assert told[0].filename == __file__


@pytest.mark.parametrize("change, said", [
    (lambda state: state.update(version=2), "version 2; this package reads up to 1"),
    (lambda state: state.clear(), "version None; this package reads up to 1"),
    (lambda state: state["networks"].pop("D"), "the state has networks G, G_ema, this loop D, G, G_ema"),
    (lambda state: state["optimizers"].update(E=1), "the state has optimizers D, E, G, this loop D, G"),
    (lambda state: state["random"].append(1), "is of 2 processes, this loop has 1"),
])  # fmt: skip
def test_a_state_of_something_else_is_refused(change: Any, said: str) -> None:
    mine = Mine(METHODS["regan"])
    before, state = mine.weights(), copy.deepcopy(mine.train(1).loop.state_dict())
    change(state)
    fresh = Mine(METHODS["regan"])
    with pytest.raises(ValueError, match=said):
        fresh.loop.load_state_dict(state)
    assert same(fresh.weights(), before)
    with mine.loop.iteration(), pytest.raises(RuntimeError, match="between two iterations"):
        mine.loop.state_dict()


class Fading(Hook):
    """A method of one's own without a configuration, whose ``share`` is another once it has trained."""

    def __init__(self, share: float = 0.5, lengths: Any = ()):
        self.share, self.lengths = share, lengths

    def after_step(self, step: Step) -> None:
        self.share *= 0.5


@dataclass(frozen=True)
class Free(Config):
    bound: int = setting(1, "Binds.")
    free: int = setting(1, "May change.", binds=False)


class WithFree(Hook):
    def __init__(self, **values: int):
        self.config = Free(**values)


@pytest.mark.parametrize("saved, now, said", [
    (lambda: DiffAugment(["color"]), lambda: DiffAugment(["cutout"]),
     r"diffaugment: the state has policy=\['color'\], this run policy=\['cutout'\]"),
    (lambda: AdaptivePseudoAugmentation(0.5), lambda: AdaptivePseudoAugmentation(kimg=9),
     "apa: the state has target=0.5, kimg=500, this run target=0.6, kimg=9"),
    (lambda: Reconfiguration(interval=3), lambda: Reconfiguration(interval=4),
     "regan: the state has interval=3, this run interval=4"),
    (lambda: Fading(0.25), Fading, "Fading: the state has share=0.25, this run share=0.5"),
    (lambda: WithFree(bound=2), lambda: WithFree(free=2), "WithFree: the state has bound=2, this run bound=1"),
], ids=["diffaugment", "apa", "regan", "own", "configured"])  # fmt: skip
def test_a_state_of_other_settings_is_refused_by_their_names(
    saved: Callable[[], Hook], now: Callable[[], Hook], said: str
) -> None:
    state = copy.deepcopy(Mine(lambda: [saved()]).train(2).loop.state_dict())
    fresh = Mine(lambda: [now()])
    before = fresh.weights()
    with pytest.raises(ValueError, match=said):
        fresh.loop.load_state_dict(state)
    assert same(fresh.weights(), before)
    Mine(lambda: [saved()]).loop.load_state_dict(state)
    del state["settings"]  # as it was before settings were kept
    if saved().name != "regan":
        fresh.loop.load_state_dict(state)


def test_settings_that_do_not_bind_and_those_of_onlookers_may_differ() -> None:
    for saved, now in (
        (WithFree(free=2), WithFree(free=3)),
        (Stability(images=2), Stability(images=3)),
        (Fading(lengths=[torch.ones(1)]), Fading(lengths=[torch.zeros(1)])),  # no plain value
    ):
        state = Mine(functools.partial(list, [saved])).train(1).loop.state_dict()
        file = io.BytesIO()
        torch.save(state, file)
        Mine(functools.partial(list, [now])).loop.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))


# ---------------------------------------------------------------- taken off


@each_method
@pytest.mark.parametrize("iterations", [0, 2, 5], ids=["at once", "sparse", "dense"])
def test_close_leaves_everything_as_it_was(methods: Callable[[], List[Hook]], iterations: int) -> None:
    mine = Mine(lambda: [])
    mine.loop.close()
    attributes = {name: dict(vars(module)) for net in mine.networks.values() for name, module in net.named_modules()}
    groups = copy.deepcopy([optimizer.state_dict()["param_groups"] for optimizer in mine.optimizers.values()])
    mine.methods = methods()
    mine.loop = Loop(mine.networks, mine.optimizers, mine.methods, batch_size=BATCH, total_iterations=20)
    mine.train(iterations).loop.close()
    mine.loop.close()
    assert [optimizer.state_dict()["param_groups"] for optimizer in mine.optimizers.values()] == groups
    for optimizer in mine.optimizers.values():
        assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    for network in mine.networks.values():
        for name, module in network.named_modules():
            assert {k for k, v in vars(module).items() if v} == {k for k, v in attributes[name].items() if v}
    images, z = torch.rand(2, 1, 8, 8), torch.randn(2, 4)
    assert torch.equal(mine.loop.run_D(images), mine.networks["D"](images))
    assert torch.equal(mine.loop.run_G(z), mine.networks["G"](z))
    with pytest.raises(RuntimeError, match="this loop is closed"), mine.loop.iteration():
        pass
    with pytest.raises(RuntimeError, match="the loop is closed, so no tick can end"):
        mine.loop.end_tick()
    again = Mine(lambda: [])
    again.networks, again.optimizers = mine.networks, mine.optimizers
    again.loop = Loop(mine.networks, mine.optimizers, [], batch_size=BATCH)
    plain = copy.deepcopy(again.weights())
    again.train(2)
    assert not same(plain, again.weights()) and not any(method.is_sparse() for method in mine.methods)
    assert int((again.networks["G"].mapping.weight == 0).sum()) == 0  # what was pruned trains


def test_a_loop_that_cannot_begin_leaves_nothing_behind() -> None:
    mine = Mine(lambda: [])
    mine.loop.close()
    with pytest.raises(ValueError, match="has to be given its batch_size"):
        Loop(mine.networks, mine.optimizers, [DiffAugment(["cutout"]), AdaptivePseudoAugmentation()])
    assert not mine.optimizers["G"]._optimizer_step_pre_hooks
    Loop(mine.networks, mine.optimizers, [])


# ---------------------------------------------------------------- events


class Listener(Hook):
    def __init__(self) -> None:
        self.heard: List[Any] = []

    def start(self, training: Training) -> None:
        self.heard.append(("start", sorted(training.networks), sorted(training.optimizers), training.total_iterations))

    def on_iteration(self, iteration: int) -> None:
        self.heard.append(("on_iteration", iteration))

    def on_round(self, batch: Round) -> Round:
        self.heard.append(("on_round", batch.phase, batch.index))
        return batch

    def before_step(self, step: Step) -> None:
        self.heard.append(("before_step", step.phase, step.iteration))

    def after_step(self, step: Step) -> None:
        self.heard.append(("after_step", step.phase, step.iteration))

    def on_report(self) -> Dict[str, float]:
        self.heard.append(("on_report",))
        return {"Heard/events": float(len(self.heard))}

    def on_metrics(self, values: Any, kimg: float) -> None:
        self.heard.append(("on_metrics", dict(values), kimg))

    def on_tick(self) -> None:
        self.heard.append(("on_tick",))

    def close(self) -> None:
        self.heard.append(("close",))


def test_every_event_comes_as_often_as_is_documented() -> None:
    mine = Mine(lambda: [Listener()], total_iterations=Length(2.5, "epoch"), iterations_per_epoch=4)
    (listener,) = mine.methods
    assert isinstance(listener, Listener)
    for metrics in (None, {"fid": 3}):
        mine.train(5)
        assert mine.loop.end_tick(metrics) == {"Heard/events": len(listener.heard) - (1 if metrics is None else 2)}
    mine.loop.close()
    heard = listener.heard
    assert heard[0] == ("start", ["D", "G", "G_ema"], ["D", "G"], 10)
    assert heard[1:10] == [
        ("on_iteration", 0), ("on_round", "Gmain", 0), ("before_step", "Gmain", 0), ("after_step", "Gmain", 0),
        ("on_round", "Dmain", 0), ("before_step", "Dmain", 0), ("after_step", "Dmain", 0),
        ("before_step", "Dreg", 0), ("after_step", "Dreg", 0),
    ]  # fmt: skip
    assert heard[-4:] == [("on_report",), ("on_metrics", {"fid": 3.0}, 0.08), ("on_tick",), ("close",)]
    assert Counter(event for event, *_ in heard) == {
        "start": 1, "on_iteration": 10, "on_round": 20, "before_step": 23, "after_step": 23,
        "on_report": 2, "on_metrics": 1, "on_tick": 2, "close": 1,
    }  # fmt: skip


def test_rounds_of_accumulation_are_counted_and_phases_tell_extra_steps() -> None:
    mine = Mine(lambda: [Listener()])
    (listener,) = mine.methods
    for _ in range(2):
        with mine.loop.iteration():
            for phase in ("Dmain", "Dmain", "Dreg"):
                mine.loop.round(phase)
            mine.optimizers["D"].step()
            mine.optimizers["G"].step()
    heard = listener.heard[1:]  # type: ignore[attr-defined]
    assert heard[: len(heard) // 2] == [
        ("on_iteration", 0), ("on_round", "Dmain", 0), ("on_round", "Dmain", 1), ("on_round", "Dreg", 0),
        ("before_step", "Dreg", 0), ("after_step", "Dreg", 0), ("before_step", "Gmain", 0), ("after_step", "Gmain", 0),
    ]  # fmt: skip
    assert [event[:2] for event in heard[len(heard) // 2 :]] == [
        ("on_iteration", 1),
        *(e[:2] for e in heard[1 : len(heard) // 2]),
    ]


def test_hooks_have_their_order_in_events_and_in_the_forward_pass() -> None:
    class Shift(Hook):
        def __init__(self, name: str, order: int):
            self.name, self.order = name, order

        def start(self, training: Training) -> None:
            training.wrap("augment_pipe", lambda inner: lambda images: (images if inner is None else inner(images)) * 2 + 1)
            training.wrap("run_G", lambda inner: lambda z: f"{self.name}({inner(z)})", self.order)

    networks = {"G": nn.Linear(1, 1), "D": nn.Identity()}
    loop = Loop(networks, {}, [Shift("outer", 3), Shift("inner", -3)])
    networks["G"].forward = lambda z: z  # type: ignore[method-assign, assignment]
    assert loop.run_G("z") == "outer(inner(z))" and loop.run_D(torch.zeros(())) == 3


# ---------------------------------------------------------------- lengths, and what is given by mistake


def test_lengths_in_epochs_and_images_become_iterations_in_a_loop_that_knows_them() -> None:
    assert Reconfiguration(ReconfigurationConfig(interval=7)).config.interval == 7

    def pruned(**given: Any) -> Optional[Any]:
        method = Reconfiguration(ratio=0.25, interval=Length(0.5, "epoch"), warmup=Length(0.024, "kimg"), finish="dense")
        G = Generator()
        Loop({"G": G}, {"G": torch.optim.SGD(G.parameters(), 0.1)}, [method], **given)
        return method.schedule

    schedule = pruned(batch_size=8, iterations_per_epoch=10, total_iterations=Length(2, "epoch"))
    assert schedule is not None and [span.start for span in schedule.spans()] == [0, 3, 8]
    with pytest.raises(ValueError, match=r"a length of 0\.5epoch needs iterations_per_epoch"):
        pruned(batch_size=8, total_iterations=20)
    with pytest.raises(ValueError, match=r"a length of 0\.024kimg needs batch_size|a length of 2epoch needs"):
        pruned(iterations_per_epoch=10, total_iterations=20)
    with pytest.raises(ValueError, match="unit must be it, kimg or epoch, got 'epochs'"):
        Length(1, "epochs")
    with pytest.raises(ValueError, match="neither a number of iterations"):
        Length.parse("2epoch")  # a host knows none


def test_what_is_given_by_mistake_is_told() -> None:
    G = Generator()
    optimizer = torch.optim.SGD(G.parameters(), 0.1)
    with pytest.raises(ValueError, match="one is of 'G_ema', of networks"):
        Loop({"G_ema": G}, {"G_ema": optimizer}, [])
    with pytest.raises(ValueError, match=r"one is of 'D', of networks \['G'\]"):
        Loop({"G": G}, {"D": optimizer}, [])
    with pytest.raises(ValueError, match="methods are hooks such as"):
        Loop({"G": G}, {"G": optimizer}, [Reconfiguration])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the method regan is given twice"):
        Loop({"G": G}, {"G": optimizer}, [pruning(), pruning()])
    with pytest.raises(ValueError, match="target=both needs the optimizer of D"):
        Loop({"G": G}, {"G": optimizer}, [pruning()])
    loop = Loop({"G": G}, {"G": optimizer}, [Hook()])
    with pytest.raises(RuntimeError, match=r"another hook is attached to this optimizer; call detach\(\) or close\(\)"):
        Loop({"G": G}, {"G": optimizer}, [])
    with pytest.raises(RuntimeError, match=r"steps belong into `with loop\.iteration\(\):`"):
        optimizer.step()
    with pytest.raises(ValueError, match="phases are Gmain, Greg, Dmain and Dreg, got 'G'"):
        loop.round("G")
    with pytest.raises(RuntimeError, match="no iteration has begun"):
        loop.end_tick()
    with loop.iteration():
        pass
    with pytest.raises(ValueError, match="has to be given its batch_size"):
        loop.end_tick({"fid": 1.0})
    for pair in ([RegenerativePruning(reach="0.3@9"), pruning()], [pruning(), RegenerativePruning(reach="0.3@9")]):
        with pytest.raises(ValueError, match="the methods rg and regan cannot work beside each other"):
            Mine(lambda pair=pair: list(pair))


@pytest.mark.parametrize("methods, said", [
    ("diffaugment", r"loop of one's own calls D as loop\.run_D"),
    ("apa", r"G has to train before D, with loop\.round\('Gmain', \.\.\.\) and loop\.run_G"),
])  # fmt: skip
def test_a_loop_that_goes_past_a_method_is_told_in_its_first_iteration(methods: str, said: str) -> None:
    mine = Mine(METHODS[methods])
    with pytest.raises(RuntimeError, match=said), mine.loop.iteration():
        mine.loop.round("Gmain")
        mine.networks["G"](torch.randn(BATCH, 4))
        mine.loop.round("Dmain", real_img=torch.zeros(BATCH, 1, 8, 8))
        mine.step("D", mine.networks["D"](torch.zeros(BATCH, 1, 8, 8)).mean())


def test_apa_in_a_loop_that_does_not_show_reals_to_d_by_it() -> None:
    mine = Mine(METHODS["apa"])
    mine.loop.run_D = mine.networks["D"]  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"D has to be called as loop\.run_D\(batch\.real_img\)"):
        mine.train(2)


# ---------------------------------------------------------------- several processes


def train_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine = Mine(lambda: [replacing(), Listener()])
    apa, listener = mine.methods
    assert isinstance(apa, AdaptivePseudoAugmentation) and isinstance(listener, Listener) and rank_and_size() == (rank, 2)
    with torch.no_grad():
        for p in mine.networks["D"].parameters():
            p.zero_()
        mine.networks["D"].head.bias.fill_(1.0 if rank == 0 else -1.0)
    apa.target = 0.5  # one of the two processes alone would be above it
    torch.manual_seed(rank)
    mine.optimizers["D"].param_groups[0]["lr"] = 0.0
    mine.train(5)
    mine.loop.end_tick({"fid": 7.0} if rank == 0 else None)
    state = mine.loop.state_dict()
    drawn = torch.rand(3)
    mine.loop.load_state_dict(state)
    assert torch.equal(torch.rand(3), drawn)
    torch.save([apa.p, state["methods"]["apa"], listener.heard[-2:], drawn], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_agree_on_what_they_have_to(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(train_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    assert first[0] == second[0] == 0 and first[1] == second[1]
    assert first[1]["logits"] == 2 * BATCH and first[1]["signs"] == 0
    assert first[2] == second[2] == [("on_metrics", {"fid": 7.0}, 0.04), ("on_tick",)]
    assert not torch.equal(first[3], second[3])


def train_alike(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    weights = {}
    for name, methods in METHODS.items():
        mine = Mine(methods, total_iterations=20, seed=3)
        torch.manual_seed(rank + 1)  # each its own latents, as in the recipe of several GPUs
        weights[name] = mine.train(5).weights()
    torch.save(weights, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_equal_with_every_method(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(train_alike, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert [name for name in METHODS if not same(first[name], second[name])] == []
    assert not same(first["regan of both"], first["regan, schedule only"])
