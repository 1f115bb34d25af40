"""GAN tickets: which weights go from round to round, the files in between, and that rewound masks train."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training_hooks.core.tensor_files import TensorFileError
from training_hooks.methods.tickets import prune as tickets
from training_hooks.methods.tickets.files import Init, Mask, init_of, read_init, read_mask, write_init, write_mask
from training_hooks.sparsity.masks import prune_smallest
from training_hooks.sparsity.selection import SelectionError, parameter_shapes

pytestmark = pytest.mark.usefixtures("one_thread")

RELAXED = settings(deadline=None, max_examples=60)
SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(shapes: List[Any], seed: int, ties: bool) -> Dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {f"w{i}": torch.randn(shape, generator=generator).abs() for i, shape in enumerate(shapes)}
    return {name: (4 * size).round() for name, size in sizes.items()} if ties else sizes


def channels_alive(keep: torch.Tensor) -> torch.Tensor:
    return keep.flatten(1).any(1)


# ---------------------------------------------------------------- which weights go


@RELAXED
@given(shapes=SHAPES, seed=SEEDS, ties=st.booleans(), rounds=st.integers(1, 6))
def test_masks_are_nested_and_counts_exact_for_any_mix_of_shapes(shapes: Any, seed: int, ties: bool, rounds: int) -> None:
    sizes = drawn(shapes, seed, ties)
    keeps, n = tickets.dense({name: size.shape for name, size in sizes.items()}), sum(s.numel() for s in sizes.values())
    floor = sum(size.shape[0] for size in sizes.values() if size.ndim >= 2)
    for k in range(1, rounds + 1):
        if n - math.floor(n / 5) < floor:
            with pytest.raises(ValueError, match="cannot go: at most"):
                tickets.prune(keeps, sizes, 0.2)
            return
        before, keeps, n = keeps, tickets.prune(keeps, sizes, 0.2), n - n // 5
        assert all(bool((before[name] | ~keep).all()) for name, keep in keeps.items())
        assert sum(tickets.counts(keeps).values()) == n == tickets.kept_after(sum(map(torch.numel, sizes.values())), 0.2, k)
        assert all(channels_alive(keep).all() for keep in keeps.values() if keep.ndim >= 2)


@RELAXED
@given(shapes=SHAPES, seed=SEEDS, ties=st.booleans(), data=st.data())
def test_the_smallest_of_many_tensors_are_those_of_a_sort_of_all_of_them(shapes: Any, seed: int, ties: bool, data: Any) -> None:
    sizes = list(drawn([(math.prod(shape),) for shape in shapes], seed, ties).values())  # flat ones protect no channel
    keeps = [torch.rand(size.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.7 for size in sizes]
    k = data.draw(st.integers(0, sum(int(keep.sum()) for keep in keeps)))
    after = torch.cat(prune_smallest(sizes, keeps, k))
    kept = torch.cat(keeps).nonzero().flatten()
    order = torch.cat(sizes)[kept].sort(stable=True).indices
    assert set(kept[order[:k]].tolist()) == set((torch.cat(keeps) & ~after).nonzero().flatten().tolist())
    assert not (after & ~torch.cat(keeps)).any()


def test_the_threshold_is_found_among_tensors_too_large_to_sort() -> None:
    sizes = drawn([(400_000,), (300, 7, 3, 3), (500_001,)], 0, ties=False)
    keeps = tickets.prune(tickets.dense({name: size.shape for name, size in sizes.items()}), sizes, 0.8)
    gone = torch.cat([sizes[name][~keep] for name, keep in keeps.items()])
    everything = torch.cat([size.flatten() for size in sizes.values()])
    assert gone.numel() == int(0.8 * everything.numel())
    assert gone.max() <= everything.kthvalue(gone.numel() + 300).values  # 300 channels may have kept a smaller one


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\), got"):
        tickets.prune(tickets.dense({"w": (3, 3)}), {"w": torch.ones(3, 3)}, share)


def test_scaled_scores_compare_layers_of_different_scales() -> None:
    """StyleGAN2's mapping weights are stored a hundred times as large: by raw magnitude none of them would ever go."""
    torch.manual_seed(0)
    G = nn.ModuleDict({"conv": nn.Conv2d(20, 20, 3), "mapping": nn.Linear(60, 60)})
    with torch.no_grad():
        G["mapping"].weight.normal_().mul_(100)
        G["conv"].weight.normal_()
    names, init = ["conv.weight", "mapping.weight"], {name: p.detach().clone() for name, p in G.named_parameters()}
    pruned = {}
    for score in tickets.SCORES:
        sizes = tickets.scores(G, names, init, score)
        pruned[score] = tickets.sparsity(tickets.prune(tickets.dense({n: sizes[n].shape for n in names}), sizes, 0.5))
    assert pruned["raw"]["mapping.weight"] < 0.02 < 0.98 < pruned["raw"]["conv.weight"]
    assert all(0.48 < value < 0.52 for value in pruned["scaled"].values())
    assert tickets.scores(G, names, init, "effective")["conv.weight"].equal(G["conv"].weight.abs() * (1 / math.sqrt(180)))
    with pytest.raises(ValueError, match="score must be one of scaled, raw, effective, got 'size'"):
        tickets.scores(G, names, init, "size")
    G["conv"].weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"conv\.weight holds NaN or an infinity"):
        tickets.scores(G, names, init)


def test_random_tickets_have_the_counts_they_are_given_and_depend_on_the_seed_alone() -> None:
    shapes = {"a": (8, 4, 3, 3), "b": (6, 50), "c": (30,)}
    state = torch.get_rng_state()
    like = {"a": 100, "b": 60, "c": 5}
    by_layer, total = tickets.random_mask(shapes, like, 1), tickets.random_mask(shapes, 165, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert tickets.counts(by_layer) == like and sum(tickets.counts(total).values()) == 165
    torch.rand(7)
    again, other = tickets.random_mask(shapes, like, 1), tickets.random_mask(shapes, like, 2)
    assert tickets.overlap(by_layer, again) == 1 and tickets.overlap(by_layer, other) < 0.5
    assert all(channels_alive(mask[name]).all() for mask in (by_layer, total) for name in ("a", "b"))


def test_overlap_is_the_jaccard_index() -> None:
    one, other = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert tickets.overlap({"w": one}, {"w": other}) == 1 / 3
    with pytest.raises(ValueError, match="of other parameters"):
        tickets.overlap({"w": one}, {"v": other})


def test_convolutions_are_pruned_by_default_and_what_writes_and_reads_rgb_is_not() -> None:
    shapes = {
        "synthesis.b4.const": (8, 4, 4), "synthesis.b4.conv1.weight": (8, 8, 3, 3), "synthesis.b4.conv1.affine.weight": (8, 9),
        "synthesis.b4.torgb.weight": (3, 8, 1, 1), "mapping.fc0.weight": (9, 9), "synthesis.b4.conv1.bias": (8,),
    }  # fmt: skip
    assert tickets.selected("G", shapes) == ["synthesis.b4.conv1.weight"]
    assert len(tickets.selected("G", shapes, "weights")) == 4 and len(tickets.selected("G", shapes, "*.fc?.*,*.const")) == 2
    ofd = {"b8.fromrgb.weight": (8, 3, 1, 1), "b8.skip.weight": (8, 8, 1, 1), "b4.fc.weight": (8, 128), "b4.out.weight": (1, 8)}
    assert tickets.selected("D", ofd) == ["b8.skip.weight"]
    assert tickets.selected("D", ofd, "weights") == ["b8.skip.weight", "b4.fc.weight"]
    with pytest.raises(SelectionError, match="scope 'convolutions' selects no parameter of D; there are: b4"):
        tickets.selected("D", {"b4.fc.weight": (8, 128)})


# ---------------------------------------------------------------- files


class Small(nn.Module):
    """A convolution, a layer with a moving average, and one of other types."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)


@pytest.fixture
def ticket() -> Any:
    """θ₀ and a mask of two rounds."""
    torch.manual_seed(0)
    networks = {"G": Small(), "D": Small()}
    init = init_of(networks)
    first = tickets.following(tickets.dense_mask(init, networks), init, networks, 0.2)
    return init, tickets.following(first, init, networks, 0.2, "raw")


def test_the_files_hold_what_was_written(ticket: Any, tmp_path: Path) -> None:
    init, mask = ticket
    write_init(init, tmp_path / "ticket-init.pt")
    write_mask(mask, tmp_path / "ticket-mask-2.pt")
    read, masks = read_init(tmp_path / "ticket-init.pt"), read_mask(tmp_path / "ticket-mask-2.pt")
    assert read.checksum == init.checksum == masks.init and masks.checksum == mask.checksum
    assert set(read.networks["G"]) == {
        *parameter_shapes(Small()),
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }
    assert all(torch.equal(value, read.networks["D"][name]) for name, value in init.networks["D"].items())
    assert (masks.round, masks.rule, masks.before) == (2, mask.rule, mask.before) and mask.before is not None
    assert masks.rule == {"scope": "convolutions", "kind": "magnitude", "score": "raw", "share": 0.2}
    assert tickets.counts(masks.networks["G"]) == {"conv.weight": 87} and masks.sparsity("D") == 1 - 87 / 135
    assert {path.name for path in tmp_path.iterdir()} == {"ticket-init.pt", "ticket-mask-2.pt"}


def test_a_checksum_tells_any_bit_apart(ticket: Any) -> None:
    init, mask = ticket
    moved = copy.deepcopy(dict(mask.networks))
    moved["D"]["conv.weight"][-1, -1, -1, -1] ^= True
    assert Mask(moved, 2, {}, 0).checksum != mask.checksum == Mask(mask.networks, 7, {}, 0).checksum
    nudged = copy.deepcopy(dict(init.networks))
    nudged["G"]["norm.running_mean"][0] = -0.0
    assert Init(nudged).checksum != init.checksum == Init(dict(init.networks)).checksum


def test_damaged_and_foreign_files_are_refused_by_their_names(ticket: Any, tmp_path: Path) -> None:
    init, mask = ticket
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    write_init(init, one), write_mask(mask, other)
    for read, path, wrong in ((read_init, one, other), (read_mask, other, one)):
        content = path.read_bytes()
        for at in range(0, len(content), len(content) // 40):
            path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
            try:
                sound = read(path)
            except TensorFileError as err:
                assert str(path) in str(err)
            else:  # a byte that nothing is read from
                assert sound.checksum == (init if read is read_init else mask).checksum
        for cut in (0, 100, len(content) - 100):
            path.write_bytes(content[:cut])
            with pytest.raises(TensorFileError, match=rf"^{path}: "):
                read(path)
        path.write_bytes(content)
        with pytest.raises(TensorFileError, match=rf"^{wrong}: not a ticket's"):
            read(wrong)
        with pytest.raises(TensorFileError, match="there is no such ticket's"):
            read(tmp_path / "missing.pt")


@pytest.mark.parametrize("change", [
    lambda c: c["networks"]["G"]["kept"].__setitem__(0, 3),
    lambda c: c["networks"]["G"]["shapes"].__setitem__(0, [5, 3, 3]),
    lambda c: c["networks"]["G"]["names"].append("conv.bias"),
    lambda c: c.update(round=-1), lambda c: c.update(checksum=1), lambda c: c.update(networks={}), lambda c: c.pop("init"),
    lambda c: c.update(rule="raw"), lambda c: c["networks"]["D"]["keep"][0].zero_(),
])  # fmt: skip
def test_a_mask_file_whose_fields_do_not_fit_is_refused(change: Any, ticket: Any, tmp_path: Path) -> None:
    path = tmp_path / "ticket-mask-2.pt"
    write_mask(ticket[1], path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(TensorFileError, match=rf"^{path}: its (fields|masks)"):
        read_mask(path)


def test_moving_averages_of_g_are_those_of_its_average_and_weights_its_own() -> None:
    torch.manual_seed(0)
    G = Small()
    average = copy.deepcopy(G)
    G.norm.running_mean.fill_(math.nan)  # as of a forward pass on uninitialised memory
    init = init_of({"G": G, "G_ema": average, "D": Small()})
    assert set(init.networks) == {"G", "D"} and not init.networks["G"]["norm.running_mean"].any()
    with torch.no_grad():
        average.conv.weight.add_(1)  # as of a pre-trained network
    init = init_of({"G": G, "G_ema": average})
    assert torch.equal(init.networks["G_ema"]["conv.weight"], average.conv.weight)
    assert torch.equal(init.networks["G"]["conv.weight"], G.conv.weight)
