"""How far regrown weights get, against the optimizer itself, and what the run says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import call

from training_hooks.methods.regan.exploration import fresh_threshold, movement, reach


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.5, 0.999), st.floats(0.01, 100), st.booleans())
def test_adam_moves_a_regrown_weight_so_far(steps: int, beta2: float, size: float, forgotten: bool) -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight], lr=1e-3, betas=(0.0, beta2), eps=1e-30)
    weight.grad = torch.full_like(weight, size)
    adam.step()
    with torch.no_grad():
        weight.zero_()
    adam.state[weight]["step"].fill_(1e6)  # so late that no bias is corrected any more
    adam.state[weight]["exp_avg_sq"].fill_(0.0 if forgotten else size**2)
    for _ in range(steps):
        adam.step()
    assert movement(steps, 1e-3, beta2, forgotten) == pytest.approx(-weight.item(), rel=2e-4)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.01, 0.99))
def test_the_threshold_is_the_quantile_of_fresh_weights(ratio: float) -> None:
    weights = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).abs()
    assert (weights < fresh_threshold(ratio)).float().mean().item() == pytest.approx(ratio, abs=0.005)


def test_lazy_regularisation_scales_the_rate_and_adds_steps() -> None:
    plain, lazy = (reach(100, 0.01, 0.99, interval, False) for interval in (None, 4))
    assert plain == pytest.approx(1.0) and lazy == pytest.approx(125 * 0.008)
    assert reach(10, 0.01, 0.99, None, False) < fresh_threshold(0.3) < plain


@pytest.mark.parametrize(
    "option, told", [("--regan-interval=20", True), ("--regan-lr-scale=1", True), ("--regan-interval=2500", False)]
)
def test_a_run_tells_that_its_masks_will_not_change(
    option: str, told: bool, data_zip: Path, host_dir: Path, capsys: Any
) -> None:
    common = ["train", "--host=embedded", "-n", "--outdir=nowhere", f"--data={data_zip}", "--device=cpu", "--cbase=128",
              "--cmax=8", "--kimg=100", "--batch=16", "--regan-ratio=0.3", "--regan-interval=60"]  # fmt: skip
    code, output = call([*common, option], capsys)
    assert code == 0 and "\nMasks: a regrown weight moves by about " in output
    assert ("iterations are short. A regrown weight moves by about " in output) == told
    code, output = call([*common, "--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=1"], capsys)
    assert code == 0 and "Masks: " not in output and "Note: " not in output
