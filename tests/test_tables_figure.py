"""A table's runs as a figure: what is drawn of which runs, and what is said where there is nothing to draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from support.commands import call

TABLE = "fashion-few-shot"
REGAN = ("--regan-ratio=0.3", "--regan-warmup=80kimg", "--regan-interval=40kimg")


def line(row: str, seed: int, values: Dict[int, float], arguments: Optional[List[str]] = None, finished: bool = True) -> str:
    given = ["--batch=16", "--kimg=320", *(REGAN if row != "stylegan2" else ()), *(arguments or [])]
    points = {"kid1k_full": sorted(values.items()), "kid1k_train": [(at, 2 * value) for at, value in sorted(values.items())]}
    return json.dumps({"cell": f"{row}-fashion-100", "seed": seed, "arguments": given, "kimg": 320.0, "finished": finished,
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
    assert lines["StyleGAN2 (mean of 2 seeds, and each)"] == [(160, 1.0), (320, pytest.approx(0.55))]
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
