"""Numbers and paths at the edge of every command: finite, bounded, expanded, and refused before anything is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from regan_ext.cli import main
from regan_ext.hosts import embedded_train
from regan_ext.support.numbers import FiniteFloat, Int, SeedList
from regan_ext.support.paths import UserPath, expanded
from regan_ext.train import host_values, options
from training_hooks.core.schedule import Length, Phase, Schedule

NOT_NUMBERS = ("nan", "inf", "-inf", "1e400", "-1", "9" * 30, "x", "")


def commands(group: click.Command, names: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], click.Command]]:
    """Every command below ``group`` with the words that call it."""
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*names, name))
    else:
        yield names, group


PARAMETERS = [
    *((" ".join(words), param) for words, command in commands(main) for param in command.params if words != ("train",)),
    *(("train", param) for param in options.click_options()),
]


def ids(value: Any) -> str:
    return value if isinstance(value, str) else str(value.opts[-1])


NUMBERS = [(c, p) for c, p in PARAMETERS if isinstance(p.type, (click.types.IntParamType, click.types.FloatParamType))]
PATHS = [
    (c, p) for c, p in PARAMETERS if isinstance(p.type, click.Path) or p.metavar in ("DIR", "FILE", "PATH", "ZIP", "RUN...")
]


@pytest.mark.parametrize(("command", "param"), NUMBERS, ids=ids)
def test_every_number_has_both_bounds_and_is_finite(command: str, param: click.Parameter) -> None:
    kind = param.type
    assert isinstance(kind, (Int, FiniteFloat)), "a type without bounds"
    assert kind.min is not None and kind.max is not None
    for text in ("nan", "inf", "-inf", "1e400", str(kind.max * 2 + 1), str(kind.min - 1)):
        with pytest.raises(click.BadParameter):
            kind.convert(text, param, None)


@pytest.mark.parametrize(("command", "param"), PATHS, ids=ids)
def test_every_path_goes_through_the_one_check(command: str, param: click.Parameter) -> None:
    assert isinstance(param.type, UserPath), "a path that is not checked"


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "~nobody-of-that-name/x", "x" * 300, "/".join(["abcdefg"] * 600)])
def test_what_can_be_no_path(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        UserPath().convert(text, None, None)
    assert len(str(caught.value)) < 200


def test_a_tilde_is_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/runs") == str(tmp_path / "runs")
    assert expanded("runs/~x") == "runs/~x" and expanded("./~nobody") == "./~nobody"
    assert UserPath(path_type=Path).convert("~/a", None, None) == tmp_path / "a"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_path_through_a_closed_folder_is_refused(tmp_path: Path) -> None:
    """As anybody but root, who may look anywhere."""
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)
        for kept in (closed / "x.pkl", closed / "runs" / "new"):
            with pytest.raises(ValueError, match="lies in a folder that you may not look into"):
                expanded(str(kept))
    finally:
        os.seteuid(user)
        closed.chmod(0o700)
    assert expanded(str(closed / "x.pkl")) == str(closed / "x.pkl")


@given(text=st.text(max_size=300))
def test_a_path_is_refused_or_can_be_asked_for(text: str) -> None:
    try:
        path = expanded(text)
    except (ValueError, UnicodeEncodeError):
        return
    os.path.lexists(path)  # neither NUL nor length can fail here


def test_lists_of_seeds_are_bounded() -> None:
    kind = SeedList(100)
    assert kind.convert("3,0-2,1", None, None) == (3, 0, 1, 2, 1)
    for text in ("0-9999999999", "0-100", "2-1", "-1", "", "a", "1,,2", "99999999999", "٣"):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)


# ---------------------------------------------------------------- the host's own values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kimg", 0), ("kimg", 25_000_000_000), ("seed", -1), ("seed", 2**32), ("gamma", float("nan")), ("gamma", float("inf")),
        ("target", float("nan")), ("p", float("-inf")), ("gpus", 2**30), ("workers", 10**9), ("batch", 10**12), ("snap", -3),
        ("freezed", -1), ("outdir", ""), ("data", "~nobody-of-that-name"), ("resume", "a\0b"), ("allow_tf32", float("nan")),
    ],
)  # fmt: skip
def test_values_that_no_host_should_see(name: str, value: Any) -> None:
    with pytest.raises(click.BadParameter) as caught:
        host_values.checked({"outdir": "runs", name: value})
    assert caught.value.param_hint == f"--{name.replace('_', '-')}"


def test_values_that_a_host_may_see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given: Dict[str, Any] = {"outdir": "~/runs", "data": "x.zip", "resume": "https://a/~b.pkl", "kimg": 25000, "seed": 0}
    given.update(gamma=10.0, cond=True, metrics=["none"], mirror=None)
    assert host_values.checked(given) == {**given, "outdir": str(tmp_path / "runs")}


def test_seeds_of_all_processes_have_to_fit() -> None:
    host_values.checked({"seed": 2**31 - 1, "gpus": 2})
    with pytest.raises(click.BadParameter, match="2 processes"):
        host_values.checked({"seed": 2**31, "gpus": 2})


# ---------------------------------------------------------------- long schedules


@pytest.mark.parametrize("finish", ["as-is", "dense", "sparse"])
def test_a_plan_of_millions_of_phases_is_told_at_once(finish: str) -> None:
    total = 78 * 10**11
    schedule = Schedule(5, 10, total, finish)
    first, left_out, last = schedule.outline(total)
    assert (len(first), len(last)) == (5, 3) and last[-1].stop == total
    assert schedule.sparse_phases(total) == last[-1].cycle
    assert left_out > 10**9


@given(
    warmup=st.integers(0, 9), interval=st.integers(1, 9), total=st.integers(1, 150), finish=st.sampled_from(["as-is", "dense"])
)
def test_an_outline_is_the_phases_with_a_gap(warmup: int, interval: int, total: int, finish: str) -> None:
    try:
        schedule = Schedule(warmup, interval, total, finish)
    except ValueError:
        return
    first, left_out, last = schedule.outline(total)
    spans = schedule.spans(total)
    assert len(spans) == len(first) + left_out + len(last) and left_out != 1
    assert spans[: len(first)] == first and (not last or spans[-len(last) :] == last)
    assert schedule.sparse_phases(total) == sum(span.phase == Phase.SPARSE for span in spans)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 30 + "kimg", "1000000001", "2000000000kimg"])
def test_no_length_is_beyond_all_runs(text: str) -> None:
    with pytest.raises(ValueError, match=r"longer than any run|neither"):
        Length.parse(text)


# ---------------------------------------------------------------- whole commands


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "prepare", "my-images", ".", "out.zip", "--resolution=1048576"],
        ["data", "prepare", "digits", "-", "out.zip", "--count=5", "--rest="],
        ["data", "subset", "a.zip", "", "--count=5"],
        ["tables", "run", "few-shot", "--seeds=0-9999999999", "--dry-run"],
        ["tables", "run", "few-shot", "--out=", "--dry-run"],
        ["tables", "run", "few-shot", "--data-dir=~nobody-of-that-name", "--dry-run"],
        ["tables", "estimate", "few-shot", "--pflops=nan"],
        ["tables", "estimate", "few-shot", "--sec-per-kimg=inf"],
        ["tune", "--study=x.db", "--metric=none", "--", "--data=x"],
        ["tune", "--study=", "--", "--data=x"],
        ["tune", "--study=x.db", "--timeout-hours=nan", "--", "--data=x"],
        ["report", ".", "--out="],
        ["report", "~nobody-of-that-name"],
        ["watch", "x" * 3000],
        ["demo", "--outdir=~nobody-of-that-name/x"],
        ["demo", "--kimg=25000000000"],
        ["patch", "apply", "~nobody-of-that-name"],
        ["patch", "revert", "./~nobody-of-that-name"],
        ["doctor", "--host=./~nobody-of-that-name"],
        ["doctor", "--host=~nobody-of-that-name"],
    ],
    ids=" ".join,
)
def test_refused_in_one_line_before_anything_is_written(
    arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    assert len([line for line in result.output.splitlines() if line.startswith("Error: ")]) == 1
    assert list(tmp_path.iterdir()) == []


TRAIN = [
    (["--max-hours=nan"], "--max-hours"),
    (["--max-hours=inf"], "--max-hours"),
    (["--max-hours=1e9"], "--max-hours"),
    (["--seed=-1"], "--seed"),
    (["--apa", "--apa-target=nan"], "--apa-target"),
    (["--kimg=25000000000", "--regan-ratio=0.3", "--regan-interval=10"], "--kimg"),
    (["--regan-ratio=0.3", "--regan-lr-scale=nan"], "--regan-lr-scale"),
    (["--outdir="], "--outdir"),
    (["--outdir=~nobody-of-that-name"], "--outdir"),
    (["--metricdata="], "--metricdata"),
    (["--resume="], "--resume"),
    (["--host=~nobody-of-that-name"], "host"),
    (["--regan-preset=~nobody-of-that-name/a.json"], "--regan-preset"),
]


@pytest.mark.parametrize(("given", "named"), TRAIN, ids=[" ".join(given) for given, _ in TRAIN])
def test_train_refuses_likewise(
    given: List[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_dir: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["train", "--outdir=runs", "--data=x.zip", "--metrics=none", "--device=cpu"]
    host = [] if given[0].startswith("--host") else ["--host=embedded"]
    result = CliRunner().invoke(main, [*common, *host, *given])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert named in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_whose_name_is_too_long(
    data_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_dir: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Path("d" * 240 + ".zip")
    shutil.copy(data_zip, data)
    common = ["train", "--host=embedded", "--outdir=runs", f"--data={data}", "--metrics=none", "--device=cpu", "--cbase=128"]
    result = CliRunner().invoke(main, [*common, "--cmax=8"])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "too long" in line and "rename the data" in line and len(line) < 250
    assert list(tmp_path.iterdir()) == [tmp_path / data]


def test_every_option_of_the_embedded_host_has_bounds_or_none_at_all() -> None:
    numeric = {
        p.name for p in embedded_train.main.params if isinstance(p.type, (click.types.IntParamType, click.types.FloatParamType))
    }
    for name in numeric:
        with pytest.raises(click.BadParameter):
            host_values.checked({str(name): float("nan")})
