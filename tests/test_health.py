"""A run whose weights or losses are no longer numbers says so, ends, and leaves what it can go on from."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
import torch
from support.networks import assert_same, load_networks
from support.runs import SCHEDULE, SMALL, Run, drive, resumed

from regan_ext.metrics.install import install
from regan_ext.metrics.settings import MetricSettings
from regan_ext.snapshots.open import Snapshot
from regan_ext.support.errors import UserError
from training_hooks.core import health
from training_hooks.nvidia import stop
from training_hooks.nvidia.seams import Ticker
from training_hooks.observers.pairs import Pairs


def poisoned(data: Path, outdir: Path, *options: str) -> "tuple[Path, int, str]":
    """Run folder, exit code and output of a run with a NaN from iteration 40 on."""
    arguments = [f"--outdir={outdir}", f"--data={data}", *SMALL, *SCHEDULE, *options]
    result = drive("poisoned", *arguments)
    (folder,) = outdir.iterdir()
    return folder, result.returncode, result.stdout


def names(folder: Path, pattern: str) -> List[str]:
    return sorted(path.name for path in folder.glob(pattern))


def test_a_run_that_becomes_nan_ends_and_goes_on_from_its_last_sound_state(
    whole: Run, tiny_zip: Path, tmp_path: Path, host_dir: Path
) -> None:
    folder, code, output = poisoned(tiny_zip, tmp_path, "--kimg=3")
    assert code == 3 and "Traceback" not in output, output[-3000:]
    assert (
        "ERROR: At 2.08 kimg " in output
        and "2 tensors of weights (G.synthesis.b4.const, G_ema.synthesis.b4.const)" in output
        and "not finite" in output
    )
    assert "The last sound state is regan-state-000001.pt" in output and f"--resume={folder} goes on" in output
    assert names(folder, "network-snapshot-*") == ["network-snapshot-000000.pkl", "network-snapshot-000001.pkl"]
    assert names(folder, "network-nonfinite-*") == ["network-nonfinite-000002.pkl"]
    assert json.loads((folder / "regan-status.json").read_text())["ended"] == "nan"
    again = resumed(whole, folder, tmp_path / "again", [*SCHEDULE, "--kimg=3"])
    assert_same(whole, again, 3, host_dir)


def test_two_processes_end_together(tiny_zip: Path, tmp_path: Path) -> None:
    folder, code, output = poisoned(tiny_zip, tmp_path, "--kimg=4", "--gpus=2")
    assert code == 3 and "Traceback" not in output, output[-3000:]
    assert output.count("ERROR: At 2.08 kimg") == 1
    assert names(folder, "regan-state-*")[-1] == "regan-state-000001.pt"


# ---------------------------------------------------------------- the end of one tick


def tick(folder: Path, ticker: Ticker, loss: float = 1.0, weight: float = 1.0) -> bool:
    """One tick of a loop with a state of a run behind it; whether it was the last."""
    network = torch.nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(weight)
    (folder / "network-snapshot-000002.pkl").write_bytes(b"networks")

    def training_loop(ticker: Ticker) -> bool:
        G = D = G_ema = network
        run_dir, snapshot_pkl = str(folder), str(folder / "network-snapshot-000002.pkl")
        batch_idx, batch_size, rank, num_gpus, cur_nimg, done = 0, 32, 0, 1, 0, False
        stats_metrics: Dict[str, float] = {"fid50k_full": 3.0}
        stats_dict = {
            "Loss/G/loss": {"num": 4, "mean": loss},
            "Loss/r1_penalty": {"num": 0, "mean": math.nan},
            "Progress/augment": {"num": 1, "mean": math.nan},
        }
        ticker(0, 4)
        batch_idx, cur_nimg = 60, 2000
        ticker(2, 4)
        del batch_size
        del G, D, G_ema, run_dir, snapshot_pkl, batch_idx, rank, num_gpus, cur_nimg, stats_metrics, stats_dict
        return done

    stop.install(None)
    return training_loop(ticker)


@pytest.fixture(autouse=True)
def signals_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("training_hooks.nvidia.current._engine", None)
    monkeypatch.setattr(stop.signal, "signal", lambda *_: None)
    yield
    stop.install(None)


@pytest.mark.parametrize("loss, weight, said", [
    (1.0, math.nan, "3 tensors of weights (G.weight, D.weight, G_ema.weight)"),
    (1.0, -math.inf, "3 tensors of weights"),
    (math.inf, 1.0, "1 losses (Loss/G/loss)"),
    (math.nan, 1.0, "1 losses (Loss/G/loss)"),
])  # fmt: skip
@pytest.mark.parametrize("on_nan", [None, "warn"])
def test_what_is_not_finite_is_said_and_ends_the_run(
    loss: float, weight: float, said: str, on_nan: Optional[str], tmp_path: Path, capsys: Any
) -> None:
    ended = tick(
        tmp_path,
        Ticker(keepers=["training_hooks.observers.best.keep_best"], **({} if on_nan is None else {"on_nan": on_nan})),
        loss,
        weight,
    )
    assert ended == stop.diverged() == (on_nan is None)
    error = capsys.readouterr().err
    assert "At 2 kimg" in error and said in error
    assert ("ERROR" if on_nan is None else "WARNING") in error and ("sound state" in error) == (on_nan is None)
    kept = "snapshot" if math.isfinite(weight) else "nonfinite"
    assert names(tmp_path, "network-[sn]*") == [f"network-{kept}-000002.pkl"]
    assert bool(names(tmp_path, "network-best-*")) == math.isfinite(weight)
    assert (tmp_path / "regan-status.json").exists() == (on_nan is None)


def test_a_sound_tick_is_no_matter(tmp_path: Path, capsys: Any) -> None:
    assert not tick(tmp_path, Ticker()) and not stop.diverged()
    assert capsys.readouterr().err == "" and names(tmp_path, "network-snapshot-*") == ["network-snapshot-000002.pkl"]


def test_members_of_a_pair_are_not_written_of_such_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training_hooks.core.engine import Engine
    from training_hooks.core.hook import Hook, Training
    from training_hooks.core.schedule import Schedule
    from training_hooks.nvidia import current

    pairs, method = Pairs(every=True), Hook()
    method.schedule = Schedule(warmup=0, interval=2)
    engine = Engine([pairs, method], Training({}, {}, run_dir=str(tmp_path), batch_size=1000, total_iterations=20))
    monkeypatch.setattr(current, "_engine", engine)
    engine.start()

    def training_loop(value: float) -> None:
        G = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(G.weight, value)
        training_set_kwargs: Dict[str, Any] = {}
        pairs.on_iteration(4)
        del training_set_kwargs

    training_loop(math.nan)
    assert list(tmp_path.iterdir()) == []
    training_loop(1.0)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_average_style_may_be_anything() -> None:
    """The host feeds uninitialised memory into it."""
    network = torch.nn.BatchNorm1d(2)
    network.running_mean = torch.full([2], math.nan)
    assert health.non_finite(network) == []
    assert health.non_finite(torch.nn.ReLU()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_export_and_metrics_refuse_such_networks(value: float, whole: Run, host_dir: Path, capsys: Any) -> None:
    content = load_networks(whole.snapshot(2), host_dir)
    assert Snapshot(Path("x.pkl"), content).network("G") is content["G"]
    weight = content["G_ema"].mapping.fc0.weight
    weight.data[0, 0] = value
    with pytest.raises(UserError, match=r"1 tensors of G_ema, such as mapping\.fc0\.weight, hold NaN or an infinity"):
        Snapshot(Path("x.pkl"), content).network("G_ema")
    metric_main = importlib.import_module("metrics.metric_main")
    install(metric_main, MetricSettings(names=("fid10k_full",)))
    result = metric_main.calc_metric(metric="fid10k_full", G=content["G_ema"], dataset_kwargs={}, device=torch.device("cpu"))
    assert result["results"] == {} and "fid10k_full is not measured" in capsys.readouterr().err
