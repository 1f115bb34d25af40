"""Reconfiguration in a loop of one's own: what it is given by mistake is told, and it can be taken off."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from typing import Any, List

import pytest
import torch
from torch import nn

import training_hooks
from training_hooks import Reconfiguration, ReconfigurationConfig

pytestmark = pytest.mark.usefixtures("one_thread")


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Linear(8, 16)
        self.torgb = nn.Linear(16, 3)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.torgb(torch.tanh(self.mapping(z)))


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator()


def adam(module: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=0.01)


def config(**settings: Any) -> ReconfigurationConfig:
    return ReconfigurationConfig(**{"ratio": 0.25, "interval": 3, **settings})


def train(G: nn.Module, optimizer: torch.optim.Optimizer, iterations: int) -> List[int]:
    """Number of zeros of the mapping network in every iteration's forward pass."""
    zeros = []
    for i in range(iterations):
        zeros.append(sum(int(torch.count_nonzero(p == 0)) for p in G.mapping.parameters()))
        torch.manual_seed(i)
        optimizer.zero_grad()
        G(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
    return zeros


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("kind", ["exponential", "one-cycle"])
def test_a_scheduler_of_the_learning_rate_is_told_before_its_rate_is_used(kind: str, manual: bool) -> None:
    G = generator()
    optimizer = adam(G)
    scheduler: Any = None
    hook = Reconfiguration(G, config()).attach(optimizer, manual=manual)
    if kind == "exponential":
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    else:  # sets the rate when it is made
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=9)
    stepped = 0
    with pytest.raises(
        RuntimeError, match=r"learning rate of G was set to 0\.\d+, but the hook sets it .* to 0\.01; leave out the sch"
    ):
        for _ in range(3):
            if manual:
                hook.begin_iteration()
            train(G, optimizer, 1)
            stepped += 1
            scheduler.step()
    assert stepped == (1 if kind == "exponential" else 0)


def test_a_hook_can_be_taken_off_after_a_scheduler_and_optimizers_restored_after_attach_count() -> None:
    G = generator()
    optimizer = adam(G)
    hook = Reconfiguration(G, config()).attach(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())  # gives it other groups
    train(G, optimizer, 4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    optimizer.param_groups[0]["lr"] = 0.5
    with pytest.raises(RuntimeError, match=r"was set to 0\.5, but .* here to 0\.001"):
        train(G, optimizer, 1)
    hook.detach()
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_an_optimizer_of_something_else_is_refused() -> None:
    G, other = generator(), generator()
    before = copy.deepcopy(G.state_dict())
    with pytest.raises(
        ValueError, match=r"does not hold 1 of the 1 parameters of G that would be pruned \(mapping\.weight first\)"
    ):
        Reconfiguration(G, config()).attach(adam(other))
    with pytest.raises(ValueError, match="does not hold 1 of the 2 parameters"):
        Reconfiguration(G, config(exclude=())).attach(torch.optim.Adam(G.mapping.parameters()))
    assert all(torch.equal(before[name], p) for name, p in G.state_dict().items())
    Reconfiguration(G, config()).attach(torch.optim.Adam(G.mapping.parameters()))  # it does not train what stays dense


def test_one_hook_at_a_time() -> None:
    G = generator()
    optimizer = adam(G)
    hook = Reconfiguration(G, config()).attach(optimizer)
    with pytest.raises(RuntimeError, match=r"this hook is attached already; call detach\(\)"):
        hook.attach(optimizer)
    with pytest.raises(RuntimeError, match=r"another hook is attached to this optimizer; call detach\(\)"):
        Reconfiguration(G, config()).attach(optimizer)
    hook.detach()
    Reconfiguration(G, config()).attach(optimizer)


@pytest.mark.parametrize("module", [nn.Module(), nn.Tanh(), nn.Sequential()])
def test_a_module_without_parameters_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"the generator, a {type(module).__name__}, has no parameters"):
        Reconfiguration(module, config()).attach(adam(generator()))


def test_iterations_that_never_begin_or_begin_twice_are_told() -> None:
    G = generator()
    optimizer = adam(G)
    hook = Reconfiguration(G, config())
    with pytest.raises(RuntimeError, match="attached with manual=True"):
        hook.begin_iteration()
    hook.attach(optimizer)
    with pytest.raises(RuntimeError, match="attached with manual=True"):
        hook.begin_iteration()
    hook.detach()
    hook.attach(optimizer, manual=True)
    with pytest.raises(RuntimeError, match=r"the loop calls hook\.begin_iteration\(\) at its top"):
        train(G, optimizer, 1)


@pytest.mark.parametrize("iterations", [2, 4], ids=["sparse", "dense"])
def test_a_hook_that_is_taken_off_leaves_the_loop_alone_and_can_come_back(iterations: int) -> None:
    G = generator()
    optimizer = adam(G)
    hook = Reconfiguration(G, config(interval=3))
    for _ in range(2):
        hook.attach(optimizer)
        assert train(G, optimizer, iterations)[:2] == [32, 32]
        hook.detach()
        assert optimizer.param_groups[0]["lr"] == 0.01 and not hook.is_sparse()
        assert train(G, optimizer, 3)[1:] == [0, 0]
    hook.detach()
    plain = copy.deepcopy(G)
    theirs = adam(plain)
    theirs.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(G, optimizer, 8)
    train(plain, theirs, 8)
    assert all(torch.equal(a, b) for a, b in zip(G.parameters(), plain.parameters()))


def test_the_layer_that_writes_the_image_is_not_pruned_in_silence() -> None:
    def attach(G: nn.Module, **settings: Any) -> List[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Reconfiguration(G, config(**settings)).attach(adam(G))
        return [str(w.message) for w in caught if w.filename == __file__]

    plain = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    (told,) = attach(plain)
    assert "the last of 2 is 2.weight [3, 16]" in told and "exclude=['2.weight']" in told and "exclude=()" in told
    assert attach(plain, exclude=()) == attach(plain, exclude=["2.weight"]) == attach(generator()) == []


def test_patterns_are_a_list() -> None:
    with pytest.raises(ValueError, match=r"^exclude must be a list of texts, got '\*torgb\*'; \['\*torgb\*'\] is one"):
        config(exclude="*torgb*")


def test_public_names_come_with_torch_alone() -> None:
    code = (
        "import sys, training_hooks; assert 'torch' not in sys.modules; "
        "from training_hooks import *; print(sorted(n for n in dir() if n[0] != '_')); "
        "print([n for n in ('numpy', 'click', 'regan_ext') if n in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    assert printed[0] == str(sorted([*training_hooks.__all__, "sys", "training_hooks"]))
    assert "regan_ext" not in printed[1] and "click" not in printed[1]
    assert {"Reconfiguration", "ReconfigurationConfig", "AdaptivePseudoAugmentation", "augment", "Hook"} <= {
        *training_hooks.__all__
    }
    with pytest.raises(ImportError, match="nothing"):
        from training_hooks import nothing  # type: ignore[attr-defined]  # noqa: F401


def test_both_packages_are_typed() -> None:
    from importlib.resources import files

    assert files("training_hooks").joinpath("py.typed").is_file() and files("regan_ext").joinpath("py.typed").is_file()
