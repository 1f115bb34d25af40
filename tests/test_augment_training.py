"""DiffAugment, APA and the stability statistic inside the real training loop, alone and with everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import click
import pytest
import torch
from click.testing import CliRunner
from support.host_loops import hooked_loss, training_stats  # noqa: F401  the host's losses have it in their modules
from support.networks import assert_same, differing, load_networks
from support.runs import Run, resumed

from regan_ext.train import options
from training_hooks.core.hook import Hook, Round, Training
from training_hooks.nvidia import state as states
from training_hooks.nvidia.current import engine

# Targets at which both probabilities rise, and a pace at which they get somewhere: 17 iterations of 64
# images to the first kimg, at the end of which APA has counts that it has not acted on yet.
EVERYTHING = [
    "--DiffAugment=color,translation,cutout", "--apa", "--apa-target=-1", "--apa-kimg=2", "--apa-interval=3",
    "--stability=true", "--aug=ada", "--target=0", "--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=4", "--batch=64",
    "--cond=1",
]  # fmt: skip


def values(run: Run, name: str) -> List[float]:
    return [line[name]["mean"] for line in run.stats if name in line]


@pytest.fixture(scope="module")
def everything(train: Any) -> Run:
    """32 iterations with labels, ADA, DiffAugment, APA and Re-GAN."""
    return train(*EVERYTHING, "--kimg=2", mode="off")


def test_options_reach_the_run_and_its_name(everything: Run) -> None:
    settings = {hook.get("method"): hook.get("settings") for hook in everything.options["loss_kwargs"]["hooks"]}
    assert settings["diffaugment"] == {"policy": ["color", "translation", "cutout"]}
    assert settings["apa"] == {"target": -1, "kimg": 2, "interval": 3}
    assert settings["stability"] == {"images": 16, "seed": 0}
    assert everything.folder.name.endswith("-regan0.3-g10-diffaug-color-translation-cutout-apa-target-1-kimg2-interval3")


def test_statistics(everything: Run) -> None:
    # p moves by 64 · 3 / 2000 before iterations 3, 6, ... unless D calls every real a fake; ticks end with 0, 16 and 31.
    moves = [p / 0.096 for p in values(everything, "APA/p")]
    assert moves == pytest.approx([round(n) for n in moves]) and moves[0] == 0 and 2 < moves[1] < 5.1 < moves[2] < 10.1
    first, second, third = values(everything, "APA/replaced")
    assert first == 0 and 0.1 < second < 0.4 < third < 0.9
    assert "Stability/mse" not in everything.stats[0]
    assert len(values(everything, "Stability/mse")) == 2 and min(values(everything, "Stability/mse")) > 1e-4
    assert values(everything, "Progress/augment")[-1] > 0


def test_snapshots_are_plain(everything: Run, host_dir: Path) -> None:
    content = everything.snapshot(2).read_bytes()
    for ours in (b"training_hooks", b"regan_ext", b"AugmentedPipe", b"run_and_remember"):
        assert ours not in content
    networks = load_networks(everything.snapshot(2), host_dir)
    assert set(networks) == {"training_set_kwargs", "G", "D", "G_ema", "augment_pipe"}
    assert type(networks["augment_pipe"]).__name__ == "AugmentPipe" and float(networks["augment_pipe"].p) > 0
    for name in ("G", "D", "G_ema", "augment_pipe"):
        for module in networks[name].modules():
            assert type(module).__module__.startswith(("torch", "training", "torch_utils")), type(module)
            assert not module._forward_hooks and not module._forward_pre_hooks


def test_stopped_and_resumed_equals_uninterrupted(everything: Run, tmp_path: Path, host_dir: Path) -> None:
    saved = states.load(states.state_path(everything.snapshot(1)))["hooks"]["apa"]
    assert saved["p"] > 0.2 and saved["logits"] > 0  # cut where APA has something to remember
    again = resumed(everything, everything.snapshot(1), tmp_path, [*EVERYTHING, "--kimg=2"])
    assert_same(everything, again, 2, host_dir)
    for name in ("APA/p", "APA/replaced", "Stability/mse"):
        assert values(again, name) == values(everything, name)[-1:]


def test_watching_stability_changes_nothing(train_tiny: Any, host_dir: Path) -> None:
    options = ["--regan-ratio=0.3", "--regan-interval=4", "--regan-warmup=4", "--batch-gpu=32", "--aug=ada"]
    unseen, run = (train_tiny(*options, *more, mode="off") for more in ([], ["--stability"]))
    assert differing(load_networks(unseen.snapshot(1), host_dir), load_networks(run.snapshot(1), host_dir)) == []
    one, two = (states.load(states.state_path(r.snapshot(1)))["ranks"][0]["random"]["torch"] for r in (unseen, run))
    assert torch.equal(one, two)
    assert run.folder.name == unseen.folder.name and len(values(run, "Stability/mse")) == 1


# ---------------------------------------------------------------- options


def asked(*arguments: str) -> "Tuple[options.Request, str]":
    """What the options mean, and what is said of them where they mean nothing."""
    got: List[Any] = [None]

    def callback(**values: Any) -> None:
        got[0] = options.resolve(values)

    result = CliRunner().invoke(click.Command("train", params=options.click_options(), callback=callback), arguments)
    return got[0], result.output


@pytest.mark.parametrize(
    "arguments, diffaugment, apa, stability",
    [
        ([], (), None, False),
        (["--DiffAugment=cutout,color"], ("cutout", "color"), None, False),
        (["--apa", "--stability"], (), {}, True),
        (["--apa=true", "--apa-target=0.5", "--apa-interval=8"], (), {"target": 0.5, "interval": 8}, False),
        (["--apa=false", "--stability=false"], (), None, False),
    ],
)
def test_options(arguments: List[str], diffaugment: Any, apa: Any, stability: bool) -> None:
    request, output = asked(*arguments)
    assert request is not None, output
    expected = {
        "diffaugment": {"policy": diffaugment} if diffaugment else None,
        "apa": apa,
        "stability": {} if stability else None,
    }
    assert request.methods == {name: settings for name, settings in expected.items() if settings is not None}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--DiffAugment=colour"], "'colour' is none of color, translation, cutout"),
        (["--DiffAugment=color,color"], "twice"),
        (["--apa-kimg=100"], "--apa-kimg needs --apa"),
        (["--apa", "--apa-target=1.5"], "1.5 is not in the range -1<=x<=1"),
        (["--apa", "--apa-interval=0"], "0 is not in the range"),
    ],
)
def test_options_that_mean_nothing(arguments: List[str], said: str) -> None:
    request, output = asked(*arguments)
    assert request is None and said in output and "Traceback" not in output


def test_a_host_with_an_option_of_that_name_keeps_its_own() -> None:
    """``attach`` leaves out what the host has, by the name that click gives to its parameter."""
    assert click.Option(["--DiffAugment"]).name == "diffaugment" and "diffaugment" in [
        option.name for option in options.click_options()
    ]


# ---------------------------------------------------------------- rounds


class Doubler(Hook):
    def __init__(self) -> None:
        self.rounds: List[Tuple[str, int]] = []

    def on_round(self, batch: Round) -> Round:
        self.rounds.append((batch.phase, batch.index))
        return Round(batch.phase, batch.index, batch.real_img * 2, batch.real_c, batch.gen_z, batch.gen_c)


class Inner:
    def accumulate_gradients(self, phase: str, real_img: Any, real_c: Any, gen_z: Any, gen_c: Any, sync: Any, gain: Any) -> Any:
        return phase, float(real_img), real_c, gen_z, gen_c, sync, gain


def test_hooks_see_every_round_and_change_what_it_computes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training_hooks.nvidia.current._engine", None)
    loss = hooked_loss(Inner, f"{__name__}.Doubler")
    (hook,) = engine().hooks
    assert isinstance(hook, Doubler)
    for phase in ("Gmain", "Dmain", "Dmain", "Dreg", "Gmain"):
        keywords = {"real_img": torch.ones([]), "real_c": "rc", "gen_z": "z", "gen_c": "gc", "sync": 1, "gain": 4}
        expected = (phase, 2.0, "rc", "z", "gc", 1, 4)
        assert loss.accumulate_gradients(phase=phase, **keywords) == expected
        assert loss.accumulate_gradients(phase, torch.ones([]), "rc", gen_z="z", gen_c="gc", sync=1, gain=4) == expected
        assert loss.accumulate_gradients(phase, *keywords.values()) == expected
    phases = ["Gmain"] * 3 + ["Dmain"] * 6 + ["Dreg"] * 3 + ["Gmain"] * 3
    assert hook.rounds == list(zip(phases, [0, 1, 2, *range(6), 0, 1, 2, 0, 1, 2]))
    batch = Round("Gmain", 0, torch.ones([]), None, torch.ones([]), None)
    assert Hook().on_round(batch) is batch
    assert Training({}, {}).stats is None  # outside a host
