"""A metric that fails on several processes, on all of them or on one, costs its values and nothing else."""

from __future__ import annotations

import json
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from support.processes import spawn
from support.runs import SMALL, drive, finished_run

from regan_ext.metrics.guard import guard_metrics

# ---------------------------------------------------------------- the real loop


def test_a_detector_that_cannot_be_had_does_not_end_a_run_of_two_ranks(data_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    environment = {"HTTPS_PROXY": nowhere, "https_proxy": nowhere, "DNNLIB_CACHE_DIR": str(tmp_path / "cache")}
    arguments = [
        f"--outdir={tmp_path / 'runs'}",
        f"--data={data_zip}",
        *SMALL,
        "--batch=64",
        "--gpus=2",
        "--metrics=fid50k_full",
    ]
    result = drive("off", *arguments, env=environment)
    run = finished_run(tmp_path / "runs", result)
    assert run.snapshot(1).is_file() and len(run.stats) == 2
    assert run.output.count("Metric fid50k_full failed") == 2  # once a snapshot, by the process that failed
    lines = [json.loads(line) for line in (run.folder / "metric-fid50k_full.jsonl").read_text().splitlines()]
    assert [line["results"] for line in lines] == [{}, {}] and all(line["error"] for line in lines)


# ---------------------------------------------------------------- two processes, the host's own way of getting a detector

POINTS = ("detector", "again", "middle", "end", "nowhere")


def evaluate(rank: int, folder: Path, host: str) -> None:
    """One of two processes: metrics that fail in turn on each, at several points."""
    sys.path.insert(0, host)
    import dnnlib  # noqa: F401  (the embedded host's modules import each other in a circle; this is the way in)
    from metrics import metric_main, metric_utils

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )

    def compute(opts: Any, failing: int, point: str) -> Dict[str, float]:
        mine = rank == failing
        # The host caches by name; the second point asks for the detector that one process could not get at the first.
        detector = folder / f"{rank}-{failing}-{'detector' if point == 'again' else point}.pt"
        if not (mine and point == "detector"):
            torch.jit.script(torch.nn.Identity()).save(str(detector))
        network = metric_utils.get_feature_detector(str(detector), opts.device, num_gpus=2, rank=rank)
        stats = metric_utils.FeatureStats(capture_all=True, max_items=8)
        while not stats.is_full():
            if mine and point == "middle" and stats.num_items == 4:
                raise MemoryError("no room")
            stats.append_torch(network(torch.full([2, 3], float(rank))), num_gpus=2, rank=rank)
        if mine and point == "end":
            raise OSError("no disk")
        return {"mean": float(stats.get_all().mean())}

    guard_metrics(metric_main)
    seen: List[Any] = []
    for failing in (0, 1):
        for point in POINTS:
            metric_main._metric_dict[point] = lambda opts, f=failing, p=point: compute(opts, f, p)
            result = metric_main.calc_metric(point, num_gpus=2, rank=rank, device=torch.device("cpu"))
            seen.append([result.get("error", "").split(":")[0], dict(result.results)])
    (folder / f"seen-{rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


def test_a_process_that_fails_alone_leaves_none_waiting(host_dir: Path, tmp_path: Path) -> None:
    spawn(evaluate, (tmp_path, str(host_dir)), 2)
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    good, other = ["", {"mean": 0.5}], ["_OtherProcessFailed", {}]
    bad = [["FileNotFoundError", {}], good, ["MemoryError", {}], ["OSError", {}], good]
    told = [other, good, other, other, good]
    assert seen == [bad + told, told + bad]


# ---------------------------------------------------------------- values of another snapshot


class Easy(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    "second", [ConnectionError("no network"), Easy(results=Easy(), passed_over=True)], ids=["fails", "passed over"]
)
def test_values_of_an_earlier_snapshot_are_not_kept(second: Any) -> None:
    """The loop logs the last values of every metric, and the best snapshot is chosen by them."""
    outcomes = iter([Easy(results=Easy(fid=3.0)), second])

    def calc_metric(metric: str) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    module = types.ModuleType("metric_main")
    vars(module).update(calc_metric=calc_metric, dnnlib=types.SimpleNamespace(EasyDict=Easy))
    guard_metrics(module)

    def training_loop() -> List[Dict[str, float]]:
        stats_metrics: Dict[str, float] = {"other": 1.0}
        seen = []
        for _ in range(2):
            stats_metrics.update(module.calc_metric(metric="fid").results)
            seen.append(dict(stats_metrics))
        return seen

    assert training_loop() == [{"other": 1.0, "fid": 3.0}, {"other": 1.0}]
