"""Whole channels: which are pruned, and that the narrow network is the whole one with those channels' readers at zero."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training_hooks.core.hook import Step, Training
from training_hooks.methods.regan.channel_network import ChannelNetwork
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.cost import sparse_cost
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.methods.regan.plan import plan_channels, select_parameters
from training_hooks.sparsity.anatomy import SYNTHESIS
from training_hooks.sparsity.channels import Layout, choose_channels, dead_channels, kept_channels
from training_hooks.sparsity.narrowing import NarrowNetwork, NetworkSwitch, narrowed_copy
from training_hooks.sparsity.operations import layer_operations, narrow_shapes
from training_hooks.sparsity.selection import SelectionError, parameter_shapes

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("images", "first", "second")
ARCHITECTURES = {
    "skip": {},
    "orig": {"architecture": "orig"},
    "resnet": {"architecture": "resnet"},
    "conditional": {"c_dim": 3},
    "grey": {"img_channels": 1},
    "clamped": {"conv_clamp": 0.5},
}


@pytest.fixture(scope="session")
def networks(host_dir: Path) -> Any:
    """The host's own networks module."""
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    return importlib.import_module("training.networks")


def generator(networks: Any, resolution: int = 16, seed: int = 0, **options: Any) -> Any:
    """A generator of the host's with up to 12 channels, in training mode, all of its parameters random."""
    torch.manual_seed(seed)
    c_dim, img_channels = options.pop("c_dim", 0), options.pop("img_channels", 3)
    synthesis = {"channel_base": 12 * resolution, "channel_max": 12, **options}
    G = networks.Generator(
        z_dim=8, c_dim=c_dim, w_dim=8, img_resolution=resolution, img_channels=img_channels, synthesis_kwargs=synthesis
    )
    with torch.no_grad():
        for p in G.parameters():
            if p.ndim <= 1:
                p.add_(torch.randn_like(p) * 0.3)  # biases and noise strengths are zero at first
    return G.train()


def layout_of(G: Any) -> Layout:
    return Layout.of(parameter_shapes(G))


def zeroed(G: Any, layout: Layout, kept: Sequence[torch.Tensor]) -> Any:
    """A copy in which nothing reads the other channels."""
    whole = copy.deepcopy(G)
    with torch.no_grad():
        for name, p in whole.named_parameters():
            into = layout.axes.get(name, (None, None))[1]
            if into is not None:
                p.mul_(reader_mask(p, kept[into]))
    return whole


def reader_mask(p: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(p.shape[1], dtype=p.dtype)
    mask[kept] = 1
    return mask.view(1, -1, 1, 1)


def results(G: Any, synthesis: Any, c_dim: int) -> Dict[str, torch.Tensor]:
    """Images, and the gradients of a loss and of path length regularisation with respect to every parameter."""
    torch.manual_seed(5)
    c = torch.eye(3)[:2] if c_dim else None
    found: Dict[str, torch.Tensor] = {}
    ws = G.mapping(torch.randn(2, 8), c, skip_w_avg_update=True)
    images = synthesis(ws, noise_mode="const")
    found["images"] = images.detach()
    pattern = torch.randn_like(images)
    params = dict(G.named_parameters())
    grads = torch.autograd.grad((images.tanh() * pattern).sum(), list(params.values()), retain_graph=True, allow_unused=True)
    found.update({f"first {n}": g for n, g in zip(params, grads) if g is not None})
    (slope,) = torch.autograd.grad((images * pattern).sum(), ws, create_graph=True)
    length = slope.square().sum(2).mean(1).sqrt()
    grads = torch.autograd.grad((length - 0.5).square().mean(), list(params.values()), allow_unused=True)
    found.update({f"second {n}": g for n, g in zip(params, grads) if g is not None})
    return found


def assert_narrow_equals_zeroed(G: Any, kept: Sequence[torch.Tensor], c_dim: int = 0) -> None:
    layout = layout_of(G)
    narrow = NarrowNetwork(G, layout)
    narrow.keep(kept)
    whole = zeroed(G, layout, kept)
    found, expected = results(G, narrow, c_dim), results(whole, whole.synthesis, c_dim)
    # A gradient that cancels out, as that of one lone demodulated channel, is rounding noise of the size of the others.
    scales = {kind: max(float(v.abs().max()) for k, v in expected.items() if k.startswith(kind)) for kind in KINDS}
    for key, theirs in expected.items():
        ours = found.get(key, torch.zeros_like(theirs))
        into = layout.axes.get(key.split(" ")[-1], (None, None))[1]
        if into is not None:
            theirs.mul_(reader_mask(theirs, kept[into]))  # the whole network also has gradients of what is pruned
        # That of a noise strength is a sum over all pixels and channels, with rounding of the size of its terms.
        share = 1.0 if theirs.numel() == 1 else 0.1
        scale = max(float(theirs.abs().max()), share * scales[key.split(" ")[0]])
        assert (ours - theirs).abs().max() <= 1e-5 * scale, key
    assert any(key.startswith("second synthesis.b8.conv1.weight") for key in found)


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_narrow_network_and_all_gradients_equal_the_zeroed_one(networks: Any, kind: str) -> None:
    options = dict(ARCHITECTURES[kind])
    G = generator(networks, **options)
    layout = layout_of(G)
    chosen = choose_channels(dict(G.named_parameters()), layout, [7] * len(layout.features))
    assert_narrow_equals_zeroed(G, chosen, options.get("c_dim", 0))


def test_half_precision_blocks_agree_to_their_rounding_and_stay_finite(networks: Any) -> None:
    G = generator(networks, num_fp16_res=2, conv_clamp=256)
    layout = layout_of(G)
    kept = choose_channels(dict(G.named_parameters()), layout, [7] * len(layout.features))
    narrow = NarrowNetwork(G, layout)
    narrow.keep(kept)
    whole = zeroed(G, layout, kept)
    found, expected = results(G, narrow, 0), results(whole, whole.synthesis, 0)
    assert all(bool(value.isfinite().all()) for part in (found, expected) for value in part.values())
    assert (found["images"] - expected["images"]).abs().max() <= 2**-8 * expected["images"].abs().max()


@settings(deadline=None, max_examples=25, derandomize=True)  # one choice in some hundred rounds to 1.01e-5
@given(data=st.data())
def test_any_choice_of_channels_is_exact(networks: Any, data: st.DataObject) -> None:
    # At the kink of a leaky ReLU an activation of 0 has either slope, by the order of a sum.
    kinds = st.sampled_from(["skip", "orig", "resnet"])
    G = generator(networks, resolution=8, architecture=data.draw(kinds), activation="swish")
    kept = []
    for feature in layout_of(G).features:
        # Two at least: of one lone demodulated channel most gradients cancel out, and what is compared is rounding alone.
        picked = data.draw(st.sets(st.integers(0, feature.channels - 1), min_size=2))
        kept.append(torch.tensor(sorted(picked)))
    assert_narrow_equals_zeroed(G, kept)


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
def test_a_lone_channel_is_computed_with(networks: Any, architecture: str) -> None:
    G = generator(networks, resolution=8, architecture=architecture, activation="swish")
    assert_narrow_equals_zeroed(G, [torch.tensor([3]) for _ in layout_of(G).features])


def test_the_hosts_network_is_as_before_after_a_call_and_after_a_failing_one(networks: Any) -> None:
    G = generator(networks)
    before = {name: p.clone() for name, p in G.named_parameters()}
    narrow = NarrowNetwork(G, layout_of(G))
    narrow.keep([torch.arange(5)] * len(layout_of(G).features))
    narrow(torch.randn(1, G.num_ws, 8))
    with pytest.raises(AssertionError):
        narrow(torch.randn(1, G.num_ws + 1, 8))
    assert [getattr(G.synthesis, f"b{r}").in_channels for r in (4, 8, 16)] == [0, 12, 12]
    assert all(torch.equal(p, before[name]) and p.shape == before[name].shape for name, p in G.named_parameters())


@pytest.mark.parametrize("kind", ["skip", "orig", "resnet"])
def test_narrowed_copy_is_smaller_of_the_hosts_class_and_computes_the_same(networks: Any, kind: str) -> None:
    G = generator(networks, **ARCHITECTURES[kind])
    layout = layout_of(G)
    kept = choose_channels(dict(G.named_parameters()), layout, [5] * len(layout.features))
    small, whole = narrowed_copy(G, layout, kept), zeroed(G, layout, kept)
    assert type(small) is type(G) and type(small.synthesis.b8) is type(G.synthesis.b8)
    assert parameter_shapes(small) == narrow_shapes(parameter_shapes(G), layout, [5] * len(layout.features))
    ws = torch.randn(2, G.num_ws, 8)
    theirs = whole.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(small.synthesis(ws, noise_mode="const"), theirs, rtol=1e-5, atol=1e-5)
    found = dead_channels(dict(whole.named_parameters()), layout)
    assert [(~dead).nonzero().flatten().tolist() for dead in found] == [k.tolist() for k in kept]


def test_memory_format_is_kept(networks: Any) -> None:
    G = generator(networks, num_fp16_res=1, fp16_channels_last=True)
    layout = layout_of(G)
    small = narrowed_copy(G, layout, [torch.arange(5)] * len(layout.features))
    weight = small.synthesis.b16.conv1.weight
    assert weight.shape == (5, 5, 3, 3) and weight.is_contiguous(memory_format=torch.channels_last)
    assert small.synthesis.b8.conv1.weight.is_contiguous()


# ---------------------------------------------------------------- which channels


@given(
    channels=st.integers(1, 600),
    ratio=st.floats(0, 0.999),
    multiple=st.integers(1, 32),
    minimum=st.integers(1, 64),
)
def test_kept_counts_never_prune_more_than_asked(channels: int, ratio: float, multiple: int, minimum: int) -> None:
    kept = kept_channels(channels, ratio, multiple, minimum)
    assert min(channels, minimum) <= kept <= channels
    assert channels - kept <= int(ratio * channels + 1e-9)
    assert kept == channels or kept % multiple == 0
    assert kept == channels or kept - multiple < max(minimum, channels - int(ratio * channels + 1e-9))


@pytest.mark.parametrize(("channels", "kept"), [(512, 360), (256, 184), (128, 96), (64, 48), (32, 24), (16, 16)])
def test_kept_counts_at_ratio_30_percent(channels: int, kept: int) -> None:
    assert kept_channels(channels, 0.3) == kept


def test_the_weakest_channels_go_by_every_measure(networks: Any) -> None:
    G = generator(networks)
    params, layout = dict(G.named_parameters()), layout_of(G)
    index = [f.name for f in layout.features].index("synthesis.b8.conv1")
    with torch.no_grad():
        params["synthesis.b8.conv1.weight"][4] *= 0.01  # the weakest writer
        params["synthesis.b8.torgb.weight"][:, 9] *= 0.01  # the weakest reader is weak in both layers that read
        params["synthesis.b16.conv0.weight"][:, 9] *= 0.01
    everything = [f.channels for f in layout.features]
    one_less = [c - (i == index) for i, c in enumerate(everything)]

    def gone(importance: str) -> List[int]:
        chosen = choose_channels(params, layout, one_less, importance)
        return sorted(set(range(12)) - set(chosen[index].tolist()))

    assert gone("writers") == [4] and gone("readers") == [9] and gone("both") in ([4], [9])


def test_ties_go_to_the_first_channels(networks: Any) -> None:
    G = generator(networks)
    with torch.no_grad():
        for p in G.parameters():
            p.fill_(0.5)
    chosen = choose_channels(dict(G.named_parameters()), layout_of(G), [7] * 7)
    assert all(c.tolist() == list(range(7)) for c in chosen)


def test_layout_knows_who_writes_and_reads(networks: Any) -> None:
    features = {f.name[len(SYNTHESIS) :]: f for f in layout_of(generator(networks, architecture="resnet")).features}
    shared = features["b8.conv1"]
    assert shared.writers == (f"{SYNTHESIS}b8.conv1.weight", f"{SYNTHESIS}b8.skip.weight")
    assert set(shared.readers) == {f"{SYNTHESIS}b16.conv0.weight", f"{SYNTHESIS}b16.skip.weight"}
    features = {f.name[len(SYNTHESIS) :]: f for f in layout_of(generator(networks)).features}
    assert features["b4.const"].readers == (f"{SYNTHESIS}b4.conv1.weight",)
    assert set(features["b4.conv1"].readers) == {f"{SYNTHESIS}b4.torgb.weight", f"{SYNTHESIS}b8.conv0.weight"}


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"ratio": 0.3, "channel_multiple": 8}, "prunes no channel of G: the widest feature map has 12"),
        ({"ratio": 0.3, "exclude": ("nothing*",)}, "matches no parameter"),
        ({"ratio": 0.3, "channel_multiple": 1, "channel_min": 1, "scope": "mapping.*"}, "prunes no channel"),
    ],
)
def test_what_prunes_nothing_is_an_error(networks: Any, settings_: Dict[str, Any], message: str) -> None:
    config = ReconfigurationConfig(granularity="channel", **settings_)
    with pytest.raises(SelectionError, match=message):
        plan_channels(config, "G", parameter_shapes(generator(networks)))


@pytest.mark.parametrize("field", [{"quirks": ("quantile",)}, {"quirks": ("main-steps",)}])
def test_channels_refuse_what_only_weights_can_have(field: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^granularity channel "):
        ReconfigurationConfig(granularity="channel", **field)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="StyleGAN2 synthesis networks only"):
        Layout.of({"synthesis.L0_36_512.weight": (4, 4, 3, 3)})
    with pytest.raises(ValueError, match=r"synthesis\.b4\.const"):
        Layout.of({"synthesis.b8.conv0.weight": (4, 4, 3, 3)})
    with pytest.raises(ValueError, match=r"discriminators only, and conv\.weight is of none"):
        Layout.of({"conv.weight": (4, 4, 3, 3)})


def test_excluded_layers_keep_their_channels(networks: Any) -> None:
    shapes = parameter_shapes(generator(networks))
    config = ReconfigurationConfig(
        granularity="channel", channel_multiple=1, channel_min=1, exclude=("synthesis.b8.*",), mapping="weight"
    )
    plan = plan_channels(config, "G", shapes)
    kept = {f.name: k for f, k in zip(plan.layout.features, plan.kept)}
    assert kept["synthesis.b8.conv0"] == kept["synthesis.b8.conv1"] == 12
    assert kept["synthesis.b16.conv0"] == kept["synthesis.b4.const"] == 9
    assert "synthesis.b8.conv1.weight" not in plan.readers and "synthesis.b16.conv1.weight" in plan.readers
    assert plan.mapping and all(n.startswith("mapping.") for n in plan.mapping)


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("kind", ["skip", "orig", "resnet", "conditional"])
def test_operations_are_those_that_torch_counts(networks: Any, kind: str) -> None:
    """Per layer, less the resampling filters, which torch counts as the convolutions that they are here."""
    from torch.utils.flop_counter import FlopCounterMode

    options = dict(ARCHITECTURES[kind])
    G = generator(networks, **options)
    c_dim = options.get("c_dim", 0)
    with FlopCounterMode(display=False) as counter:
        G(torch.randn(1, 8), torch.eye(3)[:1] if c_dim else None, noise_mode="const")
    ours = layer_operations(parameter_shapes(G))
    counted = counter.get_flop_counts()
    for layer in ("synthesis.b16.conv1", "synthesis.b4.conv1", "mapping.fc0", "synthesis.b8.conv1.affine"):
        mine = sum(count for name, count in ours.items() if name.startswith(layer + "."))
        assert 2 * mine == sum(counted[f"Generator.{layer}"].values()), layer
    up = "synthesis.b16.conv0"
    mine = sum(count for name, count in ours.items() if name.startswith(up + "."))
    filters = 12 * 16 * 16 * 16
    assert 2 * (mine + filters) == sum(counted[f"Generator.{up}"].values())


def test_operations_of_a_discriminator_are_those_that_torch_counts(networks: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    D = networks.Discriminator(c_dim=0, img_resolution=16, img_channels=3, channel_base=192, channel_max=12)
    with FlopCounterMode(display=False) as counter:
        D(torch.randn(1, 3, 16, 16), None)
    ours, counted = layer_operations(parameter_shapes(D)), counter.get_flop_counts()
    for layer in ("b16.fromrgb", "b16.conv0", "b4.conv", "b4.fc", "b4.out"):
        mine = sum(count for name, count in ours.items() if name.startswith(layer + "."))
        assert 2 * mine == sum(counted[f"Discriminator.{layer}"].values()), layer


def test_cost_of_a_sparse_phase(networks: Any) -> None:
    shapes = parameter_shapes(generator(networks))
    weights = sparse_cost(ReconfigurationConfig(ratio=0.5), {"G": shapes})
    channels = sparse_cost(
        ReconfigurationConfig(ratio=0.5, granularity="channel", channel_multiple=1, channel_min=1), {"G": shapes}
    )
    assert 0.5 < weights < 0.52  # all but the RGB layers
    assert 0.25 < channels < 0.3  # (1 - ratio)^2 but for the mapping network, the styles and RGB
    assert sparse_cost(ReconfigurationConfig(ratio=0.5), {"G": {"conv.weight": (4, 4, 3, 3)}}) == 0.5


# ---------------------------------------------------------------- training


CHANNELS = dict(ratio=0.4, interval=3, warmup=2, granularity="channel", channel_multiple=1, channel_min=1)


class Loss:
    """Holds the synthesis network where the host's own loss does."""

    def __init__(self, G: Any):
        self.G_synthesis = G.synthesis


class Trainer:
    """Trains a generator through the hook's events, as a host's seams do. Sparse in iterations 2-4 and 8-10."""

    def __init__(self, G: Any, betas: Any = (0.5, 0.9), **options: Any):
        self.G, self.ema, self.loss = G, copy.deepcopy(G), Loss(G)
        self.optimizer = torch.optim.Adam(G.parameters(), lr=0.01, betas=betas)
        self.hook = Reconfiguration(config=ReconfigurationConfig(**{**CHANNELS, **options}))
        self.hook.start(Training({"G": G, "G_ema": self.ema}, {"G": self.optimizer}, total_iterations=12, loss=self.loss))
        self.iteration = -1
        self.latents = torch.randn(2, G.num_ws, 8)

    @property
    def network(self) -> ChannelNetwork:
        network = self.hook._networks["G"]
        assert isinstance(network, ChannelNetwork)
        return network

    def images(self, synthesis: Any = None) -> torch.Tensor:
        """Of fixed latents and noise, with what the loss calls at the moment or with ``synthesis``."""
        with torch.no_grad():
            return (synthesis or self.loss.G_synthesis)(self.latents, noise_mode="const")

    def begin(self) -> None:
        self.iteration += 1
        self.hook.on_iteration(self.iteration)

    def step(self) -> None:
        self.optimizer.zero_grad()
        ws = self.G.mapping(torch.randn(2, 8), None)
        (self.loss.G_synthesis(ws) - 0.3).square().mean().backward()
        step = Step("G", "Gmain", self.iteration)
        self.hook.before_step(step)
        self.optimizer.step()
        self.hook.after_step(step)
        with torch.no_grad():
            for p_ema, p in zip(self.ema.parameters(), self.G.parameters()):
                p_ema.copy_(p.lerp(p_ema, 0.9))

    def resting(self) -> Dict[str, torch.Tensor]:
        """Parameter name → the entries that the narrow network does not use."""
        names = {id(p): name for name, p in self.G.named_parameters()}
        return {names[id(p)]: p.detach()[~k].clone() for p, k in self.network.resting()}


@pytest.mark.parametrize("moments", ["keep", "restore", "reset"])
def test_growing_changes_nothing_that_the_network_computes(networks: Any, moments: str) -> None:
    trainer = Trainer(generator(networks), moments=moments)
    grown = 0
    for _ in range(12):
        before, was_sparse = trainer.images(), trainer.network.sparse
        trainer.begin()
        if trainer.network.sparse:
            assert trainer.loss.G_synthesis is not trainer.G.synthesis
            torch.testing.assert_close(trainer.images(), trainer.images(trainer.G.synthesis), rtol=1e-5, atol=1e-5)
        else:
            assert trainer.loss.G_synthesis is trainer.G.synthesis
        if was_sparse and not trainer.network.sparse:
            grown += 1
            torch.testing.assert_close(trainer.images(), before, rtol=1e-5, atol=1e-5)
        trainer.step()
        assert (trainer.images() - before).abs().max() > 1e-4  # it does train
    assert grown == 2


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.9, 0.99)])
def test_readers_are_zero_and_what_is_pruned_rests(networks: Any, betas: Any) -> None:
    trainer = Trainer(generator(networks), betas=betas)
    before: Dict[str, torch.Tensor] = {}
    for _ in range(12):
        trainer.begin()
        if not trainer.network.sparse:
            before = {}
            trainer.step()
            continue
        for _ in range(2):
            network = trainer.network
            for params in (network.params, network.ema):
                assert all(bool((p[~k] == 0).all()) for p, k in zip(params, network.keep))
            now = trainer.resting()
            assert all(torch.equal(now[name], before[name]) for name in before)
            assert bool((now[f"{SYNTHESIS}b8.conv1.weight"] != 0).any())  # writers of pruned channels stay
            before = now
            trainer.step()


def test_regrown_weights_are_not_stuck(networks: Any) -> None:
    """The second dense step moves what lies between two pruned channels: its gradient passes through the first's weights."""
    trainer = Trainer(generator(networks))
    for _ in range(7):
        trainer.begin()
        trainer.step()
    network = trainer.network
    assert not network.sparse
    assert all(bool((p[~k] != 0).all()) for p, k in zip(network.params, network.keep))


def test_second_moments_of_everything_that_rested_are_restored(networks: Any) -> None:
    trainer = Trainer(generator(networks), moments="restore")
    for _ in range(2):
        trainer.begin()
        trainer.step()
    before = {n: trainer.optimizer.state[p]["exp_avg_sq"].clone() for n, p in trainer.G.named_parameters()}
    trainer.begin()
    masks = {n: k for (n, _), (_, k) in zip(trainer.resting().items(), trainer.network.resting())}
    for _ in range(3):
        trainer.step()
        trainer.begin()
    assert not trainer.network.sparse and any(n.endswith("conv0.bias") for n in masks)
    for name, p in trainer.G.named_parameters():
        if name in masks:
            now = trainer.optimizer.state[p]["exp_avg_sq"]
            assert torch.equal(now[~masks[name]], before[name][~masks[name]]), name
            assert not torch.equal(now[masks[name]], before[name][masks[name]]), name


def test_mapping_takes_the_weights_granularity_where_asked(networks: Any) -> None:
    for mapping, share in (("dense", 0), ("weight", 0.4)):
        G = generator(networks)
        trainer = Trainer(G, mapping=mapping)
        for _ in range(4):
            trainer.begin()
            trainer.step()
        weight = G.mapping.fc3.weight
        assert int((weight == 0).sum()) == int(share * weight.numel())


def test_state_goes_on_narrow(networks: Any) -> None:
    first = Trainer(generator(networks), mapping="weight")
    for _ in range(4):
        first.begin()
        first.step()
    second = Trainer(copy.deepcopy(first.G), mapping="weight")
    second.hook.load_state_dict(first.hook.state_dict())
    second.latents = first.latents
    assert second.loss.G_synthesis is not second.G.synthesis
    assert torch.equal(second.images(), first.images())
    assert all(torch.equal(a, b) for a, b in zip(first.network.kept, second.network.kept))


def test_state_of_a_warm_up_goes_on(networks: Any) -> None:
    """No channel has been chosen then."""
    first = Trainer(generator(networks))
    first.begin()
    first.step()
    second = Trainer(copy.deepcopy(first.G))
    second.hook.load_state_dict(first.hook.state_dict())
    second.iteration = first.iteration
    for trainer in (first, second):
        for _ in range(2):
            trainer.begin()
    assert first.network.sparse and second.network.sparse
    assert all(torch.equal(a, b) for a, b in zip(first.network.kept, second.network.kept))


def test_a_loss_without_a_synthesis_network_is_refused(networks: Any) -> None:
    G = generator(networks)
    with pytest.raises(ValueError, match="needs a forward pass that goes through G_synthesis; object has none"):
        NetworkSwitch("G", G, layout_of(G), Training({"G": G}, {}, loss=object()))


class OwnLoop:
    """A loop of one's own, sparse in iterations 2-4 and 8-10."""

    def __init__(self, networks: Any, saved: Any = None):
        self.G = generator(networks)
        self.optimizer = torch.optim.Adam(self.G.parameters(), lr=0.01, betas=(0.0, 0.99))
        self.hook = Reconfiguration(self.G, ReconfigurationConfig(**CHANNELS))
        if saved is not None:
            self.G.load_state_dict(saved[0])
            self.optimizer.load_state_dict(saved[1])
        self.hook.attach(self.optimizer, state=None if saved is None else saved[2])

    def train(self, iterations: int, whole: Sequence[int] = ()) -> "OwnLoop":
        for i in range(iterations):
            self.optimizer.zero_grad()
            torch.manual_seed(self.hook._iteration)
            images = self.G.synthesis if i in whole else self.hook.synthesis
            (images(self.G.mapping(torch.randn(2, 8), None)) - 0.3).square().mean().backward()
            self.optimizer.step()
        return self


@pytest.mark.parametrize("cut", [4, 6], ids=["sparse", "dense"])
def test_own_loop_goes_on_from_its_state(networks: Any, cut: int) -> None:
    first = OwnLoop(networks).train(cut)
    saved = copy.deepcopy([x.state_dict() for x in (first.G, first.optimizer, first.hook)])
    first.train(4)
    again = OwnLoop(networks, saved).train(4)
    first_kept, again_kept = (loop.hook._networks["G"].kept for loop in (first, again))
    assert first.hook.is_sparse() and again.hook.is_sparse()
    assert all(torch.equal(a, b) for a, b in zip(first_kept, again_kept))
    assert all(torch.equal(a, b) for a, b in zip(first.G.parameters(), again.G.parameters()))
    assert first.optimizer.param_groups[0]["lr"] == again.optimizer.param_groups[0]["lr"]


def test_own_loop_that_calls_the_generator_itself_in_a_sparse_phase_is_told(networks: Any) -> None:
    loop = OwnLoop(networks).train(2, whole=[0, 1])
    assert loop.hook.is_sparse()
    with pytest.raises(RuntimeError, match=r"calls the generator itself in a sparse phase; call hook\.synthesis"):
        loop.train(1, whole=[0])
    with pytest.raises(RuntimeError, match="calls the generator itself"), loop.hook.extra_step():
        loop.train(1, whole=[0])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_weight_decay_is_refused(networks: Any, kind: Any) -> None:
    G = generator(networks)
    hook = Reconfiguration(G, ReconfigurationConfig(**CHANNELS))
    with pytest.raises(ValueError, match=r"granularity=channel needs .* weight_decay=0, got weight_decay=0\.1"):
        hook.attach(kind(G.parameters(), weight_decay=0.1))


def test_own_loop_calls_the_hooks_synthesis(networks: Any) -> None:
    torch.manual_seed(0)
    G = generator(networks)
    hook = Reconfiguration(G, ReconfigurationConfig(**CHANNELS))
    with pytest.raises(RuntimeError, match="has started"):
        hook.synthesis  # noqa: B018
    optimizer = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.0, 0.99))
    hook.attach(optimizer)
    narrow = []
    for _ in range(8):
        narrow.append(hook.synthesis is not G.synthesis)
        optimizer.zero_grad()
        hook.synthesis(G.mapping(torch.randn(2, 8), None)).square().mean().backward()
        optimizer.step()
    assert narrow == [False, False, True, True, True, False, False, False]
    assert "synthesis.b8.conv1.weight" in select_parameters(hook.config, "G", parameter_shapes(G))
