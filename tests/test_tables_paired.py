"""A table's rows against its baseline, seed by seed: the statistics by hand, and what the command says of run folders."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from support.commands import call
from support.run_folders import add_metric, make_run, tick

from regan_ext.tables.paired import difference

FLOATS = st.floats(1, 100, allow_nan=False, width=32)


def upper_tail(t: float) -> float:
    """Of Student's t with two degrees of freedom, in closed form."""
    return 0.5 - t / (2 * math.sqrt(2 + t * t))


def test_three_pairs_by_hand() -> None:
    told = difference([9, 10, 13], [10, 12, 14], "lower")  # differences -1, -2, -1: mean -4/3, standard error 1/3
    half = 4.302653 / 3  # 97.5 % quantile of t with two degrees of freedom
    assert told.mean == pytest.approx(-4 / 3) and told.margin == pytest.approx(1.2)
    assert (told.low, told.high) == (pytest.approx(-4 / 3 - half, rel=1e-6), pytest.approx(-4 / 3 + half, rel=1e-5))
    assert told.p == pytest.approx(upper_tail((-4 / 3 + 1.2) * 3)) == pytest.approx(0.63608, abs=1e-5)
    assert told.verdict == "undecided"


def test_two_pairs_by_hand() -> None:
    told = difference([10.5, 9.7], [10, 10], "lower")  # differences 0.5, -0.3: mean 0.1, standard error 0.4
    assert (told.low, told.high) == (pytest.approx(0.1 - 12.7062 * 0.4, rel=1e-5), pytest.approx(0.1 + 12.7062 * 0.4, rel=1e-5))
    assert told.p == pytest.approx(0.5 - math.atan((1 - 0.1) / 0.4) / math.pi) and told.verdict == "undecided"


@pytest.mark.parametrize(
    "values, better, verdict",
    [
        ([8.0, 8.1, 7.9], "lower", "better"),
        ([8.0, 8.1, 7.9], "higher", "worse"),
        ([12.0, 12.1, 11.9], "lower", "worse"),
        ([12.0, 12.1, 11.9], "higher", "better"),
        ([10.1, 9.9, 10.0], "lower", "equivalent"),
        ([10.5, 10.5, 10.5], "lower", "equivalent"),  # sure, and too small to matter
        ([11.5, 11.5, 11.5], "lower", "worse"),
        ([10.0, 10.0, 10.0], "lower", "equivalent"),
        ([7.0, 13.0, 10.0], "lower", "undecided"),
    ],
)
def test_verdicts(values: List[float], better: str, verdict: str) -> None:
    assert difference(values, [10.0, 10.0, 10.0], better).verdict == verdict


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=2, max_size=8))
def test_it_is_the_paired_t_test_and_equivalence_is_its_90_percent_interval(pairs: Sequence[Any]) -> None:
    values, baseline = zip(*pairs)
    each = [value - other for value, other in pairs]
    assume(statistics.stdev(each) > 0.01)
    told = difference(values, baseline, "lower")
    tested = stats.ttest_rel(values, baseline)
    assert (told.low, told.high) == pytest.approx(tuple(tested.confidence_interval(0.95)), rel=1e-6, abs=1e-6)
    narrow = tested.confidence_interval(0.90)
    inside = min(narrow.low + told.margin, told.margin - narrow.high)
    assume(abs(inside) > 1e-6)
    assert (told.verdict == "equivalent") == (inside > 0)
    back = difference(baseline, values, "higher")
    assert (back.low, back.high) == pytest.approx((-told.high, -told.low))


def test_pairs_have_two_sides_and_are_two() -> None:
    for values, baseline in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], [])):
        with pytest.raises(ValueError):
            difference(values, baseline, "lower")


# ---------------------------------------------------------------- from run folders


def trained(out: Path, row: str, seed: int, values: Dict[int, float], kimg: int = 9, **reported: float) -> None:
    folder = out / "digits-longer" / f"{row}-digits-100-seed{seed}" / "00000-a"
    ticks = [tick(i, float(i), **reported) for i in range(1, 10)]
    add_metric(make_run(folder, ticks, kimg=kimg), "fid5k_full", values)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three pairs of one row with the baseline, whose last three checkpoints have the means of the case by hand."""
    for seed, (base, value) in enumerate(((10.0, 9.0), (12.0, 10.0), (14.0, 13.0))):
        trained(tmp_path, "stylegan2", seed, {0: 1.0, 2: 50.0, 4: base - 1, 6: base, 8: base + 1})
        trained(tmp_path, "re-stylegan2", seed, {0: 1.0, 2: 90.0, 4: value + 2, 6: value, 8: value - 2},
                ReGAN__explored=0.7 + seed / 100)  # fmt: skip
    trained(tmp_path, "re-stylegan2", 3, {8: 1.0})  # no baseline of this seed
    trained(tmp_path, "re-stylegan2-full-rate", 0, {4: 9.0, 6: 9.0, 8: 9.0})
    trained(tmp_path, "re-stylegan2-full-rate", 1, {4: 9.0, 6: 9.0, 8: 9.0}, kimg=20)  # not at its end
    return tmp_path


def test_the_command_pairs_the_last_checkpoints_by_seed(out: Path, capsys: Any) -> None:
    code, output = call(["tables", "show", "digits-longer", f"--out={out}", "--paired", "--format=json"], capsys)
    told = json.loads(output)
    (arm,) = told["arms"]
    assert code == 0 and (told["table"], told["baseline"], told["last"]) == ("digits-longer", "stylegan2", 3)
    assert (arm["row"], arm["column"], arm["measure"], arm["verdict"]) == (
        *("re-stylegan2", "digits-100", "fid5k_full", "undecided"),
    )
    assert arm["pairs"] == [
        {"seed": 0, "kimg": [4, 6, 8], "value": 9, "baseline": 10},
        {"seed": 1, "kimg": [4, 6, 8], "value": 10, "baseline": 12},
        {"seed": 2, "kimg": [4, 6, 8], "value": 13, "baseline": 14},
    ]
    assert arm["mean"] == pytest.approx(-4 / 3) and arm["p"] == pytest.approx(0.63608, abs=1e-5)
    assert arm["statistics"] == {"explored": pytest.approx([0.7, 0.71, 0.72])}


def test_last_and_baseline_are_options(out: Path, capsys: Any) -> None:
    arguments = ["tables", "show", "digits-longer", f"--out={out}", "--paired", "--format=json"]
    (arm,) = json.loads(call([*arguments, "--last=1", "--baseline=re-stylegan2"], capsys)[1])["arms"]
    assert arm["row"] == "stylegan2" and [pair["baseline"] for pair in arm["pairs"]] == [7, 8, 11]
    assert [pair["value"] for pair in arm["pairs"]] == [11, 13, 15] and arm["statistics"] == {}
    (arm,) = json.loads(call([*arguments, "--last=9"], capsys)[1])["arms"]
    assert arm["pairs"][0] == {"seed": 0, "kimg": [2, 4, 6, 8], "value": 29.25, "baseline": 20}  # not at 0 kimg


def test_a_checkpoint_that_one_run_alone_has_does_not_count(out: Path, capsys: Any) -> None:
    path = out / "digits-longer" / "re-stylegan2-digits-100-seed0" / "00000-a" / "metric-fid5k_full.jsonl"
    add_metric(path.parent, "fid5k_full", {4: 11.0, 6: 9.0, 7: 1000.0, 8: 7.0})  # as after a stop at 7 kimg
    output = call(["tables", "show", "digits-longer", f"--out={out}", "--paired", "--format=json"], capsys)[1]
    assert json.loads(output)["arms"][0]["pairs"][0] == {"seed": 0, "kimg": [4, 6, 8], "value": 9, "baseline": 10}


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_for_readers(form: str, out: Path, capsys: Any) -> None:
    code, output = call(["tables", "show", "digits-longer", f"--out={out}", "--paired", f"--format={form}"], capsys)
    assert code == 0 and "seed by seed against StyleGAN2" in output and "one-sided t-tests at 5 %" in output
    assert "Fewer than two pairs so far: Re-StyleGAN2, full learning rate in dense phases; StyleGAN2 + DiffAug;" in output
    for part in ("12.00 ± 2.00", "10.67 ± 2.08", "-1.33", "-2.77 to +0.101", "±1.20", "0.64", "undecided", "0.710 ± 0.010"):
        assert part in output
    if form == "text":
        lines = [line.split() for line in output.splitlines()]
        assert [
            "Re-StyleGAN2",
            "100",
            "digits",
            "Fréchet",
            "distance",
            "1",
            "4,",
            "6,",
            "8",
            "12.00",
            "10.00",
            "-2.00",
        ] in lines


def test_kept_results_are_compared_too(out: Path, capsys: Any) -> None:
    kept = out / "results.jsonl"
    kept.write_text(call(["tables", "results", "digits-longer", f"--out={out}"], capsys)[1], encoding="utf-8")
    for more in (["--paired"], ["--paired", "--format=json"], ["--format=json"]):
        ours, theirs = (["tables", "show", "digits-longer", place, *more] for place in (f"--out={out}", f"--results={kept}"))
        assert call(ours, capsys) == call(theirs, capsys)
    assert call(["tables", "show", "digits-longer", f"--out={out}", "--format=json"], capsys)[1] == kept.read_text("utf-8")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["digits-longer", "--paired"], "no row of digits-longer has two finished seeds that stylegan2 has too"),
        (["digits-options", "--paired"], "digits-options has no baseline; --baseline can be two-cycles, full-rate,"),
        (["digits-longer", "--paired", "--baseline=styleGAN2"], "--baseline=styleGAN2: no such row in digits-longer"),
        (["learning-rate", "--paired"], "learning-rate has no baseline; --baseline can be nothing: no row can be run"),
        (["digits-longer", "--paired", "--last=0"], "--last"),
        (["digits-longer", "--last=2"], "--last goes with --paired"),
        (["digits-longer", "--baseline=stylegan2"], "--baseline goes with --paired"),
    ],
)
def test_mistakes_are_one_line(arguments: List[str], told: str, tmp_path: Path, capsys: Any) -> None:
    trained(tmp_path, "stylegan2", 0, {8: 1.0})
    trained(tmp_path, "stylegan2", 1, {8: 1.0})
    trained(tmp_path, "re-stylegan2", 0, {8: 1.0})
    code, output = call(["tables", "show", f"--out={tmp_path}", *arguments], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and told in line
