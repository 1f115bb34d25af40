"""What -n says before the host's own options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, List

from support.commands import call


def told(arguments: List[str], data: Path, capsys: Any) -> "tuple[str, str]":
    """The page, and everything."""
    common = ["train", "--host=embedded", "-n", "--outdir=nowhere", f"--data={data}", "--device=cpu", "--cbase=128", "--cmax=8"]
    code, output = call([*common, "--metrics=none", "--batch=16", *arguments], capsys)
    assert code == 0, output
    return output[: output.index("Training options:")], output


def test_phases_cost_and_settings_are_told_in_a_table(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    regan = ["--kimg=1", "--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=10", "--regan-finish=dense"]
    page, _ = told([*regan, "--apa", "--apa-kimg=50", "--DiffAugment=color"], data_zip, capsys)
    lines = [re.sub(r"  +", " | ", line.strip()) for line in page.splitlines()]
    table = lines[lines.index("phase | iterations | kimg | share of the run") + 1 :][:5]
    assert table == [
        "warm-up | 0-9 | 0-0.16 | 15.9%",
        "sparse 1 | 10-19 | 0.16-0.32 | 15.9%",
        "dense 1 | 20-29 | 0.32-0.48 | 15.9%",
        "sparse 2 | 30-39 | 0.48-0.64 | 15.9%",
        "dense 2 | 40-62 | 0.64-1.008 | 36.5%",
    ]
    assert "Plan: 63 iterations of 16 images, 1.008 kimg" in lines
    assert any(line.startswith("Cost by theory: a forward pass of G ") for line in lines)
    assert any(line.startswith("Re-GAN: ratio 0.3, interval 10, warmup 10, ") for line in lines)
    assert "APA: target 0.6, kimg 50, interval 4" in lines and "DiffAugment: policy color" in lines


def test_a_long_schedule_is_short_on_the_page(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    page, _ = told(["--kimg=10000000", "--regan-ratio=0.3", "--regan-interval=1"], data_zip, capsys)
    assert "... 624999992 more" in page and len(page.splitlines()) < 30


def test_the_hosts_own_run_has_no_page(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    page, _ = told(["--kimg=1"], data_zip, capsys)
    assert [line for line in page.splitlines() if line] == []


def test_what_a_preset_sets_is_told_method_settings_too(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    _, output = told(["--regan-preset=few-shot", "--regan-warmup=9kimg"], data_zip, capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Preset few-shot: ")]
    assert "--regan-ratio=0.3 --regan-interval=37kimg --regan-finish=dense --cfg=stylegan2 --kimg=300" in line
    assert "--regan-warmup" not in line and "--batch" not in line  # those were given


def test_schedule_only_prunes_nothing(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    page, _ = told(["--kimg=1", "--regan-ratio=0.3", "--regan-interval=20", "--regan-score=none"], data_zip, capsys)
    assert "Sparse: never, the phases differ in the learning rate alone" in page and " weights in " not in page


def test_one_sparse_phase_is_one(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    page, _ = told(["--kimg=1", "--regan-ratio=0.3", "--regan-interval=100"], data_zip, capsys)
    assert "\nSparse: 100.0% of the run in 1 phase, 0.3 of the " in page


def test_networks_in_turn_and_shares_that_differ_are_told_each(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    both = ["--kimg=1", "--regan-ratio=0.3", "--regan-ratio-d=0:0.5", "--regan-target=both", "--regan-phases-d=in-turn"]
    page, _ = told([*both, "--regan-interval=20", "--regan-warmup=10"], data_zip, capsys)
    assert "Sparse: G 52.4% of the run in 2 phases, D 31.7%, 0.3 of G's and 0 to 0.5 of D's, of the " in page
    page, output = told([*both, "--regan-interval=20", "--regan-warmup=45"], data_zip, capsys)
    assert "in 1 phase, D 0.0%," in page and "the run ends before D would be sparse for the first time" in output


def test_a_run_too_short_for_its_preset_says_what_to_give(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    arguments = ["train", "--host=embedded", "-n", "--outdir=x", f"--data={data_zip}", "--regan-preset=few-shot", "--kimg=100"]
    code, output = call([*arguments, "--device=cpu", "--metrics=none"], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and "--regan-finish" in line and "dense needs at least 9312 iterations" in line
    assert (
        "that is 149 kimg, and the run has 100; give --kimg=149 or more, or a shorter --regan-interval or --regan-warmup"
        in line
    )
    assert call([*arguments, "--device=cpu", "--metrics=none", "--kimg=149"], capsys)[0] == 0


def test_the_cpu_is_told_where_nobody_asked_for_it(data_zip: Path, host_dir: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    common = ["train", "--host=embedded", "-n", "--outdir=nowhere", f"--data={data_zip}", "--metrics=none"]
    assert "Note: PyTorch finds no CUDA device, so the CPU is used" in call(common, capsys)[1]
    assert "Note: PyTorch" not in call([*common, "--device=cpu"], capsys)[1]
