"""The hook on a small convolutional GAN in a loop of one's own, with main and regularisation steps."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training_hooks.core.hook import Step, Training
from training_hooks.core.schedule import Phase
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.hook import Reconfiguration

REG_EVERY = 4
EMA_STEP = 0.1
SELECTED = ["const", "mapping.weight", "conv.weight"]  # of Generator, by default
NOT_SELECTED = ["noise_strength", "mapping.bias", "conv.bias", "torgb.weight", "torgb.bias"]


pytestmark = pytest.mark.usefixtures("one_thread")


class Generator(nn.Module):
    """Every kind of parameter that StyleGAN2 has: constant, mapping, convolution, scalar, biases, RGB layer."""

    def __init__(self):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, 6, 4, 4))
        self.noise_strength = nn.Parameter(torch.tensor(0.2))
        self.mapping = nn.Linear(5, 6)
        self.conv = nn.Conv2d(6, 7, 3, padding=1)
        self.torgb = nn.Conv2d(7, 3, 1)
        self.register_buffer("noise", torch.randn(4, 4))

    def forward(self, z):
        x = self.const * torch.tanh(self.mapping(z))[:, :, None, None]
        x = F.softplus(self.conv(x) + self.noise_strength * self.noise)
        return torch.tanh(self.torgb(x))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.fromrgb = nn.Conv2d(3, 6, 1)
        self.conv = nn.Conv2d(6, 6, 3)
        self.out = nn.Linear(24, 1)

    def forward(self, image):
        return self.out(torch.tanh(self.conv(F.softplus(self.fromrgb(image)))).flatten(1))


def adam(params, lr=0.02, betas=(0.0, 0.99)):
    return torch.optim.Adam(params, lr=lr, betas=betas)


class Loop:
    """A training loop: a main step in every iteration, a regularisation step in every fourth, then the average.

    Args:
        settings: of the hook; None = no hook.
        door: "manual" (``attach`` and ``begin_iteration``), "automatic" (``attach`` alone), "events" (a host's seams).
        regularise: whether there are regularisation steps.
    """

    def __init__(self, settings=None, door="manual", optimizer=adam, regularise=True, total=None):
        torch.manual_seed(11)
        self.G = Generator()
        self.D = Discriminator().requires_grad_(False)
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        self.optimizer = optimizer(self.G.parameters())
        self.params = dict(self.G.named_parameters())
        self.ema = dict(self.G_ema.named_parameters())
        self.iteration = -1
        self.regularise = regularise
        self.door = door if settings is not None else None
        self.watch = None  # called with an event's name at every event
        self.optimizer.register_step_pre_hook(lambda *_: self._fire("unmasked"))
        self.hook = None
        if settings is not None:
            self.hook = Reconfiguration(self.G, ReconfigurationConfig(**settings))
            if door == "events":
                self.hook.start(Training({"G": self.G, "G_ema": self.G_ema}, {"G": self.optimizer}, total_iterations=total))
            else:
                self.hook.attach(self.optimizer, ema=self.G_ema, total_iterations=total, manual=door == "manual")
        self.optimizer.register_step_pre_hook(lambda *_: self._fire("step"))

    def _fire(self, event):
        if self.watch is not None:
            self.watch(event)

    def phase(self):
        return self.hook.schedule.span(self.iteration).phase

    def values(self, names=None):
        return {name: p.detach().clone() for name, p in self.params.items() if names is None or name in names}

    def train(self, iterations, watch=None):
        self.watch = watch
        for _ in range(iterations):
            self.iterate()
        return self

    def iterate(self):
        self.iteration += 1
        if self.door == "manual":
            self.hook.begin_iteration()
        elif self.door == "events":
            self.hook.on_iteration(self.iteration)
        torch.manual_seed(1000 + self.iteration)
        self._step("Gmain", self._main_loss)
        if self.regularise and self.iteration % REG_EVERY == 0:
            self._step("Greg", self._regularisation)
        with torch.no_grad():
            for name, p in self.params.items():
                self.ema[name].lerp_(p, EMA_STEP)
        self._fire("end")

    def _main_loss(self):
        self._fire("forward")
        return F.softplus(-self.D(self.G(torch.randn(6, 5)))).mean()

    def _regularisation(self):
        z = torch.randn(6, 5, requires_grad=True)
        image = self.G(z)
        (gradient,) = torch.autograd.grad((image * torch.randn_like(image)).sum(), z, create_graph=True)
        return gradient.square().sum(1).mean() + image.square().mean()

    def _step(self, phase, loss):
        self.optimizer.zero_grad()
        loss().backward()
        step = Step("G", phase, self.iteration)
        if self.door == "events":
            self.hook.before_step(step)
            self.optimizer.step()
            self.hook.after_step(step)
        elif self.door is not None and phase == "Greg":
            with self.hook.extra_step():
                self.optimizer.step()
        else:
            self.optimizer.step()
        self._fire("stepped " + phase)


def smallest(weight, ratio=0.3):
    """True at the floor(ratio · n) smallest entries, by sorting; no ties here."""
    count = math.floor(ratio * weight.numel())
    if count == 0:
        return torch.zeros_like(weight, dtype=torch.bool)
    pruned = weight.abs() <= weight.abs().flatten().sort().values[count - 1]
    assert torch.count_nonzero(pruned) == count
    return pruned


def same_training(first, second):
    """Do parameters, averages and optimizer states agree bit for bit?"""
    states = [loop.optimizer.state_dict()["state"] for loop in (first, second)]
    pairs = [(first.params[n], second.params[n]) for n in first.params]
    pairs += [(first.ema[n], second.ema[n]) for n in first.ema]
    pairs += [(states[0][i][k], states[1][i][k]) for i in states[0] for k in states[0][i]]
    return states[0].keys() == states[1].keys() and all(torch.equal(a, b) for a, b in pairs)


# -------------------------------------------------------------------- sparse phases


@pytest.mark.parametrize("door", ["manual", "events"])
@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_pruned_weights_are_exactly_the_smallest_and_stay_exactly_zero(beta1, door):
    loop = Loop(dict(ratio=0.3, interval=6, warmup=5), door=door, optimizer=lambda params: adam(params, betas=(beta1, 0.99)))
    pruned, seen = {}, []

    def watch(event):
        if loop.phase() != Phase.SPARSE:
            return
        seen.append(event)
        for name in SELECTED:
            p, zero = loop.params[name].detach(), pruned[name]
            if event != "unmasked":
                assert torch.equal(p == 0, zero), (loop.iteration, event, name)
            if event == "step" and door != "events":  # after the hook, before Adam
                assert (p.new_zeros(()) == loop.params[name].grad[zero]).all()
                assert (loop.params[name].grad[~zero] != 0).all()
            if event in ("forward", "end"):
                assert torch.equal(loop.ema[name] == 0, zero), (loop.iteration, event, name)
        for name in NOT_SELECTED:
            assert (loop.params[name] != 0).all()

    for i in range(5 + 3 * 12):
        if loop.hook.schedule.span(i).phase == Phase.SPARSE and loop.hook.schedule.span(i).start == i:
            pruned = {name: smallest(w) for name, w in loop.values(SELECTED).items()}
        loop.train(1, watch)
    assert seen.count("stepped Gmain") == 18
    assert seen.count("stepped Greg") == sum(loop.hook.schedule.span(i).phase == Phase.SPARSE for i in range(0, 41, 4))
    assert seen.count("stepped Greg") >= 3


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.99)])
def test_gradients_of_pruned_weights_are_masked_at_main_and_extra_steps(betas):
    loop = Loop(dict(ratio=0.3, interval=8), optimizer=lambda params: adam(params, betas=betas))
    unmasked, masked = [], []

    def watch(event):
        if event in ("unmasked", "step"):
            gradients = [loop.params[name].grad.clone() for name in SELECTED]
            (unmasked if event == "unmasked" else masked).append(gradients)

    loop.train(8, watch)
    zero = [loop.params[name] == 0 for name in SELECTED]
    assert len(masked) == 10  # two of them extra steps
    for before, after in zip(unmasked, masked):
        for raw, left, z in zip(before, after, zero):
            assert (raw[z] != 0).all()
            assert (left[z] == 0).all()
            assert torch.equal(left[~z], raw[~z])


@pytest.mark.parametrize("kind", ["sgd with momentum", "rmsprop with weight decay", "adamw"])
def test_no_optimizer_moves_a_pruned_weight(kind):
    make = {
        "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
        "rmsprop with weight decay": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.9, 0.99)),
    }[kind]
    loop = Loop(dict(ratio=0.3, interval=5, warmup=3), optimizer=make).train(3)
    pruned = {name: smallest(w) for name, w in loop.values(SELECTED).items()}

    def watch(event):
        if event in ("forward", "end"):
            assert all(torch.equal(loop.params[name] == 0, pruned[name]) for name in SELECTED)

    loop.train(5, watch)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_a_gradient_that_is_not_finite_at_a_pruned_weight_leaves_no_trace(value, beta1):
    def train(value):
        torch.manual_seed(0)
        layer = nn.Linear(8, 5)
        optimizer = adam(layer.parameters(), betas=(beta1, 0.99))
        hook = Reconfiguration(layer, ReconfigurationConfig(ratio=0.25, interval=3, exclude=())).attach(optimizer)
        for _ in range(8):  # sparse, dense, sparse
            layer(torch.randn(6, 8)).square().sum().backward()
            if hook.is_sparse():
                layer.weight.grad[layer.weight == 0] = value
            optimizer.step()
            optimizer.zero_grad()
        return layer.weight

    assert torch.equal(train(value), train(0.0)) and torch.count_nonzero(train(value) == 0) == 10


def test_a_parameter_without_gradient_is_no_hindrance():
    loop = Loop(dict(ratio=0.3, interval=4))
    loop._regularisation = lambda: loop.params["const"].square().sum()  # reaches one parameter alone
    loop.train(6)
    assert all(torch.count_nonzero(loop.params[n] == 0) == 0 for n in SELECTED)
    loop.train(6)
    assert all((loop.params[n] == 0).any() for n in SELECTED)


def test_averages_are_left_alone_if_asked():
    loop = Loop(dict(ratio=0.3, interval=6, warmup=2, ema="off")).train(2)
    for _ in range(6):
        before = {name: loop.ema[name].clone() for name in SELECTED}
        loop.train(1)
        for name in SELECTED:
            assert torch.equal(loop.ema[name], before[name].lerp(loop.params[name].detach(), EMA_STEP))
            assert (loop.ema[name] != 0).all()


# -------------------------------------------------------------------- dense phases


def test_regrown_weights_start_at_zero_in_the_first_dense_forward_and_then_move():
    loop = Loop(dict(ratio=0.3, interval=5, warmup=2))
    for cycle in (1, 2, 3):
        loop.train(2 + 5 if cycle == 1 else 5)
        zero = {name: loop.params[name] == 0 for name in SELECTED}
        events = []

        def watch(event, zero=zero, events=events):
            events.append(event)
            for name in SELECTED:
                if event == "forward":
                    assert torch.equal(loop.params[name] == 0, zero[name])
                elif event == "step":
                    assert (loop.params[name].grad != 0).all()  # nothing masked
                elif event == "stepped Gmain":
                    assert (loop.params[name] != 0).all()

        loop.train(1, watch)
        assert {"forward", "step", "stepped Gmain"} <= set(events)
        loop.train(4)
        assert loop.hook.schedule.span(loop.iteration).cycle == cycle


def test_learning_rates_are_the_base_or_its_tenth_and_never_drift():
    bases = [0.0123, 0.07, 1e-4]

    def make(params):
        params = list(params)
        groups = [{"params": part, "lr": lr} for part, lr in zip((params[:2], params[2:4], params[4:]), bases)]
        return torch.optim.Adam(groups, betas=(0.0, 0.99))

    loop = Loop(dict(ratio=0.3, interval=1, warmup=3), optimizer=make)
    used = []
    loop.train(3 + 2 * 40, lambda event: used.append([g["lr"] for g in loop.optimizer.param_groups]))
    by_phase = {phase: [b * (0.1 if phase == Phase.DENSE else 1) for b in bases] for phase in Phase}
    assert [g["lr"] for g in loop.optimizer.param_groups] == by_phase[Phase.DENSE]
    loop.train(1)
    assert [g["lr"] for g in loop.optimizer.param_groups] == bases
    per_iteration = len(used) // (3 + 80)
    assert per_iteration >= 4
    seen = {tuple(rates) for rates in used}
    assert seen == {tuple(bases), tuple(by_phase[Phase.DENSE])}


@pytest.mark.parametrize("lr_scale", [0.1, 0.25, 1.0])
def test_learning_rate_at_every_step_is_that_of_its_phase(lr_scale):
    loop = Loop(dict(ratio=0.3, interval=3, warmup=4, lr_scale=lr_scale), door="manual")

    def watch(event):
        if event == "step":
            (group,) = loop.optimizer.param_groups
            assert group["lr"] == (0.02 * lr_scale if loop.phase() == Phase.DENSE else 0.02)

    loop.train(4 + 4 * 3, watch)


# -------------------------------------------------------------------- what has to change nothing


@pytest.mark.parametrize("door", ["manual", "events"])
def test_warm_up_is_the_plain_run_bit_for_bit(door):
    plain, hooked = Loop(), Loop(dict(ratio=0.5, interval=3, warmup=12), door=door)
    for _ in range(12):
        plain.iterate()
        hooked.iterate()
        assert same_training(plain, hooked)
    plain.iterate()
    hooked.iterate()
    assert not same_training(plain, hooked)


def test_pruning_nothing_at_the_full_rate_is_the_plain_run_bit_for_bit():
    plain, hooked = Loop().train(17), Loop(dict(ratio=0.0, interval=3, warmup=2, lr_scale=1.0)).train(17)
    assert same_training(plain, hooked)
    report = hooked.hook.on_report()
    assert (report["ReGAN/sparsity"], report["ReGAN/mask_change"], report["ReGAN/flops_ratio"]) == (0, 0, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quirks": ("main-steps",)},
        {"quirks": ("main-steps", "refresh")},
        {"quirks": ("late", "quantile"), "scope": "reference"},
        {"moments": "restore"},
        {"moments": "reset", "ema": "off"},
    ],
    ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()) or "default",
)
def test_the_hosts_events_and_the_three_lines_train_alike(settings):
    settings = dict(ratio=0.3, interval=5, warmup=3, **settings)
    own, host = Loop(settings, door="manual"), Loop(settings, door="events")
    for _ in range(30):
        own.iterate()
        host.iterate()
        assert same_training(own, host), own.iteration


def test_iterations_that_begin_by_themselves_train_like_those_begun_by_hand():
    settings = dict(ratio=0.3, interval=4, warmup=3)
    manual = Loop(settings, door="manual", regularise=False)
    automatic = Loop(settings, door="automatic", regularise=False)
    for _ in range(21):
        manual.iterate()
        automatic.iterate()
        # At the end of an iteration the automatic door has begun the next: what is pruned there is pruned already.
        if manual.phase() == manual.hook.schedule.span(manual.iteration + 1).phase:
            assert all(torch.equal(manual.params[n], automatic.params[n]) for n in manual.params)
            assert all(torch.equal(manual.ema[n], automatic.ema[n]) for n in manual.ema)


@pytest.mark.parametrize("door", ["automatic", "manual"])
@pytest.mark.parametrize("cut", [6, 10], ids=["dense", "sparse"])
def test_ones_own_loop_goes_on_from_its_state(door, cut):
    settings = dict(ratio=0.3, interval=4, moments="restore")
    whole, first = Loop(settings, door=door).train(cut), Loop(settings, door=door).train(cut)
    saved = io.BytesIO()
    torch.save([x.state_dict() for x in (first.G, first.G_ema, first.optimizer, first.hook)], saved)
    saved.seek(0)
    network, average, optimizer, state = torch.load(saved, weights_only=True)
    again = Loop()
    again.G.load_state_dict(network)
    again.G_ema.load_state_dict(average)
    again.optimizer.load_state_dict(optimizer)
    again.hook = Reconfiguration(again.G, ReconfigurationConfig(**settings))
    again.hook.attach(again.optimizer, ema=again.G_ema, manual=door == "manual", state=state)
    again.door, again.iteration = door, first.iteration
    assert same_training(whole.train(12), again.train(12))
    assert whole.optimizer.param_groups[0]["lr"] == again.optimizer.param_groups[0]["lr"]


def test_a_state_without_learning_rates_leaves_the_optimizers_own():
    settings = dict(ratio=0.3, interval=4)
    first, again = Loop(settings).train(2), Loop()
    state = {key: value for key, value in first.hook.state_dict().items() if key != "base_lr"}
    hook = Reconfiguration(again.G, ReconfigurationConfig(**settings)).attach(again.optimizer, manual=True, state=state)
    assert hook.is_sparse() and again.optimizer.param_groups[0]["lr"] == 0.02


def test_a_state_of_another_version_goes_on():
    settings = dict(ratio=0.3, interval=4)
    state = Loop(settings).train(2).hook.state_dict()
    for config, told in (({"ratio": 0.3, "interval": 4}, 0), ({**state["config"], "shrink": "twice"}, 1)):
        again = Loop()
        hook = Reconfiguration(again.G, ReconfigurationConfig(**settings))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            hook.attach(again.optimizer, manual=True, state={**state, "config": config})
        assert hook.is_sparse() and len(caught) == told and all("shrink=twice" in str(w.message) for w in caught)
    with pytest.raises(ValueError, match="the state has moments=keep, this run moments=reset"):
        other = Loop()
        hook = Reconfiguration(other.G, ReconfigurationConfig(**settings, moments="reset"))
        hook.attach(other.optimizer, manual=True, state={**state, "config": {"ratio": 0.3, "interval": 4}})


def test_nothing_of_the_hook_is_in_the_networks():
    loop, plain = Loop(), Loop()
    before = [pickle.dumps(network) for network in (loop.G, loop.G_ema)]
    loop.hook = Reconfiguration(loop.G, ReconfigurationConfig(ratio=0.3, interval=4, warmup=2))
    loop.hook.attach(loop.optimizer, ema=loop.G_ema, manual=True)
    loop.door = "manual"
    assert [pickle.dumps(network) for network in (loop.G, loop.G_ema)] == before
    loop.train(4)
    for network in (loop.G, loop.G_ema, copy.deepcopy(loop.G), pickle.loads(pickle.dumps(loop.G))):
        assert b"training_hooks" not in pickle.dumps(network)
        assert list(network.state_dict()) == list(plain.G.state_dict())
        for module, pristine in zip(network.modules(), plain.G.modules()):
            assert type(module) is type(pristine)
            assert vars(module).keys() == vars(pristine).keys()
            assert not any(value for key, value in vars(module).items() if "hook" in key)
        for p in network.parameters():
            assert type(p) is nn.Parameter
            assert vars(p) == {} and not p._backward_hooks
    assert "training_hooks" not in repr(loop.optimizer.state_dict())


def test_a_copy_of_the_network_is_free_of_the_masks():
    loop = Loop(dict(ratio=0.3, interval=10)).train(2)
    twin = copy.deepcopy(loop.G)
    z = torch.randn(3, 5)
    assert torch.equal(twin(z), loop.G(z))
    assert (twin.conv.weight == 0).any()
    optimizer = adam(twin.parameters())
    twin(z).square().sum().backward()
    optimizer.step()
    assert (twin.conv.weight != 0).all()
    assert (loop.G.conv.weight == 0).any()


# -------------------------------------------------------------------- edges of the settings


def test_three_lines_are_enough():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    hook = Reconfiguration(net, ReconfigurationConfig(ratio=0.25, interval=3, exclude=()))
    assert hook.attach(optimizer) is hook
    zeros = []
    for _ in range(12):
        zeros.append([int(torch.count_nonzero(net[i].weight == 0)) for i in (0, 2)])
        optimizer.zero_grad()
        net(torch.randn(5, 8)).square().sum().backward()
        optimizer.step()
    sparse = [8 * 16 // 4, 16 * 4 // 4]
    # The first dense forward still has the zeros, from which the regrown weights start.
    assert zeros == ([sparse] * 4 + [[0, 0]] * 2) * 2
    assert torch.count_nonzero(net[0].bias == 0) == 0


def test_steps_of_regularisation_alone_begin_no_iteration():
    torch.manual_seed(0)
    net = nn.Linear(8, 5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    hook = Reconfiguration(net, ReconfigurationConfig(ratio=0.25, interval=2, exclude=())).attach(optimizer)
    zeros = []
    for _ in range(6):
        optimizer.zero_grad()
        net(torch.randn(5, 8)).square().sum().backward()
        with hook.extra_step():
            optimizer.step()
        zeros.append(int(torch.count_nonzero(net.weight == 0)))
        optimizer.zero_grad()
        net(torch.randn(5, 8)).square().sum().backward()
        optimizer.step()
    assert zeros == [10, 10, 0, 0, 10, 10]


def test_phases_of_a_single_iteration():
    loop = Loop(dict(ratio=0.3, interval=1))
    for i in range(8):
        before = loop.values(SELECTED)
        loop.train(1)
        for name in SELECTED:
            p = loop.params[name]
            assert torch.equal(p == 0, smallest(before[name])) if i % 2 == 0 else (p != 0).all()


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.77])
def test_density_is_exact_at_any_ratio(ratio):
    loop = Loop(dict(ratio=ratio, interval=3)).train(3)
    for name in SELECTED:
        p = loop.params[name]
        assert torch.count_nonzero(p == 0) == math.floor(ratio * p.numel() + 1e-9)


def test_a_ratio_that_no_channel_survives_is_refused_before_anything_is_touched():
    loop = Loop()
    hook = Reconfiguration(loop.G, ReconfigurationConfig(ratio=0.99, exclude=("const", "torgb*")))
    with pytest.raises(
        ValueError, match=r"^ratio 0\.99 .* all 2 .*highest ratio is 0\.98\d+, for conv\.weight \[7, 6, 3, 3\]$"
    ):
        hook.attach(loop.optimizer)
    assert same_training(loop.train(3), Loop().train(3))


def test_what_would_lose_a_whole_channel_stays_dense_and_is_told():
    loop = Loop()
    with pytest.warns(UserWarning, match=r"^mapping\.weight \[6, 5\] stays dense: ratio 0\.9 .*whole output channel"):
        Reconfiguration(loop.G, ReconfigurationConfig(ratio=0.9)).attach(loop.optimizer)
    zeros = {name: int(torch.count_nonzero(p == 0)) for name, p in loop.params.items() if p.ndim > 1}
    assert zeros == {"const": 86, "mapping.weight": 0, "conv.weight": 340, "torgb.weight": 0}  # floor(0.9 · n)


@pytest.mark.parametrize("finish", ["dense", "sparse"])
def test_a_run_ends_in_the_phase_asked_for(finish):
    loop = Loop(dict(ratio=0.3, interval=4, warmup=2, finish=finish), total=23).train(23)
    zeros = {name: loop.params[name] == 0 for name in SELECTED}
    assert loop.phase().name.lower() == finish
    assert all(z.any() == (finish == "sparse") for z in zeros.values())


def test_pruning_at_the_step_leaves_the_first_forward_of_a_sparse_phase_dense():
    for quirks, dense_first in (((), False), (("late",), True)):
        loop = Loop(dict(ratio=0.3, interval=4, warmup=3, quirks=quirks)).train(3)
        dense = []
        loop.train(2, lambda e, d=dense, o=loop: d.append((o.params["conv.weight"] != 0).all()) if e == "forward" else 0)
        assert dense == [dense_first, False]


def test_masks_for_the_main_step_alone_let_the_extra_step_move_pruned_weights_until_the_next():
    loop = Loop(dict(ratio=0.3, interval=12, quirks=("main-steps",))).train(1)  # iteration 0 has an extra step
    moved = [(loop.params[name] != 0).all() for name in SELECTED]
    assert all(moved)
    leaked = loop.values(SELECTED)
    loop.train(1)
    for name in SELECTED:
        assert torch.count_nonzero(loop.params[name] == 0) == math.floor(0.3 * leaked[name].numel())


@pytest.mark.parametrize("refresh", [(), ("refresh",)])
@pytest.mark.parametrize("door", ["manual", "events"])
def test_pruned_averages_return_to_zero_at_every_main_step_though_extra_steps_are_not_masked(door, refresh):
    loop = Loop(dict(ratio=0.3, interval=12, quirks=("main-steps", *refresh)), door=door)

    def watch(event):
        if event == "stepped Gmain":
            for name in SELECTED:
                assert torch.equal(loop.ema[name] == 0, loop.params[name] == 0)

    loop.train(12, watch)


def test_masks_follow_the_weights_only_if_refreshed():
    for refresh, may_change in (((), False), (("refresh",), True)):
        loop = Loop(dict(ratio=0.3, interval=40, quirks=("main-steps", *refresh)), optimizer=lambda p: adam(p, lr=0.2))
        zeros = []
        loop.train(40, lambda e, z=zeros, o=loop: z.append(o.params["conv.weight"] == 0) if e == "stepped Gmain" else 0)
        assert all(torch.count_nonzero(z) == math.floor(0.3 * z.numel()) for z in zeros)
        assert all(torch.equal(z, zeros[0]) for z in zeros) != may_change


# -------------------------------------------------------------------- statistics


def test_statistics_agree_with_what_can_be_seen_from_outside():
    loop = Loop(dict(ratio=0.3, interval=4, warmup=3), optimizer=lambda params: adam(params, lr=0.15))
    numel = sum(loop.params[name].numel() for name in SELECTED)
    pruned_before, ever_kept = None, torch.zeros(numel, dtype=torch.bool)
    change = explored = 0.0
    sparse_iterations = 0
    changes = []
    last_phase = None
    for i in range(3 + 8 * 5):
        loop.train(1)
        phase, cycle = (Phase.WARMUP, 0) if i < 3 else (Phase.DENSE if (i - 3) % 8 >= 4 else Phase.SPARSE, (i - 3) // 8 + 1)
        zero = torch.cat([(loop.params[name] == 0).flatten() for name in SELECTED])
        if phase == Phase.SPARSE:
            sparse_iterations += 1
            if (i - 3) % 8 == 0:
                fresh = zero if pruned_before is None else zero & ~pruned_before
                change = int(fresh.sum()) / int(zero.sum())
                changes.append(change)
                pruned_before = zero
                ever_kept |= ~zero
                explored = int(ever_kept.sum()) / numel
        report = loop.hook.on_report()
        assert report.pop("ReGAN/hook_ms") >= 0
        # An iteration's time is known when the next one begins; the last report was one iteration ago.
        kinds = [f"ReGAN/sec_{last_phase.name.lower()}"] if last_phase is not None else []
        assert all(report.pop(kind) > 0 for kind in kinds)
        last_phase = phase
        assert report == {
            "ReGAN/phase": phase,
            "ReGAN/cycle": cycle,
            "ReGAN/sparsity": int(zero.sum()) / numel,
            "ReGAN/lr": 0.15 * 0.1 if phase == Phase.DENSE else 0.15,
            "ReGAN/mask_change": pytest.approx(change, abs=1e-12),
            "ReGAN/explored": pytest.approx(explored, abs=1e-12),
            "ReGAN/flops_ratio": pytest.approx(1 - 0.3 * sparse_iterations / (i + 1), abs=1e-12),
        }
    assert changes[0] == 1
    assert min(changes) > 0 and max(changes[1:]) < 1 and 0.7 < explored < 1  # the run had something to show


def test_small_steps_repeat_the_mask_and_explore_nothing_new():
    # The paper's method with a short interval: regrown weights stay the smallest.
    loop = Loop(dict(ratio=0.3, interval=3), optimizer=lambda params: adam(params, lr=1e-6)).train(3 + 6 * 2)
    report = loop.hook.on_report()
    assert report["ReGAN/mask_change"] == 0
    numel = [loop.params[name].numel() for name in SELECTED]
    assert report["ReGAN/explored"] == 1 - sum(math.floor(0.3 * n) for n in numel) / sum(numel)


# -------------------------------------------------------------------- moments

BETA2 = 0.99**0.8  # StyleGAN2's, corrected for lazy regularisation


def first_dense_move(policy, sparse, warmup=200, beta1=0.0):
    """How far regrown weights move in the first dense step, under random gradients.

    Returns:
        The moves, the gradients of that step, the second moments at pruning and at regrowth before the policy acts.
    """
    generator = torch.Generator().manual_seed(17)
    weight = nn.Linear(50, 40, bias=False).requires_grad_()
    with torch.no_grad():
        weight.weight.copy_(torch.randn(40, 50, generator=generator))
    p = weight.weight
    optimizer = torch.optim.Adam([p], lr=1e-3, betas=(beta1, BETA2))
    settings = dict(ratio=0.3, interval=sparse, warmup=warmup, moments=policy, exclude=())
    hook = Reconfiguration(weight, ReconfigurationConfig(**settings))
    hook.attach(optimizer, manual=True)
    at_pruning = at_regrowth = None
    for i in range(warmup + sparse + 1):
        if i == warmup:
            at_pruning = optimizer.state[p]["exp_avg_sq"].clone()
        if i == warmup + sparse:
            at_regrowth = optimizer.state[p]["exp_avg_sq"].clone()
        hook.begin_iteration()
        p.grad = torch.randn(p.shape, generator=generator)
        regrown, gradient = p.detach() == 0, p.grad.clone()
        optimizer.step()
    assert torch.count_nonzero(regrown) == 600
    return p.detach()[regrown].abs(), gradient[regrown], at_pruning[regrown], at_regrowth[regrown]


FULL_STEP = 1e-3  # of Adam where a gradient is as large as it usually is


def test_kept_moments_make_the_first_dense_step_overshoot_after_a_long_sparse_phase():
    long, _, _, left = first_dense_move("keep", 1000)
    short = first_dense_move("keep", 50)[0]
    restored = first_dense_move("restore", 1000)[0]
    assert left.max() < 1e-2
    assert long.median() > FULL_STEP  # more than a full-rate step, in spite of the rate's tenth
    assert short.median() < 0.5 * FULL_STEP
    assert restored.median() < 0.2 * FULL_STEP
    assert long.median() > 5 * restored.median()


def test_restored_moments_make_the_first_dense_step_the_one_of_the_second_moment_at_pruning():
    move, gradient, at_pruning, at_regrowth = first_dense_move("restore", 300)
    second = BETA2 * at_pruning + (1 - BETA2) * gradient**2
    correction = 1 - BETA2**501
    torch.testing.assert_close(move, 1e-4 * gradient.abs() / (second / correction).sqrt(), rtol=1e-4, atol=0)
    assert (at_regrowth < at_pruning).all()


def test_kept_moments_have_decayed_by_the_sparse_phase():
    move, gradient, at_pruning, at_regrowth = first_dense_move("keep", 100)
    torch.testing.assert_close(at_regrowth, at_pruning * BETA2**100, rtol=1e-3, atol=0)
    second = BETA2 * at_regrowth + (1 - BETA2) * gradient**2
    correction = 1 - BETA2**301
    torch.testing.assert_close(move, 1e-4 * gradient.abs() / (second / correction).sqrt(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("sparse", [10, 300])
@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_reset_moments_give_every_regrown_weight_the_same_large_step(sparse, beta1):
    move, gradient, _, _ = first_dense_move("reset", sparse, beta1=beta1)
    steps = 200 + sparse + 1
    expected = 1e-4 * (1 - beta1) / (1 - beta1**steps) / math.sqrt((1 - BETA2) / (1 - BETA2**steps))
    usual = gradient.abs() > 1e-3  # below, Adam's epsilon shows
    torch.testing.assert_close(move[usual], torch.full_like(move[usual], expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize("policy", ["restore", "reset"])
def test_moments_of_weights_that_were_never_pruned_are_left_alone(policy):
    keep, other = (Loop(dict(ratio=0.3, interval=4, warmup=3, moments=m)) for m in ("keep", policy))
    for loop in (keep, other):
        loop.train(7)
        loop.hook.begin_iteration()  # the first dense one
    for name in loop.params:
        mine, plain = (o.optimizer.state[o.params[name]] for o in (other, keep))
        zero = (other.params[name] == 0) & (other.params[name].ndim > 0)
        assert zero.any() == (name in SELECTED)
        assert torch.equal(mine["exp_avg_sq"][~zero], plain["exp_avg_sq"][~zero])
        assert torch.equal(mine["exp_avg"][~zero], plain["exp_avg"][~zero])
        assert torch.equal(mine["step"], plain["step"])
        assert (mine["exp_avg_sq"][zero] != plain["exp_avg_sq"][zero]).all()


def test_restored_moments_are_those_of_the_same_weights_though_masks_were_refreshed():
    refreshed = dict(quirks=("quantile", "refresh", "main-steps"))
    keep, restore = (
        Loop(dict(ratio=0.3, interval=20, warmup=5, moments=m, **refreshed), optimizer=lambda p: adam(p, lr=0.1))
        for m in ("keep", "restore")
    )
    zeros = []
    for loop in (keep, restore):
        loop.train(5)
        at_pruning = {name: loop.optimizer.state[loop.params[name]]["exp_avg_sq"].clone() for name in SELECTED}
        loop.train(1)
        pruned = {name: loop.params[name] == 0 for name in SELECTED}
        loop.train(19, lambda e, o=loop: zeros.append(o.params["conv.weight"] == 0) if e == "stepped Gmain" else None)
        loop.hook.begin_iteration()  # the first dense one
    for name in SELECTED:
        mine, plain = (loop.optimizer.state[loop.params[name]]["exp_avg_sq"] for loop in (restore, keep))
        assert torch.equal(mine[pruned[name]], at_pruning[name][pruned[name]])
        assert torch.equal(mine[~pruned[name]], plain[~pruned[name]])
    assert (zeros[-1] & ~pruned["conv.weight"]).any()  # the last mask was another than the first


# -------------------------------------------------------------------- the discriminator


@pytest.mark.parametrize("target", ["D", "both"])
def test_discriminator_is_reconfigured_at_its_own_steps(target):
    torch.manual_seed(2)
    networks = {"G": Generator(), "D": Discriminator()}
    networks["G_ema"] = copy.deepcopy(networks["G"]).requires_grad_(False)
    optimizers = {kind: adam(networks[kind].parameters(), betas=(0.5, 0.99)) for kind in "GD"}
    pruned_names = {"D": ["conv.weight", "out.weight"], "G": SELECTED if target == "both" else []}
    hook = Reconfiguration(config=ReconfigurationConfig(ratio=0.3, interval=4, warmup=2, target=target))
    hook.start(Training(networks, optimizers))

    def step(kind, phase, i, loss):
        optimizers[kind].zero_grad()
        loss.backward()
        hook.before_step(Step(kind, phase, i))
        optimizers[kind].step()
        hook.after_step(Step(kind, phase, i))

    for i in range(2 + 8 * 3):
        sparse = i >= 2 and (i - 2) % 8 < 4
        hook.on_iteration(i)
        assert hook.is_sparse() == sparse
        report = hook.on_report()
        done = sum(j >= 2 and (j - 2) % 8 < 4 for j in range(i + 1))  # iterations with sparse networks
        assert report["ReGAN/flops_ratio"] == pytest.approx(1 - 0.3 * done / (i + 1), abs=1e-12)
        G, D = networks["G"], networks["D"]
        step("G", "Gmain", i, F.softplus(-D(G(torch.randn(4, 5)))).mean())
        for phase in ("Dmain", "Dreg"):
            step("D", phase, i, F.softplus(D(G(torch.randn(4, 5)).detach())).mean() + D(torch.randn(4, 3, 4, 4)).mean())
            for kind in "GD":
                for name, p in networks[kind].named_parameters():
                    zeros = math.floor(0.3 * p.numel()) if sparse and name in pruned_names[kind] else 0
                    assert torch.count_nonzero(p == 0) == zeros, (i, phase, kind, name)
        scaled = 0.02 * 0.1 if i >= 2 and not sparse else 0.02
        assert optimizers["D"].param_groups[0]["lr"] == scaled
        assert optimizers["G"].param_groups[0]["lr"] == (scaled if target == "both" else 0.02)
    selected = [p for kind in "GD" for n, p in networks[kind].named_parameters() if n in pruned_names[kind]]
    hook.on_iteration(26)
    numel = sum(p.numel() for p in selected)
    zeros = sum(math.floor(0.3 * p.numel()) for p in selected)
    report = hook.on_report()
    assert report["ReGAN/sparsity"] == zeros / numel
    assert report["ReGAN/phase"] == Phase.SPARSE


# -------------------------------------------------------------------- mistakes


def test_the_three_line_door_says_what_it_needs():
    loop = Loop()
    with pytest.raises(ValueError, match="given the generator"):
        Reconfiguration(config=ReconfigurationConfig()).attach(loop.optimizer)
    for target in ("D", "both"):
        with pytest.raises(ValueError, match="target"):
            Reconfiguration(loop.G, ReconfigurationConfig(target=target)).attach(loop.optimizer)
    with pytest.raises(ValueError, match="total"):
        Reconfiguration(loop.G, ReconfigurationConfig(finish="dense")).attach(loop.optimizer)
    with pytest.raises(ValueError, match="needs at least 200 iterations"):
        Reconfiguration(loop.G, ReconfigurationConfig(finish="dense")).attach(loop.optimizer, total_iterations=199)
    with pytest.raises(ValueError, match=r"to_rgb.*mapping\.weight"):
        Reconfiguration(loop.G, ReconfigurationConfig(exclude=("*to_rgb*",))).attach(loop.optimizer)


def test_a_target_whose_optimizer_is_missing_is_refused():
    loop = Loop()
    hook = Reconfiguration(config=ReconfigurationConfig(target="both"))
    with pytest.raises(ValueError, match="target=both needs the optimizer of D"):
        hook.start(Training({"G": loop.G, "D": loop.D}, {"G": loop.optimizer}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ratio", 1.0),
        ("ratio", -0.1),
        ("ratio", math.nan),
        ("lr_scale", 0.0),
        ("lr_scale", -1.0),
        ("lr_scale", math.nan),
        ("interval", 0),
        ("warmup", -1),
        ("target", "E"),
        ("quirks", ("median",)),
        ("quirks", ("late", "late")),
        ("moments", "forget"),
        ("ema", "on"),
        ("finish", "later"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(field, value):
    with pytest.raises(ValueError, match=f"^{field} "):
        ReconfigurationConfig(**{field: value})


def test_unknown_settings_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"sparsity.*there are: .*ratio"):
        Reconfiguration(sparsity=0.3)


def test_settings_given_by_keyword_are_those_of_the_configuration():
    config = ReconfigurationConfig(ratio=0.2, interval=7, exclude=("a*", "b"), moments="restore")
    assert Reconfiguration(**config.to_dict()).config == config
