"""What a run cost: measured and counted values against computations of their own, and what is said at a run's end."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.run_folders import HOOK, make_run, tick, ticks_of_one_kimg
from support.runs import REGAN, SMALL, Run

from regan_ext.runs.cost import Theory, measure
from regan_ext.runs.folder import read_run
from regan_ext.runs.summary import summary, tell
from training_hooks.core.schedule import Phase, Schedule
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.cost import describe_cost

SCHEDULE, BATCH = Schedule(100, 200), 10  # of HOOK
NOTHING = Theory(*[math.nan] * 6, {}, {})
THEORY: Dict[str, Any] = {
    "generator_gmacs": 2.0,
    "sparse_generator_gmacs": 1.25,
    "run_pflops": 30.0,
    "dense_run_pflops": 40.0,
    "channels": {"synthesis.b4.conv1": [48, 64]},
    "layers": {
        "synthesis.b4.conv1": {"dense": 1200, "weights": 840, "channels": 675},
        "synthesis.b4.torgb": {"dense": 0.064, "weights": 0.064, "channels": 1.2e-05},
    },
}


# ---------------------------------------------------------------- measured


def timed_ticks(seconds: List[float], length: int) -> List[Dict[str, Any]]:
    """Ticks of a run whose iterations took ``seconds``, as the timer reports them and the host's statistics repeat them."""
    lines = [tick(0, BATCH / 1000, BATCH / 1000, 9000.0)]
    means: Dict[str, float] = {}
    for number, begin in enumerate(range(1, len(seconds) - length + 1, length), 1):
        for phase in Phase:
            timed = [seconds[i] for i in range(begin, begin + length - 1) if SCHEDULE.span(i).phase == phase]
            if timed:
                means[f"ReGAN__sec_{phase.name.lower()}"] = math.fsum(timed) / len(timed)
        lines.append(tick(number, (begin + length) * BATCH / 1000, length * BATCH / 1000, 50.0, **means))
    return lines


@pytest.mark.parametrize("length", [2, 50, 73, 400])  # with 50, phases begin with the last iteration of a tick
def test_timed_paces_are_the_means_over_all_measured_iterations(tmp_path: Path, length: int) -> None:
    draw = random.Random(length)
    seconds = [draw.uniform(0.5, 1.5) * (1 + (SCHEDULE.span(i).phase == Phase.SPARSE)) for i in range(900)]
    cost = measure(read_run(make_run(tmp_path / "run", timed_ticks(seconds, length), HOOK)))
    ends = range(length, 900, length)
    measured = [i for i in range(1, max(ends) + 1) if i not in ends]
    for phase in Phase:
        expected = [seconds[i] for i in measured if SCHEDULE.span(i).phase == phase]
        assert cost.paces[phase].iterations == len(expected)
        if expected:
            assert cost.paces[phase].sec_per_iteration == pytest.approx(math.fsum(expected) / len(expected))
            assert min(expected) <= cost.paces[phase].fastest <= cost.paces[phase].slowest <= max(expected)
    sparse, dense = cost.paces[Phase.SPARSE].sec_per_iteration, cost.paces[Phase.DENSE].sec_per_iteration
    assert cost.is_timed and cost.sparse_over_dense == sparse / dense and 1.5 < cost.sparse_over_dense < 2.5


def test_without_a_timer_the_ticks_inside_phases_are_measured(tmp_path: Path) -> None:
    length = 70
    lines, expected = [tick(0, 0.01, 0.01, 9000.0, ReGAN__hook_ms=9e9)], {phase: [] for phase in Phase}
    hook_ms, all_sec = 0.0, 0.0
    for number in range(1, 13):
        begin, end = 1 + (number - 1) * length, 1 + number * length
        pace, cost = 5.0 + number, 0.25 * number
        lines.append(tick(number, end * BATCH / 1000, length * BATCH / 1000, pace, ReGAN__hook_ms=cost, ReGAN__flops_ratio=0.5))
        phases = {SCHEDULE.span(iteration).phase for iteration in range(begin, end)}
        # Two phases of one kind are never neighbours, so one kind means one phase.
        if len(phases) == 1:
            expected[phases.pop()].append(pace * BATCH / 1000)
        hook_ms += cost * length
        all_sec += pace * length * BATCH / 1000
    cost_of_run = measure(read_run(make_run(tmp_path / "run", lines, HOOK)))
    assert not cost_of_run.is_timed and cost_of_run.theory == pytest.approx(NOTHING, nan_ok=True)
    assert all(expected.values()) and sum(map(len, expected.values())) < 12
    for phase, paces in expected.items():
        found = cost_of_run.paces[phase]
        assert (found.ticks, found.iterations) == (len(paces), len(paces) * length)
        assert found.sec_per_iteration == pytest.approx(sum(paces) / len(paces))
        assert (found.fastest, found.slowest) == pytest.approx((min(paces), max(paces)))
    assert cost_of_run.hook_percent == pytest.approx(100 * hook_ms / 1000 / all_sec)
    assert cost_of_run.sec_per_kimg == pytest.approx(all_sec / (12 * length * BATCH / 1000))
    assert cost_of_run.flops_ratio == 0.5 and cost_of_run.total_sec == lines[-1]["Timing/total_sec"]["mean"]


def test_cost_of_a_plain_run(tmp_path: Path) -> None:
    cost = measure(read_run(make_run(tmp_path / "run", ticks_of_one_kimg(4))))
    assert cost.flops_ratio == 1 and math.isnan(cost.hook_percent) and cost.sec_per_kimg == pytest.approx(10)
    assert cost.paces[None].sec_per_iteration == pytest.approx(0.1) and cost.paces[None].iterations == 300
    assert all(cost.paces[phase].ticks == 0 for phase in Phase) and math.isnan(cost.sparse_over_dense)


def test_paces_of_the_real_loop_add_up_to_its_time(regan_run: Run) -> None:
    cost = measure(read_run(regan_run.folder))
    # Two ticks: iteration 0, and 1 to 62 of which the timer leaves out the last.
    assert [cost.paces[phase].iterations for phase in Phase] == [9, 30, 22] and cost.is_timed
    timed = math.fsum(pace.sec_per_iteration * pace.iterations for pace in cost.paces.values() if pace.ticks)
    whole = regan_run.stats[-1]["Timing/sec_per_tick"]["mean"]
    assert 0.5 * whole < timed <= whole


# ---------------------------------------------------------------- theory


def test_theory_is_read_from_the_plan(tmp_path: Path) -> None:
    theory = measure(read_run(make_run(tmp_path / "run", [], {**HOOK, "plan": {"theory": THEORY}}))).theory
    assert (theory.sparse_over_dense, theory.run_over_dense) == (0.625, 0.75)
    assert theory.channels == {"synthesis.b4.conv1": "48 of 64"}
    assert theory.layers == {"synthesis.b4.conv1": (1200, 840, 675), "synthesis.b4.torgb": (0.064, 0.064, 1.2e-5)}


def test_theory_of_0_1_0_is_read_from_its_options(tmp_path: Path) -> None:
    """There, the plan was among the keyword arguments of the hook, and some of its numbers in sentences."""
    run = make_run(tmp_path / "run", [])
    layers = {
        "synthesis.b4.conv1": "dense 1200, weights 840, channels 675",
        "synthesis.b4.torgb": "dense 0.064, weights 0.064, channels 1.2e-05",
    }
    theory = {**THEORY, "layers": layers, "channels": {"synthesis.b4.conv1": "48 of 64"}}
    hook = {"class_name": "training_hooks.reconfiguration.Reconfiguration", "ratio": 0.3, "interval": 200, "rule": "quantile"}
    options = json.loads((run / "training_options.json").read_text())
    plan = {"iterations": 900, "batch_size": 10, "theory": theory}
    options["loss_kwargs"] = {"inner": options["loss_kwargs"], "hooks": [{**hook, "plan": plan}]}
    (run / "training_options.json").write_text(json.dumps(options))
    read = read_run(run)
    assert (
        measure(read).theory == measure(read_run(make_run(tmp_path / "new", [], {**HOOK, "plan": {"theory": THEORY}}))).theory
    )
    assert read.config == ReconfigurationConfig(ratio=0.3, interval=200, quirks=("quantile",)) and read.iterations == 900


@pytest.mark.parametrize(
    "theory",
    [None, [], "x", {"generator_gmacs": None, "run_pflops": "many", "channels": [], "layers": 3}, {"generator_gmacs": 0}],
)
def test_theory_of_another_version_is_not_known(tmp_path: Path, theory: Any) -> None:
    found = measure(read_run(make_run(tmp_path / "run", [], {**HOOK, "plan": {"theory": theory}}))).theory
    assert math.isnan(found.sparse_over_dense) and math.isnan(found.run_over_dense) and not found.channels and not found.layers
    odd = {**THEORY, "layers": {"a": {"dense": 1}, "b": {"dense": 1e999, "weights": "-", "channels": 2}, "c": None}}
    layers = measure(read_run(make_run(tmp_path / "odd", [], {**HOOK, "plan": {"theory": odd}}))).theory.layers
    assert [[count for count in layers[name] if math.isfinite(count)] for name in "abc"] == [[1], [2], []]


SHAPES = {
    "mapping.fc0.weight": (8, 8),
    "mapping.fc0.bias": (8,),
    "synthesis.b4.const": (32, 4, 4),
    "synthesis.b4.conv1.weight": (32, 32, 3, 3),
    "synthesis.b4.conv1.affine.weight": (32, 8),
    "synthesis.b4.torgb.weight": (3, 32, 1, 1),
    "synthesis.b4.torgb.affine.weight": (32, 8),
    "synthesis.b8.conv0.weight": (32, 32, 3, 3),
    "synthesis.b8.conv0.affine.weight": (32, 8),
    "synthesis.b8.conv1.weight": (32, 32, 3, 3),
    "synthesis.b8.conv1.affine.weight": (32, 8),
}
CRITIC = {"b8.fromrgb.weight": (32, 3, 1, 1)}
BY_HAND = {  # mega-multiply–accumulates: dense, 0.7 of the weights, 24 of 32 channels
    "mapping.fc0": (64, 64 * 0.7, 64),
    "synthesis.b4.conv1": (32 * 32 * 9 * 16 + 256, (32 * 32 * 9 * 16 + 256) * 0.7, 24 * 24 * 9 * 16 + 24 * 8),
    "synthesis.b4.torgb": (3 * 32 * 16 + 256, 3 * 32 * 16 + 256, 3 * 24 * 16 + 24 * 8),
    "synthesis.b8.conv0": (32 * 32 * 9 * 16 + 256, (32 * 32 * 9 * 16 + 256) * 0.7, 24 * 24 * 9 * 16 + 24 * 8),
    "synthesis.b8.conv1": (32 * 32 * 9 * 64 + 256, (32 * 32 * 9 * 64 + 256) * 0.7, 24 * 24 * 9 * 64 + 24 * 8),
}


@pytest.mark.parametrize("granularity, column", [("weight", 1), ("channel", 2)])
def test_layers_are_counted_at_both_granularities(tmp_path: Path, granularity: str, column: int) -> None:
    config = ReconfigurationConfig(0.3, granularity=granularity)
    told = describe_cost(config, SHAPES, CRITIC, batch=BATCH, total=900)
    theory = measure(read_run(make_run(tmp_path / "run", [], {**HOOK, "plan": {"theory": told}}))).theory
    assert set(theory.layers) == set(BY_HAND)
    for name, counts in BY_HAND.items():
        assert theory.layers[name] == pytest.approx([count / 1e6 for count in counts], rel=1e-3), name
    assert theory.dense_gmacs == pytest.approx(sum(counts[0] for counts in BY_HAND.values()) / 1e9, rel=1e-3)
    assert theory.sparse_gmacs == pytest.approx(sum(counts[column] for counts in BY_HAND.values()) / 1e9, rel=1e-3)
    assert bool(theory.channels) == (granularity == "channel")


def test_a_granularity_that_does_not_fit_is_not_counted() -> None:
    narrow = {name: tuple(8 if size == 32 else size for size in shape) for name, shape in SHAPES.items()}
    told = describe_cost(ReconfigurationConfig(0.3), narrow, CRITIC, batch=BATCH, total=900)
    assert told["layers"]["synthesis.b4.conv1"] == {"dense": 0.00928, "weights": 0.006496}
    critic = {**CRITIC, "b8.conv0.weight": (32, 32, 3, 3)}
    of_critic = describe_cost(ReconfigurationConfig(0.3, target="D"), SHAPES, critic, batch=BATCH, total=900)
    assert "layers" not in of_critic and of_critic["generator_gmacs"] == of_critic["sparse_generator_gmacs"]
    image, convolution = 3 * 32 * 64, 32 * 32 * 9 * 64
    assert of_critic["discriminator_gmacs"] == pytest.approx((image + convolution) / 1e9, rel=1e-3)
    assert of_critic["sparse_discriminator_gmacs"] == pytest.approx((image + 0.7 * convolution) / 1e9, rel=1e-3)


# ---------------------------------------------------------------- the end of a run


def test_summary_says_what_was_measured_and_what_was_counted(tmp_path: Path) -> None:
    timers = {"ReGAN__sec_warmup": 0.1, "ReGAN__sec_sparse": 0.09, "ReGAN__sec_dense": 0.12, "ReGAN__hook_ms": 0.5}
    run = make_run(tmp_path / "a run", ticks_of_one_kimg(9, **timers), {**HOOK, "plan": {"theory": THEORY}})
    assert summary(run) == [
        "Measured per iteration: 0.09 s sparse, 0.12 s dense, 0.1 s warm-up; sparse / dense = 0.75.",
        "Measured share of the hook: 0.5 % of the time.",
        "Theory: a forward pass of G takes 1.25 GMACs sparse, 2 dense; sparse / dense = 0.625. The planned run: 30 PFLOPs, 40 "
        "if it were dense; run / dense = 0.75.",
        f"Run folder: {run}",
        f"A page about it: regan-ext report '{run}'",
    ]


def test_summary_counts_a_discriminator_that_is_reconfigured(tmp_path: Path) -> None:
    theory = {**THEORY, "discriminator_gmacs": 4.0, "sparse_discriminator_gmacs": 2.0}
    run = make_run(tmp_path / "run", ticks_of_one_kimg(1), {**HOOK, "target": "both", "plan": {"theory": theory}})
    (line,) = (line for line in summary(run) if line.startswith("Theory"))
    assert "a forward pass of G takes 1.25 GMACs sparse, 2 dense; sparse / dense = 0.625. One of D takes 2 GMACs sparse" in line


def test_summary_says_whose_phases_they_are_where_networks_take_turns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(1), {**HOOK, "target": "both", "phases_d": "in-turn"})
    assert "Here the phases are those of G; D is sparse where G is dense, the warm-up excepted." in summary(run)


def test_summary_of_a_run_that_was_stopped_at_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(1), HOOK)
    assert summary(run)[0] == "Measured: nothing, the run was too short for it."
    assert not [line for line in summary(run) if line.startswith("Theory") or "nan" in line]


def test_folder_that_cannot_be_read_does_not_fail_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file"):
        tell(folder)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("What the run cost cannot be told: ") and str(folder) in line


def test_run_ends_with_its_cost(regan_run: Run) -> None:
    lines = regan_run.output.splitlines()[-5:]
    starts = ["Measured per iteration: ", "Measured share of the hook: ", "Theory: ", "Run folder: ", "A page about it: "]
    assert [line[: len(start)] for line, start in zip(lines, starts)] == starts
    assert lines == summary(regan_run.folder) and lines[-1].endswith(f"regan-ext report {regan_run.folder}")


def test_dry_run_has_no_cost(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from regan_ext.cli import main

    arguments = ["train", "--host=embedded", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}", *SMALL, *REGAN, "-n"]
    with pytest.raises(SystemExit) as stop:
        main.main(args=arguments, prog_name="regan-ext")
    output = capsys.readouterr().out
    assert not stop.value.code and output.rstrip().endswith("Dry run; exiting.")
