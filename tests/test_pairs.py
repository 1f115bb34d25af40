"""Both members of the last cycle, the best of either kind, and metrics that fail."""

from __future__ import annotations

import json
import pickle
import types
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from support.host_loops import end_tick
from support.networks import load_networks, selected
from support.runs import Run

from regan_ext.metrics.guard import guard_metrics
from training_hooks.core.engine import Engine
from training_hooks.core.hook import Training
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.nvidia.current import set_engine
from training_hooks.nvidia.host_loop import HostLoop
from training_hooks.nvidia.seams import Ticker
from training_hooks.observers.pairs import Pairs


def shares(networks: Dict[str, Any], kind: str) -> "list[float]":
    return [float((tensor == 0).float().mean()) for tensor in selected(networks[kind]).values()]


def test_members_of_the_last_cycle_are_kept(whole: Run, host_dir: Path) -> None:
    """The schedule's last phase is sparse and begins with iteration 93, at 2.976 kimg."""
    names = sorted(path.name for path in whole.folder.glob("network-pair-*"))
    assert names == ["network-pair-000002-dense.pkl", "network-pair-000002-sparse.pkl"]
    dense, sparse = (load_networks(whole.folder / name, host_dir) for name in names)
    assert set(dense) == set(load_networks(whole.snapshot(3), host_dir))
    for kind in ("G", "G_ema"):
        assert max(shares(dense, kind)) < 0.01
        assert min(shares(sparse, kind)) > 0.29
    last = load_networks(whole.snapshot(3), host_dir)
    for mine, theirs in zip(sparse["G_ema"].parameters(), last["G_ema"].parameters()):
        assert torch.equal(mine, theirs)
    pictures = sorted(path.name for path in whole.folder.glob("fakes-pair-*"))
    assert pictures == ["fakes-pair-000002-dense.png", "fakes-pair-000002-sparse.png"]
    assert (whole.folder / pictures[1]).read_bytes() == (whole.folder / "fakes000003.png").read_bytes()
    assert (whole.folder / pictures[0]).read_bytes() != (whole.folder / pictures[1]).read_bytes()
    for name in names:
        content = (whole.folder / name).read_bytes()
        assert b"regan" not in content and b"training_hooks" not in content


def test_the_sparse_member_is_sparse_with_the_reference_codes_settings(train: Any, host_dir: Path) -> None:
    """There the masks do not hold through G's regularisation, which comes after the last main step of this sparse phase."""
    lengths = ["--regan-warmup=4", "--regan-interval=12", "--batch=32", "--kimg=1"]  # sparse from iteration 4 to 16
    run = train("--regan-preset=reference", *lengths, "--regan-finish=dense", "--snap=100", mode="off")
    (sparse,) = run.folder.glob("network-pair-*-sparse.pkl")
    networks = load_networks(sparse, host_dir)
    for kind in ("G", "G_ema"):
        zeros = shares(networks, kind)
        assert min(zeros) > 0.25 and sum(zeros) / len(zeros) > 0.29


@pytest.mark.parametrize("target", ["G", "D", "both"])
def test_pairs_and_the_best_are_named_by_the_networks_that_are_pruned(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four iterations of a thousand images each two train sparse networks, then two dense ones."""
    monkeypatch.setattr("training_hooks.nvidia.current._engine", None)
    networks = {name: torch.nn.Linear(4, 5) for name in ("G", "D", "G_ema")}
    settings: Dict[str, Any] = {"ratio": 0.3, "interval": 2, "target": target, "exclude": ()}
    snapshot = tmp_path / "network-snapshot.pkl"
    snapshot.write_bytes(b"x")

    def training_loop(
        batch_idx: int, batch_size: int, total_kimg: int, training_set_kwargs: Any, run_dir: str, snapshot_pkl: str,
        stats_metrics: Dict[str, float], G: Any, D: Any, G_ema: Any, rank: int = 0, done: bool = False,
    ) -> None:  # fmt: skip
        engine = Engine([Reconfiguration(**settings), Pairs(settings)], HostLoop.running().training(), lambda name, value: None)
        set_engine(engine)
        optimizers = {kind: torch.optim.Adam(networks[kind].parameters()) for kind in ("G", "D")}
        for kind, optimizer in optimizers.items():
            engine.add_optimizer(kind, optimizer, 0.001)
        ticker = Ticker(keepers=["training_hooks.observers.best.keep_best"])
        cur_nimg = 0
        ticker(cur_nimg, total_kimg)
        while not done:
            for kind, optimizer in optimizers.items():
                engine.enter_phase("Gmain" if kind == "G" else "Dreg")
                networks[kind].weight.grad = torch.ones(5, 4)
                optimizer.step()
            cur_nimg = (batch_idx + 1) * 1000
            stats_metrics.clear()
            stats_metrics[f"fid{batch_idx}"] = 1.0
            batch_idx += 1
            done = batch_idx == total_kimg
            ticker(cur_nimg / 1000, total_kimg)

    training_loop(0, 1000, 4, {}, str(tmp_path), str(snapshot), {}, **networks)
    best = sorted(path.stem for path in tmp_path.glob("network-best-*.pkl"))
    assert best == [f"network-best-fid{i}-{'sparse' if i < 2 else 'dense'}" for i in range(4)]
    for kind in ("sparse", "dense"):
        with open(tmp_path / f"network-pair-000002-{kind}.pkl", "rb") as file:
            members = pickle.load(file)
        pruned = {name for name in ("G", "D") if (members[name].weight == 0).any()}
        assert pruned == (set(settings["target"].replace("both", "GD")) if kind == "sparse" else set())


def test_the_first_member_of_a_pair_follows_a_run_that_goes_on(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    (before / "network-pair-000007-sparse.pkl").write_bytes(b"the first member")
    saved = {"switch_kimg": 7, "first": "sparse"}

    def training_loop(resume_pkl: Path, pairs: Pairs, state: Dict[str, Any]) -> None:
        pairs.load_state_dict(state)

    def go_on(folder: Path, rank: int, state: Dict[str, Any], source: Path = before) -> Dict[str, Any]:
        pairs = Pairs({"ratio": 0.3, "interval": 5})
        pairs.start(Training({}, {}, str(folder), batch_size=16, total_iterations=100, rank=rank))
        training_loop(source / "network-snapshot-000008.pkl", pairs, state)
        return pairs.state_dict()

    for folder, rank in ((after, 1), (after, 0), (before, 0)):
        assert go_on(folder, rank, saved) == saved
        assert (after / "network-pair-000007-sparse.pkl").exists() == (rank == 0)
    assert (after / "network-pair-000007-sparse.pkl").read_bytes() == b"the first member"
    go_on(after, 0, saved, source=tmp_path / "gone")
    go_on(after, 0, {"switch_kimg": 7})  # of an older state
    assert sorted(path.name for path in before.iterdir()) == ["network-pair-000007-sparse.pkl"]


def test_a_value_that_is_none_is_never_the_best(tmp_path: Path) -> None:
    snapshot = tmp_path / "network-snapshot-000001.pkl"
    snapshot.write_bytes(b"x")
    best = tmp_path / "network-best-fid1k-dense.json"
    for value, expected in ((float("nan"), None), (30.0, 30.0), (float("nan"), 30.0), (5.0, 5.0)):
        end_tick(snapshot, {"fid1k": value}, 1000)
        assert (json.loads(best.read_text())["value"] if best.exists() else None) == expected
    for value, expected in ((0.3, 0.3), (0.4, 0.3), (0.2, 0.2)):
        end_tick(snapshot, {"is1k_std": value}, 1000)
        assert json.loads((tmp_path / "network-best-is1k_std-dense.json").read_text())["value"] == expected


def test_best_of_each_kind(tmp_path: Path) -> None:
    snapshot = tmp_path / "network-snapshot-000001.pkl"

    def evaluate(content: str, kimg: int, kind: str, **metrics: float) -> None:
        snapshot.write_text(content)
        end_tick(snapshot, metrics, kimg * 1000, kind)

    evaluate("first", 1, "dense", fid50k_full=20.0, is50k_mean=2.0)
    evaluate("second", 2, "sparse", fid50k_full=30.0)
    evaluate("third", 3, "dense", fid50k_full=25.0, is50k_mean=3.0)
    kept = {path.name: path.read_text() for path in tmp_path.glob("network-best-*.pkl")}
    assert kept == {
        "network-best-fid50k_full-dense.pkl": "first",
        "network-best-fid50k_full-sparse.pkl": "second",
        "network-best-is50k_mean-dense.pkl": "third",
    }
    note = json.loads((tmp_path / "network-best-fid50k_full-dense.json").read_text())
    assert (note["value"], note["kimg"], note["kind"]) == (20.0, 1.0, "dense")


def test_a_failing_metric_is_told_and_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    class Easy(dict):  # type: ignore[type-arg]
        __getattr__ = dict.__getitem__

    def calc_metric(metric: str, **kwargs: Any) -> Any:
        if metric == "fid50k_full":
            raise ConnectionError("no network")
        return Easy(metric=metric, results=Easy(kid50k_full=1.0))

    module = types.ModuleType("metric_main")
    vars(module).update(calc_metric=calc_metric, dnnlib=types.SimpleNamespace(EasyDict=Easy))
    guard_metrics(module)
    failed = module.calc_metric(metric="fid50k_full", G=None)
    assert failed.results == {} and "no network" in failed.error
    assert "training goes on" in capsys.readouterr().out
    assert module.calc_metric(metric="kid50k_full").results == {"kid50k_full": 1.0}
