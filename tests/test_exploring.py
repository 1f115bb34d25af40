"""What is pruned, by other scores than size, and what it grows back with."""

from __future__ import annotations

import copy
import importlib
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training_hooks import Loop, Reconfiguration
from training_hooks.core.random_state import generator_of
from training_hooks.core.schedule import Phase
from training_hooks.methods.regan.phase_lines import fact
from training_hooks.sparsity.channels import Layout, choose_channels
from training_hooks.sparsity.masks import keep_smallest_out, pruned_count
from training_hooks.sparsity.scores import Rule, at_random, gradient_size, keep_renewed, saliency

pytestmark = pytest.mark.usefixtures("one_thread")


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping = torch.nn.Linear(6, 12)
        self.conv = torch.nn.Linear(12, 20)
        self.torgb = torch.nn.Linear(20, 4)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.torgb(torch.relu(self.conv(torch.tanh(self.mapping(z)))))


class Mine:
    """A generator that is taught a fixed function, and its average."""

    def __init__(self, optimizer: Any = torch.optim.Adam, seed: int = 0, **settings: Any):
        torch.manual_seed(1)
        self.G, self.G_ema = Small(), Small()
        self.G_ema.load_state_dict(self.G.state_dict())
        self.optimizer = optimizer(self.G.parameters(), lr=0.02)
        self.hook = Reconfiguration(**{"ratio": 0.3, "interval": 4, "warmup": 2, **settings})
        self.loop = Loop({"G": self.G, "G_ema": self.G_ema}, {"G": self.optimizer}, [self.hook], batch_size=8, seed=seed)
        self.target = torch.randn(6, 4, generator=torch.Generator().manual_seed(5))

    def begin(self) -> None:
        self.loop.begin_iteration()

    def end(self) -> None:
        z = torch.randn(8, 6)
        self.optimizer.zero_grad()
        (self.G(z) - z @ self.target).square().mean().backward()
        self.optimizer.step()
        with torch.no_grad():
            for average, p in zip(self.G_ema.parameters(), self.G.parameters()):
                average.lerp_(p, 0.2)

    def train(self, iterations: int) -> "Mine":
        for _ in range(iterations):
            self.begin()
            self.end()
        return self

    def weights(self, ema: bool = False) -> Dict[str, torch.Tensor]:
        network = self.G_ema if ema else self.G
        return {n: p.detach().clone() for n, p in network.named_parameters() if n in ("mapping.weight", "conv.weight")}

    def pruned(self) -> Dict[str, torch.Tensor]:
        """Bool tensors, true where a weight is exactly 0."""
        return {name: value == 0 for name, value in self.weights().items()}


# ---------------------------------------------------------------- regrowth


def test_values_come_back_to_the_bit_and_to_the_average_too() -> None:
    mine = Mine(regrow="value").train(2)
    before = mine.weights()
    mine.begin()
    gone = mine.pruned()
    assert all(int(mask.sum()) == pruned_count(mask.numel(), 0.3) for mask in gone.values())
    mine.end()
    mine.train(3)
    assert all(torch.equal(mine.pruned()[name], gone[name]) for name in gone)
    sparse, sparse_ema = mine.weights(), mine.weights(ema=True)
    mine.begin()  # dense
    grown, grown_ema = mine.weights(), mine.weights(ema=True)
    for name, mask in gone.items():
        assert torch.equal(grown[name][mask], before[name][mask]) and torch.equal(grown[name][~mask], sparse[name][~mask])
        assert torch.equal(grown_ema[name][mask], before[name][mask])
        assert torch.equal(grown_ema[name][~mask], sparse_ema[name][~mask])


def test_nothing_trained_in_between_is_the_same_function() -> None:
    """Pruned, grown back with their values, and nothing moved: the network is the one before."""
    mine = Mine(regrow="value").train(2)
    z = torch.randn(16, 6)
    before = mine.G(z)
    for group in mine.optimizer.param_groups:
        group["betas"] = (0.0, 0.99)
    mine.begin()
    assert not torch.equal(mine.G(z), before)
    for _ in range(4):
        mine.begin()
    assert torch.equal(mine.G(z), before)


def test_initial_values_are_those_of_the_beginning() -> None:
    mine = Mine(regrow="initial", warmup=3)
    first = mine.weights()
    mine.train(4)
    gone = mine.pruned()
    mine.train(3).begin()
    grown = mine.weights()
    assert all(torch.equal(grown[name][mask], first[name][mask]) for name, mask in gone.items())
    assert not any(torch.equal(grown[name], first[name]) for name in gone)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_random_draws_have_the_spread_of_the_beginning(scale: float) -> None:
    torch.manual_seed(0)
    G = torch.nn.Linear(300, 400, bias=False)
    with torch.no_grad():
        G.weight.normal_(0.5, 3)
    loop = Loop({"G": G}, {"G": torch.optim.Adam(G.parameters())}, [
        Reconfiguration(ratio=0.3, interval=1, regrow="random", regrow_scale=scale, exclude=())
    ])  # fmt: skip
    mean, deviation = float(G.weight.mean()), float(G.weight.std())
    state = torch.get_rng_state()
    loop.begin_iteration()
    gone, kept = G.weight == 0, G.weight.detach().clone()
    loop.begin_iteration()
    drawn = G.weight.detach()[gone]
    assert drawn.mean().item() == pytest.approx(mean, abs=0.1 * scale + 1e-6)
    assert drawn.std().item() == pytest.approx(scale * deviation, rel=0.01, abs=1e-6)
    assert torch.equal(G.weight.detach()[~gone], kept[~gone]) and torch.equal(torch.get_rng_state(), state)


def test_draws_follow_the_seed_and_the_cycle() -> None:
    first, again, other = (Mine(regrow="random", lr_scale=1e-9, seed=seed).train(7) for seed in (3, 3, 4))
    assert torch.equal(first.G.conv.weight, again.G.conv.weight)
    assert not torch.equal(first.G.conv.weight, other.G.conv.weight)
    draws = [torch.randn(4, generator=generator_of(3, "regrow", cycle, "conv.weight")) for cycle in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("regrow", ["value", "random", "initial"])
def test_what_is_taken_off_leaves_what_was_trained(regrow: str) -> None:
    mine = Mine(regrow=regrow).train(4)
    before = mine.weights()
    assert mine.pruned()["conv.weight"].any()
    mine.loop.close()
    assert all(torch.equal(before[name], value) for name, value in mine.weights().items())
    mine.end()
    assert not mine.pruned()["conv.weight"].all()


def test_where_nothing_has_moved_change_is_size() -> None:
    mine, plain = Mine(score="change", warmup=0), Mine(warmup=0)
    mine.begin()
    plain.begin()
    assert torch.equal(mine.G.conv.weight, plain.G.conv.weight)


# ---------------------------------------------------------------- states


def of_g(state: Any) -> Any:
    return state["methods"]["regan"]["memory"]["G"]


@pytest.mark.parametrize(
    "config, damage",
    [
        ({"regrow": "value"}, lambda state: of_g(state).update(parked=[])),
        ({"regrow": "value"}, lambda state: of_g(state).update(parked=[values.double() for values in of_g(state)["parked"]])),
        ({"regrow": "value"}, lambda state: of_g(state).update(parked=[values[1:] for values in of_g(state)["parked"]])),
        ({"regrow": "value"}, lambda state: of_g(state)["parked"][0].fill_(math.nan)),
        ({"regrow": "value"}, lambda state: state["methods"]["regan"].pop("memory")),
        ({"regrow": "value"}, lambda state: state["methods"]["regan"]["networks"]["G"].update(sparse=False)),
        ({"regrow": "initial"}, lambda state: of_g(state)["initial"].clear()),
        ({"score": "change"}, lambda state: of_g(state)["initial"].pop("conv.weight")),
        ({"score": "change"}, lambda state: of_g(state)["initial"].update({"conv.weight": torch.zeros(20, 12).int()})),
        ({"regrow": "random"}, lambda state: of_g(state).update(spread=[])),
        ({"regrow": "random"}, lambda state: of_g(state).update(spread=[[0.0, 1e300]] * 2)),
        ({"regrow": "random"}, lambda state: of_g(state).update(seed="x")),
        ({}, lambda state: state["methods"]["regan"]["networks"]["G"].update(fresh=[-1, 2])),
        ({}, lambda state: state["methods"]["regan"]["networks"]["G"].update(fresh=None)),
    ],
)
def test_a_damaged_state_is_refused_and_nothing_is_loaded(config: Dict[str, Any], damage: Any) -> None:
    state = copy.deepcopy(Mine(**config).train(4).loop.state_dict())
    good, bad = Mine(**config), Mine(**config)
    good.loop.load_state_dict(copy.deepcopy(state))
    assert good.hook.is_sparse()
    before = bad.weights()
    damage(state)
    with pytest.raises(ValueError, match="the state's part of regan is missing or absurd"):
        bad.loop.load_state_dict(state)
    assert all(torch.equal(before[name], value) for name, value in bad.weights().items())


# ---------------------------------------------------------------- scores


def test_saliency_is_size_times_the_root_of_the_second_moment() -> None:
    mine = Mine(score="saliency").train(2)
    scores = {
        name: p.detach().abs() * mine.optimizer.state[p]["exp_avg_sq"].sqrt()
        for name, p in mine.G.named_parameters()
        if name in ("mapping.weight", "conv.weight")
    }
    mine.begin()
    for name, mask in mine.pruned().items():
        assert torch.equal(~mask, keep_smallest_out(scores[name], 0.3))


def test_before_the_first_step_saliency_is_size() -> None:
    mine, plain = Mine(score="saliency", warmup=0), Mine(warmup=0)
    mine.begin()
    plain.begin()
    assert torch.equal(mine.G.conv.weight, plain.G.conv.weight)


def test_change_is_the_distance_from_the_beginning() -> None:
    mine = Mine(score="change")
    first = mine.weights()
    mine.train(2)
    now = mine.weights()
    mine.begin()
    for name, mask in mine.pruned().items():
        assert torch.equal(~mask, keep_smallest_out(now[name] - first[name], 0.3))


def test_chance_prunes_others_in_each_cycle() -> None:
    masks = []
    mine = Mine(score="random").train(2)
    for _ in range(2):
        mine.begin()
        masks.append(mine.pruned()["conv.weight"])
        mine.end()
        mine.train(7)
    overlap = int((masks[0] & masks[1]).sum()) / int(masks[0].sum())
    assert overlap == pytest.approx(0.3, abs=0.15)
    drawn = at_random(1, "score", 1)("conv.weight", torch.empty(50, 40))
    assert float(drawn.min()) > 0 and float(drawn.max()) <= 1 and drawn.mean().item() == pytest.approx(0.5, abs=0.02)


def test_schedule_only_is_the_loop_with_other_learning_rates() -> None:
    mine, plain = Mine(score="none", lr_scale="0.5:0.1"), Mine()
    plain.loop.close()
    torch.manual_seed(2)
    rates = []
    for _ in range(10):
        mine.begin()
        rates.append(mine.optimizer.param_groups[0]["lr"] / 0.02)
        mine.end()
    torch.manual_seed(2)
    for rate in rates:
        plain.optimizer.param_groups[0]["lr"] = 0.02 * rate
        plain.end()
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1])
    assert all(torch.equal(a, b) for a, b in zip(mine.G.parameters(), plain.G.parameters()))
    statistics = mine.loop.end_tick()
    assert statistics["ReGAN/sparsity"] == 0 and not mine.hook.is_sparse() and "ReGAN/mask_change/mapping" not in statistics
    assert fact(Phase.SPARSE, mine.hook.config, None) == "nothing is pruned, the score is none, learning rate x 0.5"
    assert fact(Phase.DENSE, mine.hook.config, None) == "everything trains, learning rate x 0.1"


@pytest.mark.parametrize("setting", [{"score": "saliency"}, {"turnover": 0.1}])
def test_an_optimizer_without_second_moments_is_refused(setting: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="SGD keeps no second moments"):
        Mine(optimizer=torch.optim.SGD, **setting)
    with pytest.raises(ValueError, match="Adamax keeps no second moments"):
        Mine(optimizer=torch.optim.Adamax, **setting)
    Mine(optimizer=torch.optim.RMSprop, **setting).train(12)


# ---------------------------------------------------------------- turnover


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 9), st.integers(4, 30), st.floats(0.05, 0.45), st.floats(0, 0.99), st.integers(0, 10**6))
def test_at_least_the_share_is_new_and_the_count_is_exact(
    channels: int, entries: int, ratio: float, share: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    scores, worth = torch.randn(2, channels, entries, generator=random)
    before = keep_smallest_out(scores + 0.1 * torch.randn(channels, entries, generator=random), ratio)
    k = pruned_count(scores.numel(), ratio)
    if scores.numel() - channels < k + math.ceil(share * k):
        return
    keep = keep_renewed(scores, lambda s: keep_smallest_out(s, ratio), before, worth.abs(), share)
    assert int((~keep).sum()) == k and bool(keep.any(1).all())
    assert int((~keep & before).sum()) >= share * k - 1e-9
    plain = keep_smallest_out(scores, ratio)
    if share == 0:
        assert torch.equal(keep, plain)
    stale = ~plain & ~before
    saved, lost = stale & keep, stale & ~keep
    if saved.any() and lost.any() and bool((~plain & keep).sum() == saved.sum()):
        assert worth.abs()[saved].min() >= worth.abs()[lost].max()


def test_what_is_pruned_for_long_is_tried_in_turn() -> None:
    """Scores that never move, and gradients that do: weights that were always pruned are in use after each pruning."""
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(20, 50, generator=random)
    keep = keep_smallest_out(scores, 0.3)
    seen, counts = keep, []
    for _ in range(5):
        worth = torch.rand(20, 50, generator=random)
        keep = keep_renewed(scores, lambda s: keep_smallest_out(s, 0.3), keep, worth, 0.1)
        seen = seen | keep
        counts.append(int(seen.sum()))
    assert counts[:2] == [730, 760] and counts == sorted(set(counts)) and counts[-1] > 800


def test_a_rule_without_a_mask_before_has_no_turnover() -> None:
    weight = torch.randn(6, 8)
    rule = Rule(0.25, turnover=0.5, worth=lambda name, p: p.abs())
    assert torch.equal(rule.mask("w", weight), keep_smallest_out(weight, 0.25))
    first = rule.mask("w", weight)
    assert int((~rule.mask("w", weight, first) & first).sum()) == 6  # a half of twelve


def test_a_run_turns_over_the_share_of_each_tensor() -> None:
    mine = Mine(turnover=0.25, regrow="value").train(2)
    mine.begin()
    first = mine.pruned()
    mine.end()
    mine.train(7).begin()
    statistics = mine.loop.end_tick()
    for name, mask in mine.pruned().items():
        assert int((mask & ~first[name]).sum()) >= 0.25 * int(mask.sum())
    assert statistics["ReGAN/mask_change"] >= 0.25 and statistics["ReGAN/explored"] > 0.7


# ---------------------------------------------------------------- whole channels


def generator(host_dir: Path) -> Any:
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    torch.manual_seed(0)
    return (
        importlib.import_module("training.networks")
        .Generator(
            z_dim=8,
            c_dim=0,
            w_dim=8,
            img_resolution=8,
            img_channels=1,
            synthesis_kwargs={"channel_base": 128, "channel_max": 12},
        )
        .eval()
    )


def of_channels(G: Any, **settings: Any) -> Tuple[Any, Any, Loop]:
    optimizer = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.0, 0.99))
    hook = Reconfiguration(
        ratio=0.4, interval=3, warmup=1, granularity="channel", channel_multiple=1, channel_min=1, **settings
    )
    return hook, optimizer, Loop({"G": G}, {"G": optimizer}, [hook])


def kept_now(hook: Any, G: Any) -> List[torch.Tensor]:
    """For each feature map, which channels are read."""
    params = dict(G.named_parameters())
    features = Layout.of({name: p.shape for name, p in params.items()}).features
    return [torch.stack([(params[n] != 0).transpose(0, 1).flatten(1).any(1) for n in f.readers]).any(0) for f in features]


def step(hook: Any, optimizer: Any, loop: Loop, G: Any) -> None:
    loop.begin_iteration()
    optimizer.zero_grad()
    (hook.synthesis(G.mapping(torch.randn(4, 8), None)) - 0.3).square().mean().backward()
    optimizer.step()


def test_channels_grow_back_as_they_were(host_dir: Path) -> None:
    G = generator(host_dir)
    hook, optimizer, loop = of_channels(G, regrow="value")
    step(hook, optimizer, loop, G)
    z = torch.randn(4, 8)
    before = {name: p.detach().clone() for name, p in G.named_parameters()}
    function = G(z, None, noise_mode="const")
    loop.begin_iteration()
    assert any((~kept).any() for kept in kept_now(hook, G))
    for _ in range(3):  # nothing is trained in the sparse phase
        loop.begin_iteration()
    assert all(torch.equal(before[name], p) for name, p in G.named_parameters())
    assert torch.equal(G(z, None, noise_mode="const"), function)


@pytest.mark.parametrize("score", ["saliency", "change", "random", "magnitude"])
def test_channels_go_by_any_score_and_turn_over(host_dir: Path, score: str) -> None:
    G = generator(host_dir)
    hook, optimizer, loop = of_channels(G, regrow="value", score=score, turnover=0.34)
    masks = []
    for iteration in range(8):
        if iteration in (1, 7):
            loop.begin_iteration()
            masks.append(kept_now(hook, G))
        else:
            step(hook, optimizer, loop, G)
    assert hook.is_sparse()
    for first, last in zip(*masks):
        pruned = int((~last).sum())
        assert pruned == int((~first).sum()) and int((~last & first).sum()) >= 0.34 * pruned - 1e-9
    assert loop.end_tick()["ReGAN/mask_change/conv"] >= 0.3


def test_the_saliency_of_a_channel_is_that_of_its_writers(host_dir: Path) -> None:
    G = generator(host_dir)
    hook, optimizer, loop = of_channels(G, score="saliency")
    step(hook, optimizer, loop, G)
    params = dict(G.named_parameters())
    layout = Layout.of({name: p.shape for name, p in params.items()})
    kept = [7] * len(layout.features)
    chosen = choose_channels(params, layout, kept, rule=Rule(0.4, score=saliency(optimizer)))
    size = gradient_size(optimizer)
    for feature, index in zip(layout.features, chosen):
        energy = sum((params[n].detach() * size(n, params[n])).square().flatten(1).sum(1) for n in feature.writers)
        assert isinstance(energy, torch.Tensor)
        assert set(index.tolist()) == set(energy.argsort(descending=True)[:7].tolist())
