"""What the policies do to an optimizer's running moments."""

from __future__ import annotations

import pytest
import torch

from training_hooks.sparsity import moments

OPTIMIZERS = {
    "adam beta1=0": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.0, 0.9)),
    "adam beta1=0.5": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9)),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9), amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}
ALL_MOMENTS = {
    "adam beta1=0": {"exp_avg", "exp_avg_sq"},
    "adam beta1=0.5": {"exp_avg", "exp_avg_sq"},
    "amsgrad": {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "rmsprop": {"square_avg", "momentum_buffer", "grad_avg"},
    "sgd": {"momentum_buffer"},
}
SECOND_MOMENTS = {
    "adam beta1=0": {"exp_avg_sq"},
    "adam beta1=0.5": {"exp_avg_sq"},
    "amsgrad": {"exp_avg_sq", "max_exp_avg_sq"},
    "rmsprop": {"square_avg"},
    "sgd": set(),
}
KEEP = torch.tensor([[True, False, True], [False, True, True]])


@pytest.fixture(params=sorted(OPTIMIZERS))
def kind(request):
    return request.param


def trained(kind):
    """An optimizer after three steps on a matrix and a scalar."""
    torch.manual_seed(3)
    params = [torch.nn.Parameter(torch.randn(2, 3)), torch.nn.Parameter(torch.tensor(0.5))]
    optimizer = OPTIMIZERS[kind](params)
    for _ in range(3):
        step(optimizer, params)
    return optimizer, params


def step(optimizer, params):
    for p in params:
        p.grad = torch.randn(p.shape)
    optimizer.step()


def state_of(optimizer, param):
    return {k: v.clone() for k, v in optimizer.state[param].items() if isinstance(v, torch.Tensor)}


def test_every_moment_of_a_weight_is_found_and_nothing_else(kind):
    optimizer, (matrix, _) = trained(kind)
    found = dict(moments.moments_of(optimizer, matrix))
    assert set(found) == ALL_MOMENTS[kind]
    assert all(state is optimizer.state[matrix][name] for name, state in found.items())


def test_a_scalar_parameter_has_no_moments_to_touch(kind):
    optimizer, (_, scalar) = trained(kind)
    before = state_of(optimizer, scalar)
    keep = torch.tensor(False)
    assert moments.moments_of(optimizer, scalar) == []
    saved = moments.save_second_moments(optimizer, scalar, keep)
    assert saved == {}
    step(optimizer, [scalar])
    after_step = state_of(optimizer, scalar)
    moments.restore_second_moments(optimizer, scalar, keep, before)
    moments.reset_moments(optimizer, scalar, keep)
    after = state_of(optimizer, scalar)
    assert all(torch.equal(after[k], after_step[k]) for k in after_step)


def test_nothing_is_found_before_the_first_step(kind):
    param = torch.nn.Parameter(torch.randn(2, 3))
    optimizer = OPTIMIZERS[kind]([param])
    assert moments.moments_of(optimizer, param) == []
    assert moments.save_second_moments(optimizer, param, KEEP) == {}
    moments.restore_second_moments(optimizer, param, KEEP, {})
    moments.reset_moments(optimizer, param, KEEP)
    assert param not in optimizer.state  # looking must not create an empty state: Adam would take it for a full one


def test_restore_puts_back_the_second_moments_of_the_pruned_entries_alone(kind):
    optimizer, params = trained(kind)
    matrix = params[0]
    at_pruning = state_of(optimizer, matrix)
    saved = moments.save_second_moments(optimizer, matrix, KEEP)
    assert set(saved) == SECOND_MOMENTS[kind]
    for _ in range(4):
        step(optimizer, params)
    at_regrowth = state_of(optimizer, matrix)
    moments.restore_second_moments(optimizer, matrix, KEEP, saved)
    after = state_of(optimizer, matrix)
    for name, now in after.items():
        if name in SECOND_MOMENTS[kind]:
            assert torch.equal(now[~KEEP], at_pruning[name][~KEEP])
            assert torch.equal(now[KEEP], at_regrowth[name][KEEP])
            assert not torch.equal(now, at_regrowth[name])
        else:
            assert torch.equal(now, at_regrowth[name])


def test_what_was_saved_does_not_follow_the_optimizer(kind):
    optimizer, params = trained(kind)
    at_pruning = state_of(optimizer, params[0])
    saved = moments.save_second_moments(optimizer, params[0], KEEP)
    step(optimizer, params)
    assert all(torch.equal(saved[name], at_pruning[name][~KEEP]) for name in SECOND_MOMENTS[kind])


def test_reset_clears_every_moment_of_the_pruned_entries_alone(kind):
    optimizer, params = trained(kind)
    matrix = params[0]
    before = state_of(optimizer, matrix)
    weights = matrix.detach().clone()
    moments.reset_moments(optimizer, matrix, KEEP)
    for name, now in state_of(optimizer, matrix).items():
        if name in ALL_MOMENTS[kind]:
            assert (now[~KEEP] == 0).all()
            assert (before[name][~KEEP] != 0).all()
            assert torch.equal(now[KEEP], before[name][KEEP])
        else:  # Adam's step counter
            assert torch.equal(now, before[name])
    assert torch.equal(matrix, weights)


def test_moments_are_looked_up_anew_after_the_optimizer_loads_a_state(kind):
    optimizer, (matrix, _) = trained(kind)
    moments.moments_of(optimizer, matrix)
    optimizer.load_state_dict(optimizer.state_dict())
    moments.reset_moments(optimizer, matrix, KEEP)
    for name in ALL_MOMENTS[kind]:
        assert (optimizer.state[matrix][name][~KEEP] == 0).all()


def test_moments_that_are_not_finite_are_reset_too(kind):
    optimizer, (matrix, _) = trained(kind)
    for _, state in moments.moments_of(optimizer, matrix):
        state[~KEEP] = torch.inf
    moments.reset_moments(optimizer, matrix, KEEP)
    assert all((state[~KEEP] == 0).all() and (state[KEEP] != 0).all() for _, state in moments.moments_of(optimizer, matrix))
