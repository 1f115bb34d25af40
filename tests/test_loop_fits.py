"""A loop takes networks, optimizers, averages and schedulers as other people's training has them."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any, Callable, Dict, List, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import WrappedOptimizer
from torch import nn
from torch.optim import swa_utils

from training_hooks import Length, Loop, Reconfiguration

pytestmark = pytest.mark.usefixtures("one_thread")

PRUNED = "0.weight"  # 32 weights, of which a quarter is pruned


def generator() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def pruning(**given: Any) -> Reconfiguration:
    """Sparse in iterations 0-1, 4-5, ..., dense in the others."""
    return Reconfiguration(**{"ratio": 0.25, "interval": 2, "exclude": ["2.*"], **given})


def adam(G: nn.Module, **given: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(G.parameters(), **{"lr": 0.01, "betas": (0.5, 0.9), **given})


def step(G: nn.Module, optimizer: Any, seed: int = 0, factor: float = 1.0) -> None:
    optimizer.zero_grad()
    (G(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))).square().sum() * factor).backward()
    optimizer.step()


def zeros(tensor: torch.Tensor) -> int:
    return int((tensor == 0).sum())


def trained(loop: Loop, G: nn.Module, optimizer: Any, weight: torch.Tensor, iterations: int = 6) -> List[int]:
    """Number of zeros of a weight after each iteration."""
    counts = []
    for i in range(iterations):
        with loop.iteration():
            step(G, optimizer, i)
        counts.append(zeros(weight))
    return counts


SPARSE = [8, 8, 0, 0, 8, 8]


# ---------------------------------------------------------------- what is an iteration


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["D", "G", "DG", "skipped"]), max_size=20))
def test_an_iteration_is_a_step_of_g(blocks: List[str]) -> None:
    """Whatever else a block holds: several steps of D for one of G, or a step that an AMP scaler has left out."""
    networks = {"G": generator(), "D": generator()}
    optimizers = {name: adam(network) for name, network in networks.items()}
    loop = Loop(networks, optimizers, [pruning()])
    for block in blocks:
        with loop.iteration() as i:
            done = i
            for name in "DG":
                if name in block:
                    step(networks[name], optimizers[name])
        assert "G" not in block or (zeros(networks["G"][0].weight) == 8) == (done % 4 < 2)
    steps = sum("G" in block for block in blocks)
    state = loop.state_dict()
    if blocks:
        assert state["iteration"] - (not state["is_whole"]) == steps
        assert done == steps - ("G" in blocks[-1])
    loop.close()


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_leaves_out_is_no_iteration(fused: bool) -> None:
    G = generator()
    optimizer = adam(G, fused=fused)
    loop, scaler = Loop({"G": G}, {"G": optimizer}, [pruning()]), torch.amp.GradScaler("cpu", init_scale=4.0)
    numbers, counts = [], []
    for factor in (1.0, float("inf"), 1.0, 1.0, float("inf"), float("inf"), 1.0):
        with loop.iteration() as i:
            optimizer.zero_grad()
            scaler.scale(G(torch.ones(4, 4)).square().sum() * factor).backward()
            scaler.step(optimizer)
            scaler.update()
        numbers.append(i)
        counts.append(zeros(G[0].weight))
    assert numbers == [0, 1, 1, 2, 3, 3, 3]
    assert counts == [8, 8, 8, 0, 0, 0, 0]


def test_a_followed_loop_is_the_same_training_as_one_of_blocks() -> None:
    def weights(follow: bool) -> torch.Tensor:
        networks = {"G": generator(), "D": generator()}
        optimizers = {name: adam(network) for name, network in networks.items()}
        loop = Loop(networks, optimizers, [pruning(target="both", exclude=None)])
        if follow:
            loop.follow()
        for i in range(7):
            if follow:
                step(networks["D"], optimizers["D"], i), step(networks["G"], optimizers["G"], i)
            else:
                with loop.iteration():
                    step(networks["D"], optimizers["D"], i), step(networks["G"], optimizers["G"], i)
        return torch.cat([p.detach().flatten() for network in networks.values() for p in network.parameters()])

    with pytest.warns(UserWarning, match="no layer is named"):
        assert torch.equal(weights(True), weights(False))


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_followed_loop_goes_on_bit_for_bit(cut: int) -> None:
    def make() -> Any:
        G = generator()
        optimizer = adam(G)
        return G, optimizer, Loop({"G": G}, {"G": optimizer}, [pruning()])

    G, optimizer, loop = make()
    loop.follow()
    for i in range(cut):
        step(G, optimizer, i)
    file = io.BytesIO()
    torch.save(loop.state_dict(), file)
    for i in range(cut, cut + 5):
        step(G, optimizer, i)
    for first in ("load", "follow"):
        again, its, other = make()
        if first == "follow":
            other.follow()
        other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        if first == "load":
            other.follow()
        for i in range(cut, cut + 5):
            step(again, its, i)
        assert all(torch.equal(p, q) for p, q in zip(G.parameters(), again.parameters()))
        assert other.state_dict()["iteration"] == loop.state_dict()["iteration"] == cut + 6


@given(st.integers(1, 4))
@settings(max_examples=4, deadline=None)
def test_accumulated_gradients_are_those_of_the_whole_batch(parts: int) -> None:
    def weights(pieces: int) -> torch.Tensor:
        G = generator().double()
        optimizer = adam(G)
        loop, data = Loop({"G": G}, {"G": optimizer}, [pruning()]), torch.ones(12, 4).double().cumsum(0) / 12
        for _ in range(5):
            with loop.iteration():
                optimizer.zero_grad()
                for piece in data.chunk(pieces):
                    G(loop.round("Gmain", gen_z=piece).gen_z).square().sum().backward()
                optimizer.step()
        return G[0].weight.detach()

    torch.testing.assert_close(weights(parts), weights(1))


def test_phases_in_epochs_of_a_loop_that_is_attached_to() -> None:
    G = generator()
    hook = Reconfiguration(G, ratio=0.25, interval=Length(1, "epoch"), warmup=Length(0.024, "kimg"), exclude=["2.*"])
    optimizer, counts = adam(G), []
    hook.attach(optimizer, batch_size=8, iterations_per_epoch=2)
    for _ in range(8):
        counts.append(hook.is_sparse())
        step(G, optimizer)
    assert counts == [False] * 3 + [True] * 2 + [False] * 2 + [True]


# ---------------------------------------------------------------- networks


def compiled(G: nn.Module) -> Any:
    return torch.compile(G, backend="eager")


WRAPPERS: Dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "compiled": compiled,
    "compiled in DataParallel": lambda G: nn.DataParallel(compiled(G)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_network_is_pruned_by_its_own_names_and_its_state_is_bare(wrap: Callable[[nn.Module], nn.Module]) -> None:
    G = generator()
    outer = wrap(G)
    optimizer = adam(outer)
    loop = Loop({"G": outer}, {"G": optimizer}, [pruning()])
    assert trained(loop, outer, optimizer, G[0].weight) == SPARSE
    assert set(loop.state_dict()["networks"]["G"]) == set(G.state_dict())
    z = torch.ones(1, 4)
    assert torch.equal(loop.run_G(z), G(z))


NORMS: Dict[str, Any] = {
    "weight_orig": lambda: nn.utils.spectral_norm(nn.Linear(4, 8)),
    "parametrizations.weight.original": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)),
    "parametrizations.weight.original1": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)),
}


@pytest.mark.filterwarnings("ignore:.*stays dense:UserWarning", "ignore:.*is deprecated")
@pytest.mark.parametrize("name", NORMS)
def test_a_normalised_layer_computes_with_the_zeros_of_its_mask(name: str) -> None:
    torch.manual_seed(0)
    G = nn.Sequential(NORMS[name](), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = adam(G)
    loop = Loop({"G": G}, {"G": optimizer}, [pruning()])
    raw = dict(G[0].named_parameters())[name]
    assert trained(loop, G, optimizer, raw, 4) == SPARSE[:4]
    with loop.iteration():
        G(torch.randn(3, 4))
        assert torch.equal(G[0].weight == 0, raw == 0) and zeros(raw) == 8
    assert zeros(G[1].weight) == 0  # batch norm stays dense


def test_layers_that_are_not_used_yet_may_be_pruned_and_train_later() -> None:
    """As in a network that grows: they have no gradients until their resolution is reached."""

    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large, self.is_grown = nn.Linear(4, 8), nn.Linear(8, 8), False

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.large(self.small(z)) if self.is_grown else self.small(z)

    torch.manual_seed(0)
    G = Growing()
    optimizer = adam(G)
    loop = Loop({"G": G}, {"G": optimizer}, [pruning(exclude=())])
    first = G.large.weight.detach().clone()
    assert trained(loop, G, optimizer, G.large.weight, 3) == [16, 16, 16]  # nothing has moved them since they grew back
    assert torch.equal(G.large.weight[G.large.weight != 0], first[G.large.weight != 0])
    G.is_grown = True
    with loop.iteration():
        step(G, optimizer)
    assert zeros(G.large.weight) == 0


# ---------------------------------------------------------------- optimizers


OPTIMIZERS: Dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, 0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, 0.01),
    "Adadelta": torch.optim.Adadelta,
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(p, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masks_hold_under_any_optimizer(name: str) -> None:
    G = generator()
    optimizer = OPTIMIZERS[name](list(G.parameters()))
    loop, counts = Loop({"G": G}, {"G": optimizer}, [pruning()]), []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = G(torch.ones(4, 4)).square().sum()
        loss.backward()
        return loss

    for _ in range(6):
        with loop.iteration():
            before = zeros(G[0].weight)
            optimizer.step(closure)
        counts.append(zeros(G[0].weight))
        assert before == counts[-1] or before == 8  # none more than at the pruning
    assert counts[:2] == counts[4:] == [8, 8] and counts[3] <= 1  # Rprop and the like may leave one where it grew back


def test_a_wrapped_optimizer_is_the_one_inside() -> None:
    G = generator()
    outer: Any = WrappedOptimizer(adam(G))
    loop = Loop({"G": G}, {"G": outer}, [pruning()])
    assert trained(loop, G, outer, G[0].weight) == SPARSE


# ---------------------------------------------------------------- learning rates


SCHEDULERS: Dict[str, Callable[[Any], Any]] = {
    "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.02, total_steps=20),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: 1 / (1 + i)),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_phases_scale_what_a_scheduler_sets(name: str) -> None:
    """The scheduler's own rates are as without phases, and each step's is that rate times the phase's factor."""

    def rates(loop_of: Optional[Callable[[nn.Module, Any], Loop]]) -> Any:
        G = generator()
        optimizer = torch.optim.SGD(G.parameters(), 0.01, momentum=0.9)
        scheduler, seen, stepped = SCHEDULERS[name](optimizer), [], []
        loop = None if loop_of is None else loop_of(G, optimizer)
        optimizer.register_step_pre_hook(lambda *_: stepped.append(optimizer.param_groups[0]["lr"]))
        for i in range(8):
            if loop is not None:
                loop.begin_iteration()
            step(G, optimizer, i)
            scheduler.step()
            seen.append(optimizer.param_groups[0]["lr"])
        return seen, stepped

    plain, _ = rates(None)
    mine, stepped = rates(lambda G, o: Loop({"G": G}, {"G": o}, [pruning()], scheduled=["G"]))
    assert mine == plain
    _, own = rates(None)
    assert stepped == pytest.approx([rate * (1 if i % 4 < 2 else 0.1) for i, rate in enumerate(own)])


def test_a_scheduler_that_nobody_told_of_is_told_at_its_first_step() -> None:
    G = generator()
    optimizer = adam(G)
    loop, scheduler = Loop({"G": G}, {"G": optimizer}, [pruning()]), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with loop.iteration():
        step(G, optimizer)
    scheduler.step()
    said = r"the learning rate of G was set to 0\.005, but the hook sets it .* Loop\(\.\.\., scheduled=\['G'\]\)"
    with pytest.raises(RuntimeError, match=said), loop.iteration():
        step(G, optimizer)


def test_an_attached_hook_scales_a_scheduler_too() -> None:
    G = generator()
    optimizer = adam(G)
    hook = pruning(**{})
    hook = Reconfiguration(G, hook.config).attach(optimizer, scheduled=True)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for i in range(5):
        step(G, optimizer, i)
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**5)
    assert hook.on_report()["ReGAN/lr"] == pytest.approx(0.01 * 0.5**5)  # iteration 5 is sparse again
    hook.detach()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**5)


# ---------------------------------------------------------------- averages


class KeepsAverage(nn.Module):
    """As ema-pytorch keeps one: a copy beside the network, and buffers that count."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.online_model, self.ema_model = model, copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("step", torch.tensor(0))

    @torch.no_grad()
    def update(self) -> None:
        self.step.add_(1)
        for average, p in zip(self.ema_model.parameters(), self.online_model.parameters()):
            average.lerp_(p, 1 / float(self.step))


def follow_list(average: List[torch.Tensor], G: nn.Module) -> None:
    for each, p in zip(average, G.parameters()):
        each.mul_(0.5).add_(p.detach(), alpha=0.5)


def of_list(G: nn.Module) -> Any:
    average = [p.detach().clone() for p in G.parameters()]
    return average, lambda: follow_list(average, G), average[0]


def of_names(G: nn.Module) -> Any:
    average = {f"{name}": p.detach().clone() for name, p in G.named_parameters()}
    return average, lambda: follow_list(list(average.values()), G), average[PRUNED]


def of_swa(G: nn.Module) -> Any:
    average = swa_utils.AveragedModel(G)
    return average, lambda: average.update_parameters(G), average.module[0].weight


def of_parallel_swa(G: nn.Module) -> Any:
    average = swa_utils.AveragedModel(nn.DataParallel(G))
    return average, lambda: average.update_parameters(nn.DataParallel(G)), average.module.module[0].weight


def of_keeper(G: nn.Module) -> Any:
    average = KeepsAverage(G)
    return average, average.update, average.ema_model[0].weight


AVERAGES = {"list": of_list, "names": of_names, "swa_utils": of_swa, "of DataParallel": of_parallel_swa, "keeper": of_keeper}


@pytest.mark.parametrize("make", AVERAGES.values(), ids=AVERAGES)
def test_an_average_of_any_form_follows_the_masks_and_goes_on(make: Callable[[nn.Module], Any]) -> None:
    def begun() -> Any:
        G = generator()
        average, update, weight = make(G)
        optimizer = adam(G)
        return G, optimizer, Loop({"G": G, "G_ema": average}, {"G": optimizer}, [pruning()]), update, weight

    def train(run: Any, first: int, last: int) -> List[int]:
        G, optimizer, loop, update, weight = run
        counts = []
        for i in range(first, last):
            with loop.iteration():
                step(G, optimizer, i)
                update()
            counts.append(zeros(weight))
        return counts

    run, again = begun(), begun()
    assert train(run, 0, 5) == SPARSE[:5] and zeros(run[0][0].weight) == 8
    file = io.BytesIO()
    torch.save(run[2].state_dict(), file)
    again[2].load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    train(run, 5, 9), train(again, 5, 9)
    assert torch.equal(run[4], again[4]) and not torch.equal(run[4], run[0][0].weight)


def test_averaged_tensors_compute_as_the_generator_does_with_them() -> None:
    from training_hooks.core.averages import averaged

    G = generator()
    tensors = [p.detach() * 2 for p in G.parameters()]
    network, counters = averaged(tensors, G)
    theirs = copy.deepcopy(G)
    for p, tensor in zip(theirs.parameters(), tensors):
        p.data.copy_(tensor)
    z = torch.randn(3, 4)
    assert torch.equal(network(z), theirs(z)) and counters == {}


# ---------------------------------------------------------------- what is given by mistake


def of_g(**given: Any) -> Loop:
    G = given.pop("G", None) or generator()
    return Loop({"G": G}, {"G": given.pop("optimizer", None) or adam(G)}, given.pop("methods", None) or [pruning()], **given)


@pytest.mark.parametrize("average, said", [
    ("mean", "the average has to be a network, or the tensors of one, got a str"),
    ([torch.zeros(8, 4)], "are those of G's 4 parameters, in their order or by their names; of the 1 given, 1 fit"),
    ({"0.weight": torch.zeros(1)}, "of the 1 given, 0 fit"),
], ids=["text", "few", "shape"])  # fmt: skip
def test_what_is_no_average_is_told(average: Any, said: str) -> None:
    G = generator()
    with pytest.raises(ValueError, match=said):
        Loop({"G": G, "G_ema": average}, {"G": adam(G)}, [pruning()])


def test_what_does_not_fit_is_told_with_the_remedy() -> None:
    G = generator()
    with pytest.raises(ValueError, match=r"networks are modules, got a list for 'G'"):
        Loop({"G": [G]}, {"G": adam(G)}, [])  # type: ignore[dict-item, list-item]
    with pytest.raises(ValueError, match=r"the optimizer of G has to be a torch\.optim\.Optimizer, got a Sequential"):
        Loop({"G": G}, {"G": G}, [])  # type: ignore[dict-item]
    for wrong in ("G", ["D"]):
        with pytest.raises(ValueError, match=r"scheduled names those of the optimizers \['G'\]"):
            of_g(scheduled=wrong)
    with pytest.raises(ValueError, match="to follow steps the loop needs the optimizer"):
        Loop({"G": G}, {}, []).follow()
    with pytest.raises(ValueError, match=r"SGD keeps no second moments"):
        of_g(G=G, optimizer=torch.optim.SGD(G.parameters(), 0.1), methods=[pruning(moments="restore")])


def test_frozen_layers_are_not_pruned_unasked() -> None:
    G = generator()
    G[0].weight.requires_grad_(False)
    said = r"1 of the 1 parameters of G that would be pruned do not train \(0\.weight first has requires_grad=False\)"
    with pytest.raises(ValueError, match=said):
        of_g(G=G)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_g(G=generator().requires_grad_(False))  # a loop that turns whole networks on where they train


def test_steps_and_iterations_in_wrong_places_are_told() -> None:
    G = generator()
    optimizer = adam(G)
    loop = of_g(G=G, optimizer=optimizer)
    with loop.iteration(), pytest.raises(RuntimeError, match="an iteration is inside of another one"), loop.iteration():
        pass
    with loop.iteration():
        step(G, optimizer)
    with pytest.raises(RuntimeError, match=r"G's optimizer has stepped outside of `with loop\.iteration\(\):`"):
        step(G, optimizer)
    with pytest.raises(RuntimeError, match=r"iterations are blocks already; leave out follow\(\)"):
        loop.follow()
    loop.close()
    loop = of_g(G=G, optimizer=optimizer)
    loop.follow()
    with pytest.raises(RuntimeError, match="iterations begin by themselves"), loop.iteration():
        pass


def test_the_optimizer_of_something_else_is_told() -> None:
    """One that holds the parameters and is not the one that steps: masks would hold for ever, and nothing would be said."""
    G = generator()
    loop, other = of_g(G=G), adam(G)
    with pytest.raises(RuntimeError, match=r"the optimizer of G has made no step in 256 iterations; give the loop the one"):
        for _ in range(400):
            with loop.iteration():
                step(G, other)


def test_groups_of_parameters_that_come_later_are_told() -> None:
    G, late = generator(), nn.Linear(2, 2)
    optimizer = adam(G)
    loop = of_g(G=G, optimizer=optimizer)
    with loop.iteration():
        step(G, optimizer)
    optimizer.add_param_group({"params": late.parameters()})
    with pytest.raises(RuntimeError, match=r"had 1 groups of parameters when training began and has 2 now"), loop.iteration():
        pass
