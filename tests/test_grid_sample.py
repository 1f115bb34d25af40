"""Our ``grid_sample`` against torch's own, and its second derivative against finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regan_ext.hosts.compat.grid_sample import grid_sample

SIZES = st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 5)] * 4)


def torchs_own(input, grid):
    return torch.nn.functional.grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def example(sizes=(2, 3, 5, 4, 3, 6), seed=0, dtype=torch.float64):
    """Images and a grid that reaches beyond their edges."""
    n, c, height, width, out_height, out_width = sizes
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, c, height, width, generator=generator, dtype=dtype)
    grid = torch.rand(n, out_height, out_width, 2, generator=generator, dtype=dtype) * 2.6 - 1.3
    weight = torch.randn(n, c, out_height, out_width, generator=generator, dtype=dtype)
    return images.requires_grad_(), grid.requires_grad_(), weight.requires_grad_()


@settings(deadline=None, max_examples=40)
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_values_and_first_derivatives_are_torchs_own(sizes, seed, dtype):
    images, grid, weight = example(sizes, seed, dtype)
    ours, theirs = grid_sample(images, grid), torchs_own(images, grid)
    assert torch.equal(ours, theirs)
    gradients = torch.autograd.grad((ours * weight).sum(), [images, grid, weight])
    expected = torch.autograd.grad((theirs * weight).sum(), [images, grid, weight])
    assert all(torch.equal(g, e) for g, e in zip(gradients, expected))


def second_derivative(function):
    """As R1 regularisation takes it: the gradient, with respect to a weight and the image, of a squared gradient."""
    images, grid, weight = example()
    out = (function(images * images, grid.detach()) * weight).tanh()
    (gradient,) = torch.autograd.grad(out.sum(), images, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), [weight, images])


def test_second_derivatives_are_torchs_own():
    try:
        expected = second_derivative(torchs_own)
    except RuntimeError as err:
        if "grid_sampler_2d_backward is not implemented" not in str(err):
            raise
        pytest.skip("this version of torch has no second derivative of its own, which is what ours is for")
    for ours, theirs in zip(second_derivative(grid_sample), expected):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_second_derivative_agrees_with_finite_differences():
    images, grid, _ = example((1, 2, 4, 3, 2, 3))
    grid = grid.detach()
    assert torch.autograd.gradcheck(lambda x: grid_sample(x, grid), images)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x * x, grid), images)


def test_first_derivative_with_respect_to_the_grid_agrees_with_finite_differences():
    images, grid, _ = example((1, 2, 4, 3, 2, 3), seed=1)
    assert torch.autograd.gradcheck(lambda g: grid_sample(images.detach(), g), grid, eps=1e-7, atol=1e-5)


def test_no_gradient_is_asked_of_what_needs_none():
    images, grid, weight = example()
    (gradient,) = torch.autograd.grad((grid_sample(images, grid.detach()) * weight).sum(), images)
    (expected,) = torch.autograd.grad((torchs_own(images, grid.detach()) * weight).sum(), images)
    assert torch.equal(gradient, expected)
    assert not grid_sample(images.detach(), grid.detach()).requires_grad
