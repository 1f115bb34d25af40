"""Which parameters are chosen, and what is said when none is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.plan import check_rgb, knows_rgb, left_dense, select_parameters
from training_hooks.sparsity.selection import SelectionError, parameter_shapes, select

# Names and shapes as StyleGAN2-ADA has them.
SHAPES = {
    "synthesis.b4.const": (8, 4, 4),
    "synthesis.b4.conv1.weight": (8, 8, 3, 3),
    "synthesis.b4.conv1.noise_strength": (),
    "synthesis.b4.conv1.bias": (8,),
    "synthesis.b4.conv1.affine.weight": (8, 16),
    "synthesis.b4.conv1.affine.bias": (8,),
    "synthesis.b4.torgb.weight": (3, 8, 1, 1),
    "synthesis.b4.torgb.bias": (3,),
    "synthesis.b4.torgb.affine.weight": (8, 16),
    "mapping.fc0.weight": (16, 16),
    "mapping.fc0.bias": (16,),
}
WEIGHTS_BUT_RGB = [
    "synthesis.b4.const",
    "synthesis.b4.conv1.weight",
    "synthesis.b4.conv1.affine.weight",
    "mapping.fc0.weight",
]


def test_default_is_every_weight_but_those_of_the_rgb_layers():
    assert select_parameters(ReconfigurationConfig(), "G", SHAPES) == WEIGHTS_BUT_RGB


def test_default_of_the_discriminator_leaves_out_the_layer_that_reads_rgb():
    shapes = {
        "b8.fromrgb.weight": (8, 3, 1, 1),
        "b8.conv0.weight": (8, 8, 3, 3),
        "b4.out.bias": (1,),
        "b4.fc.weight": (8, 8),
    }
    assert select_parameters(ReconfigurationConfig(), "D", shapes) == ["b8.conv0.weight", "b4.fc.weight"]


def test_default_exclusion_suits_a_network_without_rgb_layers():
    assert select_parameters(ReconfigurationConfig(), "G", {"fc.weight": (4, 4)}) == ["fc.weight"]


def test_reference_scope_takes_biases_constant_and_mapping_too():
    chosen = select_parameters(ReconfigurationConfig(scope="reference"), "G", SHAPES)
    assert chosen == [name for name in SHAPES if "torgb" not in name]


def test_an_empty_exclusion_leaves_nothing_out():
    chosen = select_parameters(ReconfigurationConfig(exclude=()), "G", SHAPES)
    assert chosen == [name for name, shape in SHAPES.items() if len(shape) >= 2]


def test_patterns_choose_by_name_and_never_a_scalar():
    assert select(SHAPES, "*.conv1.*") == [n for n in SHAPES if ".conv1." in n and "noise_strength" not in n]
    assert select(SHAPES, "mapping.fc?.weight, *.const") == ["synthesis.b4.const", "mapping.fc0.weight"]
    assert select(SHAPES, "*.weight", exclude=["synthesis.*"]) == ["mapping.fc0.weight"]


@given(order=st.permutations(list(SHAPES)), patterns=st.permutations(["*.weight", "*.bias", "*.const"]))
def test_the_networks_own_order_is_kept(order, patterns):
    shapes = {name: SHAPES[name] for name in order}
    chosen = select(shapes, ",".join(patterns))
    assert chosen == [name for name in order if not name.endswith("noise_strength")]
    assert select(shapes) == [name for name in order if len(SHAPES[name]) >= 2]


@pytest.mark.parametrize(
    ("scope", "exclude", "culprit"),
    [
        ("*.wieght", (), "*.wieght"),
        ("*.weight,mapping.fc9.*", (), "mapping.fc9.*"),
        ("weights", ("*to_rgb*",), "*to_rgb*"),
        ("reference", ("*torgb*", "nothing"), "nothing"),
        ("weights", ("*TORGB*",), "*TORGB*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_that_lists_the_names(scope, exclude, culprit):
    with pytest.raises(SelectionError) as caught:
        select(SHAPES, scope, exclude)
    assert repr(culprit) in str(caught.value)
    assert all(name in str(caught.value) for name in SHAPES)


def test_the_reference_codes_spelling_of_rgb_is_not_accepted_in_silence():
    with pytest.raises(SelectionError, match="to_rgb"):
        select_parameters(ReconfigurationConfig(exclude=("*to_rgb*",)), "G", SHAPES)


def test_excluding_everything_is_an_error_that_lists_what_was_in_scope():
    with pytest.raises(SelectionError) as caught:
        select(SHAPES, "weights", ["synthesis.*", "mapping.*"])
    message = str(caught.value)
    assert all((name in message) == (len(shape) >= 2) for name, shape in SHAPES.items())


@pytest.mark.parametrize("scope", ["weights", "", " , ", "*.noise_strength"])
def test_a_scope_that_holds_nothing_is_an_error_that_lists_the_names(scope):
    shapes = {name: shape for name, shape in SHAPES.items() if len(shape) < 2}
    with pytest.raises(SelectionError) as caught:
        select(shapes, scope)
    assert all(name in str(caught.value) for name in shapes)


def test_long_lists_of_names_are_shortened_and_counted():
    shapes = {f"layer{i}.weight": (2, 2) for i in range(40)}
    with pytest.raises(SelectionError, match="40 in all") as caught:
        select(shapes, "nothing")
    assert "layer0.weight" in str(caught.value) and "layer39.weight" not in str(caught.value)


def test_tensors_that_would_lose_a_whole_channel_stay_dense_and_are_an_error_only_where_all_would():
    """The embedding of one class, [512, 1], cannot be pruned at any ratio."""
    shapes = {"wide.weight": (4, 100), "narrow.weight": (10, 4), "embed.weight": (512, 1), "bias": (4,)}
    for ratio, pruned, dense in ((0.75, 2, {"embed.weight"}), (0.9, 1, {"narrow.weight", "embed.weight"})):
        config = ReconfigurationConfig(ratio=ratio)
        assert select_parameters(config, "G", shapes) == list(shapes)[:pruned]
        assert left_dense(config, "G", shapes) == {name: shapes[name] for name in dense}
    with pytest.raises(
        ValueError, match=r"^ratio 0.995 .* all 3 selected tensors of G; the highest ratio is 0.99, for wide.weight"
    ):
        select_parameters(ReconfigurationConfig(ratio=0.995), "G", shapes)


def test_thin_tensors_of_the_mapping_network_stay_dense_with_channels_too():
    shapes = {**SHAPES, "mapping.embed.weight": (16, 1)}
    settings = dict(ratio=0.6, granularity="channel", channel_multiple=1, channel_min=1)
    dense = select_parameters(ReconfigurationConfig(**settings), "G", shapes)
    config = ReconfigurationConfig(**settings, mapping="weight")
    added = [name for name in select_parameters(config, "G", shapes) if name not in dense]
    assert added == [name for name in SHAPES if name.startswith("mapping.") and len(SHAPES[name]) > 1]
    assert left_dense(config, "G", shapes) == {"mapping.embed.weight": (16, 1)}
    with pytest.raises(ValueError, match=r"^ratio 0.9999 .* of G; the highest ratio is "):
        select_parameters(ReconfigurationConfig(**{**settings, "ratio": 0.9999}, mapping="weight"), "G", shapes)


@pytest.mark.parametrize(
    "network, rgb",
    [
        ("G", "synthesis.b8.torgb.weight"),
        ("G", "to_rgbs.0.conv.weight"),
        ("G", "synthesis.L14_256_3.weight"),
        ("G", "synthesis.to_big.1.weight"),
        ("G", "Model.AggregationLayer.Layer.weight"),
        ("D", "b16.fromrgb.weight"),
        ("D", "Model.ExtractionLayer.Layer.weight"),
    ],
)
def test_rgb_layers_of_the_known_families_stay_dense(network, rgb):
    shapes = {"synthesis.L13_256_64.weight": (16, 16), rgb: (3, 16)}
    config = ReconfigurationConfig(target=network)
    assert knows_rgb(config, network, shapes)
    assert select_parameters(config, network, shapes) == ["synthesis.L13_256_64.weight"]


def test_unknown_rgb_layers_have_to_be_named():
    shapes = {"main.0.weight": (16, 16), "main.3.weight": (3, 16)}
    with pytest.raises(SelectionError, match=r"^exclude has to name .*torgb.*or none to prune them too.*main\.3\.weight"):
        check_rgb(ReconfigurationConfig(), "G", list(shapes))
    for settings in (dict(exclude=()), dict(exclude=("main.3.*",)), dict(granularity="channel")):
        check_rgb(ReconfigurationConfig(**settings), "G", list(shapes))


def test_shapes_of_a_module_come_in_its_own_order():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.Linear(6, 7, bias=False))
    assert list(parameter_shapes(module).items()) == [
        ("0.weight", (4, 3, 5, 5)),
        ("0.bias", (4,)),
        ("1.weight", (7, 6)),
    ]
