"""RG-GAN: thresholds, parked weights, the choice of the mode, a restatement of the public layers, and the real loop."""

from __future__ import annotations

import copy
import io
import math
import re
import statistics
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import call
from support.detectors import write_detector
from support.networks import assert_equal, assert_same, load_networks
from support.runs import SMALL, Run, resumed
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import softplus

from training_hooks import Hook, Loop, RegenerativePruning, RGConfig
from training_hooks.methods.method import find
from training_hooks.methods.rggan.network import ParkedNetwork, ParkedTensor
from training_hooks.methods.rggan.quality import chosen_metric, signed, wants_sparse
from training_hooks.methods.rggan.thresholds import Penalty, Ramp, StraightThrough, Threshold, estimator
from training_hooks.nvidia.current import engine

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH = 8


def parked(threshold: Threshold, param: torch.Tensor, ema: Optional[torch.Tensor] = None) -> ParkedNetwork:
    """A network of one tensor."""
    return ParkedNetwork([ParkedTensor("weight", param, ema, threshold)], torch.optim.SGD([param], lr=0.1))


class Mine:
    """Somebody's own loop: two small networks with an average, trained by whatever optimizer."""

    def __init__(self, rg: RegenerativePruning, optimizer: Any = torch.optim.SGD, seed: int = 0, **given: Any):
        torch.manual_seed(seed)
        self.networks: Dict[str, nn.Module] = {
            "G": nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12)),
            "D": nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)),
        }
        self.networks["G_ema"] = copy.deepcopy(self.networks["G"])
        given = given or {"lr": 0.05}
        self.optimizers = {name: optimizer(self.networks[name].parameters(), **given) for name in ("G", "D")}
        self.rg = rg
        self.loop = Loop(self.networks, self.optimizers, [rg], batch_size=BATCH, total_iterations=1000)

    def iterate(self, fid: Optional[float] = None) -> "Mine":
        """One iteration, and a measurement after it where there is one."""
        with self.loop.iteration() as i:
            numbers = torch.Generator().manual_seed(i)
            z, reals = torch.randn(BATCH, 6, generator=numbers), torch.randn(BATCH, 12, generator=numbers)
            self.step("G", softplus(-self.networks["D"](self.networks["G"](z))).mean())
            fakes = self.networks["G"](z).detach()
            self.step("D", (softplus(self.networks["D"](fakes)) + softplus(-self.networks["D"](reals))).mean())
            if i % 3 == 0:
                with self.loop.extra_step():
                    self.step("D", self.networks["D"](reals).square().mean())
            with torch.no_grad():
                for average, p in zip(self.networks["G_ema"].parameters(), self.networks["G"].parameters()):
                    average.lerp_(p, 0.1)
        if fid is not None:
            self.loop.end_tick({"fid": fid})
        return self

    def step(self, name: str, loss: torch.Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def decide(self, sparse: bool) -> "Mine":
        """Have the next mode chosen, whatever was measured before."""
        for fid in (9, 9, 9, 9, 1 if sparse else 99):
            self.rg.on_metrics({"fid": float(fid)}, 0)
        return self

    def tensors(self) -> List[ParkedTensor]:
        return [each for network in self.rg.networks.values() for each in network.tensors]

    def weights(self) -> Dict[str, torch.Tensor]:
        named = ((f"{name}.{k}", v) for name, network in self.networks.items() for k, v in network.state_dict().items())
        return {name: value.clone() for name, value in named}


def ramp(**settings: Any) -> RegenerativePruning:
    return RegenerativePruning(**{"reach": "0.3@20", "exclude": (), **settings})


def same(a: Dict[str, torch.Tensor], b: Dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------- thresholds


@pytest.mark.parametrize("share, iterations", [(0.3, 200), (0.7, 50)])
def test_a_ramp_prunes_the_asked_share_of_frozen_normal_weights_at_the_asked_length(share: float, iterations: int) -> None:
    quantiles = torch.distributions.Normal(0.0, 7.0).icdf((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    param = nn.Parameter(quantiles.view(100, 1000))
    network = parked(Ramp(param, RGConfig(reach=f"{share}@{iterations}").ramp_rate(None)), param)
    kept = []
    for _ in range(iterations):
        network.advance()
        kept.append(network.kept())
    assert kept[-1] == pytest.approx(1 - share, abs=0.001)
    assert all(before >= after for before, after in zip(kept, kept[1:])) and kept[iterations // 2] > kept[-1]
    assert network.level() == pytest.approx(statistics.NormalDist().inv_cdf((1 + share) / 2), rel=1e-4)


def test_lengths_of_a_ramp_are_of_images_as_well() -> None:
    assert (
        RGConfig(reach="0.3@2kimg").ramp_rate(16)
        == RGConfig(reach="0.3@125").ramp_rate(None)
        == pytest.approx(0.47 / 125, rel=1e-3)
    )
    assert RGConfig(rate=0.25).ramp_rate(None) == 0.25 and RGConfig(rule="ste").ramp_rate(None) == 0
    with pytest.raises(ValueError, match=r"^reach 0\.3@200kimg is 12500 iterations, the run has 63"):
        RGConfig().ramp_rate(16, 63)
    with pytest.raises(ValueError, match=r"^reach 0\.3@0\.001kimg is less than one iteration"):
        RGConfig(reach="0.3@0.001kimg").ramp_rate(16)
    with pytest.raises(ValueError, match=r"^reach 0\.3@2kimg: a length of 2kimg needs batch_size"):
        RGConfig(reach="0.3@2kimg").ramp_rate(None)


class Step(torch.autograd.Function):
    """A mask as numbers, with the estimator for its derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad * estimator(x)


def test_both_terms_of_ste_are_those_of_autograd_through_a_mask_of_numbers() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, dtype=torch.float64) * scale) for shape, scale in (((5, 4), 1), ((3, 5), 100))]
    taus = [torch.full((len(w), 1), 0.3, dtype=torch.float64, requires_grad=True) for w in weights]
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    sigmas = [w.detach().std(unbiased=False) for w in weights]

    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (torch.tanh(x @ first.T) @ second.T - y).square().mean()

    masked = [w * Step.apply(w.abs() / s - t) for w, s, t in zip(weights, sigmas, taus)]
    wanted = torch.autograd.grad(loss(*masked), [*weights, *taus])

    thresholds = [StraightThrough(w, lr=1e-9, strength=0) for w in weights]
    for threshold, tau in zip(thresholds, taus):
        threshold.tau = tau.detach().clone()
    tensors = [ParkedTensor(str(i), w, None, t) for i, (w, t) in enumerate(zip(weights, thresholds))]
    dense = [w.detach().clone() for w in weights]
    network = ParkedNetwork(tensors, torch.optim.SGD(weights, lr=0))
    network.prune()
    assert all(((w == 0) != each.keep).all() and not each.keep.all() for w, each in zip(weights, tensors))
    before = [t.tau.clone() for t in thresholds]
    loss(*weights).backward()
    network.learn()
    for w, each, of_weight in zip(weights, tensors, wanted):
        assert w.grad is not None
        torch.testing.assert_close(w.grad[each.keep], of_weight[each.keep], rtol=1e-12, atol=1e-12)
    network.zero_gradients()
    assert all((w.grad[~each.keep] == 0).all() for w, each in zip(weights, tensors) if w.grad is not None)
    for threshold in thresholds:
        threshold.advance(0.0)
    for threshold, tau, of_tau in zip(thresholds, before, wanted[2:]):
        torch.testing.assert_close((tau - threshold.tau) / 1e-9, of_tau, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(each.weight(), w) for each, w in zip(tensors, dense))


def test_ste_lets_single_weights_return_and_its_penalty_prunes() -> None:
    param = nn.Parameter(torch.tensor([[0.1, 0.5, 1.0, -2.0]]))
    threshold = StraightThrough(param, lr=1.0, strength=0.05)
    network = parked(threshold, param)
    while network.kept() > 0.5:
        network.advance()
    assert param.tolist() == [[0, 0, 1, -2]]
    for _ in range(4):
        param.grad = torch.tensor([[0.0, -3.0, 0.0, 0.0]])  # the loss would fall if the second grew
        network.learn()
        network.advance()
    assert param[0, 1] == 0.5 and int(network.returned) >= 1


def test_with_ste_a_student_of_a_sparse_teacher_becomes_sparser_with_the_penalty_at_little_cost() -> None:
    """The teacher has a tenth of its weights; the loss that counts is to its answers without noise, and the noise's own."""

    def student(strength: Optional[float]) -> "tuple[float, float]":
        torch.manual_seed(0)
        teacher, mine = (nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 4)) for _ in range(2))
        with torch.no_grad():
            for one, other in zip(teacher, mine):
                if isinstance(one, nn.Linear) and isinstance(other, nn.Linear):
                    one.weight.normal_().mul_(torch.rand_like(one.weight) < 0.1)
                    other.weight.normal_(0, 0.3)
        optimizer, numbers = torch.optim.Adam(mine.parameters(), lr=0.01), torch.Generator().manual_seed(1)
        rules = [ramp(target="G", rule="ste", reach="0.3@200kimg", strength=strength, threshold_lr=0.02)] if strength else []
        loop = Loop({"G": mine}, {"G": optimizer}, rules)
        for _ in range(1500):
            with loop.iteration():
                x = torch.randn(64, 20, generator=numbers)
                y = teacher(x).detach() + 0.3 * torch.randn(64, 4, generator=numbers)
                optimizer.zero_grad()
                (mine(x) - y).square().mean().backward()
                optimizer.step()
        x = torch.randn(4000, 20, generator=numbers)
        return loop.end_tick().get("RG/kept_G", 1.0), float((mine(x) - teacher(x)).square().mean()) + 0.09

    (_, dense), (weak, first), (strong, second) = student(None), student(0.001), student(0.05)
    assert 0.1 < strong < 0.3 < weak < 0.8
    assert max(first, second) < 1.1 * dense


@pytest.mark.parametrize("rule", ["ramp", "ste"])
def test_a_channel_of_equal_weights_keeps_one(rule: str) -> None:
    param = nn.Parameter(torch.cat([torch.full((1, 8), 0.25), torch.randn(7, 8).sign() * 3]))
    threshold: Threshold = Ramp(param, 0.1) if rule == "ramp" else StraightThrough(param, 0.1, 1.0)
    network = parked(threshold, param)
    for _ in range(4):
        network.advance()
    assert (param[0] != 0).sum() in ((1,) if rule == "ramp" else range(1, 9)) and (param[1:] != 0).all()
    assert (param != 0).any(1).all()


@pytest.mark.parametrize("make", [lambda p: Ramp(p, 0.5), lambda p: StraightThrough(p, 0.5, 1.0)], ids=["ramp", "ste"])
def test_a_tensor_that_would_keep_one_percent_begins_anew(make: Any) -> None:
    torch.manual_seed(0)
    param = nn.Parameter(torch.randn(4, 500))
    dense, network, kept = param.detach().clone(), parked(make(param), param), []
    while int(network.restarts) == 0 and len(kept) < 1000:
        kept.append(network.kept())
        network.advance()
    assert torch.equal(param, dense) and network.kept() == 1 and network.level() == 0
    assert kept[-1] < 0.1 and int(network.returned) == round(2000 * (1 - kept[-1]))
    network.advance()
    assert network.kept() < 1 and int(network.restarts) == 1


def test_what_begins_as_zeros_trains_and_what_is_no_number_stays_to_be_found() -> None:
    param = nn.Parameter(torch.zeros(2, 3))
    network = parked(Ramp(param, 1.0), param)
    network.advance()
    assert network.kept() == 1
    param = nn.Parameter(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    network = parked(Ramp(param, 5.0), param)
    with torch.no_grad():
        param[0, 0] = math.nan
    network.advance()
    assert param.isnan().tolist() == [[True, False, False, False]] and param[0, 1] == 0


# ---------------------------------------------------------------- parked weights


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["step", "step", "step", "sparse", "dense"]), max_size=25), st.sampled_from(["ramp", "ste"]))
def test_the_dense_values_are_parameter_and_parked_and_only_what_is_kept_trains(events: List[str], rule: str) -> None:
    rg = ramp() if rule == "ramp" else ramp(rule="ste", reach="0.3@200kimg", strength=1.0, threshold_lr=0.05)
    mine = Mine(rg)
    for event in events:
        if event != "step":
            mine.decide(event == "sparse")
        before = [each.weight() for each in mine.tensors()]
        kept = [each.keep for each in mine.tensors()] if event == "step" else None
        mine.iterate()
        for index, each in enumerate(mine.tensors()):
            assert ((each.param == 0) | each.keep).all() and ((each.parked == 0) | ~each.keep).all()
            assert torch.equal(each.param + each.parked, each.weight())
            if kept is not None and mine.rg.is_sparse():
                rested = ~kept[index]
                assert torch.equal(each.weight()[rested], before[index][rested])  # bit by bit what it was when it left
            if each.ema is not None:
                assert (each.ema[~each.keep] == 0).all()
    assert mine.rg.is_sparse() == (next((e for e in reversed(events) if e != "step"), "sparse") == "sparse")


def test_momentum_does_not_move_what_is_pruned() -> None:
    mine = Mine(ramp(), torch.optim.Adam, lr=0.01, betas=(0.9, 0.99))
    for _ in range(15):
        mine.iterate()
        assert all((each.param[~each.keep] == 0).all() for each in mine.tensors())
    assert mine.rg.networks["D"].kept() < 0.8
    # Of D's 20 steps 15 were main ones, and only these move thresholds.
    assert mine.loop.end_tick()["RG/threshold"] == pytest.approx(math.log1p(0.470084 / 20 * 15), rel=1e-4)


def test_dense_sparse_dense_without_a_step_is_the_identity() -> None:
    mine = Mine(ramp(), torch.optim.Adam, lr=0.01)
    for _ in range(10):
        mine.iterate()
    mine.decide(False).iterate().iterate()
    before, sparse = mine.weights(), mine.decide(True)
    mine.loop.begin_iteration()
    assert mine.rg.is_sparse() and not same(before, sparse.weights())
    assert 0.1 < 1 - mine.rg.networks["G"].kept() < 0.4
    assert mine.networks["G_ema"][0].weight.eq(0).equal(mine.networks["G"][0].weight.eq(0))  # type: ignore[index, union-attr, operator]
    mine.decide(False)
    mine.loop.begin_iteration()
    assert same(before, mine.weights()) and not mine.rg.is_sparse()
    assert mine.loop.end_tick()["RG/switches"] == 3


@pytest.mark.parametrize("target", ["G", "D"])
def test_the_other_network_and_the_average_may_be_left_alone(target: str) -> None:
    mine = Mine(ramp(target=target, ema="off"))
    for _ in range(10):
        mine.iterate()
    zeros = {name: int((value == 0).sum()) for name, value in mine.weights().items() if "weight" in name}
    assert {name.split(".")[0] for name, count in zeros.items() if count} == {target}
    statistics = mine.loop.end_tick()
    other = "D" if target == "G" else "G"
    assert statistics[f"RG/kept_{other}"] == 1 and 0.7 < statistics[f"RG/kept_{target}"] < 0.95


@pytest.mark.parametrize("policy", ["keep", "restore", "reset"])
def test_moments_of_what_returns(policy: str) -> None:
    mine = Mine(ramp(moments=policy), torch.optim.Adam, lr=0.01, betas=(0.5, 0.9))
    for _ in range(4):
        mine.iterate()
    (first, *_) = mine.tensors()
    at_pruning = mine.optimizers["G"].state[first.param]["exp_avg_sq"].clone()
    kept = first.keep
    mine.iterate()
    left = kept & ~first.keep  # with this step, whose moments are still in the optimizer
    at_pruning = mine.optimizers["G"].state[first.param]["exp_avg_sq"].clone()
    assert left.any()
    for _ in range(6):
        mine.iterate()
    decayed = mine.optimizers["G"].state[first.param]["exp_avg_sq"][left].clone()
    mine.decide(False)
    with mine.loop.iteration():
        state = mine.optimizers["G"].state[first.param]
        now = state["exp_avg_sq"][left]
        assert torch.equal(now, {"keep": decayed, "restore": at_pruning[left], "reset": torch.zeros_like(decayed)}[policy])
        assert (decayed < at_pruning[left]).all() and (policy != "reset" or (state["exp_avg"][left] == 0).all())


# ---------------------------------------------------------------- which mode


@pytest.mark.parametrize("values, sparse", [
    ([5.0, 4.0, 3.0, 2.0], None),
    ([5.0, 4.0, 3.0, 2.0, 1.0], True),
    ([1.0, 2.0, 3.0, 4.0, 5.0], False),
    ([7.0] * 5, True),  # no worse
    ([0.1] * 5, True),
    ([90.0, 1.0, 1.0, 1.0, 15.0], True),  # the mean of the older ones, (90 + 1 + 2 + 2) / 6 = 15.83, is not below it
    ([90.0, 1.0, 1.0, 1.0, 16.0], False),
    ([0.0, 0.0, 90.0, 1.0, 1.0, 1.0, 15.0], True),  # older ones do not count
])  # fmt: skip
def test_the_table_of_decisions(values: List[float], sparse: Optional[bool]) -> None:
    assert wants_sparse(values, RGConfig().mean_weights) is sparse


@settings(max_examples=200)
@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5))
def test_the_rule_is_that_the_newest_is_no_worse_than_the_older_ones_mean(values: List[int]) -> None:
    f5, f4, f3, f2, f1 = values
    if 6 * f1 != f5 + f4 + 2 * f3 + 2 * f2:  # where it is equal rounding decides
        assert wants_sparse(values, RGConfig().mean_weights) == (6 * f1 < f5 + f4 + 2 * f3 + 2 * f2)


def test_values_that_are_none_are_passed_over_and_the_direction_is_known() -> None:
    def after(name: str, values: List[float], **config: Any) -> bool:
        mine = Mine(ramp(metric=name, **config))
        for value in values:
            mine.rg.on_metrics({"other": 0.0, name: value}, 0)
        mine.rg.on_metrics({"other": 1.0}, 0)  # it failed
        mine.iterate()
        return mine.rg.is_sparse()

    nan = math.nan
    assert after("fid", [5, nan, 4, 3, nan, 2, 1]) and not after("fid", [1, 2, nan, 3, 4, 5, nan])
    assert after("fid", [1, 2, 3, nan, 4]) and not after("is10k_mean", [5, 4, 3, 2, 1]) and after("is10k_mean", [1, 2, 3, 4, 5])
    assert not after("fid", [1, 2], weights="0.5,0.5")
    assert signed("pr5k3_full_recall", 0.25) == -0.25 and signed("kid5k_full", 0.25) == 0.25


def test_the_metric_is_one_that_is_measured_and_whose_direction_is_known() -> None:
    measured = ["fid5k_full", "pr5k3_full", "mine"]
    assert chosen_metric("", measured) == "fid5k_full" and chosen_metric("pr5k3_full", measured) == "pr5k3_full_precision"
    assert chosen_metric("pr5k3_full_recall", measured) == "pr5k3_full_recall" == chosen_metric("", ["pr5k3_full_recall"])
    for asked, given_, said in (
        ("", [], "this run measures none; give --metrics=fid5k_full"),
        ("kid5k_full", measured, "kid5k_full is not measured in this run; there are: fid5k_full, pr5k3_full_precision, "),
        ("mine", measured, "metric mine: it is not known whether"),
    ):
        with pytest.raises(ValueError, match=f"^metric .*{said}|^{said}"):
            chosen_metric(asked, given_)


# ---------------------------------------------------------------- going on, several processes


@pytest.mark.parametrize("first", [3, 8, 11, 14])
@pytest.mark.parametrize("config", [
    {}, {"moments": "restore"}, {"rule": "ste", "reach": "0.3@200kimg", "strength": 1.0, "threshold_lr": 0.05},
    {"rule": "penalty", "reach": "0.3@200kimg", "strength": 1e-6},
], ids=["ramp", "restore", "ste", "penalty"])  # fmt: skip
def test_stopped_and_resumed_equals_uninterrupted(config: Dict[str, Any], first: int) -> None:
    fids = {5: 9, 6: 9, 7: 9, 8: 9, 9: 99, 12: 1}  # dense with iterations 10-12, so a switch lies on either side of some cuts

    def train(mine: Mine, begin: int, end: int) -> Mine:
        for i in range(begin, end):
            mine.iterate(fids.get(i))
        return mine

    whole = train(Mine(ramp(**config), torch.optim.Adam, lr=0.01), 0, first)
    file = io.BytesIO()
    torch.save(whole.loop.state_dict(), file)
    train(whole, first, 20)
    again = Mine(ramp(**config), torch.optim.Adam, seed=5, lr=0.01)
    again.loop.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    train(again, first, 20)
    assert same(whole.weights(), again.weights())
    assert_equal(whole.rg.state_dict(), again.rg.state_dict(), "state")
    assert whole.rg.state_dict()["switches"] == 2
    assert whole.loop.end_tick() == again.loop.end_tick()


def test_states_of_something_else_are_refused() -> None:
    state = Mine(ramp()).iterate().iterate().iterate().iterate().rg.state_dict()
    with pytest.raises(ValueError, match=r"the state has target=both, this run target=G"):
        Mine(ramp(target="G")).rg.load_state_dict(state)
    with pytest.raises(ValueError, match=r"the state has metric=, this run metric=fid"):
        Mine(ramp(metric="fid")).rg.load_state_dict(state)
    networks = Mine(ramp()).networks
    RegenerativePruning.check_state(state, networks)
    for change in (
        lambda state: state["networks"]["G"]["tensors"]["0.weight"].update(shape=[3, 3]),
        lambda state: state["networks"]["G"]["tensors"]["0.weight"].update(parked=torch.zeros(1)),
        lambda state: state["networks"]["G"]["tensors"]["0.weight"]["threshold"].update(sigma=torch.tensor(math.nan)),
        lambda state: state["networks"]["G"].update(restarts=-1),
        lambda state: state.update(record=[math.nan]),
        lambda state: state.update(sparse=3),
        lambda state: state.update(metric=None),
    ):
        absurd = copy.deepcopy(state)
        change(absurd)
        with pytest.raises(ValueError, match=r"absurd|of another"):
            RegenerativePruning.check_state(absurd, networks)


def train_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine = Mine(ramp(rule="ste", reach="0.3@200kimg", strength=1.0, threshold_lr=0.05))
    for i in range(14):
        mine.iterate(([9.0, 9.0, 9.0, 9.0, 99.0, 1.0] + [9.0] * 8)[i] if rank == 0 else None) if i < 6 else mine.iterate()
        if rank == 1 and i < 6:
            mine.loop.end_tick()
    statistics = mine.loop.end_tick()
    said = ""
    if rank == 0:
        mine.tensors()[0].keep[0, 0] ^= True
    try:
        mine.loop.end_tick()
    except RuntimeError as err:
        said = str(err)
    torch.save([mine.weights(), statistics, said], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_agree_and_masks_that_differ_are_an_error(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(train_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    assert same(first[0], second[0]) and first[1] == second[1]
    assert first[1]["RG/switches"] == 2 and first[1]["RG/kept_G"] < 1
    assert first[2] == second[2] == "ranks have different masks of G: their weights have diverged"


# ---------------------------------------------------------------- the public layers, restated


class Masked(nn.Module):
    """A layer of the public code in other words: its mask is boolean, so its thresholds are out of the loss's reach."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight.detach().clone()), nn.Parameter(layer.bias.detach().clone())  # type: ignore[operator, union-attr]
        self.threshold = nn.Parameter(torch.zeros(len(self.weight)))
        self.sparse, self.restarts = True, 0
        self.compute: Any = partial(F.conv2d, padding=1) if self.weight.ndim == 4 else F.linear

    def mask(self) -> torch.Tensor:
        return self.weight.abs() - self.threshold.view(-1, *[1] * (self.weight.ndim - 1)) > 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.sparse:
            return self.compute(x, self.weight, self.bias)
        if self.mask().float().mean() <= 0.01:
            self.threshold.data.zero_()
            self.restarts += 1
        return self.compute(x, self.weight * self.mask(), self.bias)


def plain_networks() -> Dict[str, nn.Sequential]:
    torch.manual_seed(3)
    G = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 48), nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 2, 3, padding=1))
    D = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 1))
    return {"G": G, "D": D}


def run_hinge(networks: Dict[str, nn.Sequential], step: Any, penalties: Any, i: int) -> None:
    G, D = networks["G"], networks["D"]
    numbers = torch.Generator().manual_seed(i)
    reals = torch.randn(6, 2, 4, 4, generator=numbers)
    fakes = G(torch.randn(6, 4, generator=numbers)).detach()
    step("D", F.relu(1 - D(reals)).mean() + penalties("D") + F.relu(1 + D(fakes)).mean())
    step("G", -D(G(torch.randn(6, 4, generator=numbers))).mean() + penalties("G"))


@pytest.mark.parametrize("strength", [None, 3e-10, 1e-6], ids=["as published", "some are pruned", "tensors restart"])
def test_the_reference_preset_is_the_public_layers(strength: Optional[float]) -> None:
    method = find("rg")
    assert method is not None
    chosen = dict(method.presets["reference"].settings)
    chosen.update({} if strength is None else {"strength": strength})
    adam, fids = dict(lr=2e-3, betas=(0.0, 0.9)), [50.0, 40.0, 30.0, 29.0, 28.0, 60.0, 70.0, 20.0, 21.0, 10.0]

    theirs, lam = plain_networks(), chosen["strength"]
    for network in theirs.values():
        for index, layer in enumerate(network):
            network[index] = Masked(layer) if hasattr(layer, "weight") else layer
    layers = {name: [m for m in network if isinstance(m, Masked)] for name, network in theirs.items()}
    optimizers = {name: torch.optim.Adam(network.parameters(), **adam) for name, network in theirs.items()}

    def step(name: str, loss: torch.Tensor) -> None:
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()

    def penalties(name: str) -> Any:
        return lam * sum(torch.exp(-m.threshold).sum() for m in layers[name] if m.sparse)

    modes, pruned, record = [], [], []
    networks = plain_networks()
    ours = {name: torch.optim.Adam(network.parameters(), **adam) for name, network in networks.items()}
    rg = RegenerativePruning(**chosen)
    loop = Loop(networks, ours, [rg], batch_size=6)

    def our_step(name: str, loss: torch.Tensor) -> None:
        ours[name].zero_grad()
        loss.backward()
        ours[name].step()

    for i in range(200):
        run_hinge(theirs, step, penalties, i)
        with loop.iteration():
            run_hinge(networks, our_step, lambda name: 0.0, i)
        modes.append(rg.is_sparse())
        for name, masked in layers.items():
            for layer, each in zip(masked, rg.networks[name].tensors):
                assert torch.equal(layer.weight, each.weight()), i
                if each.keep.any() and rg.is_sparse() and layer.mask().float().mean() > 0.01:
                    assert torch.equal(layer.threshold.flatten(), each.threshold.value().flatten())
                    assert torch.equal(layer.mask(), each.keep)
                    pruned.append(int((~each.keep).sum()))
        if i % 20 == 19:
            record.append(fids[i // 20])
            loop.end_tick({"fid": record[-1]})
            if len(record) >= 5:
                f5, f4, f3, f2, f1 = record[-5:]
                is_sparse = 0.1 * f5 + 0.1 * f4 + 0.2 * f3 + 0.2 * f2 + 0.4 * f1 >= f1
                for masked in layers.values():
                    for layer in masked:
                        layer.sparse = is_sparse
    assert [modes[i] for i in range(0, 200, 20)] == [True] * 6 + [False] * 2 + [True] * 2
    restarts = sum(layer.restarts for masked in layers.values() for layer in masked)
    assert loop.end_tick()["RG/restarts"] == restarts
    assert (max(pruned) > 100) == (strength is not None) and (restarts > 0) == (strength == 1e-6)


def test_no_gradient_of_the_loss_reaches_the_public_thresholds() -> None:
    layer = Masked(nn.Linear(3, 2))
    layer(torch.randn(4, 3)).square().mean().backward()
    assert layer.threshold.grad is None and layer.weight.grad is not None


def test_the_pace_of_the_public_thresholds_is_that_of_adams_epsilon() -> None:
    param = nn.Parameter(torch.randn(4, 9))
    threshold = Penalty(param, strength=1e-12, betas=(0, 0.9))
    for _ in range(1000):
        threshold.advance(2e-4)
    assert threshold.value().flatten().tolist() == pytest.approx([1000 * 2e-8] * 4, rel=1e-3)


# ---------------------------------------------------------------- the real loop


class Measurements(Hook):
    """Tells all hooks of Fréchet distances by a table: iteration → the distance that is measured before it."""

    def on_iteration(self, iteration: int) -> None:
        table = {10: 9.0, 12: 9.0, 14: 9.0, 16: 9.0, 18: 99.0, 40: 1.0}
        if iteration in table:
            engine().measured({"fid1k_full": table[iteration]}, iteration / 1000)


# 63 iterations, ticks end with 0, 32 and 62; by ``Measurements`` dense with 19-40.
SCRIPTED = ["--rg", "--rg-reach=0.3@60", "--rg-moments=restore", "--batch=32", "--workers=1", "--kimg=2",
            "--hook=test_rggan.Measurements", "--metrics=fid1k_full", "--metrics-every=100"]  # fmt: skip


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "tiny.pt")


@pytest.fixture(scope="module")
def scripted(train_tiny: Any, detector: Path) -> Run:
    return train_tiny(*SCRIPTED, f"--metric-detector={detector}", mode="off")


def test_in_a_hosts_loop_modes_follow_the_metric_and_snapshots_are_plain(scripted: Run, host_dir: Path) -> None:
    reported = {name: [line[name]["mean"] for line in scripted.stats] for name in scripted.stats[-1] if name.startswith("RG/")}
    assert reported["RG/mode"] == [1, 0, 1] and reported["RG/switches"] == [0, 1, 2] and reported["RG/restarts"] == [0] * 3
    # 60 sparse iterations are asked to prune 30 %; G has had 19 of them, and then 22 more.
    thresholds = [math.log1p(0.470084 / 60 * n) for n in (1, 19, 41)]
    assert reported["RG/threshold"] == pytest.approx(thresholds, abs=0.01)
    assert 0.7 < reported["RG/kept_G"][2] < 0.85 and reported["RG/kept_G"][1] == reported["RG/kept_D"][1] == 1
    assert reported["RG/returned"][1] > 1000 and reported["RG/returned"][2] == 0
    networks = load_networks(scripted.snapshot(2), host_dir)
    for name, dense in (("G", ("torgb",)), ("G_ema", ("torgb",)), ("D", ("fromrgb", "b4.out"))):
        weights = {key: p for key, p in networks[name].named_parameters() if p.ndim >= 2}
        zeros = {key: float((p == 0).float().mean()) for key, p in weights.items()}
        assert {key for key in zeros if zeros[key] == 0} == {key for key in zeros if any(each in key for each in dense)}
        assert all((p != 0).flatten(1).any(1).all() for key, p in weights.items())  # no whole output channel
    assert b"training_hooks" not in scripted.snapshot(2).read_bytes()
    kept = {path.name for path in scripted.folder.glob("network-best-*")}
    assert kept == {f"network-best-fid1k_full-sparse.{ending}" for ending in ("pkl", "json")}
    assert not list(scripted.folder.glob("network-pair-*"))


def test_the_log_tells_each_switch_and_what_each_tick_keeps(scripted: Run) -> None:
    lines = [re.sub(r"\b\d\d\.\d%", "N%", line) for line in scripted.output.splitlines() if line.startswith("RG-GAN: ")]
    assert lines == [
        "RG-GAN: sparse, N% of G, N% of D kept",
        "RG-GAN: dense from iteration 19 on, fid1k_full 99 is worse than the mean of the last 5: "
        "weights that were pruned are back",
        "RG-GAN: dense, 100.0% of G, 100.0% of D kept",
        "RG-GAN: sparse from iteration 41 on, fid1k_full 1 is no worse than the mean of the last 5: "
        "weights below their thresholds are pruned",
        "RG-GAN: sparse, N% of G, N% of D kept",
    ]


def test_a_hosts_run_goes_on_bit_for_bit(scripted: Run, detector: Path, tmp_path: Path, host_dir: Path) -> None:
    """Cut in dense mode, with a switch on either side."""
    again = resumed(scripted, scripted.snapshot(1), tmp_path, [*SCRIPTED, f"--metric-detector={detector}"])
    assert_same(scripted, again, 2, host_dir)
    for name in ("RG/mode", "RG/kept_G", "RG/returned", "RG/threshold"):
        assert [line[name]["mean"] for line in again.stats] == [line[name]["mean"] for line in scripted.stats][2:]


@pytest.mark.parametrize("options, said", [
    (["--metrics=none"], "--rg-metric: metric is what the method goes by, and this run measures none; give --metrics="),
    (["--rg-metric=kid1k_full"], "--rg-metric: metric kid1k_full is not measured in this run; there are: fid1k_full"),
    (["--rg-weights=0.5,0.4"], "--rg-weights: weights must sum to 1, '0.5,0.4' sum to 0.9"),
    (["--rg-weights=0,1"], "--rg-weights: weights '0,1' would compare the newest value with itself"),
    (["--rg-reach=1.3@20"], "--rg-reach: reach must be a share in (0, 1) @ a length such as 0.3@200kimg, got '1.3@20'"),
    (["--rg-reach=0.3@2kimg"], "--rg-reach: reach 0.3@2kimg is 125 iterations, the run has 63; a length of at most 63"),
    (["--rg-reach=0.3@20", "--rg-rate=0.1"], "--rg-rate: rate 0.1 and reach 0.3@20 say the same"),
    (["--rg-reach=0.3@20", "--rg-rule=ste"], "--rg-reach: reach is of the rule ramp, not of ste"),
    (["--rg-lambda=0.3"], "--rg-lambda: strength is of the rules ste and penalty, not of ramp"),
    (["--rg-threshold-lr=0.3"], "--rg-threshold-lr needs --rg-rule=ste"),
    (["--regan-ratio=0.3"], "--rg cannot be combined with --regan-ratio: each of them owns the masks of the networks"),
    (["--rg-target=G", "--rg-scope=nothing.*"], "--rg-scope: scope pattern 'nothing.*' matches no parameter"),
    (["--rg-scope=b4.*"], "--rg-scope: scope must be weights or reference with target=both, got 'b4.*'"),
    (["--rg-target=E"], "Invalid value for --rg-target: 'E' is not one of"),
    (["--rg=false"], "--rg-reach needs --rg or --rg-preset"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(
    options: List[str], said: str, data_zip: Path, host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reach = [] if any("reach" in option or "rate" in option for option in options) else ["--rg-reach=0.3@20"]
    reach = [] if "--rg-lambda=0.3" in options else reach
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, "--batch=16",
              "--metrics=fid1k_full"]  # fmt: skip
    code, output = call([*common, "--rg", *reach, *options], capsys)
    assert code == 2 and said in output.replace("'--rg", "--rg").replace("':", ":"), output
    assert output.splitlines()[-1].startswith("Error: ")


def test_a_run_that_measures_too_seldom_is_told(
    data_zip: Path, host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        "train",
        "--host=embedded",
        "-n",
        f"--outdir={tmp_path}",
        f"--data={data_zip}",
        *SMALL,
        "--batch=16",
        "--rg",
        "--rg-reach=0.3@20",
    ]
    told = "RG-GAN will never leave sparse mode: it decides from the 5th value of fid1k_full on, and this run measures"
    for kimg, every, measured in ((3, 1, 4), (4, 1, 5), (5, 1, None), (8, 3, 4), (9, 2, None)):
        given_ = ["--metrics=fid1k_full", f"--kimg={kimg}", f"--metrics-every={every}"]
        code, output = call([*common, *given_], capsys)
        assert code == 0 and ((told in output) == (measured is not None)), output
        assert measured is None or f"{told} {measured};" in output
    code, output = call([*common, "--metrics=fid1k_full", "--kimg=20", "--rg-reach=0.3@40"], capsys)
    restart = math.ceil((math.exp(2.575829) - 1) / (math.exp(0.385320) - 1) * 40)
    assert f"after {restart} sparse iterations the ramp keeps 1% of fresh weights" in output


def test_a_preset_switches_the_method_on(
    data_zip: Path, host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, "--batch=16",
              "--metrics=fid1k_full"]  # fmt: skip
    code, output = call([*common, "--rg-preset=reference"], capsys)
    assert code == 0 and "-rg-penalty" in output and "Preset reference: --rg-rule=penalty --rg-lambda=1e-12" in output
    code, output = call([*common, "--rg-preset=reference", "--rg=false"], capsys)
    assert code == 0 and "RG-GAN" not in output


def test_a_run_goes_on_with_the_metric_and_the_selection_that_it_began_with(
    scripted: Run, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = scripted.options["training_set_kwargs"]["path"]
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data}", *SMALL, *SCRIPTED]
    common += [f"--metric-detector={detector}", f"--resume={scripted.snapshot(1)}", "-n"]
    assert call(common, capsys)[0] == 0
    for options, said in (
        (["--metrics=kid1k_full,fid1k_full"], "--rg-metric was fid1k_full, is kid1k_full"),
        (["--rg-exclude=none"], "exclude was None, is []"),
    ):
        code, output = call([*common, *options], capsys)
        assert code == 2 and said in output, output
