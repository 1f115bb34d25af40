"""How much masks change, by the estimate, against the optimizer itself, and what the run says of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, List

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import call

from training_hooks.methods.regan.exploration import Movement, displacement, fresh_threshold, mask_change, moment_left


@pytest.mark.parametrize("steps, beta2, left", [(40, 0.99, 1.0), (40, 0.99, 0.0), (300, 0.95, 0.3), (7, 0.9, 0.0)])
def test_adam_moves_weights_so_far_at_random(steps: int, beta2: float, left: float) -> None:
    """Gradients of one size and of random signs, of weights whose second moment has decayed to a share."""
    random = torch.Generator().manual_seed(0)
    weight = torch.zeros(20_000, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight], lr=1e-3, betas=(0.0, beta2), eps=1e-30)
    weight.grad = torch.ones_like(weight)
    adam.step()
    with torch.no_grad():
        weight.zero_()
    adam.state[weight]["step"].fill_(1e6)  # so late that no bias is corrected any more
    adam.state[weight]["exp_avg_sq"].fill_(left)
    for _ in range(steps):
        weight.grad = torch.randn(weight.shape, dtype=torch.float64, generator=random).sign()
        adam.step()
    told = displacement(Movement(steps, 1e-3, beta2), left)
    assert told == pytest.approx(weight.detach().std().item(), rel=0.02)
    assert moment_left(Movement(steps, 1e-3, beta2)) == pytest.approx(beta2**steps)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.01, 0.99))
def test_the_threshold_is_the_quantile_of_fresh_weights(ratio: float) -> None:
    weights = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).abs()
    assert (weights < fresh_threshold(ratio)).float().mean().item() == pytest.approx(ratio, abs=0.005)


def test_lazy_regularisation_scales_the_rate_and_adds_steps() -> None:
    plain, lazy = (displacement(Movement(100, 0.01, 0.99, interval)) for interval in (None, 4))
    assert plain == pytest.approx(0.1) and lazy == pytest.approx(math.sqrt(125) * 0.008)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
def test_known_cases_of_the_model(ratio: float) -> None:
    tau = fresh_threshold(ratio)
    density = math.exp(-(tau**2) / 2) / math.sqrt(2 * math.pi)
    for moved in (0.01, 0.04):  # small movements: those that cross the threshold, as an integral gives them
        crossing = 2 * density * moved / math.sqrt(2 * math.pi) / ratio
        assert mask_change(ratio, moved, moved, regrow="value") == pytest.approx(crossing, rel=0.07)
    assert mask_change(ratio, 0, 0) == mask_change(ratio, 0, 0, regrow="value") == 0
    assert mask_change(ratio, 0, 0, regrow="random") == pytest.approx((1 - ratio) / (1 + ratio), abs=0.01)
    assert mask_change(ratio, 0.1, 0.1, score="random") == 1 - ratio
    assert mask_change(ratio, 0.1, 0.1, score="none") is None and mask_change(ratio, 0.1, 0.1, score="change") is None


def test_from_zero_hardly_any_get_past_the_threshold() -> None:
    zero, value, saliency = (
        mask_change(0.3, 0.05, 0.05, score, regrow)
        for score, regrow in (("magnitude", "zero"), ("magnitude", "value"), ("saliency", "value"))
    )
    assert zero is not None and value is not None and saliency is not None
    assert zero < 1e-4 and 0.04 < value < 0.06 and saliency > 2 * value


def told(options: List[str], data_zip: Path, capsys: Any) -> "tuple[str, List[str]]":
    common = ["train", "--host=embedded", "-n", "--outdir=nowhere", f"--data={data_zip}", "--device=cpu", "--cbase=128",
              "--cmax=8", "--kimg=100", "--batch=16", "--metrics=none"]  # fmt: skip
    code, output = call([*common, *options], capsys)
    assert code == 0, output
    masks = next((line for line in output.splitlines() if line.startswith("Masks: ")), "")
    return masks, [line for line in output.splitlines() if line.startswith("Note: ")]


def test_a_run_tells_that_its_masks_will_not_change(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    masks, notes = told(["--regan-ratio=0.3", "--regan-interval=100"], data_zip, capsys)
    assert masks.endswith("by an estimate: affine less than 0.1 %, conv less than 0.1 %, mapping less than 0.1 %")
    (note,) = notes
    assert "choose nearly the same weights again" in note and "--regan-preset=explore" in note


@pytest.mark.parametrize(
    "options",
    [
        ["--regan-preset=explore", "--kimg=300"],
        ["--regan-ratio=0.3", "--regan-interval=100", "--regan-regrow=value", "--regan-lr-scale=1"],
        ["--regan-ratio=0.3", "--regan-interval=100", "--regan-turnover=0.1"],
        ["--regan-ratio=0.3", "--regan-interval=100", "--regan-score=random"],
    ],
    ids=" ".join,
)
def test_a_run_that_explores_has_no_such_note(options: List[str], data_zip: Path, host_dir: Path, capsys: Any) -> None:
    masks, notes = told(options, data_zip, capsys)
    assert "conv about " in masks and notes == []


@pytest.mark.parametrize(
    "option", ["--regan-granularity=channel --regan-channel-multiple=1 --regan-channel-min=1", "--regan-score=none"]
)
def test_what_has_no_masks_of_weights_says_nothing_of_them(option: str, data_zip: Path, host_dir: Path, capsys: Any) -> None:
    options = ["--regan-ratio=0.3", "--regan-interval=60", *option.split()]
    assert told(options, data_zip, capsys) == ("", [])


def test_a_schedule_of_full_rates_without_pruning_is_told_to_be_none(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    options = ["--regan-ratio=0.3", "--regan-interval=60", "--regan-score=none", "--regan-lr-scale=1"]
    _, (note,) = told(options, data_zip, capsys)
    assert note.endswith("so this run is one without Re-GAN.")
