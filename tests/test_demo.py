"""``regan-ext demo``, cut short."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from click.testing import CliRunner
from PIL import Image
from support.commands import call
from support.processes import Program
from support.runs import wait_for_iteration

from regan_ext.cli import main
from regan_ext.demo import DemoSettings, size_of
from regan_ext.runs.folder import read_run
from regan_ext.support.locks import locked_file
from training_hooks.core.schedule import Phase


@pytest.mark.parametrize("kimg", range(3, 61))
def test_any_length_makes_two_cycles_and_ends_dense(kimg: int) -> None:
    spans = DemoSettings(kimg).schedule.spans()
    assert sum(span.phase == Phase.SPARSE for span in spans) == 2 and spans[-1].phase == Phase.DENSE


def test_size_counts_every_file_below(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "digits.zip").write_bytes(bytes(250_000))
    (tmp_path / "run" / "stats.jsonl").write_bytes(bytes(1_000_000))
    assert size_of(tmp_path) == 1_250_000


def begin(outdir: Path) -> Program:
    return Program(["-m", "regan_ext", "demo", f"--outdir={outdir}", "--kimg=3", "--device=cpu"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, host_dir: Path) -> Tuple[Path, List[str]]:
    """Its folder and what it said: stopped in the first sparse phase, gone on with to the end, and started once more."""
    outdir = tmp_path_factory.mktemp("demo") / "out put"
    process = begin(outdir)
    wait_for_iteration(outdir, 40, process)
    process.send_signal(signal.SIGINT)
    said = [process.communicate(timeout=120)[0]]
    assert process.returncode == 130, said
    for _ in range(2):
        process = begin(outdir)
        said.append(process.communicate(timeout=240)[0])
        assert process.returncode == 0, said
    return outdir, said


def runs_of(outdir: Path) -> List[Path]:
    return sorted(path for path in outdir.iterdir() if path.is_dir())


def test_a_stopped_demo_goes_on(demo: Tuple[Path, List[str]]) -> None:
    outdir, (first, second, third) = demo
    assert re.search(r"Stopped at \d of 3 kimg. The same command goes on:\n  regan-ext demo '--outdir=.*' --kimg=3", first)
    begun, gone_on = runs_of(outdir)
    assert f"Training goes on at 0 of 3 kimg, from {begun}\n" in second and gone_on.name.endswith("-resumed")
    ticks = [read_run(run).ticks for run in (begun, gone_on)]
    assert 0 < ticks[0][-1].kimg < ticks[1][0].kimg and ticks[1][-1].kimg == pytest.approx(3.008)
    assert "Trained already, 3 kimg" in third and "goes on" not in third


def test_the_demo_says_where_it_stands_and_whose_host_it_is(demo: Tuple[Path, List[str]]) -> None:
    _, (first, second, _) = demo
    assert "slideflow-noncommercial 0.0.2 (CC BY-NC 4.0)" in first and "non-commercial use only" in first
    lines = [line for line in second.splitlines() if " iterations · " in line]
    assert all(re.search(r": \d+ of 188 iterations · \d+:\d\d:\d\d elapsed( · \d+:\d\d:\d\d left)?$", line) for line in lines)
    assert lines[-1].startswith("dense (cycle 2): 188 of 188 iterations") and lines[-1].endswith("0:00 left")
    assert "sparse (cycle 1): " in first and "sparse (cycle 2): " in second and len(lines) < 20


def test_the_demos_picture_holds_the_pair_of_the_last_switch(demo: Tuple[Path, List[str]]) -> None:
    outdir, (_, second, _) = demo
    run = runs_of(outdir)[-1]
    assert f"Picture: {run / 'demo-grid.png'} " in second
    with Image.open(run / "demo-grid.png") as picture:
        blocks = [picture.crop((96, 36 + i * 214, 96 + 660, 36 + i * 214 + 198)) for i in range(3)]
        assert picture.height == 36 + 3 * 214 and picture.getpixel((0, 0)) == (27, 31, 36)
    assert len({block.tobytes() for block in blocks}) == 3
    assert [path.name for path in sorted(run.glob("network-pair-*"))] == [
        "network-pair-000002-dense.pkl",
        "network-pair-000002-sparse.pkl",
    ]


def test_the_commands_that_come_next_work_when_pasted(demo: Tuple[Path, List[str]], capsys: Any) -> None:
    outdir, (_, second, _) = demo
    report, export, own = [line.strip() for line in second.splitlines() if line.startswith("  regan-ext ")]
    for command in (report, export):
        code, output = call(shlex.split(command)[1:], capsys)
        assert code == 0, output
    assert {"report.html", "demo-grid.png"} <= {path.name for path in runs_of(outdir)[-1].iterdir()}
    assert "data prepare my-images" in own and "train --data=images.zip" in own


def test_masks_move_in_the_demo(demo: Tuple[Path, List[str]]) -> None:
    """In phases as short as these only a little; at its full length see README."""
    outdir, (_, second, _) = demo
    last = read_run(runs_of(outdir)[-1]).ticks[-1]
    assert last.get("ReGAN/mask_change") > 0 and f"{last.get('ReGAN/explored'):.1%} of all have been in use" in second


def test_two_demos_in_one_folder_are_refused(tmp_path: Path) -> None:
    with locked_file(tmp_path / ".lock"):
        result = CliRunner().invoke(main, ["demo", "--outdir", str(tmp_path), "--kimg=3", "--device=cpu"])
    assert result.exit_code == 2 and "another demo trains in" in result.output and len(list(tmp_path.iterdir())) == 1


def test_failed_training_is_told_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGAN_CACHE_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = CliRunner().invoke(main, ["demo", "--outdir", str(tmp_path / "demo"), "--kimg=3", "--device=cpu"])
    assert result.exit_code == 1 and "training failed" in result.output and "--host=DIR" in result.output
