"""GAN tickets: which weights go from round to round, the files in between, and that rewound masks train."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import assert_equal, comparable_state, differing, load_networks
from support.runs import SMALL, Run, resumed
from torch import nn

from regan_ext.cli import main
from training_hooks.core.hook import Training
from training_hooks.core.loop import Loop
from training_hooks.core.tensor_files import TensorFileError
from training_hooks.methods.tickets import prune as tickets
from training_hooks.methods.tickets.files import Init, Mask, init_of, read_init, read_mask, write_init, write_mask
from training_hooks.methods.tickets.hook import Tickets
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


# ---------------------------------------------------------------- a loop of one's own


class Mine:
    """A small adversarial loop with an average and a buffer that moves."""

    def __init__(self, seed: int, settings: Dict[str, Any]):
        torch.manual_seed(seed)
        self.networks: Dict[str, Any] = {"G": Small(), "D": Small()}
        self.networks["G_ema"] = copy.deepcopy(self.networks["G"])
        optimizers = {
            kind: torch.optim.Adam(self.networks[kind].parameters(), lr=0.01, betas=(0.5, 0.9), weight_decay=0.1)
            for kind in "GD"
        }
        self.optimizers = optimizers
        self.hook = Tickets(**settings) if settings else None
        self.loop = Loop(self.networks, optimizers, [] if self.hook is None else [self.hook], batch_size=4)

    def train(self, iterations: int) -> "Mine":
        torch.manual_seed(7)
        for _ in range(iterations):
            with self.loop.iteration():
                for kind in "GD":
                    self.optimizers[kind].zero_grad()
                    network = self.networks[kind]
                    network.norm(network.conv(torch.randn(4, 3, 5, 5))).square().sum().backward()
                    self.optimizers[kind].step()
                with torch.no_grad():
                    for average, p in zip(self.networks["G_ema"].parameters(), self.networks["G"].parameters()):
                        average.lerp_(p, 0.5)
        return self

    def tensors(self) -> Dict[str, torch.Tensor]:
        return {f"{kind}.{name}": t.clone() for kind in self.networks for name, t in self.networks[kind].state_dict().items()}


@pytest.fixture
def files(tmp_path: Path) -> Dict[str, Any]:
    """Settings of the second round of a ticket that a loop has begun."""
    init = tmp_path / "ticket-init.pt"
    dense = Mine(0, {"init": str(init)}).train(5)
    ends = {kind: dense.networks[kind] for kind in "GD"}
    begun = read_init(init)
    write_mask(tickets.following(tickets.dense_mask(begun, ends), begun, ends, 0.4), tmp_path / "ticket-mask-1.pt")
    return {"init": str(init), "mask": str(tmp_path / "ticket-mask-1.pt")}


def test_a_round_begins_with_the_weights_of_round_0_and_zeros_in_all_three_networks(files: Dict[str, Any]) -> None:
    init, mask = read_init(files["init"]), read_mask(files["mask"])
    mine = Mine(99, files)
    with torch.no_grad():
        mine.networks["G_ema"].conv.weight.add_(1)
        mine.networks["D"].norm.running_var.add_(1)
    mine.train(0)
    with mine.loop.iteration():
        begun = mine.tensors()
    for name, tensor in begun.items():
        kind, _, key = name.partition(".")
        of = "G" if kind == "G_ema" else kind
        keep = mask.networks[of].get(key, torch.ones(tensor.shape, dtype=torch.bool))
        assert torch.equal(tensor[keep], init.networks[of][key][keep]) and not tensor[~keep].any()
    assert {"G.norm.running_mean", "D.norm.running_var", "G_ema.norm.num_batches_tracked"} <= set(begun)
    assert mine.hook is not None and mine.hook.is_sparse()
    assert mine.loop.end_tick() == {"Ticket/round": 1, "Ticket/sparsity_G": 54 / 135, "Ticket/sparsity_D": 54 / 135}


class Drifting(torch.optim.Adam):
    """An optimizer that also moves what has no gradient, as decoupled noise or an old momentum would."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                torch._foreach_add_(group["params"], 0.01)
        return result


def test_zeros_stay_exact_whatever_the_optimizer_does(files: Dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "Adam", Drifting)
    mask, mine = read_mask(files["mask"]), Mine(99, files).train(6)
    for kind, of in (("G", "G"), ("G_ema", "G"), ("D", "D")):
        weight = mine.networks[kind].conv.weight.detach()
        assert torch.equal(weight != 0, mask.networks[of]["conv.weight"])
    for kind in "GD":  # pruned weights had no gradients
        moment = mine.optimizers[kind].state[mine.networks[kind].conv.weight]["exp_avg_sq"]
        assert torch.equal(moment != 0, mask.networks[kind]["conv.weight"])


def test_a_share_of_0_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    init = tmp_path / "ticket-init.pt"
    plain, first = Mine(0, {}).train(5), Mine(0, {"init": str(init)}).train(5)
    begun = read_init(init)
    dense = tickets.dense_mask(begun, {kind: first.networks[kind] for kind in "GD"})
    write_mask(tickets.following(dense, begun, {kind: first.networks[kind] for kind in "GD"}, 0.0), tmp_path / "mask.pt")
    second = Mine(5, {"init": str(init), "mask": str(tmp_path / "mask.pt")})
    second.train(5)
    assert_equal(plain.tensors(), first.tensors(), "round 0")
    assert_equal(plain.tensors(), second.tensors(), "round 1")
    assert first.hook is not None and second.hook is not None
    assert not first.hook.is_sparse() and not second.hook.is_sparse()


def test_a_loop_that_goes_on_is_not_rewound_and_refuses_another_mask(files: Dict[str, Any], tmp_path: Path) -> None:
    whole = Mine(99, files).train(3)
    state = copy.deepcopy(whole.loop.state_dict())
    again = Mine(5, files)
    again.loop.load_state_dict(state)
    assert_equal(whole.train(3).tensors(), again.train(3).tensors(), "weights")
    mask = read_mask(files["mask"])
    moved = {kind: {name: ~keep for name, keep in keeps.items()} for kind, keeps in mask.networks.items()}
    write_mask(Mask(moved, 1, {}, mask.init), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"^the state is of a mask with checksum \d+ \(round 1\), this run's has \d+"):
        Mine(5, {**files, "mask": str(tmp_path / "other.pt")}).loop.load_state_dict(state)


def changed(mask: Mask, **parts: Any) -> Mask:
    about = {"networks": mask.networks, "round": mask.round, "rule": mask.rule, "init": mask.init, "before": mask.before}
    return Mask(**{**about, **parts})


@pytest.mark.parametrize("parts, said", [
    ({"init": 1}, r"mask .*mask-1\.pt was found with other weights than .*init\.pt has; .*--ticket-transfer=true"),
    ({"networks": {"G": {"conv2.weight": torch.ones(2, dtype=torch.bool)}}},
     "mask .* is of other networks: the file has G.conv2.weight, and this run has not"),
    ({"networks": {"D": {"conv.weight": torch.ones(5, 3, 1, 1, dtype=torch.bool)}}},
     r"of other networks: D\.conv\.weight is \[5, 3, 1, 1\] in the file, \[5, 3, 3, 3\] in this run"),
    ({"networks": {"D": {"norm.running_mean": torch.ones(5, dtype=torch.bool)}}},
     "prunes D.norm.running_mean, which is frozen in this run"),
])  # fmt: skip
def test_masks_that_do_not_belong_to_the_run_are_refused(parts: Dict[str, Any], said: str, files: Dict[str, Any]) -> None:
    write_mask(changed(read_mask(files["mask"]), **parts), files["mask"])
    with pytest.raises(ValueError, match=said):
        Mine(0, files).train(1)


def test_weights_that_do_not_belong_to_the_run_are_refused(files: Dict[str, Any], tmp_path: Path) -> None:
    init = read_init(files["init"])
    smaller = {**init.networks, "D": {**init.networks["D"], "conv.weight": torch.ones(1)}}
    write_init(Init(smaller), files["init"])
    with pytest.raises(ValueError, match=r"init .* is of other networks: D\.conv\.weight is \[5, 3, 3, 3\] in this run, \[1\]"):
        Mine(0, {"init": files["init"]}).train(1)
    Path(files["init"]).unlink()
    with pytest.raises(ValueError, match=r"init .*ticket-init\.pt is not there, and .*mask-1\.pt was found with its weights"):
        Mine(0, files).train(1)
    Mine(0, {**files, "transfer": True}).train(1)  # other weights, which it writes
    assert read_init(files["init"]).checksum == init.checksum
    with pytest.raises(ValueError, match="cannot be written: there is no folder"):
        Mine(0, {"init": str(tmp_path / "none" / "init.pt")}).train(1)


def test_a_mask_of_a_network_that_nobody_trains_is_refused(files: Dict[str, Any]) -> None:
    G = Small()
    with pytest.raises(ValueError, match="is of D too, which this run has not"):
        Loop({"G": G}, {"G": torch.optim.Adam(G.parameters())}, [Tickets(**files)])
    with pytest.raises(ValueError, match="is of D, whose optimizer the loop does not name"):
        Loop({"G": G, "D": Small()}, {"G": torch.optim.Adam(G.parameters())}, [Tickets(**files)])


def test_a_hosts_run_cannot_begin_with_a_snapshot_and_with_other_weights(files: Dict[str, Any]) -> None:
    def training_loop(resume_pkl: Any, seed: int) -> bool:
        """What the hook sees of a host's loop: its name, and where its networks came from."""
        torch.manual_seed(seed)
        networks: Dict[str, nn.Module] = {"G": Small(), "D": Small()}
        hook = Tickets(init=files["init"])
        hook.start(Training(networks, {}, loss=object()))
        hook.on_iteration(0)
        rewound = read_init(files["init"]).networks["D"]["conv.weight"]
        return torch.equal(networks["D"].conv.weight, rewound)  # type: ignore[arg-type,union-attr]

    assert training_loop(None, 5) and training_loop("pretrained.pkl", 0)  # the networks of round 0 are of seed 0
    with pytest.raises(
        ValueError, match=r"has other weights than pretrained\.pkl \(G\.conv\.weight first\).*leave out --resume"
    ):
        training_loop("pretrained.pkl", 5)


def test_layers_that_a_host_has_frozen_stay_dense_and_are_rewound() -> None:
    """They are buffers: what is not trained cannot make up for a hole."""
    held = nn.Conv2d(3, 4, 3)
    frozen = held.weight.detach()
    del held.weight
    held.register_buffer("weight", frozen)
    G, D = Small(), nn.Sequential(held, nn.Conv2d(4, 5, 3))
    init = init_of({"G": G, "D": D})
    assert list(tickets.dense_mask(init, {"D": D}).networks["D"]) == ["1.weight"]
    assert torch.equal(init.networks["D"]["0.weight"], frozen)


def drawn_networks(seed: int) -> Dict[str, Any]:
    torch.manual_seed(seed)
    return {"G": Small(), "D": Small()}


def begin_rank(rank: int, folder: str) -> None:
    """Begin with weights that are not there yet, with masks that differ between the processes, and with weights that do."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    networks, told = drawn_networks(1 + rank), []
    optimizers: Dict[str, torch.optim.Optimizer] = {k: torch.optim.Adam(n.parameters()) for k, n in networks.items()}
    for chosen in (
        {"init": f"{folder}/new-init.pt"},
        {"init": f"{folder}/ticket-init.pt", "mask": f"{folder}/ticket-mask-{rank + 1}.pt"},
        {"init": f"{folder}/{('ticket', 'new')[rank]}-init.pt"},
    ):
        hook = Tickets(**chosen)
        try:
            hook.start(Training(networks, optimizers, rank=rank, num_ranks=2))
            hook.on_iteration(0)
            told.append("")
        except RuntimeError as err:
            told.append(str(err))
    torch.save((told, networks["D"].conv.weight.detach()), f"{folder}/told-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_begin_alike_or_say_so(files: Dict[str, Any], tmp_path: Path) -> None:
    mask = read_mask(files["mask"])
    write_mask(changed(mask, networks={"G": mask.networks["G"]}), tmp_path / "ticket-mask-2.pt")
    torch.multiprocessing.start_processes(begin_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    (first, _), (second, weight) = (torch.load(tmp_path / f"told-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first[0] == second[0] == "" and torch.equal(weight, drawn_networks(1)["D"].conv.weight)
    assert all(told[1].startswith("the processes have read different masks in ") for told in (first, second))
    assert second[2].startswith("the processes have read different weights in ")


# ---------------------------------------------------------------- winning tickets


def classifier(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))


def test_iterative_pruning_with_rewinding_beats_one_shot_and_random_tickets(tmp_path: Path) -> None:
    """Digits of 8×8, a network of two hidden layers, seven rounds to 4.4 % of its weights: each from another network's weights,
    which have to be put back to those of round 0."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, classes = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    init, path = tmp_path / "ticket-init.pt", tmp_path / "mask.pt"

    def trained(seed: int, mask: Any) -> "tuple[nn.Module, float]":
        if mask is not None:
            write_mask(mask, path)
        net, draw = classifier(seed), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
        loop = Loop({"G": net}, {"G": optimizer}, [Tickets(init=str(init), mask="" if mask is None else str(path))])
        for _ in range(100):
            with loop.iteration():
                batch = torch.randint(0, 800, (64,), generator=draw)
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(images[batch]), classes[batch]).backward()
                optimizer.step()
        return net, float((net(images[800:]).argmax(1) == classes[800:]).float().mean())

    net, _ = trained(0, None)
    begun = read_init(init)
    mask = whole = tickets.dense_mask(begun, {"G": net}, "weights")
    first = tickets.scores(net, list(whole.networks["G"]), begun.networks["G"])
    for round_ in range(1, 8):
        mask = tickets.following(mask, begun, {"G": net}, 0.36)
        net, accuracy = trained(round_, mask)
    kept = sum(tickets.counts(mask.networks["G"]).values())
    assert kept == tickets.kept_after(17_400, 0.36, 7) and 0.044 < kept / 17_400 < 0.0441
    one_shot = changed(mask, networks={"G": tickets.prune_to(whole.networks["G"], first, kept)})
    random = changed(mask, networks={"G": tickets.random_mask(mask.shapes["G"], kept, seed=0)})
    by_one_shot, at_random = trained(8, one_shot)[1], trained(9, random)[1]
    print(f"accuracy: rounds {accuracy:.2f}, one-shot {by_one_shot:.2f}, random {at_random:.2f}")  # the card's figures
    assert accuracy > by_one_shot + 0.03 > at_random + 0.2, (accuracy, by_one_shot, at_random)


# ---------------------------------------------------------------- the real loop


SHORT = ["--batch=64"]  # 16 iterations of a kimg, R1 in the first and path length in every fourth


@pytest.fixture(scope="module")
def rounds(train_tiny: Any, host_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """Round 0 of a ticket, and the files of round 2, its masks found twice from the same networks."""
    folder = tmp_path_factory.mktemp("ticket")
    run = train_tiny(*SHORT, f"--ticket-init={folder / 'ticket-init.pt'}", mode="off")
    ends, init = load_networks(run.snapshot(1), host_dir), read_init(folder / "ticket-init.pt")
    mask = tickets.dense_mask(init, {kind: ends[kind] for kind in "GD"})
    for _ in range(2):
        mask = tickets.following(mask, init, ends, 0.3)
    write_mask(mask, folder / "ticket-mask-2.pt")
    return {"run": run, "folder": folder, "mask": mask, "init": init}


@pytest.fixture(scope="module")
def second(train_tiny: Any, rounds: Dict[str, Any]) -> Run:
    """Round 2, in two processes."""
    return train_tiny(*SHORT, "--kimg=2", "--gpus=2", *of_round_2(rounds["folder"]), mode="off")


def of_round_2(folder: Path) -> List[str]:
    return [f"--ticket-init={folder / 'ticket-init.pt'}", f"--ticket-mask={folder / 'ticket-mask-2.pt'}"]


def test_round_0_is_the_hosts_own_training(rounds: Dict[str, Any], train_tiny: Any, host_dir: Path) -> None:
    plain, run = train_tiny(*SHORT, mode="off"), rounds["run"]
    one, other = (load_networks(each.snapshot(1), host_dir) for each in (plain, run))
    assert differing(one, other) == []
    assert run.folder.name.endswith("-ticket-r0") and run.stats[-1]["Ticket/round"]["mean"] == 0
    assert "GAN tickets: " not in plain.output and f"writes its weights to {rounds['folder']}" in run.output
    begun = rounds["init"].networks
    assert not begun["G"]["mapping.w_avg"].any() and begun["G"].keys() == other["G"].state_dict().keys()
    assert torch.equal(begun["G"]["synthesis.b8.conv0.noise_const"], other["G"].synthesis.b8.conv0.noise_const)


def test_snapshots_of_all_processes_have_exact_zeros_and_weights_that_trained(
    second: Run, rounds: Dict[str, Any], host_dir: Path
) -> None:
    ends = load_networks(second.snapshot(2), host_dir)
    for kind, of in (("G", "G"), ("G_ema", "G"), ("D", "D")):
        params, keeps = dict(ends[kind].named_parameters()), rounds["mask"].networks[of]
        assert all(torch.equal(params[name] != 0, keep) for name, keep in keeps.items())
        assert set(keeps) == set(tickets.selected(of, parameter_shapes(ends[kind])))
        assert not any(torch.equal(params[name], rounds["init"].networks[of][name]) for name in keeps)
    assert second.folder.name.endswith("-ticket-r2")
    last = {name: value["mean"] for name, value in second.stats[-1].items() if name.startswith("Ticket/")}
    measured = {kind: rounds["mask"].sparsity(kind) for kind in "GD"}
    assert last == pytest.approx({"Ticket/round": 2, "Ticket/sparsity_G": measured["G"], "Ticket/sparsity_D": measured["D"]})


def test_a_run_of_a_round_goes_on_bit_for_bit_and_with_no_other_mask(
    second: Run, rounds: Dict[str, Any], host_dir: Path, tmp_path: Path, tiny_zip: Path
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("ticket-init.pt", "ticket-mask-2.pt"):
        shutil.copy2(rounds["folder"] / name, moved / name)
    again = resumed(second, second.snapshot(1), tmp_path / "runs", [*SHORT, "--kimg=2", "--gpus=2", *of_round_2(moved)])
    assert differing(*(load_networks(run.snapshot(2), host_dir) for run in (second, again))) == []
    assert_equal(*(comparable_state(run.snapshot(2))["optimizers"] for run in (second, again)), "optimizers")
    fewer = {**rounds["mask"].networks, "D": tickets.prune(rounds["mask"].networks["D"], rounds["init"].networks["D"], 0.1)}
    write_mask(changed(rounds["mask"], networks=fewer), moved / "ticket-mask-2.pt")
    common = [f"--outdir={tmp_path / 'other'}", f"--data={tiny_zip}", *SMALL, *SHORT, "--kimg=2", "--gpus=2"]
    result = CliRunner().invoke(
        main, ["train", "--host=embedded", *common, *of_round_2(moved), f"--resume={second.snapshot(1)}"]
    )
    assert result.exit_code == 2 and "--ticket-mask-checksum was" in result.output


@pytest.mark.parametrize("options, said", [
    (["--ticket-mask={mask}"], "--ticket-mask needs --ticket-init"),
    (["--ticket-init={mask}"], "ticket-mask-2.pt: not a ticket's file of initial weights of regan-ext"),
    (["--ticket-init={init}", "--ticket-mask={init}"], "ticket-init.pt: not a ticket's mask file of regan-ext"),
    (["--ticket-init={init}", "--ticket-mask=nowhere.pt"], "nowhere.pt: there is no such ticket's mask file"),
    (["--ticket-init=nowhere.pt", "--ticket-mask={mask}"], "nowhere.pt is not there, and"),
    (["--ticket-init=no/where.pt"], "cannot be written: there is no folder"),
    (["--ticket-init={init}", "--ticket-mask={mask}", "--cmax=8"], "is of other networks: G."),
    (["--ticket-init={init}", "--cmax=8"], "ticket-init.pt is of other networks: G."),
    (["--ticket-init={init}", "--ticket-mask={mask}", "--freezed=4", "--resume={networks}"], "which is frozen in this run"),
    (["--ticket-init={init}", "--ticket-transfer=true"], "transfer needs mask"),
    (["--ticket-init={init}", "--resume={copy}"], "has other weights than the snapshot of --resume (G.synthesis."),
    (["--ticket-init={init}", "--rg", "--metrics=fid5k_full"], "--ticket-init cannot be combined with --rg"),
    (["--ticket-init={init}", "--regan-ratio=0.3"], "--ticket-init cannot be combined with --regan-ratio"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(
    options: List[str], said: str, rounds: Dict[str, Any], tiny_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"init": rounds["folder"] / "ticket-init.pt", "mask": rounds["folder"] / "ticket-mask-2.pt"}
    places["copy"] = Path(shutil.copy(rounds["run"].snapshot(1), rounds["folder"] / "copy.pkl"))  # without a state
    common = ["train", "--host=embedded", "--outdir=runs", f"--data={tiny_zip}", *SMALL]
    given = [each.format(**places, networks=rounds["run"].snapshot(1)) for each in options]
    result = CliRunner().invoke(main, [*common, *given])
    assert result.exit_code == 2 and said in result.output.replace("\n", " "), result.output
    assert not list(tmp_path.iterdir())
