"""The study of docs/evidence.md: its tables compare what the page says, and nothing else differs."""

from __future__ import annotations

import json
import re
from statistics import fmean

import pytest
from support.processes import TESTS

from regan_ext.tables.model import Row, load
from regan_ext.tables.paired import compare
from regan_ext.tables.results import read_file

PAGE = (TESTS.parent / "docs" / "evidence.md").read_text("utf-8")
FLOORS = TESTS.parent / "docs" / "results" / "floors.jsonl"
TABLES = ("fashion-few-shot", "emoji-few-shot")
DIFFAUG = "-diffaug"


def rows(name: str) -> "dict[str, Row]":
    return {row.name: row for row in load(name).rows}


def test_both_tables_have_the_same_arms_and_budget() -> None:
    fashion, emoji = map(load, TABLES)
    assert (fashion.rows, fashion.options, fashion.measures) == (emoji.rows, emoji.options, emoji.measures)
    assert (fashion.seeds, fashion.baseline) == (emoji.seeds, emoji.baseline) == ((0, 1, 2, 3, 4), "stylegan2")
    assert all(column.metricdata and column.detector == "lite0.pt" for table in (fashion, emoji) for column in table.columns)


@pytest.mark.parametrize("table", TABLES)
def test_diffaugment_is_all_that_the_augmented_rows_add(table: str) -> None:
    arms = rows(table)
    augmented = [name for name in arms if name.endswith(DIFFAUG)]
    assert len(augmented) == 8
    for name in augmented:
        row, plain = arms[name], arms[name.removesuffix(DIFFAUG)]
        assert sorted(row.options) == sorted([*plain.options, "--DiffAugment=color,translation,cutout"])
        assert row.ticket == plain.ticket or (name == "stylegan2-diffaug" and row.ticket is None)


@pytest.mark.parametrize("table", TABLES)
def test_phases_are_a_quarter_and_an_eighth_and_held_out_images_steer_nothing(table: str) -> None:
    given = dict(option.split("=", 1) for option in load(table).options)
    kimg, checkpoint = int(given["--kimg"]), int(given["--tick"]) * int(given["--snap"])
    assert kimg == 10 * checkpoint and "--metrics=kid1k_full,kid1k_train" in load(table).options
    pruned = [row.options for row in load(table).rows if any(option.startswith("--regan-ratio") for option in row.options)]
    assert len(pruned) == 10
    for options in pruned:
        assert {f"--regan-warmup={kimg // 4}kimg", f"--regan-interval={kimg // 8}kimg"} < {*options}
    assert not [option for row in load(table).rows for option in row.options if "_full" in option or "_test" in option]


@pytest.mark.parametrize("table", TABLES)
def test_the_page_says_what_every_row_is(table: str) -> None:
    arms = rows(table)
    assert all(f"`{name.removesuffix(DIFFAUG)}`" in PAGE for name in arms) and "`ROW-diffaug`" in PAGE
    assert "`explore-diffaug`" in PAGE and "`schedule-diffaug`" in PAGE
    assert all(file in PAGE for column in load(table).columns for file in column.files().values())


@pytest.mark.parametrize("table, title", [*zip(TABLES, ("sneakers", "emoji"))])
def test_the_page_has_the_floors_that_were_measured(table: str, title: str) -> None:
    (column,) = load(table).columns
    lines = [json.loads(line) for line in FLOORS.read_text("utf-8").splitlines()]
    of = {line["floor"]: line for line in lines if line["protocol"]["data"] == column.data}
    assert all(line["protocol"]["metricdata"] == column.metricdata for line in of.values())
    chances = [f"{of[name]['kid_chance']['low']:.3f} to {of[name]['kid_chance']['high']:.3f}" for name in ("train", "halves")]
    train, blurred, noise = (f"{of[name]['kid']:.3f}" for name in ("train", "blurred", "noise"))
    assert f"| {' | '.join([title, train, *chances, blurred, noise])} |" in PAGE
    assert of["train"]["kid_chance"]["high"] < 0.025  # what the page calls the least difference


def test_the_page_has_the_distances_of_the_run_that_finds_the_budget() -> None:
    (run,) = read_file(load("fashion-few-shot"), FLOORS.with_name("fashion-overfitting.jsonl"))
    held_out, train, signs = (run.values[name] for name in ("kid1k_full", "kid1k_train", "stat:Loss/signs/real"))
    assert run.finished and run.cell == "stylegan2-fashion-100" and run.seed not in load("fashion-few-shot").seeds
    expected = []
    for number, (kimg, _) in enumerate(held_out):
        three = slice(max(number - 1, 0), number + 2)
        near = [value for at, value in signs if abs(at - kimg) < 6.5]
        means = (fmean(value for _, value in values[three]) for values in (held_out, train))
        expected.append(f"| {kimg:.0f} | {' | '.join(f'{mean:.2f}' for mean in (*means, fmean(near)))} |")
    told = re.findall(r"^\| \d+ \|.*$", PAGE.split("### The budget")[1], re.MULTILINE)
    assert len(told) >= 12 and told == [row for row in expected if row in told] and expected[-1] in told


def test_the_page_has_every_pair_that_is_trained() -> None:
    table = load("fashion-few-shot")
    arms = compare(table, read_file(table, FLOORS.with_name("fashion-few-shot.jsonl")), None, 5).arms
    (held_out,) = [arm for arm in arms if arm.measure.result == "kid1k_full" and arm.cell.row.name == "explore"]
    (train,) = [arm for arm in arms if arm.measure.result == "kid1k_train" and arm.cell.row.name == "explore"]
    assert {arm.cell.row.name for arm in arms} == {"explore"}  # another row needs a table of its own
    rows = []
    for pairs in zip(held_out.pairs, train.pairs):
        numbers = [f"{pair.baseline:.3f} | {pair.value:.3f} | {pair.value - pair.baseline:+.3f}" for pair in pairs]
        rows.append(f"| {pairs[0].seed} | {' | '.join(numbers)} |")
    assert re.findall(r"^\| \d \|.*$", PAGE, re.MULTILINE) == rows
    found = held_out.difference
    assert found.verdict == "undecided" and f"the mean difference is {found.mean:+.3f}," in PAGE
    assert f"goes from {found.low:+.3f}\n  to {found.high:+.3f}." in PAGE
