"""Re-GAN inside the real training loop of the embedded host, 16x16 images, 63 iterations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.networks import differing, load_networks, selected
from support.processes import run_fresh_python
from support.runs import REGAN, Run

INTERVAL, WARMUP, ITERATIONS = 10, 10, 63


def events(run: Run, name: str, **wanted: Any) -> List[Dict[str, Any]]:
    return [r for r in run.records if r["event"] == name and all(r.get(k) == v for k, v in wanted.items())]


def is_sparse(iteration: int) -> bool:
    return iteration >= WARMUP and (iteration - WARMUP) // INTERVAL % 2 == 0


# ---------------------------------------------------------------- events


def test_one_event_per_iteration_although_there_are_two_rounds(regan_run: Run) -> None:
    assert regan_run.options["batch_gpu"] == 8 and regan_run.options["batch_size"] == 16
    assert [r["iteration"] for r in events(regan_run, "on_iteration")] == list(range(ITERATIONS))


def test_main_and_regularisation_steps_are_told_apart(regan_run: Run) -> None:
    main = [r["iteration"] for r in events(regan_run, "after_step", network="G", phase="Gmain")]
    regularisation = [r["iteration"] for r in events(regan_run, "after_step", network="G", phase="Greg")]
    assert main == list(range(ITERATIONS))
    assert regularisation == list(range(0, ITERATIONS, 4))
    assert len(events(regan_run, "before_step")) == len(events(regan_run, "after_step")) == len(main) + len(regularisation)


def test_report_and_tick_fire_once_per_tick(regan_run: Run) -> None:
    assert len(regan_run.stats) == 2
    assert len(events(regan_run, "on_report")) == len(events(regan_run, "on_tick")) == len(regan_run.stats)
    assert [line["Probe/one"]["num"] for line in regan_run.stats] == [1, 1]


# ---------------------------------------------------------------- masks


def test_pruned_weights_and_their_gradients_are_zero_through_every_step(regan_run: Run) -> None:
    steps = [r for r in events(regan_run, "after_step", network="G") if is_sparse(r["iteration"])]
    assert {r["phase"] for r in steps} == {"Gmain", "Greg"}
    assert all(r["leaks"] == 0 for r in steps)
    before = [r for r in events(regan_run, "before_step", network="G") if is_sparse(r["iteration"])]
    assert len(before) == len(steps)
    assert all(r["leaks"] == 0 and r["gradient_leaks"] == 0 and r["gradients"] > 0 for r in before)


def test_average_follows_the_masks_through_a_sparse_phase(regan_run: Run) -> None:
    inside = [r["G"] for r in events(regan_run, "on_iteration") if is_sparse(r["iteration"])]
    assert len(inside) == 30
    assert all(r["ema_leaks"] == 0 and r["pruned"] > 0 for r in inside)


def test_regrown_weights_start_at_zero_and_then_move(regan_run: Run) -> None:
    by_iteration = {r["iteration"]: r["G"] for r in events(regan_run, "on_iteration")}
    for first_dense in (20, 40, 60):
        assert not by_iteration[first_dense]["sparse"] and by_iteration[first_dense]["leaks"] == 0
        assert by_iteration[first_dense + 1]["leaks"] > 0.9 * by_iteration[first_dense + 1]["pruned"]


def test_masks_stay_through_a_phase(regan_run: Run) -> None:
    masks = {r["iteration"]: r["G"]["masks"] for r in events(regan_run, "on_iteration")}
    for start in (10, 30, 50):
        assert len({masks[i] for i in range(start, start + INTERVAL)}) == 1


def test_learning_rate_keeps_the_lazy_factor_and_drops_to_a_tenth_in_dense_phases(regan_run: Run) -> None:
    base = regan_run.options["G_opt_kwargs"]["lr"] * 4 / 5
    for record in events(regan_run, "on_iteration"):
        growing = record["iteration"] >= WARMUP and not is_sparse(record["iteration"])
        assert record["G"]["lr"] == pytest.approx(base * (0.1 if growing else 1.0), rel=1e-12)


# ---------------------------------------------------------------- what the user gets


def test_snapshot_of_a_sparse_phase_is_exactly_sparse(train: Any, host_dir: Path) -> None:
    run = train("--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=7", mode="off")
    networks = load_networks(run.snapshot(1), host_dir)
    for kind in ("G", "G_ema"):
        tensors = selected(networks[kind])
        assert len(tensors) > 10
        for name, tensor in tensors.items():
            assert int((tensor == 0).sum()) == math.floor(0.3 * tensor.numel()), (kind, name)
            alive = (tensor != 0).flatten(1).any(1)
            assert bool(alive.all()), f"{kind}.{name} has a channel of zeros"
    assert run.stats[-1]["ReGAN/phase"]["mean"] == 1
    zeros = sum(int((t == 0).sum()) for t in selected(networks["G"]).values())
    total = sum(t.numel() for t in selected(networks["G"]).values())
    assert run.stats[-1]["ReGAN/sparsity"]["mean"] == pytest.approx(zeros / total, abs=1e-6)


def test_statistics_of_a_tick(regan_run: Run) -> None:
    first, last = regan_run.stats
    values = {name: entry["mean"] for name, entry in last.items() if name.startswith("ReGAN/")}
    assert {entry["num"] for name, entry in last.items() if name.startswith("ReGAN/")} == {1}
    assert set(values) == {
        f"ReGAN/{name}"
        for name in ("phase", "cycle", "sparsity", "lr", "mask_change", "explored", "hook_ms", "flops_ratio",
                     "sec_warmup", "sec_sparse", "sec_dense",
                     *(f"{name}/{role}" for name in ("mask_change", "explored") for role in ("conv", "affine", "mapping")))
    }  # fmt: skip
    assert (first["ReGAN/phase"]["mean"], first["ReGAN/cycle"]["mean"], first["ReGAN/sparsity"]["mean"]) == (0, 0, 0)
    assert (values["ReGAN/phase"], values["ReGAN/cycle"]) == (2, 3)
    theory = regan_run.plan["theory"]
    sparse = theory["sparse_generator_gmacs"] / theory["generator_gmacs"]
    assert 0.7 < sparse < 0.72  # the RGB layers stay dense
    assert values["ReGAN/flops_ratio"] == pytest.approx(1 - (1 - sparse) * 30 / 63, abs=2e-4)
    assert all(values[f"ReGAN/sec_{phase}"] > 0 for phase in ("warmup", "sparse", "dense"))
    selected = {role: values[f"ReGAN/explored/{role}"] for role in ("conv", "affine", "mapping")}
    assert min(selected.values()) <= values["ReGAN/explored"] <= max(selected.values())
    assert 0.7 <= values["ReGAN/explored"] <= 1 and 0 <= values["ReGAN/mask_change"] <= 1
    assert values["ReGAN/hook_ms"] > 0


def test_statistics_reach_tensorboard(regan_run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(regan_run.folder))
    accumulator.Reload()
    assert [event.value for event in accumulator.Scalars("ReGAN/phase")] == [0.0, 2.0]


def test_snapshot_is_plain(regan_run: Run, host_dir: Path) -> None:
    """It opens and generates where the plugin cannot be imported, and its bytes never mention it."""
    content = regan_run.snapshot(1).read_bytes()
    assert b"regan" not in content and b"training_hooks" not in content
    code = (
        "import sys, pickle, torch\n"
        "sys.modules['regan_ext'] = sys.modules['training_hooks'] = None\n"
        f"sys.path.insert(0, {str(host_dir)!r})\n"
        "import dnnlib\n"
        f"data = pickle.load(open({str(regan_run.snapshot(1))!r}, 'rb'))\n"
        "assert set(data) == {'training_set_kwargs', 'G', 'D', 'G_ema', 'augment_pipe'}\n"
        "image = data['G_ema'](torch.randn(2, 512), None)\n"
        "assert image.shape == (2, 1, 16, 16) and bool(image.isfinite().all())\n"
        "print('generated')\n"
    )
    result = run_fresh_python(["-c", code])
    assert result.returncode == 0 and "generated" in result.stdout, result.stdout


def test_status_file_tells_where_the_run_is(regan_run: Run) -> None:
    status = json.loads((regan_run.folder / "regan-status.json").read_text())
    assert status["total"] == ITERATIONS and 0 < status["iteration"] < ITERATIONS
    assert status["sec_per_iteration"] > 0
    assert not list(regan_run.folder.glob("*.tmp"))


def test_host_warnings_are_shown_once(regan_run: Run) -> None:
    assert regan_run.output.count("UserWarning: grid_sample_gradfix not supported") == 1


# ---------------------------------------------------------------- off means off


@pytest.fixture(scope="module")
def pristine(train: Any, host_dir: Path) -> Dict[str, Any]:
    return load_networks(train(mode="pristine").snapshot(1), host_dir)


@pytest.mark.parametrize(
    "mode, options",
    [("off", []), ("off", ["--regan-ratio=0", "--regan-interval=10", "--states=0"]), ("noop", [])],
    ids=["no option", "ratio 0", "seams with a hook that does nothing"],
)
def test_without_a_method_the_run_is_the_hosts_own(
    train: Any, pristine: Dict[str, Any], host_dir: Path, mode: str, options: List[str]
) -> None:
    run = train(*options, "--aug=ada", mode=mode)
    assert differing(pristine, load_networks(run.snapshot(1), host_dir)) == []
    assert bool(list(run.folder.glob("regan-state-*.pt"))) == ("--states=0" not in options)


def test_with_the_method_every_network_differs(pristine: Dict[str, Any], regan_run: Run, host_dir: Path) -> None:
    changed = differing(pristine, load_networks(regan_run.snapshot(1), host_dir))
    assert {name.split(".")[0] for name in changed} == {"G", "D", "G_ema"}


# ---------------------------------------------------------------- the host's other options


def test_two_ranks_choose_the_same_masks(train: Any, host_dir: Path) -> None:
    run = train("--regan-ratio=0.3", "--regan-interval=4", "--regan-warmup=4", "--gpus=2", "--workers=1")
    chosen = {
        rank: [
            (r["iteration"], r["G"]["masks"], r["G"]["lr"])
            for r in run.records
            if r["event"] == "on_iteration" and r["rank"] == rank
        ]
        for rank in (0, 1)
    }
    assert len(chosen[0]) == 16 and chosen[0] == chosen[1]
    assert all(r["leaks"] == 0 for r in run.records if r["event"] == "after_step" and "leaks" in r)
    assert run.snapshot(1).is_file()


def test_discriminator_too_with_other_options_of_the_host(train: Any, host_dir: Path) -> None:
    """Both networks, quantile masks; conditional, no augmentation, frozen layers, no path length penalty."""
    run = train(
        *REGAN, "--regan-target=both", "--regan-quirks=quantile", "--regan-moments=restore", "--regan-finish=sparse",
        "--cond=1", "--cfg=cifar", "--freezed=1", "--aug=noaug", "--batch=32",
    )  # fmt: skip
    steps = [r for r in events(run, "after_step") if "leaks" in r]
    assert {r["network"] for r in steps} == {"G", "D"} and all(r["leaks"] == 0 for r in steps)
    networks = load_networks(run.snapshot(1), host_dir)
    assert networks["G"].c_dim == 10
    assert run.stats[-1]["ReGAN/phase"]["mean"] == 1
    assert 0.25 < run.stats[-1]["ReGAN/sparsity"]["mean"] <= 0.31
