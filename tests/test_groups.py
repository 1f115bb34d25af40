"""Groups: who gets whose discriminator, when, how rates are pushed; and the class for loops of one's own."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from typing import Any, List

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.processes import TESTS
from support.ring import modes, new_groups, train

from training_hooks import Group, Groups
from training_hooks.methods.groups.config import GroupsConfig
from training_hooks.methods.groups.schedule import Pace, Regroupings, partners

pytestmark = pytest.mark.usefixtures("one_thread")

# ---------------------------------------------------------------- who


@given(st.integers(2, 12), st.integers(1, 10**6), st.integers(0, 2**32))
def test_every_group_gets_the_discriminator_of_another_and_each_goes_once(groups: int, number: int, seed: int) -> None:
    before = torch.get_rng_state()
    found = partners(groups, number, seed)
    assert sorted(found) == list(range(groups)) and all(a != b for a, b in enumerate(found))
    assert found == partners(groups, number, seed) and torch.equal(before, torch.get_rng_state())


def test_all_permutations_without_a_fixed_point_come_equally_often() -> None:
    """By a chi-square test: 8 degrees of freedom, 26.1 at one in a thousand."""
    counts = Counter(partners(4, number) for number in range(1, 1801))
    assert len(counts) == 9 and sum((count - 200) ** 2 / 200 for count in counts.values()) < 26.1


def test_one_group_keeps_its_discriminator_and_two_always_swap() -> None:
    assert {partners(1, number) for number in range(1, 9)} == {(0,)}
    assert {partners(2, number) for number in range(1, 9)} == {(1, 0)}


# ---------------------------------------------------------------- when

SCHEDULES = st.builds(
    lambda interval, times, grow, window: GroupsConfig(interval, grow, times * interval, window=min(window, interval // 2 - 1)),
    st.integers(2, 400), st.integers(1, 20), st.floats(1, 3), st.integers(0, 50),
)  # fmt: skip


@given(SCHEDULES, st.integers(0, 5000))
def test_intervals_grow_up_to_the_longest(config: GroupsConfig, until: int) -> None:
    moments = Regroupings(config).until(until)
    lengths = [b - a for a, b in zip([0, *moments], moments)]
    assert lengths[:1] in ([], [config.interval]) and lengths == sorted(lengths) and max(lengths, default=0) <= config.longest
    assert all(b <= a * config.grow + 2 for a, b in zip(lengths, lengths[1:]))
    following = Regroupings(config).next(until)
    assert following >= until and Regroupings(config).until(following) == sorted({*moments, following})


def test_the_intervals_are_powers_of_the_factor() -> None:
    assert Regroupings(GroupsConfig(100, grow=1.5, longest=300)).until(1500) == [100, 250, 475, 775, 1075, 1375]
    assert Regroupings(GroupsConfig(22, grow=2)).until(900) == [22, 66, 154, 330, 550, 770]  # ten times the first at most


@given(SCHEDULES)
def test_windows_lie_around_exchanges_and_never_overlap(config: GroupsConfig) -> None:
    regroupings, last = Regroupings(config), 6 * config.interval
    near = [i for i in range(last) if regroupings.is_near(i, config.window)]
    moments = Regroupings(config).until(last + config.window)
    expected = [i for moment in moments for i in range(moment - config.window, moment + config.window + 1) if i < last]
    assert near == expected


# ---------------------------------------------------------------- how fast

LOSSES = st.lists(st.floats(-10, 10), min_size=1, max_size=60)


def factors(config: GroupsConfig, losses: List[float]) -> List[float]:
    regroupings, pace, found = Regroupings(config), Pace(), []
    for i, loss in enumerate(losses):
        pace = pace.at(regroupings.is_near(i, config.window), config)
        found.append(pace.factor)
        pace = pace.seen(loss)
    return found


@given(SCHEDULES, LOSSES, st.floats(0, 1), st.floats(1, 5))
def test_rates_are_pushed_in_windows_alone_and_within_their_bounds(
    config: GroupsConfig, losses: List[float], push: float, limit: float
) -> None:
    config = GroupsConfig(config.interval, config.grow, config.longest, config.window, push, limit)
    regroupings, found = Regroupings(config), factors(config, losses)
    for i, factor in enumerate(found):
        if not regroupings.is_near(i, config.window):
            assert factor == 1
        assert 1 <= factor <= min(limit, (1 + push) ** (2 * config.window + 1)) * (1 + 1e-9)
    for cut in range(0, len(losses), 17):  # of what came before, and of nothing else
        assert factors(config, losses[:cut]) == found[:cut]


def test_a_level_loss_is_pushed_at_every_iteration_of_the_window_and_not_after() -> None:
    config = GroupsConfig(30, window=10)
    found = factors(config, [1.0] * 42)
    assert found[:20] == [1.0] * 20 and found[41] == 1.0
    assert found[20:41] == pytest.approx([min(2.0, 1.05 ** (n + 1)) for n in range(21)])


def test_a_loss_that_still_moves_is_not_pushed() -> None:
    assert factors(GroupsConfig(6, window=2, still=0.001), [2.0**i for i in range(12)]) == [1.0] * 12
    assert math.isnan(Pace().seen(1).change)  # which pushes nothing
    assert Pace(loss=0.0, before=1.0).change > 1e7  # no division by zero


@pytest.mark.parametrize("settings, said", [
    ({"interval": 21}, "interval must be at least 22, or windows of 10 overlap; got 21"),
    ({"interval": 30, "longest": 29}, "longest must be at least the interval, 30, got 29"),
    ({"interval": 30, "grow": 0.9}, "grow must be in"),
    ({"interval": -1}, "interval must be"),
    ({"push": float("nan")}, "push must be"),
    ({"limit": 0.5}, "limit must be"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GroupsConfig(**settings)


# ---------------------------------------------------------------- in a loop of one's own


def linear(seed: int) -> Group:
    torch.manual_seed(seed)
    networks = torch.nn.Linear(4, 2), torch.nn.Linear(2, 1)
    optimizers = [torch.optim.Adam(each.parameters(), 0.01 * (seed + 1)) for each in networks]
    return Group(*networks, *optimizers, p=seed)


def run(groups: Groups, iterations: int) -> Groups:
    """Some training, with random numbers of the iteration alone."""
    for _ in range(iterations):
        torch.manual_seed(groups.state_dict()["iteration"])
        groups.begin_iteration()
        for number, group in enumerate(groups):
            for optimizer, sign in ((group.d_opt, 1), (group.g_opt, -1)):
                optimizer.zero_grad()
                loss = sign * torch.nn.functional.softplus(group.D(group.G(torch.randn(8, 4)))).mean()
                loss.backward()
                optimizer.step()
            groups.observe(number, loss)
    return groups


def weights(groups: Groups) -> List[torch.Tensor]:
    return [p.detach().clone() for group in groups for network in (group.G, group.D) for p in network.parameters()]


def same(one: Groups, other: Groups) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other)))


def test_discriminators_go_with_their_optimizers_and_p_bit_for_bit() -> None:
    groups = run(Groups([linear(k) for k in range(4)], 5, window=1), 5)
    before = [(group.D, group.d_opt, group.p) for group in groups]
    values = [[p.clone() for p in D.parameters()] for D, _, _ in before]
    moments = [optimizer.state_dict()["state"][0]["exp_avg_sq"].clone() for _, optimizer, _ in before]
    generators = [group.G for group in groups]
    assert groups.begin_iteration() and groups.exchanges == 1
    for number, partner in enumerate(partners(4, 1)):
        group = groups[number]
        assert (group.D, group.d_opt, group.p) == before[partner] and group.G is generators[number]
        assert all(map(torch.equal, group.D.parameters(), values[partner]))
        assert torch.equal(group.d_opt.state_dict()["state"][0]["exp_avg_sq"], moments[partner])
        assert group.d_opt.param_groups[0]["params"][0] is group.D.weight
    assert not groups.begin_iteration()


@pytest.mark.parametrize("count, interval", [(1, 4), (3, 10**9)], ids=["one group", "no exchange"])
def test_without_exchanges_it_is_plain_training(count: int, interval: int) -> None:
    groups, plain = Groups([linear(k) for k in range(count)], interval, window=1), Groups([linear(k) for k in range(count)])
    plain.close()
    assert same(run(groups, 9), run(plain, 9)) and groups.exchanges == 0


@pytest.mark.parametrize("first", [3, 5, 9])
def test_stopped_and_gone_on_with_is_the_uninterrupted(first: int) -> None:
    def new() -> Groups:
        return Groups([linear(k) for k in range(3)], 4, window=1, grow=1.5)

    whole = run(new(), first)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    again = new()
    again.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert same(run(whole, 8), run(again, 8)) and whole.exchanges == again.exchanges > 1
    assert [group.p for group in whole] == [group.p for group in again]
    with pytest.raises(ValueError, match="the state has interval=4, this run interval=5"):
        Groups([linear(0)], 5, window=1, grow=1.5).load_state_dict(whole.state_dict())
    with pytest.raises(ValueError, match="the state has 3 groups, these are 1"):
        Groups([linear(0)], 4, window=1, grow=1.5).load_state_dict(whole.state_dict())


def test_rates_are_the_optimizers_own_times_the_factor_during_steps_alone() -> None:
    groups = Groups([linear(k) for k in range(2)], 6, window=2, push=0.5, limit=100)
    seen: List[List[float]] = []
    for group in groups:
        group.d_opt.register_step_pre_hook(lambda optimizer, *_: seen[-1].append(optimizer.param_groups[0]["lr"]))
    for i in range(10):
        seen.append([])
        groups.begin_iteration()
        for number, group in enumerate(groups):
            group.d_opt.step()
            group.g_opt.step()
            groups.observe(number, 1.0)
            assert group.d_opt.param_groups[0]["lr"] == 0.01 * (group.p + 1)
        factor = 1.5 ** (i - 3) if 4 <= i <= 8 else 1
        assert groups.factors == [factor] * 2
        assert seen[-1] == [0.01 * (group.p + 1) * factor for group in groups]


def test_the_first_interval_may_be_found_where_the_loss_ceases_to_fall() -> None:
    groups, exchanged = Groups([linear(k) for k in range(2)], None, patience=10, window=1, grow=1), []
    for i in range(900):
        exchanged += [i] if groups.begin_iteration() else []
        for number in range(2):
            groups.observe(number, 3 * 0.9 ** min(i, 15))
    first = exchanged[0]
    assert first >= 26 and exchanged == list(range(first, 900, first))


def test_groups_of_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one group"):
        Groups([], 100)


def test_the_ring_trains_in_groups() -> None:
    """What comes of it takes minutes: the next test looks at the lines that ``tests/benchmarks/ring.py`` has printed."""
    groups = train(new_groups(2, 3, 2), 5)
    assert groups.exchanges == 2
    assert [(len(each), union <= sum(each)) for each, union in modes(groups)] == [(2, True)] * 3


def test_with_exchanges_a_generator_has_found_at_least_one_mode_more() -> None:
    lines = (TESTS.parent / "docs" / "results" / "groups-ring.jsonl").read_text("utf-8").splitlines()
    found = {(line["groups"], line["interval"], line["set"]): line for line in map(json.loads, lines)}
    card = (TESTS.parent / "training_hooks" / "methods" / "groups" / "card.md").read_text("utf-8")
    for number, of in (("never", None), ("every 100 iterations", 100), ("every 25 iterations", 25)):
        both = [found[2, of, start] for start in (0, 1)]
        assert f"| {number} | {both[0]['modes']:.1f} | {both[1]['modes']:.1f} |" in card
        for line, without in zip(both, (found[2, None, start] for start in (0, 1))):
            assert len(line["seeds"]) == 6 and line["modes"] == pytest.approx(sum(map(sum, line["seeds"])) / 12, abs=1e-3)
            assert of is None or line["modes"] >= without["modes"] + 1
