"""Magnitude masks against plain sorting, plain counting and torch's own quantile."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training_hooks.sparsity import masks
from training_hooks.sparsity.masked_network import MaskedNetwork
from training_hooks.sparsity.scores import Rule

RELAXED = settings(deadline=None, max_examples=80)
SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
PER_MILLE = st.integers(0, 999)
SEEDS = st.integers(0, 2**32 - 1)
KINDS = ("normal", "few values", "constant", "zero", "mostly zero")


pytestmark = pytest.mark.usefixtures("one_thread")


def make_weight(shape: tuple, kind: str, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator)
    if kind == "few values":
        normal = normal.round()
    elif kind == "constant":
        normal = torch.full(shape, -0.7)
    elif kind == "zero":
        normal = torch.zeros(shape)
    elif kind == "mostly zero":
        normal = normal * (torch.rand(shape, generator=generator) < 0.2)
    return normal.to(dtype)


def plain_mask(weight: torch.Tensor, count: int) -> torch.Tensor:
    """Walk through the entries by size, then by position, and prune ``count`` of them.

    The last entry of each output channel that the walk would reach is passed over, so every channel keeps one.
    """
    order = weight.abs().flatten().sort(stable=True).indices
    if weight.ndim >= 2:
        channels, entries = weight.shape[0], weight[0].numel()
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel())
        last = place.view(channels, entries).argmax(1) + torch.arange(channels) * entries
        order = order[~torch.isin(order, last)]
    keep = torch.ones(weight.numel(), dtype=torch.bool)
    keep[order[:count]] = False
    return keep.view(weight.shape)


def most_that_can_go(shape: tuple) -> int:
    return math.prod(shape) - (shape[0] if len(shape) >= 2 else 0)


# -------------------------------------------------------------------- how many


@RELAXED
@given(shape=SHAPES, per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_exactly_floor_of_ratio_times_n_entries_are_pruned(shape, per_mille, kind, seed):
    count = per_mille * math.prod(shape) // 1000  # in whole numbers: no rounding
    assume(count <= most_that_can_go(shape))
    keep = masks.keep_smallest_out(make_weight(shape, kind, seed), per_mille / 1000)
    assert keep.shape == shape
    assert keep.dtype == torch.bool
    assert torch.count_nonzero(~keep) == count


@pytest.mark.parametrize(("numel", "ratio", "count"), [(100, 0.29, 29), (100, 0.57, 57), (10, 0.3, 3)])
def test_binary_rounding_of_the_ratio_costs_no_entry(numel, ratio, count):
    assert masks.pruned_count(numel, ratio) == count
    keep = masks.keep_smallest_out(torch.randn(numel), ratio)
    assert torch.count_nonzero(~keep) == count


@given(numel=st.integers(0, 10**8), per_mille=PER_MILLE)
def test_pruned_count_is_the_floor_of_the_decimal_product(numel, per_mille):
    assert masks.pruned_count(numel, per_mille / 1000) == per_mille * numel // 1000


@RELAXED
@given(channels=st.integers(2, 30), entries=st.integers(1, 7), data=st.data(), seed=SEEDS)
def test_a_ratio_is_refused_from_where_it_would_kill_a_channel(channels, entries, data, seed):
    n = channels * entries
    count = data.draw(st.integers(0, n - 1))
    weight = make_weight((channels, entries), "normal", seed)
    if count <= n - channels:
        assert torch.count_nonzero(~masks.keep_smallest_out(weight, count / n)) == count
    else:
        with pytest.raises(ValueError, match="output channel"):
            masks.keep_smallest_out(weight, count / n)


@pytest.mark.parametrize("function", [masks.keep_smallest_out, masks.keep_by_quantile])
@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_ratio_outside_0_to_1_is_refused(function, ratio):
    with pytest.raises(ValueError, match="ratio"):
        function(torch.randn(4, 4), ratio)


# -------------------------------------------------------------------- which


@RELAXED
@given(
    shape=SHAPES,
    per_mille=PER_MILLE,
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_mask_equals_the_plain_walk_by_size_and_position(shape, per_mille, kind, seed, dtype):
    count = per_mille * math.prod(shape) // 1000
    assume(count <= most_that_can_go(shape))
    weight = make_weight(shape, kind, seed, dtype)
    assert torch.equal(masks.keep_smallest_out(weight, per_mille / 1000), plain_mask(weight, count))


@RELAXED
@given(shape=SHAPES, per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_pruned_weights_are_no_larger_than_kept_ones_but_for_the_channel_guard(shape, per_mille, kind, seed):
    count = per_mille * math.prod(shape) // 1000
    assume(0 < count <= most_that_can_go(shape))
    size = make_weight(shape, kind, seed).abs()
    keep = masks.keep_smallest_out(size, per_mille / 1000)
    kept_though_smaller = keep & (size < size[~keep].max())
    if len(shape) == 1:
        assert not kept_though_smaller.any()
        return
    per_channel = keep.view(shape[0], -1)
    saved = kept_though_smaller.view(shape[0], -1).any(1)
    largest = size.view(shape[0], -1) == size.view(shape[0], -1).max(1, keepdim=True).values
    assert (per_channel[saved].sum(1) == 1).all()  # a channel that owes its life to the guard keeps one entry
    assert largest[saved][per_channel[saved]].all()  # and that is its largest


@RELAXED
@given(shape=SHAPES.filter(lambda s: len(s) >= 2), per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_no_output_channel_is_pruned_whole(shape, per_mille, kind, seed):
    assume(per_mille * math.prod(shape) // 1000 <= most_that_can_go(shape))
    weight = make_weight(shape, kind, seed)
    weight[0] *= 1e-3  # a channel that is smallest throughout
    assert masks.keep_smallest_out(weight, per_mille / 1000).view(shape[0], -1).any(1).all()
    assert masks.keep_by_quantile(weight, per_mille / 1000).view(shape[0], -1).any(1).all()


def test_the_guard_keeps_the_largest_of_a_weak_channel_and_takes_the_next_weakest_instead():
    weight = torch.tensor([[0.01, -0.03, 0.02], [1.0, -0.5, 2.0], [3.0, 4.0, 5.0]])
    keep = masks.keep_smallest_out(weight, 3 / 9)
    assert keep.tolist() == [[False, True, False], [True, False, True], [True, True, True]]


def test_one_dimensional_tensors_have_no_channels_to_guard():
    keep = masks.keep_smallest_out(torch.tensor([3.0, -1.0, 2.0, 0.5]), 0.75)
    assert keep.tolist() == [True, False, False, False]


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_ties_are_pruned_by_position(count):
    keep = masks.keep_smallest_out(torch.full((10,), 0.5), count / 10)
    assert keep.tolist() == [False] * count + [True] * (10 - count)


def test_a_scalar_is_never_pruned():
    for value in (0.0, 3.0):
        assert bool(masks.keep_smallest_out(torch.tensor(value), 0.9))
        assert bool(masks.keep_by_quantile(torch.tensor(value), 0.9))


@RELAXED
@given(shape=SHAPES, per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_masks_depend_on_absolute_values_alone_and_leave_the_weights_as_they_are(shape, per_mille, kind, seed):
    assume(per_mille * math.prod(shape) // 1000 <= most_that_can_go(shape))
    weight = make_weight(shape, kind, seed).requires_grad_()
    original = weight.detach().clone()
    other_layout = original.flip(-1).contiguous().flip(-1).transpose(0, -1).contiguous().transpose(0, -1)
    for function in (masks.keep_smallest_out, masks.keep_by_quantile):
        keep = function(weight, per_mille / 1000)
        assert torch.equal(keep, function(original.clone(), per_mille / 1000))
        assert torch.equal(keep, function(-original, per_mille / 1000))
        assert torch.equal(keep, function(original * 4, per_mille / 1000))
        assert torch.equal(keep, function(other_layout, per_mille / 1000))
    assert torch.equal(weight, original)


# -------------------------------------------------------------------- large tensors take another path

LARGE_N = 5 * 65536 + 17
RATIOS_OF_LARGE = (1 / LARGE_N, 0.01, 0.29, 0.5, 0.999)


def large_values(kind: str) -> torch.Tensor:
    normal = torch.randn(LARGE_N, generator=torch.Generator().manual_seed(5))
    return {
        "normal": lambda: normal,
        "three values": lambda: normal.round().clamp(-1, 1),
        "two far apart": lambda: torch.where(normal > 0.5, 1e30, 1e-30),
        "constant": lambda: torch.full_like(normal, 0.25),
        "ascending": lambda: normal.abs().sort().values,
        "descending": lambda: normal.abs().sort(descending=True).values,
        "mostly zero": lambda: normal * (normal > 1),
    }[kind]()


@pytest.mark.parametrize(
    "kind", ["normal", "three values", "two far apart", "constant", "ascending", "descending", "mostly zero"]
)
def test_large_tensors_are_selected_from_like_small_ones(kind):
    weight = large_values(kind)
    for ratio in RATIOS_OF_LARGE:
        count = math.floor(ratio * LARGE_N + 1e-6)
        assert torch.equal(masks.keep_smallest_out(weight, ratio), plain_mask(weight, count)), ratio


@pytest.mark.parametrize("kind", ["normal", "three values", "constant", "ascending", "mostly zero"])
def test_large_tensors_keep_every_channel(kind):
    weight = large_values(kind)[: 37 * 8000].view(37, 80, 100).clone()
    weight[::5] *= 1e-6
    for ratio in (0.3, 0.9):
        assert torch.equal(masks.keep_smallest_out(weight, ratio), plain_mask(weight, int(ratio * weight.numel())))


@pytest.mark.parametrize("stride", [16, 21])
@pytest.mark.parametrize("value", [0.0, 0.5, 1e9])
def test_large_tensors_whose_every_nth_entry_is_alike(stride, value):
    # Were the answer guessed from every nth entry, it would be guessed from entries that say nothing of the others.
    weight = torch.randn(16384 * stride, generator=torch.Generator().manual_seed(stride))
    weight[::stride] = value
    for ratio in (0.02, 0.3, 0.97):
        count = math.floor(ratio * weight.numel() + 1e-6)
        assert torch.equal(masks.keep_smallest_out(weight, ratio), plain_mask(weight, count)), ratio
        expected = weight.abs() >= torch.quantile(weight.abs(), ratio)
        assert torch.equal(masks.keep_by_quantile(weight, ratio), expected), ratio


@pytest.mark.parametrize("function", [masks.keep_smallest_out, masks.keep_by_quantile])
def test_more_entries_than_torch_quantile_takes(function):
    n = 2**24 + 1
    weight = torch.arange(n, dtype=torch.float32).flip(0)  # every whole number below n, each exact in float32
    weight = torch.cat([weight[::2], weight[1::2]])
    assert torch.equal(function(weight, 0.25), weight >= 2**22)


# -------------------------------------------------------------------- the reference code's rule


@settings(deadline=None, max_examples=150)
@given(n=st.integers(1, 3000), per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_quantile_rule_prunes_what_is_strictly_below_torchs_quantile(n, per_mille, kind, seed):
    weight = make_weight((n,), kind, seed)
    ratio = per_mille / 1000
    below = weight.abs() < torch.quantile(weight.abs(), ratio)
    assert torch.equal(masks.keep_by_quantile(weight, ratio), ~below)


@pytest.mark.parametrize(("n", "ratio"), [(51, 0.3), (601, 0.045)])
def test_quantile_rule_rounds_the_rank_as_torch_does(n, ratio):
    weight = make_weight((n,), "normal", seed=n)
    assert torch.equal(masks.keep_by_quantile(weight, ratio), weight.abs() >= torch.quantile(weight.abs(), ratio))
    exact = weight.abs() >= torch.quantile(weight.abs().double(), ratio)
    assert not torch.equal(masks.keep_by_quantile(weight, ratio), exact)  # one entry hangs on it


@RELAXED
@given(shape=SHAPES.filter(lambda s: len(s) >= 2), per_mille=PER_MILLE, kind=st.sampled_from(KINDS), seed=SEEDS)
def test_quantile_rule_differs_from_the_reference_only_in_channels_that_would_die(shape, per_mille, kind, seed):
    weight = make_weight(shape, kind, seed)
    ratio = per_mille / 1000
    reference = (weight.abs() >= torch.quantile(weight.abs().flatten(), ratio)).view(shape[0], -1)
    keep = masks.keep_by_quantile(weight, ratio).view(shape[0], -1)
    lives = reference.any(1)
    assert torch.equal(keep[lives], reference[lives])
    size = weight.abs().view(shape[0], -1)
    assert (keep[~lives].sum(1) == 1).all()
    assert torch.equal(size[~lives][keep[~lives]], size[~lives].max(1).values if not lives.all() else torch.empty(0))


@pytest.mark.parametrize("n", [1, 2, 37, 70000])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_quantile_rule_takes_nothing_from_a_tensor_of_one_value(n, value):
    assert masks.keep_by_quantile(torch.full((n,), value), 0.3).all()


def test_quantile_rule_agrees_with_torch_on_a_large_tensor():
    weight = large_values("normal")
    for ratio in RATIOS_OF_LARGE:
        assert torch.equal(masks.keep_by_quantile(weight, ratio), weight.abs() >= torch.quantile(weight.abs(), ratio))


# -------------------------------------------------------------------- bits


@st.composite
def bool_tensors(draw):
    shape = draw(st.lists(st.integers(0, 6), min_size=0, max_size=4).map(tuple))
    bits = draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
    return torch.tensor(bits, dtype=torch.bool).view(shape)


@settings(deadline=None, max_examples=120)
@given(mask=bool_tensors())
def test_packed_masks_come_back_and_count_right(mask):
    packed = masks.pack_bits(mask)
    assert packed.dtype == torch.uint8
    assert packed.shape == (math.ceil(mask.numel() / 8),)
    assert torch.equal(masks.unpack_bits(packed, mask.shape), mask)
    assert masks.count_bits(packed) == torch.count_nonzero(mask)


def test_bits_are_packed_lowest_first():
    mask = torch.tensor([True, False, False, True, False, False, False, True, False, True])
    assert masks.pack_bits(mask).tolist() == [1 + 8 + 128, 2]


@settings(deadline=None, max_examples=60)
@given(mask=bool_tensors().filter(lambda m: m.numel() > 0), data=st.data())
def test_checksum_tells_any_flipped_bit(mask, data):
    other = torch.ones(3, 5, dtype=torch.bool)
    before = masks.checksum([masks.pack_bits(other), masks.pack_bits(mask)])
    assert masks.checksum([masks.pack_bits(other.clone()), masks.pack_bits(mask.clone())]) == before
    where = data.draw(st.integers(0, mask.numel() - 1))
    mask.view(-1)[where] = ~mask.view(-1)[where]
    assert masks.checksum([masks.pack_bits(other), masks.pack_bits(mask)]) != before


def test_checksum_tells_the_order_of_the_masks():
    first = masks.pack_bits(torch.tensor([True, False, True]))
    second = masks.pack_bits(torch.tensor([False, True, True]))
    assert masks.checksum([first, second]) != masks.checksum([second, first])


@pytest.mark.parametrize(("nbytes", "shape"), [(1, (9,)), (3, (16,)), (0, (1,)), (1, (0, 4))])
def test_bytes_that_do_not_fit_the_shape_are_refused(nbytes, shape):
    with pytest.raises(ValueError, match=str(nbytes)):
        masks.unpack_bits(torch.zeros(nbytes, dtype=torch.uint8), torch.Size(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pruned_entries_become_zero_whatever_they_hold_and_the_others_stay(dtype):
    held = torch.tensor([math.inf, -math.inf, math.nan, -2.5, 0.0, 1e-7], dtype=dtype)
    columns = torch.nn.Parameter(torch.stack([held, held]).t())  # not contiguous
    scalar = torch.tensor(math.nan, dtype=dtype)
    masks.zero_pruned([columns, scalar], [torch.tensor([[True, False]] * 6), torch.tensor(False)])
    assert torch.equal(columns[:, 1], torch.zeros_like(held)) and scalar == 0
    assert torch.allclose(columns[:, 0], held, rtol=0, atol=0, equal_nan=True)
    masks.zero_pruned([], [])


def test_masks_go_by_any_score() -> None:
    """Scores of one's own, and a shape of one's own, choose what is pruned; the weights have no say in it then."""
    module = torch.nn.Linear(8, 4, bias=False)
    network = MaskedNetwork(["weight"], module)
    last_first = torch.arange(32.0).flip(0).view(4, 8)
    network.choose(Rule(0.25, score=lambda name, weight: last_first))
    assert torch.equal(network.keep[0], masks.keep_smallest_out(last_first, 0.25))
    assert int((~network.keep[0]).sum()) == 8 and not network.keep[0][3, 1:].any()  # the last channel keeps its largest
    network.choose(Rule(0.25, shape=lambda scores, ratio: scores > scores.median()))
    assert torch.equal(network.keep[0], module.weight > module.weight.median())
