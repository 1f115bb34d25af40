"""Adaptive pseudo augmentation against its definitions, and in a loss that shows who is called with what."""

from __future__ import annotations

import types
from typing import Any, ClassVar, Dict, List, Optional, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training_hooks.core.hook import Round, Training
from training_hooks.methods.apa.hook import AdaptivePseudoAugmentation, adjusted, mix

pytestmark = pytest.mark.usefixtures("one_thread")
RELAXED = settings(deadline=None)
probabilities, signs = st.floats(0, 1), st.floats(-1, 1)


# ---------------------------------------------------------------- how p moves


@RELAXED
@given(probabilities, signs, signs, st.floats(1e-6, 2))
def test_p_moves_by_a_step_and_stays_a_probability(p: float, mean: float, target: float, step: float) -> None:
    after = adjusted(p, mean, target, step)
    assert 0 <= after <= 1
    if mean > target:
        assert after == min(1, p + step)
    elif mean < target:
        assert after == max(0, p - step)
    else:
        assert after == p


@RELAXED
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=40), st.integers(1, 4), signs)
def test_trajectory_in_ones_own_loop(sums: List[int], interval: int, target: float) -> None:
    """Logits of 8 images each, of which (8 + sum) / 2 are positive where the sum is even."""
    apa = AdaptivePseudoAugmentation(target, kimg=0.1, interval=interval)
    p, pending = 0.0, []
    for count, total in enumerate(sums, 1):
        logits = torch.zeros(8)
        logits[: abs(total)] = 3.0 if total > 0 else -0.2
        apa.observe(logits)
        pending.append(total / 8)
        if count % interval == 0:
            mean = sum(pending) / len(pending)
            p = min(1.0, max(0.0, p + (8 * interval / 100) * ((mean > target) - (mean < target))))
            pending = []
        assert apa.p == pytest.approx(p, abs=1e-9)


def test_one_unit_takes_kimg() -> None:
    apa = AdaptivePseudoAugmentation(target=0.6, kimg=1, interval=4)
    for iteration in range(1, 64):
        apa.observe(torch.ones(16))
        assert apa.p == pytest.approx(min(1, iteration // 4 * 4 * 16 / 1000))
    for _ in range(100):
        apa.observe(-torch.ones(16))
    assert apa.p == 0


@pytest.mark.parametrize("values", [{"target": 1.1}, {"target": -2}, {"kimg": 0}, {"interval": 0}])
def test_settings_out_of_range(values: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(values))} "):
        AdaptivePseudoAugmentation(**values)


# ---------------------------------------------------------------- what is replaced


def batches(number: int, seed: int) -> Tuple[torch.Tensor, ...]:
    """Reals and their labels, fakes and theirs; no value is in two of them."""
    reals = torch.rand(number, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return reals, torch.zeros(number, 3), reals + 2, torch.ones(number, 3)


def with_p(p: float) -> AdaptivePseudoAugmentation:
    apa = AdaptivePseudoAugmentation()
    apa.p = p
    return apa


@RELAXED
@given(st.integers(1, 20), st.integers(0, 2**31))
def test_p_0_leaves_reals_untouched_and_p_1_replaces_all(number: int, seed: int) -> None:
    reals, labels, fakes, fake_labels = batches(number, seed)
    for p, wanted in ((0.0, (reals, labels)), (1.0, (fakes, fake_labels))):
        apa = with_p(p)
        apa.remember(fakes, fake_labels)
        got = apa.replace(reals, labels)
        assert torch.equal(got[0], wanted[0]) and torch.equal(got[1], wanted[1])  # type: ignore[arg-type]
        assert apa.on_report() == {"APA/p": p, "APA/replaced": p}


def test_p_0_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    with_p(0.0).replace(torch.zeros(4, 1, 2, 2))
    assert torch.equal(before, torch.get_rng_state())


@RELAXED
@given(st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_each_image_goes_on_its_own_with_its_label(p: float, seed: int) -> None:
    reals, labels, fakes, fake_labels = batches(400, seed)
    apa = with_p(p)
    apa.remember(fakes.requires_grad_(), fake_labels)
    torch.manual_seed(seed)
    images, mixed = apa.replace(reals, labels)
    assert mixed is not None and not images.requires_grad
    replaced = mixed[:, 0] == 1
    assert torch.equal(images, mix(replaced, reals, fakes)) and torch.equal(mixed, mix(replaced, labels, fake_labels))
    share = float(replaced.float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / 400) ** 0.5
    assert apa.on_report()["APA/replaced"] == pytest.approx(share)
    assert apa.on_report()["APA/replaced"] == 0


def test_gradients_reach_reals_that_stay() -> None:
    reals = torch.ones(3, 1, 2, 2, requires_grad=True)
    mix(torch.tensor([True, False, True]), reals, torch.zeros(3, 1, 2, 2)).sum().backward()
    assert reals.grad is not None and reals.grad[:, 0, 0, 0].tolist() == [0, 1, 0]


def test_types_of_reals_stay() -> None:
    images, labels = with_p(1.0), torch.zeros(2, 0)
    images.remember(torch.ones(2, 3, 4, 4, dtype=torch.float64), labels)
    got, got_labels = images.replace(torch.zeros(2, 3, 4, 4, dtype=torch.float16), labels)
    assert got.dtype == torch.float16 and got_labels is not None and got_labels.shape == (2, 0)
    assert images.replace(torch.zeros(2, 3, 4, 4))[1] is None


def test_without_fakes_there_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no fakes"):
        with_p(0.5).replace(torch.zeros(1, 1, 2, 2))


# ---------------------------------------------------------------- in a host


class Collector:
    """The host's, as far as it is used: hands out once what ``reported`` has gained."""

    reported: ClassVar[List[float]] = []

    def __init__(self, regex: str, keep_previous: bool):
        assert regex == "Loss/signs/real" and not keep_previous
        self.taken = len(self.reported)
        self.delta: List[float] = []

    def update(self) -> None:
        self.delta, self.taken = self.reported[self.taken :], len(self.reported)

    def num(self, _: str) -> int:
        return len(self.delta)

    def mean(self, _: str) -> float:
        return sum(self.delta) / len(self.delta) if self.delta else float("nan")


class Loss:
    """Generates the number of its call."""

    def __init__(self) -> None:
        self.calls = 0

    def run_G(self, z: torch.Tensor, c: Optional[torch.Tensor]) -> Tuple[torch.Tensor, None]:
        self.calls += 1
        return torch.full((len(z), 1, 2, 2), float(self.calls), requires_grad=True), None


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> "Tuple[AdaptivePseudoAugmentation, Loss]":
    monkeypatch.setattr(Collector, "reported", [])
    apa, loss = AdaptivePseudoAugmentation(interval=2, kimg=0.08), Loss()
    stats = types.SimpleNamespace(Collector=Collector)
    apa.start(Training({}, {}, batch_size=16, loss=loss, stats=stats))
    return apa, loss


def phase(apa: AdaptivePseudoAugmentation, loss: Loss, name: str, rounds: int = 2, calls: int = 1) -> List[Round]:
    """What the rounds of a phase are computed with; each generates ``calls`` times."""
    given = []
    for index in range(rounds):
        z, c = torch.zeros(8, 4), torch.full((8, 1), float(index))
        given.append(apa.on_round(Round(name, index, torch.zeros(8, 1, 2, 2), torch.full((8, 1), -1.0), z, c)))
        for _ in range(calls):
            loss.run_G(z, c)
    return given


@pytest.mark.parametrize("main, calls", [("main", 1), ("both", 2)], ids=["lazy", "regularisation in the same phase"])
def test_each_round_gets_the_fakes_of_its_own_main_call(
    host: "Tuple[AdaptivePseudoAugmentation, Loss]", main: str, calls: int
) -> None:
    apa, loss = host
    apa.p = 1.0
    for _ in range(2):
        first = loss.calls + 1
        phase(apa, loss, f"G{main}", calls=calls)
        if main == "main":
            phase(apa, loss, "Greg")
        for name in ("Dmain", "Dreg"):
            one, two = phase(apa, loss, name)
            assert one.real_img.unique().tolist() == [first] and two.real_img.unique().tolist() == [first + calls]
            assert one.real_c is not None and two.real_c is not None
            assert one.real_c.unique().tolist() == [0] and two.real_c.unique().tolist() == [1]
            assert not one.real_img.requires_grad


def test_fakes_are_not_kept_where_p_is_0(host: "Tuple[AdaptivePseudoAugmentation, Loss]") -> None:
    apa, loss = host
    phase(apa, loss, "Gmain")
    assert apa._fakes == []
    assert phase(apa, loss, "Dmain")[0].real_img.unique().tolist() == [0]


def test_p_follows_the_hosts_statistic(host: "Tuple[AdaptivePseudoAugmentation, Loss]") -> None:
    apa, _ = host
    step, seen = 16 * 2 / 80, []
    for iteration, sign in enumerate([1, 1, 1, 1, 1, 1, -1, -1, 0, float("nan"), 1, 1]):
        apa.on_iteration(iteration)
        seen.append(apa.p)
        Collector.reported = Collector.reported + [sign] * 16
    assert seen == pytest.approx([0, 0, step, step, 2 * step, 2 * step, 1, 1, 1 - step, 1 - step, 1 - step, 1 - step])


def test_it_goes_on_where_its_state_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it stops, and whatever the host's counters start from."""
    stats = types.SimpleNamespace(Collector=Collector)

    def begun() -> AdaptivePseudoAugmentation:
        apa = AdaptivePseudoAugmentation(interval=4, kimg=1, target=0.1)
        apa.start(Training({}, {}, batch_size=16, loss=Loss(), stats=stats))
        return apa

    def trained(stop: Optional[int]) -> List[float]:
        monkeypatch.setattr(Collector, "reported", [])
        apa, seen = begun(), []
        for iteration in range(60):
            if iteration == stop:
                state = apa.state_dict()
                Collector.reported = []
                apa = begun()
                Collector.reported = [1.0] * 5  # what the host has put back for its own augmentation
                apa.load_state_dict(state)
                assert apa.state_dict() == state
            apa.on_iteration(iteration)
            seen.append(apa.p)
            draw = torch.Generator().manual_seed(iteration)
            Collector.reported = Collector.reported + (torch.rand(16, generator=draw) - 0.4).sign().tolist()
        return seen

    uninterrupted = trained(None)
    assert max(uninterrupted) > 0 and len(set(uninterrupted)) > 3
    for stop in (1, 8, 30, 31):
        assert trained(stop) == uninterrupted


def test_a_loss_without_run_g_is_an_error() -> None:
    with pytest.raises(ValueError, match="SimpleNamespace has none"):
        AdaptivePseudoAugmentation().start(Training({}, {}, batch_size=1, loss=types.SimpleNamespace()))
