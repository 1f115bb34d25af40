"""The statistic of how far images move from tick to tick."""

from __future__ import annotations

from typing import Any, Tuple

import pytest
import torch

from training_hooks.core.hook import Training
from training_hooks.observers.stability import Stability

pytestmark = pytest.mark.usefixtures("one_thread")


class Generator(torch.nn.Module):
    """Images of one value: ``level``, plus the label's number, plus the first latent times ``spread``."""

    z_dim = 4

    def __init__(self, c_dim: int = 0, spread: float = 0.0):
        super().__init__()
        self.c_dim, self.spread, self.batches = c_dim, spread, []  # type: ignore[var-annotated]
        self.level = torch.nn.Parameter(torch.zeros([]))

    def forward(self, z: torch.Tensor, c: torch.Tensor, noise_mode: str) -> torch.Tensor:
        assert noise_mode == "const" and not torch.is_grad_enabled() and c.shape == (len(z), self.c_dim)
        self.batches.append((z, c))
        number = c @ torch.arange(self.c_dim, dtype=torch.float32) if self.c_dim else 0
        return (self.level + number + self.spread * z[:, 0]).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def move_to(self, level: float) -> None:
        with torch.no_grad():
            self.level.fill_(level)


def begun(rank: int = 0, **kwargs: Any) -> Tuple[Stability, Generator]:
    generator, hook = Generator(**kwargs), Stability()
    hook.start(Training({"G_ema": generator}, {}, rank=rank))
    hook.on_iteration(0)
    return hook, generator


def test_mean_squared_difference_since_the_last_tick() -> None:
    hook, generator = begun()
    assert hook.on_report() == {}  # nothing to compare with
    hook.on_tick()
    for before, level in ((0, 0.5), (0.5, 0.25), (0.25, 0.25)):
        hook.on_iteration(7)
        generator.move_to(level)
        assert hook.on_report() == {"Stability/mse": pytest.approx((level - before) ** 2)}
        hook.on_tick()


def test_images_are_clipped() -> None:
    hook, generator = begun()
    generator.move_to(0.5)
    hook.on_tick()
    generator.move_to(9)
    assert hook.on_report() == {"Stability/mse": pytest.approx(0.25)}


def test_latents_and_labels_are_fixed_and_random_states_left_alone() -> None:
    before = torch.get_rng_state()
    hook, generator = begun(c_dim=3, spread=0.1)
    hook.on_tick()
    first, generator.batches = generator.batches, []
    assert hook.on_report() == {"Stability/mse": 0}
    for (z, c), (again, c_again) in zip(first, generator.batches):
        assert torch.equal(z, again) and torch.equal(c, c_again)
    assert torch.cat([c for _, c in first]).argmax(1).tolist() == [i % 3 for i in range(16)]
    assert len({float(z[0]) for batch, _ in first for z in batch}) == 16
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_that_goes_on_compares_with_the_networks_it_begins_with() -> None:
    hook, generator = Stability(), Generator()
    generator.move_to(0.5)
    hook.start(Training({"G_ema": generator}, {}))
    hook.on_iteration(63)
    generator.move_to(0.0)
    hook.on_iteration(64)
    assert hook.on_report() == {"Stability/mse": pytest.approx(0.25)}


def test_other_ranks_report_the_same_names_without_the_work() -> None:
    hook, generator = begun(rank=1)
    assert hook.on_report() == {}
    hook.on_tick()
    assert hook.on_report() == {"Stability/mse": 0.0} and generator.batches == []


def test_at_least_one_image() -> None:
    with pytest.raises(ValueError, match=r"^images must be in"):
        Stability(images=0)
