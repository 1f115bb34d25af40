"""The search for settings: what is searched, what is read and cut short, what survives, and the winner as a preset."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import optuna
import pytest
from click.testing import CliRunner, Result
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from support.commands import resolved
from support.detectors import write_detector
from support.run_folders import HOOK, add_metric, add_snapshot, make_run, ticks_of_one_kimg
from support.runs import SMALL

from regan_ext.cli import main
from regan_ext.runs.chain import last_run
from regan_ext.runs.metric import MetricPoint
from regan_ext.support import process
from regan_ext.support.errors import UserError
from regan_ext.support.locks import locked
from regan_ext.support.reading import read_json
from regan_ext.train import presets
from regan_ext.train.presets import read_file
from regan_ext.tune import runner, training
from regan_ext.tune.objective import Objective
from regan_ext.tune.space import parse
from regan_ext.tune.study import StudyFile, report
from regan_ext.tune.training import Plan, Refused, Training
from training_hooks.core import own_snapshots
from training_hooks.methods.regan import METHOD

FID = Objective("fid5k_full")
PLAN = Plan(iterations=900, batch=10, total_kimg=9, ticks=9)
TRAIN = process.module_command("regan_ext", "train")
RATIO_ALONE = "interval=50,warmup=0,lr_scale=0.1,granularity=weight,moments=keep"


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in error.value.message
    return error.value.message


# ---------------------------------------------------------------- the space


@pytest.mark.parametrize("iterations", [4, 16, 63, 1000, 18750, 781250])
def test_two_pairs_fit_whatever_is_chosen(iterations: int) -> None:
    if iterations < 7:
        assert "has room for two sparse-dense pairs of interval 0" in refused(lambda: parse("", iterations, 16))
        return
    fields = parse("", iterations, 16).fields
    interval, warmup = fields["interval"], fields["warmup"]
    assert isinstance(interval, IntDistribution) and isinstance(warmup, FloatDistribution)
    assert 1 <= interval.low <= interval.high
    assert 4 * interval.high + warmup.high * iterations <= iterations + 1e-6
    assert iterations < 2000 or interval.low == 50  # the paper's 100 can be chosen


def test_a_space_is_narrowed_and_fixed() -> None:
    space = parse("ratio=0.1:0.5, interval=2kimg:500,granularity=weight,lr-scale=0.1,moments=keep:reset", 18750, 16)
    assert space.fields["ratio"] == FloatDistribution(0.1, 0.5)
    assert space.fields["interval"] == IntDistribution(125, 500, log=True)
    assert space.fields["granularity"] == CategoricalDistribution(("weight",))
    assert space.fields["moments"] == CategoricalDistribution(("keep", "reset"))
    assert space.fixed == {"lr_scale": 0.1, "granularity": "weight"}
    assert parse(str(space), 18750, 16) == space
    trial = optuna.create_study().ask(space.searched)
    assert set(trial.params) == {"ratio", "interval", "warmup", "moments"}
    options = space.options({**trial.params, "ratio": 0.123456, "warmup": 0.1})
    assert options[0] == "--regan-ratio=0.1235" and "--regan-warmup=1875" in options and "--regan-lr-scale=0.1" in options
    assert f"--regan-interval={trial.params['interval']}" in options and len(options) == 6


def test_what_is_known_comes_first_as_near_as_the_space_allows() -> None:
    paper, example = parse("", 18750, 16).known()
    assert (paper["ratio"], paper["interval"], paper["warmup"], paper["lr_scale"]) == (0.3, 100, 0, 0.1)
    assert (example["interval"], example["warmup"]) == (18750 // 8, 0.25)
    paper, _ = parse("ratio=0.5:0.6,interval=200:300,granularity=channel", 18750, 16).known()
    assert (paper["ratio"], paper["interval"], paper["granularity"]) == (0.5, 200, "channel")


BAD_SPACES = ["ratio", "rati=1", "ratio=x", "ratio=0.5:0.1", "ratio=0.1:0.2:0.3", "ratio=0:1", "interval=0:5", "warmup=0.2:1",
              "lr_scale=0:1", "granularity=row", "moments=keep:", "ratio=0.1,ratio=0.2", "interval=50:5000", "ratio=nan",
              "interval=1.5"]  # fmt: skip


@pytest.mark.parametrize("text", BAD_SPACES)
def test_a_bad_space_is_one_line(text: str) -> None:
    assert refused(lambda: parse(text, 1000, 16)).startswith("--space: ")


# ---------------------------------------------------------------- the metric, and when a run is cut short


def point(kimg: int, value: float) -> MetricPoint:
    return MetricPoint("fid5k_full", kimg, value, f"network-snapshot-{kimg:06d}.pkl")


def line(kimg: int, value: Any, **more: Any) -> str:
    return json.dumps({"results": {"fid5k_full": value}, "snapshot_pkl": f"network-snapshot-{kimg:06d}.pkl", **more})


def test_reading_a_metric_file_that_grows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "00000-a", ticks_of_one_kimg(6))

    def read(text: str) -> List[MetricPoint]:
        (run / "metric-fid5k_full.jsonl").write_text(text)
        return FID.points(last_run(tmp_path))

    failed = json.dumps({"results": {}, "error": "OSError: no network", "snapshot_pkl": "network-snapshot-000003.pkl"})
    text = "\n".join([line(0, 1.0), line(1, 90.0), failed, line(2, float("nan")), "[1]", line(4, 80), line(5, 70.0)])
    assert read(text) == [point(1, 90.0), point(4, 80.0), point(5, 70.0)]
    assert read(text[:-9]) == [point(1, 90.0), point(4, 80.0)]
    measured = [line(1, 90.0, protocol={"network": "G_ema"}), line(2, 5.0, protocol={"network": "G"}), line(3, 80.0)]
    again = line(4, 70.0, protocol={"network": "G_ema", "seed": 1})
    assert read("\n".join([*measured, again])) == [point(1, 90.0), point(3, 80.0), point(4, 70.0)]


def test_a_run_that_went_on_has_one_series(tmp_path: Path) -> None:
    first = make_run(tmp_path / "00000-a", ticks_of_one_kimg(4))
    going_on = {"resume_pkl": str(first / "network-snapshot-000002.pkl")}
    second = make_run(tmp_path / "00001-a-resumed", ticks_of_one_kimg(6)[3:], **going_on)
    add_metric(first, "fid5k_full", {1: 9.0, 2: 8.0, 3: 1.0})
    add_metric(second, "fid5k_full", {3: 6.0, 4: 6.5})
    points = FID.points(last_run(tmp_path))
    assert [(p.kimg, p.value) for p in points] == [(1, 9.0), (2, 8.0), (3, 6.0), (4, 6.5)]
    assert FID.choose(points) == points[2] and Objective("fid5k_full", "last").choose(points) == points[-1]
    assert FID.points(last_run(tmp_path / "missing")) == [] and FID.choose([]) is None


def test_which_value_of_a_metric_counts() -> None:
    assert Objective.parse("is10k") == Objective("is10k_mean") and Objective.parse("is10k").direction == "maximize"
    recall = Objective.parse("pr5k3_full_recall")
    assert recall.host_metric == "pr5k3_full" and recall.choose([point(1, 0.1), point(2, 0.3)]) == point(2, 0.3)
    assert FID.host_metric == "fid5k_full" and FID.direction == "minimize"
    assert "pr5k3_full_precision" in refused(lambda: Objective.parse("pr5k3_full"))
    assert "--metric" in refused(lambda: Objective.parse("fid5k_full,kid5k_full")) and refused(
        lambda: Objective.parse("is5k_std")
    )


def study_with_medians(values: Sequence[float], runs: int = 4, **pruner: int) -> optuna.Study:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=4, **pruner))
    for _ in range(runs):
        trial = study.ask()
        assert not report(trial, [point(kimg, value) for kimg, value in enumerate(values, 1)])
        study.tell(trial, min(values))
    return study


def test_a_series_worse_than_the_median_is_cut_short() -> None:
    study = study_with_medians([90, 80, 70])
    trial = study.ask()
    assert not report(trial, [point(1, 89.0)])
    assert report(trial, [point(1, 89.0), point(2, 88.0), point(3, 60.0)])
    known = study.trials[-1].intermediate_values
    assert known == {1: 89.0, 2: 88.0}  # what came after the decision was not needed for it
    assert not report(study.ask(), [point(1, 79.0), point(2, 95.0), point(3, 69.0)])  # the best so far counts


def test_nothing_is_cut_short_too_early_or_by_too_few() -> None:
    assert not report(study_with_medians([90, 80, 70], n_warmup_steps=4).ask(), [point(k, 999.0) for k in (1, 2, 3)])
    assert not report(study_with_medians([90, 80, 70], runs=3).ask(), [point(k, 999.0) for k in (1, 2, 3)])


# ---------------------------------------------------------------- the command of a trial


def test_a_trials_command() -> None:
    shared = Training.parse(["--data=x.zip", "--regan-finish", "dense", "--regan-channel-min=4", "--pairs=last"], "fid5k_full")
    weight = shared.command(Path("out"), ["--regan-ratio=0.3", "--regan-granularity=weight"])
    assert (
        weight[:4] == process.module_command("regan_ext", "train")[:4]
        and "--metrics=fid5k_full" in weight
        and "--outdir=out" in weight
    )
    assert "--pairs=none" not in weight and "--keep-states=1" in weight and "--regan-channel-min=4" not in weight
    assert "--regan-channel-min=4" in shared.command(Path("out"), ["--regan-granularity=channel"])
    plain = shared.without_method().options
    assert plain == ("--data=x.zip", "--pairs=last")
    assert shared.snap(PLAN) == ["--snap=1"] and Training(("--snap=5",), "x").snap(PLAN) == []
    assert shared.snap(Plan(1, 1, 300, 75)) == ["--snap=7"]


def test_the_baseline_keeps_what_a_preset_sets_of_the_host() -> None:
    plain = Training.parse(["--data=x.zip", "--regan-preset=few-shot", "--kimg=100"], "fid5k_full").without_method().options
    assert plain == ("--data=x.zip", "--kimg=100", "--cfg=stylegan2", "--batch=16", "--gamma=10")


# ---------------------------------------------------------------- studies, with processes that only write run folders


class Trainer:
    """Stands in for the training process: writes what a run would have written, by what the test says of the trial."""

    def __init__(self, act: Callable[[Path, List[str]], int]):
        self.act = act
        self.commands: List[List[str]] = []
        self.asked = 0

    def __call__(self, command: Sequence[str], log: Path, handles: Sequence[int], variables: Mapping[str, str]) -> "Trainer":
        self.commands.append(list(command))
        self.asked = 0
        self.folder = log.parent
        return self

    def watch(self, look: Callable[[], None], every: float) -> int:
        code = self.act(self.folder, self.commands[-1])
        look()
        return code

    def stop(self) -> None:
        self.asked += 1

    def last_line(self) -> str:
        return "--regan-ratio: no channel"


def write_run(folder: Path, values: Dict[int, float], ticks: int = 10, name: str = "00000-a", **fields: Any) -> Path:
    run = make_run(folder / name, ticks_of_one_kimg(ticks), {**HOOK, **fields}, kimg=9)
    add_metric(run, "fid5k_full", values)
    return run


def search(
    path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Trainer, trials: int = 2, **more: Any
) -> "tuple[int, List[str]]":
    monkeypatch.setattr(process, "_Process", trainer)
    monkeypatch.setattr(runner, "dry_run", more.pop("dry_run", lambda command: PLAN))
    shared = Training.parse(["--data=x.zip"], "fid5k_full")
    file, plan, space = runner.prepare(path, shared, FID, more.pop("space", RATIO_ALONE))
    lines: List[str] = []
    found = runner.Search(file, shared, plan, space, lines.append, trials, **more)
    return found.run(baseline=False), lines


def test_trials_are_run_once_and_the_best_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(folder: Path, command: List[str]) -> int:
        number = int(folder.name[-4:])
        run = write_run(folder, {4: 60.0 - number, 9: 70.0}, ratio=0.3 + number / 10, finish="dense")
        for kimg in (0, 4, 9):
            add_snapshot(run, kimg)
        return 0

    trainer = Trainer(act)
    code, _ = search(tmp_path / "s.db", monkeypatch, trainer)
    assert code == 0 and len(trainer.commands) == 2 and "--regan-ratio=0.3" in trainer.commands[0]
    content = json.loads((tmp_path / "s.preset.json").read_text())
    assert content["regan"]["ratio"] == 0.4 and content["regan"]["finish"] == "dense"
    assert {"metric": "fid5k_full", "value": 59.0, "kimg": 4, "trial": 1}.items() <= content["study"].items()
    left = sorted(path.name for path in (tmp_path / "s.runs" / "trial-0001" / "00000-a").glob("*-0*"))
    assert left == ["network-snapshot-000004.pkl"]
    (tmp_path / "s.preset.json").unlink()  # as a search leaves it that is killed when a trial has its value
    assert search(tmp_path / "s.db", monkeypatch, trainer)[0] == 0 and len(trainer.commands) == 2
    assert json.loads((tmp_path / "s.preset.json").read_text())["study"]["value"] == 59.0
    assert search(tmp_path / "s.db", monkeypatch, trainer, trials=3)[0] == 0 and len(trainer.commands) == 3
    ratios = [trial.params["ratio"] for trial in StudyFile.open(tmp_path / "s.db").trials()]
    assert len(set(ratios)) == 3  # the two that are known are the same here, and are tried once


def test_a_worse_run_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(folder: Path, command: List[str]) -> int:
        bad = folder.name == "trial-0004"  # 4 kimg are beyond the share before which nothing is cut short
        write_run(folder, {4: 99.0} if bad else {4: 60.0, 9: 50.0}, ticks=5 if bad else 10)
        return 0

    trainer = Trainer(act)
    code, lines = search(tmp_path / "s.db", monkeypatch, trainer, trials=5)
    assert code == 0 and trainer.asked == 1 and any("trial 4: cut short" in line for line in lines)
    states = [trial.state for trial in StudyFile.open(tmp_path / "s.db").trials()]
    assert states == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]


def test_settings_that_the_network_does_not_admit_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(folder: Path, command: List[str]) -> int:
        if folder.name == "trial-0000":
            return 2
        write_run(folder, {9: 50.0})
        return 0

    def dry(command: Sequence[str]) -> Plan:
        if any("--regan-ratio" in argument for argument in command):
            raise Refused("Invalid value for --regan-ratio: ratio 0.3 prunes no channel")
        return PLAN

    code, lines = search(tmp_path / "s.db", monkeypatch, Trainer(act), trials=1, dry_run=dry)
    assert code == 0 and "trial 0: inadmissible: Invalid value for --regan-ratio: ratio 0.3 prunes no channel" in lines
    first, second = StudyFile.open(tmp_path / "s.db").trials()
    assert (first.state, second.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    output = tune("--show", f"--study={tmp_path / 's.db'}").output
    assert "inadmissible" in output and "ratio 0.3 prunes no channel" in output and "Best: trial 1" in output
    again = "regan-ext train --data=x.zip --outdir=runs --metrics=fid5k_full --regan-preset="
    assert f"{again}{tmp_path / 's.preset.json'}" in output


def test_failures_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(folder: Path, command: List[str]) -> int:
        run = write_run(folder, {})
        (run / "metric-fid5k_full.jsonl").write_text(json.dumps({"results": {}, "error": "OSError: no network"}) + "\n")
        return 0

    code, lines = search(tmp_path / "s.db", monkeypatch, Trainer(act))
    assert code == 1 and lines.count("trial 0: failed: fid5k_full has no value: OSError: no network") == 1
    assert [trial.state for trial in StudyFile.open(tmp_path / "s.db").trials()] == [TrialState.FAIL] * 3
    assert "No trial has been trained to the end" in tune("--show", f"--study={tmp_path / 's.db'}").output


def test_a_signal_leaves_a_trial_to_go_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots: List[Path] = []

    def interrupted(folder: Path, command: List[str]) -> int:
        run = write_run(folder, {4: 60.0}, ticks=5)
        add_snapshot(run, 4)
        snapshots.append(run / "network-snapshot-000004.pkl")
        snapshots[0].write_bytes(b"of this test alone")
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    def going_on(folder: Path, command: List[str]) -> int:
        run = write_run(folder, {9: 50.0}, name="00001-a-resumed")
        options = json.loads((run / "training_options.json").read_text())
        (run / "training_options.json").write_text(json.dumps({**options, "resume_pkl": str(snapshots[0])}))
        return 0

    code, lines = search(tmp_path / "s.db", monkeypatch, Trainer(interrupted), trials=1)
    assert code == 130 and lines[-1] == "Stopped. The same command goes on."
    assert [trial.state for trial in StudyFile.open(tmp_path / "s.db").trials()] == [TrialState.RUNNING]
    trainer = Trainer(going_on)
    with pytest.raises(UserError, match=r"000004\.pkl is a pickle that no run of yours wrote .* add --trust"):
        search(tmp_path / "s.db", monkeypatch, trainer, trials=1)
    assert not trainer.commands
    own_snapshots.remember(snapshots[0])
    assert search(tmp_path / "s.db", monkeypatch, trainer, trials=1)[0] == 0
    assert len(trainer.commands) == 1 and "--resume=latest" in trainer.commands[0]
    (trial,) = StudyFile.open(tmp_path / "s.db").trials()
    assert trial.state == TrialState.COMPLETE and trial.intermediate_values == {4: 60.0, 9: 50.0}


def test_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(lambda folder, command: write_run(folder, {4: 60.0}, ticks=5) and 0)
    code, lines = search(tmp_path / "s.db", monkeypatch, trainer, until=0.0)
    assert code == 0 and trainer.asked == 1 and lines[-1] == "Stopped: the time is up. The same command goes on."


def test_a_trial_of_another_process_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that was killed leaves its trial running in the study; its training process keeps the lock."""
    trainer = Trainer(lambda folder, command: write_run(folder, {9: 50.0}) and 0)
    monkeypatch.setattr(runner, "dry_run", lambda command: PLAN)
    file, *_ = runner.prepare(tmp_path / "s.db", Training(("--data=x.zip",), "fid5k_full"), FID, RATIO_ALONE)
    with file.claim(2, {}, 0, 0) as claim:
        assert claim is not None and claim.trial.number == 0
        assert search(tmp_path / "s.db", monkeypatch, trainer)[0] == 0
        assert [trial.state for trial in file.trials()] == [TrialState.RUNNING, TrialState.COMPLETE]
    assert search(tmp_path / "s.db", monkeypatch, trainer)[0] == 0
    assert [trial.state for trial in file.trials()] == [TrialState.COMPLETE] * 2


def test_two_searches_that_begin_together_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, make = tmp_path / "s.db", optuna.storages.RDBStorage.__init__
    shared = Training(("--data=x.zip",), "pr5k3_full")

    def make_alone(*args: Any, **kwargs: Any) -> None:
        with locked(path.with_suffix(".runs")) as handles:
            assert handles is None, "two processes that make a storage at the same time end with an error of SQLite's"
        make(*args, **kwargs)

    def dry(command: Sequence[str]) -> Plan:
        monkeypatch.setattr(runner, "dry_run", lambda command: PLAN)
        runner.prepare(path, shared, Objective("pr5k3_full_recall"), RATIO_ALONE)  # the other search is faster
        return PLAN

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", make_alone)
    monkeypatch.setattr(runner, "dry_run", dry)
    said = refused(lambda: runner.prepare(path, shared, FID, "interval=10,granularity=weight"))
    assert "was begun with metric pr5k3_full_recall, now fid5k_full" in said
    file, _, space = runner.prepare(path, shared, Objective("pr5k3_full_recall"), RATIO_ALONE)
    assert file.study.direction.name == "MAXIMIZE" and "interval=50" in str(space)


def test_a_study_whose_beginning_was_cut_short_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 's.db'}")
    optuna.create_study(study_name="regan-ext", storage=storage, direction="maximize").enqueue_trial({"ratio": 0.9})
    monkeypatch.setattr(runner, "dry_run", lambda command: PLAN)
    file, *_ = runner.prepare(tmp_path / "s.db", Training(("--data=x.zip",), "fid5k_full"), FID, RATIO_ALONE)
    assert file.study.direction.name == "MINIMIZE" and len(file.study.get_trials()) == 1


def test_the_next_trial_does_not_depend_on_how_often_a_search_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(lambda folder, command: write_run(folder, {9: 50.0 + int(folder.name[-4:])}) and 0)
    for counts in ([5], [1, 3, 4, 5]):
        for trials in counts:
            search(tmp_path / f"{len(counts)}.db", monkeypatch, trainer, trials=trials)
    whole, parts = ([t.params for t in StudyFile.open(tmp_path / name).trials()] for name in ("1.db", "4.db"))
    assert whole == parts and len({trial["ratio"] for trial in whole}) == 5


# ---------------------------------------------------------------- the winner as a preset


def preset(path: Path, **changes: Any) -> Path:
    values = {
        "ratio": 0.4,
        "interval": 7,
        "warmup": "0.5kimg",
        "lr_scale": 0.2,
        "finish": "dense",
        "exclude": "*torgb*",
        **changes,
    }
    path.write_text(json.dumps({"regan": {name: value for name, value in values.items() if value is not None}}))
    return path


def test_a_preset_from_a_file(host_dir: Path, data_zip: Path, tmp_path: Path, capsys: Any) -> None:
    given = [f"--regan-preset={preset(tmp_path / 'my.preset.json')}", "--regan-moments=restore", "--batch=16", "--kimg=1"]
    hook = resolved(given, data_zip, tmp_path / "runs", capsys)["loss_kwargs"]["hooks"][0]
    found = [hook["settings"][name] for name in ("ratio", "interval", "warmup", "lr_scale", "finish", "exclude", "moments")]
    assert found == [0.4, 7, 31, 0.2, "dense", ["*torgb*"], "restore"]


BAD_PRESETS = [{"ratio": None}, {"ratio": 2}, {"ratio": "0.3"}, {"ratio": True}, {"interval": "often"}, {"interval": 0},
               {"speed": 1}, {"finish": "soon"}, {"scope": 5}, {"exclude": [1]}, {"channel_min": 1.5}]  # fmt: skip


@pytest.mark.parametrize("changes", BAD_PRESETS, ids=str)
def test_a_bad_preset_is_one_line(changes: Dict[str, Any], tmp_path: Path) -> None:
    path = preset(tmp_path / "my.json", **changes)
    result = CliRunner().invoke(main, ["train", "--host=embedded", "--outdir=x", "--data=y", f"--regan-preset={path}"])
    (said,) = [text for text in result.output.splitlines() if text.startswith("Error: ")]
    assert result.exit_code == 2 and str(path) in said and "--regan-preset" in said


def test_what_is_unknown_in_a_preset_is_named(tmp_path: Path) -> None:
    path = preset(tmp_path / "my.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "study": {}, "host": {"gamma": 10}, "kimg": 300}))
    with pytest.raises(ValueError, match=r'my\.json has "host", "kimg", which nothing reads; .*"regan".*"study"'):
        read_file(METHOD, str(path))


def test_a_preset_is_read_once(tmp_path: Path, data_zip: Path, host_dir: Path, capsys: Any, monkeypatch: Any) -> None:
    read: List[Path] = []
    monkeypatch.setattr(presets, "read_json", lambda file: read.append(file) or read_json(file))
    path = preset(tmp_path / "my.json")
    resolved([f"--regan-preset={path}", "--batch=16", "--kimg=1"], data_zip, tmp_path / "runs", capsys)
    assert read == [path]


@pytest.mark.parametrize("content", [None, "", "[]", '{"regan": 3}', b"\xff\xfe"])
def test_a_file_that_is_no_preset(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"my\.json") as error:
        read_file(METHOD, str(path))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- the command


def tune(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["tune", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


BAD: List["tuple[List[str], str]"] = [
    (["--", "--data=x", "--outdir=y"], "--outdir"),
    (["--", "--data=x", "--regan-ratio=0.3"], "--space=ratio"),
    (["--", "--data=x", "--regan-lr-scale", "1"], "--space=lr_scale"),
    (["--", "--data=x", "--max-hours=3"], "--timeout-hours"),
    (["--metric=pr5k3_full", "--", "--data=x"], "pr5k3_full_recall"),
    (["--show"], "there is no"),
]


@pytest.mark.parametrize("arguments, named", BAD, ids=[named for _, named in BAD])
def test_mistakes_are_one_line_and_write_nothing(arguments: List[str], named: str, tmp_path: Path) -> None:
    output = tune(f"--study={tmp_path / 's.db'}", *arguments, code=2).output
    assert output.startswith("Error: ") and len(output.splitlines()) == 1 and named in output
    assert list(tmp_path.iterdir()) == []


def test_what_train_refuses_is_told_and_begins_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: Sequence[str]) -> Plan:
        raise Refused("Missing option '--data'.")

    monkeypatch.setattr(runner, "dry_run", refuse)
    assert tune(f"--study={tmp_path / 's.db'}", code=2).output == "Error: train: Missing option '--data'.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_option_of_the_method_begins_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dry(command: Sequence[str]) -> Plan:
        if "--regan-finsh=dense" in command:
            raise Refused("No such option '--regan-finsh'. (Did you mean one of: '--regan-finish', '--regan-ratio'?)")
        return PLAN

    monkeypatch.setattr(runner, "dry_run", dry)
    output = tune(f"--study={tmp_path / 's.db'}", "--", "--data=x", "--regan-finsh=dense", code=2).output
    assert output.startswith("Error: train: No such option '--regan-finsh'") and len(output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_would_be_the_folder_of_its_runs(tmp_path: Path) -> None:
    output = tune(f"--study={tmp_path / 's.runs'}", "--", "--data=x", code=2).output
    assert output.startswith("Error: --study: ") and len(output.splitlines()) == 1 and list(tmp_path.iterdir()) == []


def test_a_study_about_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(lambda folder, command: write_run(folder, {9: 50.0}) and 0)
    search(tmp_path / "s.db", monkeypatch, trainer)
    output = tune(f"--study={tmp_path / 's.db'}", f"--space={RATIO_ALONE}", "--", "--data=other.zip", code=2).output
    assert "was begun with train options --data=x.zip, now --data=other.zip" in output and len(output.splitlines()) == 1
    (tmp_path / "text.db").write_text("no study")
    for more in (["--show"], ["--", "--data=x"]):
        output = tune(f"--study={tmp_path / 'text.db'}", *more, code=2).output
        assert output.startswith("Error: --study: ") and len(output.splitlines()) == 1


def test_without_optuna_the_command_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest))
    output = tune(f"--study={tmp_path / 's.db'}", code=2).output
    assert output == 'Error: tune needs optuna: pip install "regan-ext[tune]"\n'


def test_a_dry_run_of_train_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"batch_size": 16, "total_kimg": 300, "kimg_per_tick": 4}

    def answer(code: int, out: str, err: str = "") -> Optional[Plan]:
        done = subprocess.CompletedProcess([], code, out.encode(), err.encode())
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
        return training.dry_run(["train"])

    assert answer(0, f"\nTraining options:\n{json.dumps(args)}\n\nOutput directory: x\n") == Plan(18750, 16, 300, 75)
    with pytest.raises(Refused, match=r"^no such data$"):
        answer(2, "", "Usage: train\n\nError: no such data\n")


def test_a_real_study(host_dir: Path, data_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A real run with a real metric, through the real commands; the second trial is one that was left behind, trained."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    detector = write_detector(tmp_path / "tiny.pt")
    small = [option for option in SMALL if not option.startswith(("--metrics", "--batch", "--snap"))]
    options = ["--host=embedded", f"--data={data_zip}", *small, "--batch=64", "--aug=noaug", f"--metric-detector={detector}"]
    arguments = [f"--study={tmp_path / 's.db'}", "--metric=is1k", "--space=granularity=weight"]

    def run(trials: int) -> str:
        return tune(*arguments, f"--trials={trials}", "--", *options).output

    assert "1 kimg, 16 iterations each" in run(1)
    file = StudyFile.open(tmp_path / "s.db")
    shutil.copytree(file.folder(0), file.folder(1))
    file.study.ask()
    assert "trial 1: is1k_mean" in run(2)
    first, second = file.trials()
    assert first.values == second.values and first.user_attrs == second.user_attrs and first.user_attrs["kimg"] == 1
    given = [f"--regan-preset={file.preset}", "--kimg=1", "--batch=64"]
    hook = resolved(given, data_zip, tmp_path / "runs", capsys)["loss_kwargs"]["hooks"][0]
    assert {name: hook["settings"][name] for name in first.user_attrs["config"]} == first.user_attrs["config"]


@pytest.mark.parametrize(
    "output, told",
    [
        ("Host: x\nError: Missing option '--data'.\n", "Missing option '--data'."),
        ("Traceback ...\nKeyError: 'kimg_per_tick'\n", "KeyError: 'kimg_per_tick'"),
        ("Usage: x\n\nError: one of:\n  fid1k\n  kid1k\n", "one of: fid1k kid1k"),
        ("", "it says nothing"),
    ],
)
def test_why_a_command_ended_is_told_whole(output: str, told: str) -> None:
    assert process.error_of(output) == told
