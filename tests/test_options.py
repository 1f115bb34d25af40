"""From option values to a configuration, and what is said of values that make none."""

from __future__ import annotations

import copy
import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from regan_ext.train import options
from training_hooks.core.schedule import Length, Phase
from training_hooks.methods.regan import METHOD
from training_hooks.methods.regan.config import PRESETS, QUIRKS, ReconfigurationConfig

FIELDS = {each.name: METHOD.flag(each.name) for each in METHOD.settings}
NEEDY = {each.name: each.needs for each in METHOD.settings if each.needs is not None}
BEYOND = {"score", "turnover", "regrow"}  # what the published code's quirks do not go with
# Option → (text, value of the configuration's field), each other than every preset's and the default.
EXAMPLES = {
    "ratio": ("0.45", 0.45),
    "interval": ("77", 77),
    "warmup": ("13", 13),
    "lr_scale": ("0.5", 0.5),
    "target": ("D", "D"),
    "ratio_d": ("0.1:0.5", "0.1:0.5"),
    "phases_d": ("in-turn", "in-turn"),
    "scope": ("synthesis.b?.*", "synthesis.b?.*"),
    "exclude": ("*.const, *torgb*", ("*.const", "*torgb*")),
    "score": ("change", "change"),
    "turnover": ("0.1", 0.1),
    "regrow": ("initial", "initial"),
    "regrow_scale": ("0.5", 0.5),
    "moments": ("restore", "restore"),
    "ema": ("off", "off"),
    "finish": ("sparse", "sparse"),
    "granularity": ("channel", "channel"),
    "channel_multiple": ("4", 4),
    "channel_min": ("2", 2),
    "importance": ("both", "both"),
    "mapping": ("weight", "weight"),
    "quirks": ("quantile, late", ("quantile", "late")),
}


def run(*arguments, batch=32, of_host=()):
    """What a command of a host with some options of its own does with ours; prints the configuration as JSON."""

    def callback(**values):
        request = options.resolve(values)
        settings = request.methods.get("regan")
        config = None if settings is None else options.configuration(METHOD, settings, batch, request).to_dict()
        click.echo(json.dumps({"config": config, "host": {each.name: values[each.name] for each in of_host}}))

    command = click.Command("train", params=[*of_host, *options.click_options()], callback=callback)
    return CliRunner().invoke(command, arguments)


def configured(*arguments, batch=32):
    result = run(*arguments, batch=batch)
    assert result.exit_code == 0, result.output
    values = json.loads(result.output)["config"]
    return values if values is None else ReconfigurationConfig.from_dict(values)


def refusal(*arguments, batch=32):
    """The last line of output of a refused command."""
    result = run(*arguments, batch=batch)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)  # no traceback
    return result.output.strip().splitlines()[-1]


# -------------------------------------------------------------------- on and off


def test_without_options_nothing_is_on():
    assert configured() is None
    assert options.resolve({}) == options.Request()


def test_the_hosts_own_options_do_not_switch_the_method_on():
    values = {"device": "cpu", "batch_gpu": 4, "cbase": 1024, "cmax": 32, "tick": 2}
    assert options.resolve(values) == options.Request(device="cpu", loop={k: v for k, v in values.items() if k != "device"})


def test_a_ratio_alone_is_the_papers_method_at_that_ratio():
    assert configured("--regan-ratio=0.1") == ReconfigurationConfig(ratio=0.1)


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "ratio"])
def test_an_option_without_ratio_or_preset_is_refused(field):
    text = EXAMPLES[field][0]
    message = refusal(f"{FIELDS[field]}={text}")
    assert FIELDS[field] in message and "--regan-ratio" in message and "--regan-preset" in message


# -------------------------------------------------------------------- presets


def test_the_papers_preset():
    assert configured("--regan-preset=paper") == ReconfigurationConfig(
        ratio=0.3, interval=100, warmup=0, lr_scale=0.1, target="G", finish="dense"
    )


@pytest.mark.parametrize("batch", [4, 32])
def test_the_reference_codes_preset_is_in_iterations_whatever_the_batch(batch):
    assert configured("--regan-preset=reference", batch=batch) == ReconfigurationConfig(
        ratio=0.3,
        interval=5000,
        warmup=10000,
        scope="reference",
        quirks=tuple(QUIRKS),
    )


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("granularity", *NEEDY)])
def test_a_given_option_wins_over_the_preset_and_changes_nothing_else(preset, field):
    plain = configured(f"--regan-preset={preset}").to_dict()
    text, value = EXAMPLES[field]
    if (field in BEYOND and plain["quirks"]) or (field == "quirks" and plain["score"] != "magnitude"):
        assert "quirks" in refusal(f"{FIELDS[field]}={text}", f"--regan-preset={preset}")
        return
    changed = configured(f"{FIELDS[field]}={text}", f"--regan-preset={preset}").to_dict()
    assert plain[field] != changed[field]
    expected = {**plain, field: list(value) if isinstance(value, tuple) else value}
    assert changed == expected


def test_a_preset_stands_in_for_options_that_the_host_requires():
    required = [click.Option([f"--{name}"], type=kind, required=True) for name, kind in (("gamma", float), ("batch", int))]
    for arguments in (["--regan-preset=few-shot"], ["--gamma=2", "--regan-preset=few-shot"]):
        values = json.loads(run(*arguments, of_host=required).output)["host"]
        assert values == {"gamma": 2.0 if "--gamma=2" in arguments else 10.0, "batch": 16}
    for arguments in (["--regan-ratio=0.3"], ["--regan-preset=paper"]):
        result = run(*arguments, of_host=required)
        assert result.exit_code == 2 and "Missing option '--gamma'" in result.output


@pytest.mark.parametrize("arguments, preset", [
    (["--regan-preset=reference", "--regan-score=saliency"], "the preset reference sets --regan-quirks"),
    (["--regan-preset=explore", "--regan-quirks=late"], "the preset explore sets --regan-score, --regan-regrow"),
    (["--regan-preset=explore", "--regan-ratio=0.6", "--regan-turnover=0.9"], None),
])  # fmt: skip
def test_an_error_names_what_a_preset_has_set(arguments, preset):
    line = refusal(*arguments)
    assert line.endswith(preset) if preset else "the preset" not in line


@pytest.mark.parametrize("field", NEEDY)
def test_an_option_needs_what_it_belongs_to(field):
    flag, (text, value), (other, needed) = FIELDS[field], EXAMPLES[field], NEEDY[field][:2]
    assert flag in refusal("--regan-preset=paper", f"{flag}={text}")
    config = configured("--regan-preset=paper", f"{FIELDS[other]}={needed}", f"{flag}={text}")
    assert getattr(config, field) == value and getattr(config, other) == needed


@pytest.mark.parametrize(
    "text, value, sparse, dense", [("3", 3.0, 1, 3), ("1:0.1", 0.1, 1, 0.1), ("0.5:2", "0.5:2", 0.5, 2), ("2:1", "2:1", 2, 1)]
)
def test_learning_rates_of_both_kinds_of_phases(text, value, sparse, dense):
    config = configured("--regan-ratio=0.3", f"--regan-lr-scale={text}")
    assert config.lr_scale == value and ReconfigurationConfig(lr_scale=text) == ReconfigurationConfig(lr_scale=value)
    assert [config.scale(phase) for phase in Phase] == [1, sparse, dense]


@pytest.mark.parametrize(
    "given, told",
    [
        (["--regan-score=size"], "--regan-score"),
        (["--regan-turnover=1"], "--regan-turnover"),
        (["--regan-ratio=0.6", "--regan-turnover=0.7"], "--regan-turnover"),
        (["--regan-score=none", "--regan-turnover=0.1"], "--regan-turnover"),
        (["--regan-regrow=random", "--regan-granularity=channel"], "--regan-regrow"),
        (["--regan-target=D", "--regan-ratio-d=0:1"], "--regan-ratio-d"),
        (["--regan-target=D", "--regan-ratio-d=half"], "--regan-ratio-d"),
        (["--regan-target=both", "--regan-ratio-d=0:0.5", "--regan-turnover=0.1"], "--regan-turnover"),
        (["--regan-regrow=initial", "--regan-granularity=channel"], "--regan-regrow"),
        (["--regan-regrow-scale=-1", "--regan-regrow=random"], "--regan-regrow-scale"),
        (["--regan-lr-scale=1:2:3"], "--regan-lr-scale"),
        (["--regan-lr-scale=fast"], "--regan-lr-scale"),
        (["--regan-lr-scale=0:1"], "--regan-lr-scale"),
    ],
)
def test_what_cannot_explore_is_refused(given, told):
    assert told in refusal("--regan-ratio=0.3", *given)


def test_the_reference_preset_has_no_channels():
    assert "--regan-granularity" in refusal("--regan-preset=reference", "--regan-granularity=channel")


def test_presets_are_not_changed_by_what_is_asked_for():
    before = {name: copy.deepcopy(preset) for name, preset in PRESETS.items()}
    configured("--regan-preset=reference", "--regan-ratio=0.9", "--regan-exclude=none")
    assert before == PRESETS


# -------------------------------------------------------------------- values


@given(kimg=st.integers(1, 500), batch=st.integers(1, 256))
def test_lengths_in_kimg_become_iterations_of_the_batch(kimg, batch):
    settings = options.resolve({"regan_ratio": 0.3, "regan_interval": Length(kimg, "kimg")}).methods["regan"]
    config = options.configuration(METHOD, settings, batch)
    assert abs(config.interval * batch - kimg * 1000) <= batch / 2


def test_lengths_in_both_units():
    config = configured("--regan-ratio=0.3", "--regan-interval=5kimg", "--regan-warmup=200it", batch=50)
    assert (config.interval, config.warmup) == (100, 200)


def test_a_warmup_of_zero_is_no_warmup_in_either_unit():
    assert configured("--regan-ratio=0.3", "--regan-warmup=0kimg").warmup == 0
    assert configured("--regan-preset=reference", "--regan-warmup=0").warmup == 0


def test_an_interval_below_one_kimg_is_an_interval():
    assert configured("--regan-ratio=0.3", "--regan-interval=0.5kimg", batch=10).interval == 50


def test_an_empty_part_of_an_exclusion_is_no_pattern():
    assert configured("--regan-ratio=0.3", "--regan-exclude=a*,").exclude == ("a*",)


@pytest.mark.parametrize("text", ["none", "None", "NONE"])
def test_an_exclusion_of_none_leaves_nothing_out(text):
    assert configured("--regan-ratio=0.3", f"--regan-exclude={text}").exclude == ()


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
@pytest.mark.parametrize("flag", ["--regan-exclude", "--regan-quirks", "--DiffAugment", "--hook"])
def test_an_empty_value_is_refused_and_none_is_told_where_it_is_one(flag, text):
    message = refusal("--regan-ratio=0.3", f"{flag}={text}")
    assert flag in message and "is empty; none" in message


@pytest.mark.parametrize("flag", ["--regan-preset", "--regan-quirks", "--DiffAugment", "--hook"])
def test_none_is_what_the_default_of_none_is(flag):
    (option,) = [option for option in options.click_options() if option.opts[0] == flag]
    assert "[default: none]" in option.help
    assert run(f"{flag}=none", "--regan-ratio=0.3").output == run("--regan-ratio=0.3").output


@pytest.mark.parametrize(
    "option", [o.opts[0] for o in options.click_options() if o.opts[0] != "--regan-scope"]
)  # a network says
def test_no_option_takes_an_empty_value(option):
    assert option in refusal("--regan-ratio=0.3", "--regan-granularity=channel", f"{option}=")


def test_what_is_off_has_no_settings():
    for switch, setting, told in (
        ({"advaug": ()}, {"advaug_noise": 1.0}, "--advaug-noise does nothing beside --advaug=none, which is off"),
        (
            {"ticket_init": ""},
            {"ticket_transfer": True},
            "--ticket-transfer does nothing beside --ticket-init=none, which is off",
        ),
    ):
        assert not options.resolve(switch).methods
        with pytest.raises(click.UsageError, match=told):
            options.resolve({**switch, **setting})


def test_a_ratio_of_zero_is_off_and_says_what_does_nothing(capsys):
    assert not options.resolve({"regan_ratio": 0.0, "regan_interval": Length(5, "it")}).methods
    assert capsys.readouterr().err == "Note: --regan-ratio=0 is off, so --regan-interval does nothing.\n"


def test_a_ratio_of_zero_is_off():
    assert configured("--regan-ratio=0") is None
    assert configured("--regan-preset=few-shot", "--regan-ratio=0") is None


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--regan-preset", "best"),
        ("--regan-ratio", "1"),
        ("--regan-ratio", "-0.1"),
        ("--regan-ratio", "nan"),
        ("--regan-ratio", "30%"),
        ("--regan-interval", "0"),
        ("--regan-interval", "1.5"),
        ("--regan-interval", "5epochs"),
        ("--regan-interval", "9" * 400),
        ("--regan-interval", "0.001kimg"),
        ("--regan-warmup", "-1"),
        ("--regan-warmup", "0.001kimg"),
        ("--regan-lr-scale", "0"),
        ("--regan-lr-scale", "nan"),
        ("--regan-target", "E"),
        ("--regan-quirks", "median"),
        ("--regan-quirks", "late,late"),
        ("--regan-moments", "forget"),
        ("--regan-ema", "on"),
        ("--regan-finish", "wet"),
        ("--device", "tpu"),
        ("--batch-gpu", "0"),
        ("--cbase", "x"),
        ("--cmax", "0"),
        ("--tick", "0"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_option(flag, value):
    message = refusal("--regan-ratio=0.3", f"{flag}={value}")
    assert message.startswith("Error: ")
    assert flag in message


def test_a_length_of_less_than_one_iteration_is_refused_with_the_batch():
    assert "200 images" in refusal("--regan-ratio=0.3", "--regan-warmup=0.05kimg", batch=200)


@pytest.mark.parametrize("field", ["ratio", "lr_scale", "interval", "warmup", "moments"])
def test_a_configuration_error_names_the_option_of_the_field(field):
    bad = {"ratio": 2.0, "lr_scale": -1.0, "interval": Length(0), "warmup": Length(-5), "moments": "none"}
    with pytest.raises(click.BadParameter) as caught:
        options.configuration(METHOD, {"ratio": 0.3, field: bad[field]}, batch_size=32)
    assert caught.value.exit_code == 2
    assert caught.value.param_hint == "--regan-" + field.replace("_", "-")


@pytest.mark.parametrize(
    "flag, quirk", [("--regan-rule", "quantile"), ("--regan-refresh", "refresh"), ("--regan-steps", "main-steps")]
)
@pytest.mark.parametrize("arguments", [[], ["--regan-ratio=0.3"]], ids=["alone", "with a ratio"])
def test_an_option_of_earlier_says_what_took_its_place(flag, quirk, arguments):
    command = click.Command("train", params=options.added_to([]), callback=lambda **values: options.resolve(values))
    result = CliRunner().invoke(command, [*arguments, f"{flag}=x"])
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert result.exit_code == 2 and f"No such option any more: {flag}" in line
    assert "--regan-preset=reference" in line and f"--regan-quirks={quirk}" in line
    assert flag not in CliRunner().invoke(command, ["--help"]).output


# -------------------------------------------------------------------- the table


def test_every_option_is_named_once_and_explained():
    names = [o.name for o in options.click_options()]
    assert len(set(names)) == len(names)
    assert all("[default: " in o.help for o in options.click_options())
    assert set(FIELDS.values()) <= {o.opts[0] for o in options.click_options()}


def test_every_setting_has_an_option_and_an_example():
    assert set(FIELDS) == set(ReconfigurationConfig().to_dict()) == set(EXAMPLES)


def test_configurations_survive_json():
    for preset in PRESETS:
        config = configured(f"--regan-preset={preset}", "--regan-exclude=a*,b")
        assert ReconfigurationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# ---------------------------------------------------------------- methods of one's own


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_module.Hook", ["no_such_module", "PYTHONPATH"]),
        ("training_hooks.core.hook.NoSuch", ["NoSuch"]),
        ("training_hooks.methods.diffaugment.hook.DiffAugment", ["without arguments: missing a required argument: 'policy'"]),
        ("pathlib.Path", ["pathlib.Path is not a subclass of training_hooks.core.hook.Hook"]),
        ("Hook", ["Hook"]),
        ("training_hooks.core.hook.Hook,", ["''"]),
        ("..", [".."]),
    ],
)
def test_a_hook_that_cannot_be_had(value: str, words: "list[str]") -> None:
    result = run(f"--hook={value}")
    assert result.exit_code == 2 and "--hook" in result.output and not isinstance(result.exception, ValueError)
    assert all(word in result.output for word in words), result.output


def test_hooks_of_a_module_of_ones_own(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_hooks.py").write_text(
        "from training_hooks.core.hook import Hook\nclass One(Hook): pass\nclass Two(Hook): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (parameter,) = (option for option in options.click_options() if option.name == "hook")
    names = parameter.type_cast_value(click.Context(click.Command("train")), "my_hooks.One, my_hooks:Two")
    assert names == ("my_hooks.One", "my_hooks.Two") == options.resolve({"hook": names}).own_hooks
