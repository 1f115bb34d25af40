"""Whole channels of the discriminator: the narrow one is the whole one with the readers of the other channels at zero."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import host_module

from training_hooks.core.hook import Step, Training
from training_hooks.core.loop import Loop
from training_hooks.methods.advaug.hook import AdvAug
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.cost import describe_cost, sparse_cost
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.methods.regan.plan import plan_channels
from training_hooks.sparsity.channels import Layout, choose_channels, dead_channels
from training_hooks.sparsity.narrowing import NarrowNetwork, narrowed_copy
from training_hooks.sparsity.operations import narrow_shapes
from training_hooks.sparsity.selection import SelectionError, frozen_shapes, parameter_shapes

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("logits", "first", "r1")
ARCHITECTURES: Dict[str, Dict[str, Any]] = {
    "resnet": {},
    "skip": {"architecture": "skip"},
    "orig": {"architecture": "orig"},
    "conditional": {"c_dim": 3},
    "grey": {"img_channels": 1},
    "clamped": {"conv_clamp": 0.5},
    "no deviation": {"epilogue_kwargs": {"mbstd_num_channels": 0}},
    "two deviations": {"epilogue_kwargs": {"mbstd_num_channels": 2}},
}


@pytest.fixture(scope="module")
def networks(host_dir: Path) -> Any:
    return host_module(host_dir, "training.networks")


def discriminator(networks: Any, resolution: int = 16, **options: Any) -> Any:
    """A discriminator of the host's with up to 12 channels, all of its parameters random."""
    torch.manual_seed(0)
    given_ = {"c_dim": 0, "img_channels": 3, "channel_base": 12 * resolution, "channel_max": 12, **options}
    D = networks.Discriminator(img_resolution=resolution, **given_)
    with torch.no_grad():
        for p in D.parameters():
            if p.ndim <= 1:
                p.add_(torch.randn_like(p) * 0.3)  # biases are zero at first
    return D


def layout_of(D: Any) -> Layout:
    return Layout.of(parameter_shapes(D), frozen_shapes(D))


def chosen(D: Any, kept: int) -> List[torch.Tensor]:
    layout = layout_of(D)
    return choose_channels(dict(D.named_parameters()), layout, [kept] * len(layout.features))


def without(reader: torch.Tensor, kept: torch.Tensor, channels: int) -> torch.Tensor:
    """A weight, or its gradient, with zeros where it reads other channels."""
    parts = reader.unflatten(1, (channels, -1))
    mask = torch.zeros(channels).index_fill(0, kept, 1).view(-1, *[1] * (parts.ndim - 2))
    return (parts * mask).flatten(1, 2)


def zeroed(D: Any, layout: Layout, kept: Sequence[torch.Tensor]) -> Any:
    """A copy in which nothing reads the other channels."""
    whole = copy.deepcopy(D)
    params = dict(whole.named_parameters())
    with torch.no_grad():
        for feature, index in zip(layout.features, kept):
            for name in feature.readers:
                params[name].copy_(without(params[name], index, feature.channels))
    return whole


def results(D: Any, narrow: Any) -> Dict[str, torch.Tensor]:
    """Logits, and the gradients of the loss and of R1 with respect to every parameter."""
    torch.manual_seed(5)
    images = torch.randn(4, D.img_channels, D.img_resolution, D.img_resolution, requires_grad=True)
    logits = narrow(images, torch.eye(3)[[0, 1, 2, 0]] if D.c_dim else None)
    found, params = {"logits": logits.detach()}, dict(D.named_parameters())
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    losses = {"first": torch.nn.functional.softplus(logits).mean(), "r1": slope.square().sum([1, 2, 3]).mean()}
    for kind, loss in losses.items():
        grads = torch.autograd.grad(loss, list(params.values()), retain_graph=True, allow_unused=True)
        found.update({f"{kind} {name}": grad for name, grad in zip(params, grads) if grad is not None})
    return found


def assert_narrow_equals_zeroed(D: Any, kept: Sequence[torch.Tensor]) -> None:
    layout = layout_of(D)
    narrow = NarrowNetwork(D, layout)
    narrow.keep(kept)
    whole = zeroed(D, layout, kept)
    found, expected = results(D, narrow), results(whole, whole)
    scales = {kind: max(float(v.abs().max()) for k, v in expected.items() if k.startswith(kind)) for kind in KINDS}
    for key, value in expected.items():
        into = layout.axes.get(key.split(" ")[-1], (None, None))[1]
        # The whole network also has gradients of what is pruned.
        theirs = value if into is None else without(value, kept[into], layout.features[into].channels)
        ours = found.get(key, torch.zeros_like(theirs))
        scale = max(float(theirs.abs().max()), 0.1 * scales[key.split(" ")[0]])
        assert (ours - theirs).abs().max() <= 1e-5 * scale, key
    assert any(key.startswith("r1 b8.conv1.weight") for key in found)


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_narrow_discriminator_its_gradients_and_r1_equal_the_zeroed_one(networks: Any, kind: str) -> None:
    D = discriminator(networks, **ARCHITECTURES[kind])
    assert_narrow_equals_zeroed(D, chosen(D, 7))


@settings(deadline=None, max_examples=12, derandomize=True)
@given(data=st.data())
def test_any_choice_of_channels_is_exact(networks: Any, data: st.DataObject) -> None:
    options = ARCHITECTURES[data.draw(st.sampled_from(sorted(ARCHITECTURES)))]
    blocks = {"activation": "swish"}  # at the kink of a leaky ReLU a zero has either slope, by the order of a sum
    epilogue = {**options.get("epilogue_kwargs", {}), **blocks}
    D = discriminator(networks, **{**options, "epilogue_kwargs": epilogue, "block_kwargs": blocks, "resolution": 8})
    sizes = [feature.channels for feature in layout_of(D).features]
    kept = [data.draw(st.sets(st.integers(0, size - 1), min_size=1)) for size in sizes]
    assert_narrow_equals_zeroed(D, [torch.tensor(sorted(each)) for each in kept])


@pytest.mark.parametrize("freeze", range(1, 8))
@pytest.mark.parametrize("kind", ["resnet", "skip", "orig"])
def test_maps_that_frozen_layers_touch_stay_whole_and_the_rest_is_exact(networks: Any, kind: str, freeze: int) -> None:
    D = discriminator(networks, **{**ARCHITECTURES[kind], "block_kwargs": {"freeze_layers": freeze}})
    whole = discriminator(networks, **ARCHITECTURES[kind])
    layout = layout_of(D)
    gone = {f.name for f in layout_of(whole).features} - {f.name for f in layout.features}
    assert gone and {name.rpartition(".")[0] for name in frozen_shapes(D)} & gone
    kept = chosen(D, 5)
    narrow, images = NarrowNetwork(D, layout), torch.randn(4, 3, 16, 16)
    narrow.keep(kept)
    theirs = zeroed(D, layout, kept)(images, None)
    torch.testing.assert_close(narrow(images, None), theirs, rtol=1e-5, atol=1e-5)


def test_half_precision_blocks_agree_to_their_rounding(networks: Any) -> None:
    D = discriminator(networks, num_fp16_res=1, conv_clamp=256)
    kept = chosen(D, 7)
    narrow, images = NarrowNetwork(D, layout_of(D)), torch.randn(4, 3, 16, 16)
    narrow.keep(kept)
    theirs = zeroed(D, layout_of(D), kept)(images, None)
    assert (narrow(images, None) - theirs).abs().max() <= 2**-8 * theirs.abs().max()


def test_layout_knows_who_writes_and_reads(networks: Any) -> None:
    features = {f.name: f for f in layout_of(discriminator(networks)).features}
    assert features["b16.fromrgb"].writers == ("b16.fromrgb.weight",)
    assert features["b16.fromrgb"].readers == ("b16.conv0.weight", "b16.skip.weight")
    assert features["b16.conv1"].writers == ("b16.conv1.weight", "b16.skip.weight")
    assert features["b16.conv1"].readers == ("b8.conv0.weight", "b8.skip.weight")
    assert features["b4.conv"].readers == ("b4.fc.weight",) and features["b4.fc"].readers == ("b4.out.weight",)
    assert "b8.conv1" not in features  # the deviation within the minibatch reads it
    plain = {f.name: f for f in layout_of(discriminator(networks, **ARCHITECTURES["no deviation"])).features}
    assert plain["b8.conv1"].readers == ("b4.conv.weight",)
    skip = {f.name: f for f in layout_of(discriminator(networks, architecture="skip")).features}
    assert skip["b16.conv1"].writers == ("b16.conv1.weight", "b8.fromrgb.weight")


@pytest.mark.parametrize("kind", ["resnet", "skip", "no deviation"])
def test_narrowed_copy_is_smaller_and_computes_the_same(networks: Any, kind: str) -> None:
    D = discriminator(networks, **ARCHITECTURES[kind])
    layout, kept = layout_of(D), chosen(D, 5)
    small, whole, images = narrowed_copy(D, layout, kept), zeroed(D, layout, kept), torch.randn(4, 3, 16, 16)
    assert parameter_shapes(small) == narrow_shapes(parameter_shapes(D), layout, [5] * len(layout.features))
    torch.testing.assert_close(small(images, None), whole(images, None), rtol=1e-5, atol=1e-5)
    found = dead_channels(dict(whole.named_parameters()), layout)
    assert [(~dead).nonzero().flatten().tolist() for dead in found] == [k.tolist() for k in kept]


def test_other_discriminators_and_what_prunes_nothing_are_refused(networks: Any) -> None:
    with pytest.raises(ValueError, match=r"discriminators only, and disc\.0\.weight is of none"):
        Layout.of({"disc.0.weight": (4, 4, 3, 3)})
    with pytest.raises(ValueError, match=r"there is no b4\.out"):
        Layout.of({"b8.conv0.weight": (4, 4, 3, 3)})
    config = ReconfigurationConfig(target="D", granularity="channel")
    own = ReconfigurationConfig(0.5, target="both", granularity="channel", ratio_d="0.01")
    with pytest.raises(SelectionError, match=r"ratio_d 0\.01 prunes no channel of D"):
        plan_channels(own, "D", parameter_shapes(discriminator(networks)))
    with pytest.raises(SelectionError, match="prunes no channel of D: the widest feature map has 12"):
        plan_channels(config, "D", parameter_shapes(discriminator(networks)))


# ---------------------------------------------------------------- cost


FEW = dict(granularity="channel", channel_multiple=1, channel_min=1)


def test_cost_counts_both_networks(networks: Any) -> None:
    synthesis = {"channel_base": 192, "channel_max": 12}
    G = networks.Generator(z_dim=8, c_dim=0, w_dim=8, img_resolution=16, img_channels=3, synthesis_kwargs=synthesis)
    shapes, critic = parameter_shapes(G), parameter_shapes(discriminator(networks))
    of_both = describe_cost(ReconfigurationConfig(0.5, target="both", **FEW), shapes, critic, 4, 400)
    of_g = describe_cost(ReconfigurationConfig(0.5, **FEW), shapes, critic, 4, 400)
    assert of_both["sparse_generator_gmacs"] == of_g["sparse_generator_gmacs"]
    assert of_g["sparse_discriminator_gmacs"] == of_g["discriminator_gmacs"]
    assert 0.25 < of_both["sparse_discriminator_gmacs"] / of_both["discriminator_gmacs"] < 0.35
    assert of_both["run_pflops"] < of_g["run_pflops"] < of_g["dense_run_pflops"] == of_both["dense_run_pflops"]
    assert of_both["channels"]["D.b16.conv0"] == [6, 12] and of_both["channels"]["synthesis.b4.conv1"] == [6, 12]
    config = ReconfigurationConfig(0.5, target="D", **FEW)
    frozen = discriminator(networks, block_kwargs={"freeze_layers": 4})
    shrinking = ReconfigurationConfig(0.5, target="both", ratio_d="0:0.5", **FEW)
    of_shrinking = describe_cost(shrinking, shapes, critic, 4, 400)
    assert of_shrinking["sparse_discriminator_gmacs"] == of_both["sparse_discriminator_gmacs"]
    assert of_both["run_pflops"] < of_shrinking["run_pflops"] < of_g["run_pflops"]
    in_step, in_turn, without = (  # of 300 iterations, where G is sparse for 200 and D, in turn, for 100
        describe_cost(ReconfigurationConfig(0.5, **settings, **FEW), shapes, critic, 4, 300)["run_pflops"]
        for settings in ({"target": "both"}, {"target": "both", "phases_d": "in-turn"}, {"target": "G"})
    )
    assert without - in_turn == pytest.approx((without - in_step) / 2, rel=0.01)
    few = sparse_cost(config, {"D": parameter_shapes(frozen)}, {"D": frozen_shapes(frozen)})
    assert sparse_cost(config, {"D": critic}) < few < 1


# ---------------------------------------------------------------- training


class Loss:
    """Holds the discriminator where the host's own loss does."""

    def __init__(self, D: Any):
        self.D = D


class Trainer:
    """Trains a discriminator through the hook's events, as a host's seams do. Sparse in iterations 2-4 and 8-10."""

    def __init__(self, D: Any, betas: Any = (0.0, 0.99), **options: Any):
        self.D, self.loss = D, Loss(D)
        self.optimizer = torch.optim.Adam(D.parameters(), lr=0.01, betas=betas)
        self.hook = Reconfiguration(config=ReconfigurationConfig(0.4, 3, 2, target="D", **{**FEW, **options}))
        self.hook.start(Training({"D": D}, {"D": self.optimizer}, total_iterations=12, loss=self.loss))
        self.iteration, self.images = -1, torch.randn(4, 3, D.img_resolution, D.img_resolution)

    @property
    def network(self) -> Any:
        return self.hook._networks["D"]

    def logits(self, network: Any = None) -> torch.Tensor:
        with torch.no_grad():
            return (network or self.loss.D)(self.images, None)

    def begin(self) -> None:
        self.iteration += 1
        self.hook.on_iteration(self.iteration)

    def step(self, rounds: int = 1) -> None:
        self.optimizer.zero_grad()
        for _ in range(rounds):
            images = torch.randn_like(self.images, requires_grad=True)
            logits = self.loss.D(images, None)
            (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
            (torch.nn.functional.softplus(logits).mean() + slope.square().sum()).backward()
        step = Step("D", "Dmain", self.iteration)
        self.hook.before_step(step)
        self.optimizer.step()
        self.hook.after_step(step)


@pytest.mark.parametrize("kind", ["resnet", "skip"])
def test_growing_changes_no_logit_and_readers_are_zero_meanwhile(networks: Any, kind: str) -> None:
    D = discriminator(networks, resolution=8, **ARCHITECTURES[kind])
    trainer = Trainer(D, betas=(0.5, 0.9), moments="restore")
    grown, resting = 0, None
    for _ in range(12):
        before, was_sparse = trainer.logits(), trainer.network.sparse
        trainer.begin()
        network = trainer.network
        if network.sparse:
            assert trainer.loss.D is not trainer.D
            assert all(bool((p[~k] == 0).all()) for p, k in zip(network.params, network.keep))
            torch.testing.assert_close(trainer.logits(), trainer.logits(trainer.D), rtol=1e-5, atol=1e-5)
            now = [p.detach()[~k].clone() for p, k in network.resting()]
            assert not was_sparse or all(map(torch.equal, now, resting or []))
            resting = now
        else:
            assert trainer.loss.D is trainer.D
            if was_sparse:
                grown += 1
                torch.testing.assert_close(trainer.logits(), before, rtol=1e-5, atol=1e-5)
        trainer.step(rounds=2)
        assert (trainer.logits() - before).abs().max() > 1e-4  # it does train
    assert grown == 2


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_d_shrinks_over_the_run_and_goes_on_where_it_was(networks: Any, granularity: str) -> None:
    """Of 12 iterations the second and the eighth begin sparse phases: at 1/6 and 4/6 of the run."""
    only = {} if granularity == "channel" else {"granularity": "weight"}
    options = dict(ratio_d="0:0.75", regrow="value", score="random", **only)
    trainer = Trainer(discriminator(networks), **options)
    pruned, saved = {}, None
    for iteration in range(9):
        before, was_sparse = trainer.logits(), trainer.network.sparse
        trainer.begin()
        network = trainer.network
        if network.sparse:
            shares = {name: 1 - float(keep.float().mean()) for name, keep in zip(network.names, network.keep)}
            pruned[iteration] = shares["b16.conv0.weight"]
        elif was_sparse:
            torch.testing.assert_close(trainer.logits(), trainer.logits(trainer.D))
        if iteration == 3:
            saved = copy.deepcopy([trainer.D.state_dict(), trainer.optimizer.state_dict(), trainer.hook.state_dict()])
        trainer.step()
        assert not torch.equal(trainer.logits(), before)
    assert pruned[2] == pruned[4] == pytest.approx(0.125, abs=0.045) and pruned[8] == pytest.approx(0.5, abs=1e-3)
    assert saved is not None
    again = Trainer(discriminator(networks), **options)
    again.D.load_state_dict(saved[0]), again.optimizer.load_state_dict(saved[1])
    again.hook.load_state_dict(saved[2])
    for iteration in (4, 5, 8):
        again.hook.on_iteration(iteration)
    masks = [k.clone() for k in again.network.keep]
    assert {name: 1 - float(k.float().mean()) for name, k in zip(again.network.names, masks)}["b16.conv0.weight"] == pruned[8]
    assert all(map(torch.equal, masks, trainer.network.keep))  # by chance, of the seed and the cycle alone


def test_value_gives_the_readers_back_and_the_state_goes_on(networks: Any) -> None:
    trainer = Trainer(discriminator(networks, resolution=8), regrow="value", score="change")
    for _ in range(2):
        trainer.begin()
        trainer.step()
    before = trainer.logits()
    trainer.begin()
    assert (trainer.logits() - before).abs().max() > 1e-3
    saved = copy.deepcopy(trainer.hook.state_dict())
    Reconfiguration.check_state(saved, {"D": trainer.D})
    again = Trainer(copy.deepcopy(trainer.D), regrow="value", score="change")
    again.hook.load_state_dict(saved)
    again.images = trainer.images
    assert again.loss.D is not again.D and torch.equal(again.logits(), trainer.logits())
    for each in (trainer, again):
        for iteration in (3, 4, 5):  # nothing is trained in the sparse phase
            each.hook.on_iteration(iteration)
        assert torch.equal(each.logits(), before)


def test_a_loop_of_ones_own_computes_with_the_channels_that_are_kept(networks: Any) -> None:
    D, widths = discriminator(networks), []
    optimizer = torch.optim.Adam(D.parameters(), lr=0.01)
    hook = Reconfiguration(ReconfigurationConfig(0.5, 2, target="D", **FEW))
    loop = Loop({"D": D}, {"D": optimizer}, [hook])
    D.b16.conv0.register_forward_hook(lambda module, args, maps: widths.append(maps.shape[1]))
    for _ in range(3):
        with loop.iteration():
            optimizer.zero_grad()
            loop.run_D(torch.randn(4, 3, 16, 16), None).square().mean().backward()
            optimizer.step()
    assert widths == [6, 6, 12]
    with pytest.raises(RuntimeError, match="has a synthesis network of its own"):
        hook.synthesis  # noqa: B018
    with loop.iteration():
        optimizer.zero_grad()
        loop.run_D(torch.randn(4, 3, 16, 16), None).square().mean().backward()
        optimizer.step()
    with (
        pytest.raises(RuntimeError, match=r"calls the discriminator itself in a sparse phase; call loop\.run_D"),
        loop.iteration(),
    ):
        D(torch.randn(4, 3, 16, 16), None).square().mean().backward()
        optimizer.step()


def test_advaug_perturbs_the_narrow_discriminator(networks: Any) -> None:
    D, widths = discriminator(networks), []
    prune = Reconfiguration(ReconfigurationConfig(0.5, 2, target="D", **FEW))
    loop = Loop({"D": D}, {"D": torch.optim.Adam(D.parameters())}, [AdvAug(halves=["d"], place_d="b4.conv"), prune])
    D.b4.fc.register_forward_hook(lambda module, args, maps: widths.append(args[0].shape[1] // 16))
    loop.begin_iteration()
    images = loop.round("Dmain", real_img=torch.randn(4, 3, 16, 16)).real_img
    logits = loop.run_D(images, None)
    assert set(widths) == {6} and len(widths) == 2 and logits.shape[0] == 8
