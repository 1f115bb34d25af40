"""``regan-ext demo``, cut short."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import run_python
from PIL import Image

from regan_ext.demo import DemoSettings, megabytes
from regan_ext.digits import write_digits
from training_hooks.schedule import Phase


@pytest.mark.parametrize("kimg", range(3, 61))
def test_any_length_makes_two_cycles_and_a_snapshot_of_both_kinds(kimg: int) -> None:
    settings = DemoSettings(kimg)
    spans = settings.schedule.spans()
    assert sum(span.phase == Phase.SPARSE for span in spans) == 2 and spans[-1].phase == Phase.DENSE
    # The host's ticks: after the first iteration, then whenever 1 kimg has passed.
    ticks, images = [0], settings.batch
    for iteration in range(1, settings.total):
        if (iteration + 1) * settings.batch >= images + 1000:
            ticks.append(iteration)
            images = (iteration + 1) * settings.batch
    snapshots = [iteration for tick, iteration in enumerate(ticks) if tick % settings.snap == 0]
    assert spans[-2].phase == Phase.SPARSE
    assert any(spans[-2].start <= iteration < spans[-2].stop for iteration in snapshots)


def test_digits_are_a_data_set_of_the_host(tmp_path: Path) -> None:
    path = tmp_path / "digits.zip"
    write_digits(path)
    with zipfile.ZipFile(path) as archive:
        labels = dict(json.loads(archive.read("dataset.json"))["labels"])
        names = [name for name in archive.namelist() if name.endswith(".png")]
        assert len(names) == 100 and sorted(labels) == sorted(names)
        assert sorted(labels.values()) == sorted(list(range(10)) * 10)
        with archive.open(names[0]) as file:
            image = Image.open(file)
            assert image.size == (32, 32) and image.mode == "L"
    assert [p.name for p in tmp_path.iterdir()] == ["digits.zip"]


def test_size_counts_every_file_below(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "digits.zip").write_bytes(bytes(250_000))
    (tmp_path / "run" / "stats.jsonl").write_bytes(bytes(1_000_000))
    assert megabytes(tmp_path) == 1.25


def test_demo_ends_with_a_picture(tmp_path: Path, host_dir: Path) -> None:
    result = run_python(["-m", "regan_ext", "demo", "--outdir", str(tmp_path / "demo"), "--kimg=3", "--device=cpu"])
    assert result.returncode == 0, result.stdout
    (run,) = [path for path in (tmp_path / "demo").iterdir() if path.is_dir()]
    assert str(run) in result.stdout.replace("\n", "")
    with Image.open(run / "demo-grid.png") as picture:
        assert picture.size == (3 * 640 + 2 * 32, 6 * 64 + 36)
        left, middle, right = (picture.crop((i * 672, 36, i * 672 + 640, 420)) for i in range(3))
    assert left.tobytes() != middle.tobytes() != right.tobytes()
    phases = {json.loads(line)["ReGAN/phase"]["mean"] for line in (run / "stats.jsonl").read_text().splitlines()}
    assert {1, 2} <= phases


def test_failed_training_is_told_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regan_ext.cli import main

    monkeypatch.setenv("REGAN_CACHE_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = CliRunner().invoke(main, ["demo", "--outdir", str(tmp_path / "demo"), "--kimg=3", "--device=cpu"])
    assert result.exit_code == 1 and "training failed" in result.output and "--host=DIR" in result.output
