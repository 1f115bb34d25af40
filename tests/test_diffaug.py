"""Differentiable augmentation against its definitions, for images of any size, type and number of channels."""

from __future__ import annotations

import re
import types
from typing import Any, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training_hooks.core.hook import Step, Training
from training_hooks.methods.diffaugment import hook as diffaug
from training_hooks.methods.diffaugment.hook import AugmentedPipe, DiffAugment, augment, parse_policy

pytestmark = pytest.mark.usefixtures("one_thread")
EVERYTHING = ("color", "translation", "cutout")
RELAXED = settings(deadline=None)

sides = st.integers(4, 20)
shapes = st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), sides, sides)
seeds = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(shape: Tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """In [-1, 1], no value 0."""
    values = torch.rand(shape, generator=generator(seed), dtype=torch.float64)
    return (values * 1.8 - 0.9 + 0.05 * (values >= 0.5) - 0.05 * (values < 0.5)).to(dtype)


def draws(images: torch.Tensor, policy: str, number: int = 400) -> torch.Tensor:
    """``policy`` on ``number`` copies of one image [1, ...]."""
    return augment(images.expand(number, -1, -1, -1), [policy], generator(1))


# ---------------------------------------------------------------- colour


@RELAXED
@given(shapes, seeds)
def test_brightness_is_added_to_every_value(shape: Tuple[int, ...], seed: int) -> None:
    images, shift = pictures(shape, seed), torch.linspace(-0.5, 0.5, shape[0], dtype=torch.float64)
    changed = diffaug.brightness(images, shift)
    assert torch.equal(changed - images, (images + shift.view(-1, 1, 1, 1)) - images)


@RELAXED
@given(shapes, seeds, st.floats(0, 2))
def test_saturation_scales_about_the_mean_of_the_channels(shape: Tuple[int, ...], seed: int, factor: float) -> None:
    images = pictures(shape, seed)
    changed = diffaug.saturation(images, torch.full((shape[0],), factor))
    mean = images.mean(1, keepdim=True)
    torch.testing.assert_close(changed.mean(1, keepdim=True), mean)
    torch.testing.assert_close(changed - mean, (images - mean) * factor, rtol=1e-5, atol=1e-6)
    if shape[1] == 1:
        assert torch.equal(changed, images)


@RELAXED
@given(shapes, seeds, st.floats(0.5, 1.5))
def test_contrast_scales_about_the_mean_of_the_image(shape: Tuple[int, ...], seed: int, factor: float) -> None:
    images = pictures(shape, seed)
    changed = diffaug.contrast(images, torch.full((shape[0],), factor))
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed.mean((1, 2, 3), keepdim=True), mean)
    torch.testing.assert_close(changed - mean, (images - mean) * factor, rtol=1e-5, atol=1e-6)


def test_colour_is_drawn_from_the_ranges_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    for name in ("brightness", "saturation", "contrast"):

        def record(images: torch.Tensor, value: torch.Tensor, name: str = name) -> torch.Tensor:
            drawn[name] = value
            return images

        monkeypatch.setattr(diffaug, name, record)
    augment(torch.zeros(4000, 3, 2, 2), ["color"], generator(0))
    for name, (low, high) in {"brightness": (-0.5, 0.5), "saturation": (0, 2), "contrast": (0.5, 1.5)}.items():
        width = high - low
        assert low <= drawn[name].min() < low + width / 100 and high - width / 100 < drawn[name].max() <= high
        assert float(drawn[name].mean()) == pytest.approx((low + high) / 2, abs=width / 40)
        assert float(drawn[name].var()) == pytest.approx(width**2 / 12, rel=0.1)
    together = torch.corrcoef(torch.stack(list(drawn.values())))
    assert float((together - torch.eye(3)).abs().max()) < 0.06


# ---------------------------------------------------------------- where


@RELAXED
@given(shapes, seeds, st.data())
def test_translation_moves_whole_pixels_and_lets_zeros_in(shape: Tuple[int, ...], seed: int, data: st.DataObject) -> None:
    images = pictures(shape, seed)
    height, width = shape[2:]
    moves = [
        (data.draw(st.integers(-(height // 8), height // 8)), data.draw(st.integers(-(width // 8), width // 8))) for _ in images
    ]
    moved = diffaug.translation(images, *torch.tensor(moves).T)
    for image, result, (down, right) in zip(images, moved, moves):
        expected = torch.zeros_like(image)
        for row in range(max(0, down), min(height, height + down)):
            for column in range(max(0, right), min(width, width + right)):
                expected[:, row, column] = image[:, row - down, column - right]
        assert torch.equal(result, expected)


def test_translation_reaches_an_eighth_of_either_side_and_no_further() -> None:
    images = torch.arange(1, 24 * 16 + 1, dtype=torch.float32).view(1, 1, 24, 16)
    # The middle pixel is never lost: where it is tells how far the image has moved.
    places = {tuple((image[0] == images[0, 0, 12, 8]).nonzero()[0].tolist()) for image in draws(images, "translation")}
    assert places == {(12 + down, 8 + right) for down in range(-3, 4) for right in range(-2, 3)}


@RELAXED
@given(shapes, seeds, st.data())
def test_cutout_hides_a_rectangle_of_half_the_sides(shape: Tuple[int, ...], seed: int, data: st.DataObject) -> None:
    images = pictures(shape, seed)
    (height, width), (tall, wide) = shape[2:], [(side + 1) // 2 for side in shape[2:]]
    corners = [(data.draw(st.integers(-tall, height)), data.draw(st.integers(-wide, width))) for _ in images]
    cut = diffaug.cutout(images, *torch.tensor(corners).T)
    for image, result, (top, left) in zip(images, cut, corners):
        expected = image.clone()
        expected[:, max(0, top) : max(0, top + tall), max(0, left) : max(0, left + wide)] = 0
        assert torch.equal(result, expected)


@pytest.mark.parametrize("side", [8, 9, 10, 11])
def test_the_middle_of_a_cutout_is_anywhere(side: int) -> None:
    half = (side + 1) // 2
    cut = draws(torch.ones(1, 1, side, side), "cutout", 3000) == 0
    assert int(cut.any(3).any(1).sum(1).max()) == half
    # An even half has its middle on one of the side + 1 lines between pixels, an odd one on one of the side pixels.
    places = side + 1 - half % 2
    share = cut.float().mean((0, 1))
    assert float(share[side // 2, side // 2]) == pytest.approx((half / places) ** 2, abs=0.04)
    corner = half // 2 + 1  # places at which the square covers the first row
    assert float(share[0, 0]) == pytest.approx((corner / places) ** 2, abs=0.04)


# ---------------------------------------------------------------- all together


@RELAXED
@given(shapes, seeds, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_shape_and_type_stay(shape: Tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    images = pictures(shape, seed, dtype)
    changed = augment(images, EVERYTHING, generator(seed))
    assert changed.shape == images.shape and changed.dtype == dtype and bool(changed.isfinite().all())
    assert torch.equal(changed, augment(images, EVERYTHING, generator(seed)))
    assert torch.equal(images, pictures(shape, seed, dtype))  # nothing is changed in place


@pytest.mark.parametrize("policy", EVERYTHING)
def test_every_image_is_changed_on_its_own(policy: str) -> None:
    images = pictures((1, 3, 16, 16), 0)
    changed = draws(images, policy, 64)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 20
    # Another first image leaves what becomes of the second alone.
    pair, other = pictures((2, 3, 16, 16), 1), pictures((2, 3, 16, 16), 2)
    other[1] = pair[1]
    assert torch.equal(augment(pair, [policy], generator(3))[1], augment(other, [policy], generator(3))[1])


@pytest.mark.parametrize("policy", [*([name] for name in EVERYTHING), EVERYTHING], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_right_to_the_second_order(policy: Any, channels: int) -> None:
    images = pictures((2, channels, 8, 8), 0).requires_grad_()

    def changed(images: torch.Tensor) -> torch.Tensor:
        return augment(images, policy, generator(4))

    def curved(images: torch.Tensor) -> torch.Tensor:
        return changed(images).pow(3).sum((1, 2, 3))

    assert torch.autograd.gradcheck(changed, (images,))
    assert torch.autograd.gradgradcheck(curved, (images,))


def test_policies_are_applied_in_the_order_given() -> None:
    images = pictures((4, 3, 16, 16), 0)
    one = augment(augment(images, ["cutout"], shared := generator(0)), ["color"], shared)
    assert torch.equal(one, augment(images, ["cutout", "color"], generator(0)))
    assert bool((augment(images, ["color", "cutout"], generator(0)) == 0).any()) and not bool((one == 0).any())


@pytest.mark.parametrize("text, policy", [("color", ("color",)), ("cutout, color", ("cutout", "color"))])
def test_policy(text: str, policy: Tuple[str, ...]) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["", "colour", "color,", "color,cutout,color"])
def test_a_policy_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="twice" if text.count("color") == 2 else "none of color, translation, cutout"):
        parse_policy(text)
    with pytest.raises(ValueError, match="policy"):
        DiffAugment(text.split(","))


# ---------------------------------------------------------------- in a loss


def test_it_comes_after_the_hosts_own_augmentation() -> None:
    def pipe(images: torch.Tensor) -> torch.Tensor:
        return images + 10

    images = torch.zeros(4, 1, 16, 16)
    assert set(AugmentedPipe(pipe, ["cutout"])(images).unique().tolist()) == {0.0, 10.0}
    assert set(AugmentedPipe(None, ["cutout"])(images + 1).unique().tolist()) == {0.0, 1.0}


def test_what_else_a_loss_asks_of_its_pipe_is_the_hosts_own() -> None:
    loss = types.SimpleNamespace(augment_pipe=types.SimpleNamespace(p=0.25))
    DiffAugment(["cutout"]).start(Training({}, {}, loss=loss))
    assert loss.augment_pipe.p == 0.25


def test_a_loss_that_would_not_augment_is_an_error() -> None:
    with pytest.raises(ValueError, match="SimpleNamespace has none"):
        DiffAugment(["cutout"]).start(Training({}, {}, loss=types.SimpleNamespace()))
    loss = types.SimpleNamespace(augment_pipe=None)
    hook = DiffAugment(["cutout"])
    hook.start(Training({}, {}, loss=loss))
    with pytest.raises(RuntimeError, match="without augment_pipe"):
        hook.before_step(Step("G", "Gmain", 0))
    loss.augment_pipe(torch.zeros(1, 1, 8, 8))
    hook.before_step(Step("G", "Gmain", 0))


@pytest.mark.parametrize(
    "make", [DiffAugment, lambda policy: augment(torch.zeros(1, 3, 8, 8), policy)], ids=["hook", "function"]
)
def test_a_text_in_the_place_of_a_list_is_told_how_to_be_written(make: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape("policy must be a list of texts, got 'color,cutout'; ['color', 'cutout'] is one")
    ):
        make("color,cutout")
