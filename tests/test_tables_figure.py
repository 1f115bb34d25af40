"""A table's runs as a figure: what is drawn of which runs, and what is said where there is nothing to draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from support.commands import call

TABLE = "fashion-few-shot"
REGAN = ("--regan-ratio=0.3", "--regan-warmup=80kimg", "--regan-interval=40kimg")


def line(row: str, seed: int, values: Dict[int, float], arguments: Optional[List[str]] = None) -> str:
    given = ["--batch=16", "--kimg=320", *(REGAN if row != "stylegan2" else ()), *(arguments or [])]
    points = {"kid1k_full": sorted(values.items()), "kid1k_train": [(at, 2 * value) for at, value in sorted(values.items())]}
    return json.dumps({"cell": f"{row}-fashion-100", "seed": seed, "arguments": given, "kimg": 320.0, "finished": True,
                       "hours": 1.0, "values": points})  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    lines = []
    for seed in (0, 1):
        lines.append(line("stylegan2", seed, {0: 9.0, 160: 1.0, 320: 0.5 + seed / 10}))
        lines.append(line("explore", seed, {0: 9.0, 160: 0.8, 320: 0.4 + seed / 10}))
    lines.append(line("schedule", 0, {0: 9.0, 160: 0.9, 320: 0.6}))
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The figures that are saved."""
    from matplotlib.figure import Figure

    figures: List[Any] = []
    save = Figure.savefig

    def saved(figure: Any, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", saved)
    return figures


def test_every_seed_and_the_mean_over_training_with_the_phases_and_the_differences(
    results: Path, drawn: List[Any], tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "figure.png"
    code, output = call(["tables", "figure", TABLE, str(path), f"--results={results}"], capsys)
    assert code == 0 and path.read_bytes().startswith(b"\x89PNG")
    assert [said.split(": ")[1] for said in output.splitlines()] == ["2 seeds", "1 seed", "2 seeds"]
    curves, differences = drawn[0].axes
    lines = {each.get_label(): [tuple(map(float, point)) for point in each.get_xydata()] for each in curves.lines}
    assert lines["StyleGAN2 (2 seeds)"] == [(160, 1.0), (320, pytest.approx(0.55))]
    assert lines["Schedule only, learning rate × 0.1 in dense phases"] == [(160, 0.9), (320, 0.6)]
    assert len(lines) == 3 + 2 * 2  # without the snapshot of the beginning
    shaded = sorted(tuple(patch.get_x() + side for side in (0, patch.get_width())) for patch in curves.patches)
    assert shaded == [(0, 80), (80, 120), (160, 200), (240, 280)]
    (row,) = differences.containers[1:]  # the bar of ±10 %, and the interval
    assert row[0].get_xdata()[0] == pytest.approx(-0.15) and [t.get_text() for t in differences.get_yticklabels()] == [
        "Re-StyleGAN2 that explores"
    ]


def test_curves_alone_where_there_are_no_pairs_and_no_phases_where_they_differ(
    results: Path, drawn: List[Any], tmp_path: Path, capsys: Any
) -> None:
    results.write_text(
        "\n".join((line("schedule", 0, {160: 1.0}), line("explore", 0, {160: -0.1}, ["--regan-interval=20kimg"]))) + "\n"
    )
    call(
        ["tables", "figure", TABLE, str(tmp_path / "a.png"), f"--results={results}", "--measure=kernel distance to the 100"],
        capsys,
    )
    (curves,) = drawn[0].axes
    assert not curves.patches and curves.get_ylabel() == "kernel distance to the 100"
    assert curves.get_yscale() == "linear"  # a kernel distance can be below 0


def test_lone_checkpoints_are_dots_and_a_mean_over_none_is_said_to_be(
    results: Path, drawn: List[Any], tmp_path: Path, capsys: Any
) -> None:
    """A seed that two lines have is one; the later line counts."""
    lone, apart = (
        line("schedule", 0, {160: 2.0}),
        [line("explore", seed, {160 + seed: 1.0, 320 - seed: 0.5}) for seed in (0, 1)],
    )
    results.write_text("\n".join((line("schedule", 0, {160: 1.0}), lone, *apart)) + "\n")
    code, output = call(["tables", "figure", TABLE, str(tmp_path / "a.png"), f"--results={results}"], capsys)
    assert code == 0 and "dense phases: 1 seed\n" in output and "explores: 2 seeds\n" in output
    lines = {each.get_label(): each for each in drawn[0].axes[0].lines}
    (dot,) = [each for name, each in lines.items() if name.startswith("Schedule only")]
    assert dot.get_marker() == "o" and [tuple(point) for point in dot.get_xydata()] == [(160, 2.0)]
    assert len(lines["Re-StyleGAN2 that explores (2 seeds, no checkpoint in common)"].get_xydata()) == 0


@pytest.mark.parametrize(
    "arguments",
    (["--batch=16", *REGAN], ["--batch=many", "--kimg=320", *REGAN], ["--batch=16", "--kimg=320", "--regan-ratio=3"], None),
    ids=("no length", "a word for a batch", "a ratio of 3", "not known"),
)
def test_phases_that_cannot_be_told_are_not_drawn(
    arguments: Optional[List[str]], results: Path, drawn: List[Any], tmp_path: Path, capsys: Any
) -> None:
    odd = json.dumps({**json.loads(line("explore", 0, {160: 1.0, 320: 0.5})), "arguments": arguments})
    results.write_text(f"{line('schedule', 0, {160: 1.0, 320: 0.9})}\n{odd}\n")
    assert call(["tables", "figure", TABLE, str(tmp_path / "a.png"), f"--results={results}"], capsys)[0] == 0
    assert not drawn[0].axes[0].patches and len(drawn[0].axes[0].lines) == 2


def test_thousands_of_phases_are_a_band(results: Path, drawn: List[Any], tmp_path: Path, capsys: Any) -> None:
    results.write_text(line("explore", 0, {160: 1.0, 320: 0.9}, ["--regan-interval=1", "--regan-warmup=0"]) + "\n")
    assert call(["tables", "figure", TABLE, str(tmp_path / "a.png"), f"--results={results}"], capsys)[0] == 0
    assert 1 < len(drawn[0].axes[0].patches) <= 101
    assert "sparse and dense in turn" in [text.get_text() for text in drawn[0].legends[0].texts]


def test_what_cannot_be_drawn_is_said(results: Path, tmp_path: Path, capsys: Any) -> None:
    def refused(*arguments: str, file: str = "a.png") -> str:
        code, output = call(["tables", "figure", TABLE, str(tmp_path / file), f"--results={results}", *arguments], capsys)
        assert code == 2 and not (tmp_path / file).exists()
        return output

    assert "ends in .png" in refused(file="a.svg")
    assert "--measure=FID is no metric of fashion-few-shot; it can be kernel distance, " in refused("--measure=FID")
    assert "no run of fashion-few-shot has a kernel distance" in refused("--only=channel")
    assert "--baseline=none: no such row" in refused("--baseline=none")
    assert "has two finished seeds that schedule has too" in refused("--baseline=schedule")
    assert "no row that is drawn has two finished seeds" in refused("--baseline=stylegan2", "--only=stylegan2")
    held = results.rename(results.with_suffix(".png"))
    code, output = call(["tables", "figure", TABLE, str(held), f"--results={held}"], capsys)
    assert code == 2 and "is the file of --results" in output and held.read_text().startswith("{")
