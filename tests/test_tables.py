"""The paper's tables: their numbers, the commands of their cells, what is run and what is left alone, what is printed."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.commands import call
from support.networks import write_networks
from support.processes import TESTS, run_fresh_python
from support.run_folders import HOOK, add_metric, add_snapshot, make_run, tick, ticks_of_one_kimg

from regan_ext.cli import main
from regan_ext.hosts import embedded_train
from regan_ext.steps.training import note_settings
from regan_ext.support.errors import UserError
from regan_ext.support.locks import locked
from regan_ext.support.process import module_command
from regan_ext.tables import picture, runner
from regan_ext.tables.command import Job, Place
from regan_ext.tables.estimate import cost_of
from regan_ext.tables.model import NAMES, Cell, Table, how_to_get, load, table_of
from regan_ext.tables.results import dumps, read_file, read_folder
from regan_ext.tables.sheet import FORMATS, Grid, Sheet
from regan_ext.tables.show import sheet_of
from training_hooks.core import own_snapshots, random_state
from training_hooks.nvidia import state
from training_hooks.sparsity.operations import layer_operations

ROOT = TESTS.parent
REGAN_EXT = module_command("regan_ext")
SMALL = {
    "title": "Small",
    "source": "a test",
    "protocol": "1000 images",
    "about": [],
    "seeds": [0, 1],
    "measures": [{"key": "fd", "title": "FD", "result": "fid1k_full"}],
    "options": ["--device=cpu", "--cfg=cifar", "--cbase=64", "--cmax=8", "--batch=64", "--kimg=1", "--tick=1", "--snap=1",
                "--metrics=fid1k_full", "--aug=noaug"],
    "columns": [{"name": "digits", "title": "Digits", "resolution": 16, "channels": 1, "data": "digits-100.zip",
                 "detector": "digits-detector.pt"}],
    "rows": [{"name": "plain", "title": "StyleGAN2", "paper": {"fd": ["80.0"]}},
             {"name": "broken", "title": "Broken", "options": ["--batch=0"]}],
}  # fmt: skip
CHAIN = {
    **SMALL,
    "rows": [*SMALL["rows"],
             {"name": "re-stylegan2", "title": "Re-StyleGAN2 + DiffAug + APA",
              "options": ["--regan-ratio=0.3", "--regan-interval=4", "--regan-granularity=channel",
                          "--regan-channel-multiple=1", "--regan-channel-min=1", "--DiffAugment=color,translation,cutout",
                          "--apa"]}],
}  # fmt: skip


def cell(table: str, name: str) -> Cell:
    return next(c for c in load(table).cells() if c.name == name)


def small_job(out: Path, extra: Tuple[str, ...] = (), seed: int = 0, data: Path = Path("data")) -> Job:
    return Job(table_of("small", SMALL).cells()[0], seed, Place(data, out, "embedded", None, extra))


# ---------------------------------------------------------------- the numbers


def numbers(table: str, row: str, measure: str) -> List[Optional[str]]:
    found = next(r for r in load(table).rows if r.name == row)
    return [None if value is None else str(value) for value in found.paper[measure]]


@pytest.mark.parametrize(
    "table, row, measure, expected",
    [
        ("few-shot", "stylegan2", "fid", ["86.67", "51.3", "95.08", "81.91", "157.63", "147.67"]),
        ("few-shot", "re-stylegan2", "fid", ["72.92", "38.23", "78.45", "73.05", "133.4", "138.35"]),
        ("few-shot", "re-stylegan2-apa", "fid", ["64.28", "31.74", "16.33", "60.26", "77.44", "82.19"]),
        ("few-shot", "re-stylegan2-diffaug", "fid", ["45.7", "27.36", "12.6", "42.11", "57.2", "45.13"]),
        ("few-shot", "re-stylegan2-optimized", "fid", ["49.2", "28.3", "12.8", None, None, None]),
        ("few-shot", "progan", "fid", ["129.52", "135.89", "235.86", "289.73", "259.32", "224.70"]),
        ("ffhq", "stylegan2", "fid", ["4.35", "13.06", "21.76", "40.24"]),
        ("ffhq", "re-stylegan2", "fid", ["4.19", "11.22", "19.13", "36.3"]),
        ("cifar10", "re-stylegan2", "fid", ["12.16"]),
        ("cifar10", "re-stylegan2", "gflops", ["4.05"]),
        ("tiny-imagenet", "stylegan2", "hours", ["52.5"]),
        ("tiny-imagenet", "re-stylegan2", "is", ["12.10"]),
        ("cifar10-limited", "re-stylegan2", "fid", ["16.09", "27.98", "32.91"]),
        ("tiny-imagenet-limited", "stylegan2", "fid", ["30.03", "65.26", "84.86"]),
        ("tiny-imagenet-limited", "re-stylegan2", "mimg", ["13.2", "4.2", "1.3"]),
        ("cifar10-limited", "re-progan", "mimg", ["9.4", "6.1", "4.9"]),
        ("cifar10", "sngan-ticket-46", "flops", ["3.46"]),
        ("cifar10", "re-autogan-a", "flops", ["16.5"]),
        ("learning-rate", "re-sngan-0.00001", "fid", ["19.65"]),
        ("tickets-few-shot", "ticket-diffaug-advaug", "fid", ["52.86", "31.02", "14.75", "47.40", "68.28"]),
        ("tickets-few-shot", "transferred-diffaug-advaug", "fid", ["35.90", "29.73", "14.86", "46.01", "63.15"]),
        ("tickets-tiny-imagenet", "ticket-36-advaug", "is", ["19.15", "8.55", "6.86"]),
        ("tickets-imagenet", "ticket-advaug", "fid", ["23.14"]),
        ("tickets-cifar", "biggan-diffaug-advaug", "fid", ["7.70", "12.19", "14.40", "8.96", "17.94", "23.94"]),
        ("advaug-noise", "sngan-noise", "fid", ["14.52", "44.86"]),
        ("blocks", "dcgan-blocks-600", "fid", ["54.2", "59.6"]),
        ("blocks", "wgan-blocks-1000", "saved", ["40.7", "41"]),
        ("blocks", "wdcgan-parallel-1000", "is", ["3.70", None]),
        ("teacher", "teacher-0.3", "fid", ["62", "176"]),
        ("teacher", "local", "is", ["3.1", "1.80"]),
    ],
)
def test_the_papers_numbers(table: str, row: str, measure: str, expected: List[Optional[str]]) -> None:
    assert numbers(table, row, measure) == expected


@pytest.mark.parametrize(
    "table, row, shown",
    [
        ("tiny-imagenet", "Re-ProGAN", "9.57 ± 0.35"),
        ("cifar10-limited", "StyleGAN2", "7.20 ± 0.24"),
        ("learning-rate", "Re-SNGAN, learning rate 0.0007", "7.93 ± 0.30"),
    ],
)
def test_deviations_stand_beside_their_numbers(table: str, row: str, shown: str, capsys: Any) -> None:
    output = call(["tables", "show", table], capsys)[1]
    assert shown in next(line for line in output.splitlines() if line.startswith(f"{row}  "))


@pytest.mark.parametrize("name", NAMES)
def test_tables_hold_together(name: str) -> None:
    table = load(name)
    assert len({row.name for row in table.rows}) == len(table.rows)
    measures = {measure.key for measure in table.measures}
    for row in table.rows:
        assert set(row.paper) <= measures and all(len(values) == len(table.columns) for values in row.paper.values())
        assert all(len(row.spread[key]) == len(row.paper[key]) for key in row.spread)
        assert row.paper_only is None or not row.options
    names = [c.name for c in table.cells()]
    assert len(set(names)) == len(names) and all("/" not in n and " " not in n for n in names)
    if names:
        of_columns = (column.files() for column in table.columns)
        for file in (file for named in (*of_columns, *(row.files for row in table.rows)) for file in named.values()):
            assert f"/there/{file}" in how_to_get(file, Path("/there"))
    if names:
        kimgs = {next(o for o in reversed(c.options) if o.startswith("--kimg=")) for c in table.cells([table.columns[0].name])}
        assert len(kimgs) == 1  # equal budgets


def test_only_chooses_rows_columns_and_cells() -> None:
    table = load("few-shot")
    assert len(table.cells()) == 36
    assert {c.row.name for c in table.cells(["obama"])} == {row.name for row in table.rows if row.paper_only is None}
    assert [c.name for c in table.cells(["re-stylegan2-panda"])] == ["re-stylegan2-panda"]
    assert len(table.cells(["animalface-*", "stylegan2"])) == 12 + 4
    with pytest.raises(UserError, match=r"--only=dog: .*animalface-dog"):
        table.cells(["dog"])
    with pytest.raises(UserError, match="there are few-shot, ffhq"):
        load("fewshot")


# ---------------------------------------------------------------- the commands


class Detector(torch.nn.Module):
    """Means of 4x4 patches."""

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(img[:, :1].to(torch.float32), 4).flatten(1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, data_zip: Path, host_dir: Path) -> Path:
    """A folder with every data file that a table names, all of them small."""
    folder = tmp_path_factory.mktemp("table-data")
    for name in json.loads((ROOT / "regan_ext" / "tables" / "data" / "files.json").read_text()):
        if name.endswith(".zip"):
            os.link(data_zip, folder / name)
        elif name.endswith(".pkl"):
            write_networks(folder / name, host_dir, classes=10)
        else:
            torch.jit.script(Detector()).save(str(folder / name))
    return folder


def test_train_accepts_every_cells_command(data_dir: Path, tmp_path: Path, host_dir: Path, capsys: Any) -> None:
    tried = set()
    for table in map(load, NAMES):
        for each in table.cells():
            job = Job(each, 1, Place(data_dir, tmp_path / "out", "embedded"))
            if each.options in tried:
                continue
            tried.add(each.options)
            part = ["--subset=64"] if any(option.startswith("--subset") for option in each.options) else []
            arguments = [*job.command(False)[len(REGAN_EXT) :], *part, "-n", "--device=cpu", "--cbase=256", "--cmax=16"]
            code, output = call(arguments, capsys)
            assert code == 0 and "Dry run; exiting." in output, (arguments, output[-800:])
            # Of the host the tables say everything themselves; a preset sets nothing.
            assert not re.search(r"^Preset .*(?<!-)--(?!regan-)", output, re.MULTILINE)
    assert len(tried) == 119 and not (tmp_path / "out").exists()


def test_few_shot_command_in_full(tmp_path: Path) -> None:
    job = Job(cell("few-shot", "re-stylegan2-diffaug-obama"), 2, Place(Path("my data"), Path("out"), "~/host", 2))
    assert job.shell(True) == (
        f"{shlex.join(REGAN_EXT)} train --host='~/host' --outdir=out/few-shot/re-stylegan2-diffaug-obama-seed2 "
        "'--data=my data/obama.zip' --gpus=2 --seed=2 --metrics=fid5k_full,kid5k_full --cfg=stylegan2 --mirror=1 --gamma=10 "
        "--kimg=300 --batch=16 --snap=10 --aug=noaug --regan-preset=few-shot --DiffAugment=color,translation,cutout "
        "--resume=latest"
    ).replace("--host='~/host'", "'--host=~/host'")


def test_dry_run_prints_commands_and_nothing_else(tmp_path: Path, capsys: Any) -> None:
    from regan_ext.cli import main

    arguments = ["tables", "run", "few-shot", "--only=obama", "--dry-run", "--", "--kimg=100"]
    with pytest.raises(SystemExit):
        main.main(args=arguments, prog_name="regan-ext")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 * 3 and all(line.startswith(f"{shlex.join(REGAN_EXT)} train --outdir=") for line in lines)
    assert all(line.endswith(" --kimg=100") for line in lines)


def test_cells_that_are_tickets_bring_what_they_begin_with(tmp_path: Path, capsys: Any) -> None:
    """Their masks are made between the cells that they are made from, and all begin with the weights of the dense one."""
    arguments = [
        "--only=ticket-2-augmented,random-3",
        "--only=ticket-3-augmented",
        "--seeds=1",
        "--dry-run",
        f"--out={tmp_path}",
    ]
    assert call(["tables", "run", "digits-tickets", *arguments], capsys)[0] == 2
    code, output = call(["tables", "run", "digits-tickets", *arguments[1:], "--only=random-3"], capsys)
    folder = tmp_path / "digits-tickets"
    made = folder / "dense-digits-100-seed1"
    found = [re.search(r"(?:--outdir=|^# )(\S+)", line) for line in output.splitlines()]
    assert code == 0 and [Path(match[1]).name for match in found if match] == [
        "dense-digits-100-seed1", "ticket-mask-random-3.pt", "random-3-digits-100-seed1", "ticket-mask-1.pt",
        "ticket-1-digits-100-seed1", "ticket-mask-2.pt", "ticket-2-digits-100-seed1", "ticket-mask-3.pt",
        "ticket-3-augmented-digits-100-seed1",
    ]  # fmt: skip
    runs = [line for line in output.splitlines() if not line.startswith("#")]
    assert all(f"--ticket-init={made / 'ticket-init.pt'}" in line for line in runs) and "--ticket-mask" not in runs[0]
    assert f"--ticket-mask={made / 'ticket-mask-3.pt'}" in runs[-1] and "--advaug=g,d" in runs[-1]
    assert not folder.exists()


@pytest.mark.parametrize("only", [["--only=stylegan2-obama, *apa-panda"], ["--only=stylegan2-obama", "--only=*apa-panda"]])
def test_only_takes_several_patterns(only: List[str], tmp_path: Path, capsys: Any) -> None:
    code, output = call(["tables", "run", "few-shot", *only, "--seeds=4,4", "--dry-run", f"--out={tmp_path}"], capsys)
    cells = ["re-stylegan2-apa-panda-seed4", "stylegan2-apa-panda-seed4", "stylegan2-obama-seed4"]
    assert code == 0 and sorted(re.findall(r"--outdir=\S+/(\S+)", output)) == cells


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["few-shot", "--only=panda"], "regan-ext data prepare panda data/panda data/panda.zip"),
        (["few-shot", "--only=pandas"], "--only=pandas"),
        (["few-shot", "--seeds=a"], "--seeds"),
        (["few-shot", "--seeds=3-1"], "--seeds"),
        (["little-shot"], "few-shot"),
        (["digits-few-shot"], "regan-ext data prepare digits - data/digits-100.zip"),
    ],
)
def test_mistakes_are_one_line(
    arguments: List[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = call(["tables", "run", *arguments], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and told in line and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the state of a cell


def test_nothing_there_is_fresh(tmp_path: Path) -> None:
    assert small_job(tmp_path).standing().kind == "fresh"


def test_killed_before_the_first_state_is_fresh(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    add_snapshot(make_run(job.folder / "00000-a", ticks_of_one_kimg(3)), 0, with_state=False)
    assert job.standing().kind == "fresh"


def test_a_state_makes_it_go_on(tmp_path: Path, capsys: Any) -> None:
    job = small_job(tmp_path)
    first = make_run(job.folder / "00000-a", ticks_of_one_kimg(6))
    add_snapshot(first, 4)
    optimizer = {"param_groups": [{"lr": 0.002, "params": []}], "state": {}}
    rank = {"pl_mean": None, "averages": {}, "random": random_state.random_states(torch.device("cpu"))}
    whole = {
        **{"format": "regan-ext state", "version": state.VERSION, "snapshot": {"bytes": 0, "crc32": 0}, "options": None},
        **{"cur_nimg": 4000, "batch_idx": 125, "cur_tick": 4, "augment_p": None, "ada_pending": None, "hooks": {}},
        **{"optimizers": {"G": optimizer, "D": optimizer}, "ranks": [rank]},
    }
    state.save(whole, first / "regan-state-000004.pt")
    assert (job.standing().kind, job.standing().detail) == ("interrupted", "at 4 kimg")
    going_on = {"resume_pkl": str(first / "network-snapshot-000004.pkl")}
    make_run(job.folder / "00001-a-resumed", [], **going_on)  # killed again before it wrote anything
    assert (job.standing().kind, job.standing().detail) == ("interrupted", "at 4 kimg")
    runner.dry_run([job])
    planted = capsys.readouterr()
    assert planted.out == "" and "network-snapshot-000004.pkl is a pickle that no run of yours wrote" in planted.err
    own_snapshots.remember(first / "network-snapshot-000004.pkl")
    runner.dry_run([job])
    assert capsys.readouterr().out == job.shell(True) + "\n"
    (first / "network-snapshot-000004.pkl").write_bytes(b"written anew, and stopped before its state")
    runner.dry_run([job])
    assert capsys.readouterr().out == job.shell(False) + "\n"


def test_trained_and_measured_is_finished(tmp_path: Path, capsys: Any) -> None:
    job = small_job(tmp_path)
    first = make_run(job.folder / "00000-a", ticks_of_one_kimg(6))
    add_metric(first, "fid1k_full", {0: 300.0})
    going_on = {"resume_pkl": str(first / "network-snapshot-000005.pkl")}
    second = make_run(job.folder / "00001-a-resumed", [tick(5, 6.0), tick(8, 9.0)], **going_on)
    assert job.standing().kind == "finished"
    (first / "metric-fid1k_full.jsonl").unlink()
    found = job.standing()
    assert found.kind == "unmeasured" and "fid1k_full" in found.detail and str(second) in found.detail
    add_metric(second, "fid1k_full", {9: float("nan")})
    assert job.standing().kind == "unmeasured"
    runner.dry_run([job])
    assert capsys.readouterr().out == ""
    (second / "network-snapshot-000009.pkl").write_bytes(b"planted")
    runner.dry_run([job])
    said = capsys.readouterr()
    assert said.out == "" and "runs the code in it; add --trust" in said.err
    runner.dry_run([replace(job, place=replace(job.place, trust=True))])
    assert " metrics run " in (said := capsys.readouterr().out) and said.endswith(" --trust\n")
    own_snapshots.remember(second / "network-snapshot-000009.pkl")
    runner.dry_run([job])
    assert " metrics run " in (said := capsys.readouterr().out) and "--trust" not in said


def test_statistics_of_a_method_are_not_asked_of_a_run_without_it(tmp_path: Path) -> None:
    job = Job(cell("digits-longer", "stylegan2-digits-100"), 0, Place(Path("data"), tmp_path))
    folder = make_run(job.folder / "00000-a", ticks_of_one_kimg(10))
    add_metric(folder, "fid5k_full", {9: 8.0})
    assert job.standing().unmeasured == ["fid5k_train"]
    add_metric(folder, "fid5k_train", {9: 3.0})
    assert job.standing().kind == "finished"


def test_other_arguments_than_before_are_told(tmp_path: Path) -> None:
    job = small_job(tmp_path, ("--gamma=1",))
    job.folder.mkdir(parents=True)
    note_settings(job)
    assert job.standing().kind == "fresh"
    moved = Job(job.cell, 0, Place(Path("elsewhere"), tmp_path, "embedded", 4, ("--gamma=1",)))
    assert moved.standing().kind == "fresh"
    other = small_job(tmp_path, ("--gamma=2",)).standing()
    assert other.kind == "differs" and "begun with other options (--gamma: 1 -> 2)" in other.detail


@pytest.mark.parametrize("extra", ["--outdir=elsewhere", "--seed=9", "--data=x.zip", "--gpus=2", "-n", "--resume=latest"])
def test_what_is_the_tables_to_give_is_refused(extra: str, tmp_path: Path, capsys: Any) -> None:
    code, output = call(["tables", "run", "few-shot", f"--out={tmp_path}", "--", extra], capsys)
    assert code == 2 and f"Error: {extra.split('=')[0]} cannot be given to the cells" in output


def test_two_processes_share_a_table(tmp_path: Path, data_dir: Path) -> None:
    job = small_job(tmp_path, data=data_dir)
    job.folder.mkdir(parents=True)
    code = (
        f"import sys; from pathlib import Path; from regan_ext.support.locks import locked\n"
        f"with locked(Path({str(job.folder)!r})) as mine: print(mine is not None, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        lines: List[str] = []
        assert runner.run([job], lines.append) == 1
        assert len(lines) == 2 and all("another process is at it" in line for line in lines)
        assert list(job.folder.glob("0*")) == []

        def other_finishes(line: str) -> None:
            lines.append(line)
            if not list(job.folder.glob("0*")):
                add_metric(make_run(job.folder / "00000-a", [tick(8, 9.0)]), "fid1k_full", {9: 3.0})

        assert runner.run([job], other_finishes) == 0
        assert len(lines) == 3 and "another process is at it" in lines[-1]
        other.communicate("")
    with locked(job.folder) as mine:
        assert mine is not None


# ---------------------------------------------------------------- running


def test_from_digits_to_a_table(tmp_path: Path, host_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real training runs, measured with real metrics, through the real commands: one while training, one afterwards."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    prepared = CliRunner().invoke(main, ["data", "prepare", "digits", "-", str(data / "digits-100.zip"), "--count=100"])
    assert prepared.exit_code == 0, prepared.output
    torch.jit.script(Detector()).save(str(data / "digits-detector.pt"))
    table = table_of("small", CHAIN)
    measures = [*CHAIN["measures"], {"key": "kd", "title": "KD", "result": "kid1k_full"}]
    more = table_of("small", {**CHAIN, "measures": measures})
    plain, broken = (Job(each, 0, Place(data, tmp_path, "embedded")) for each in more.cells()[:2])
    (methods,) = (Job(each, 0, Place(data, tmp_path, "embedded")) for each in table.cells()[2:])
    lines: List[str] = []
    assert runner.run([broken, plain, methods], lines.append) == 1
    assert lines[0].startswith("[1/3] broken-digits-seed0: starts; output in ")
    assert "exit code 2: " in lines[1] and "--batch" in lines[1]
    assert lines[3] == "[2/3] plain-digits-seed0: is trained; measures kid1k_full"
    assert "[2/3] plain-digits-seed0: finished after 0:" in lines[4] and "FD " in lines[4] and "KD " in lines[4]
    assert lines[-1].startswith("not finished: broken-digits-seed0: exit code 2") and len(lines) == 8
    (folder,) = plain.folder.glob("0*")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    lines.clear()
    assert runner.run([plain], lines.append) == 0
    assert lines == ["[1/1] plain-digits-seed0: finished, 1.024 kimg"]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    sheet = shown(more, tmp_path)
    assert "Run here: 2 of 3 cells." in sheet.parts
    assert any("PyTorch" in part for part in sheet.parts if isinstance(part, str))
    rows = grid(sheet, "Ours").rows
    assert [row[2] for row in rows] == ["FD", "KD"] * 2 and rows[0][3] == "80.0"
    assert all(math.isfinite(float(row[4])) and row[8] == "1" and row[10] == "1" for row in [rows[1], *rows[::2]])


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_slurms_signal_stops_the_cell_and_then_the_table(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: exit())\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\nwhile True: signal.pause()"
    )
    monkeypatch.setattr(Job, "command", lambda job, resume: [sys.executable, "-c", code])
    lines: List[str] = []
    assert runner.run([small_job(tmp_path, data=data_dir), small_job(tmp_path, seed=1, data=data_dir)], lines.append) == 130
    assert "seed0: starts" in lines[0] and lines[1].startswith("Stopping: ")
    assert lines[2:] == ["Stopped. The same command goes on."]


# ---------------------------------------------------------------- what is printed


def shown(table: Table, out: Path) -> Sheet:
    """The sheet of what lies in ``out``, once directly and once by way of a file of results."""
    found = read_folder(table, out)
    kept = out / "results.jsonl"
    kept.write_text(dumps(found), encoding="utf-8")
    assert read_file(table, kept) == found
    return sheet_of(table, found)


def grid(sheet: Sheet, begin: str) -> Grid:
    return next(part for part in sheet.parts if isinstance(part, Grid) and part.caption.startswith(begin))


def finished(folder: Path, values: Dict[int, float], sec_per_kimg: float = 36.0, **options: Any) -> None:
    ticks = [tick(i, float(i), sec_per_kimg=sec_per_kimg) for i in range(1, 10)]
    add_metric(make_run(folder / "00000-a", ticks, **options), "fid5k_full", values)


def test_ours_beside_the_papers(tmp_path: Path) -> None:
    folder = tmp_path / "few-shot"
    finished(folder / "re-stylegan2-obama-seed0", {3: 90.0, 6: 70.0, 9: 80.0}, hook=HOOK)
    finished(folder / "re-stylegan2-obama-seed1", {3: 90.0, 6: 75.0, 9: 74.0}, hook=HOOK)
    finished(folder / "re-stylegan2-apa-panda-seed0", {3: 30.0}, kimg=20)  # not at its end yet
    sheet = shown(load("few-shot"), tmp_path)
    obama, panda = grid(sheet, "Ours").rows
    assert obama[:4] == ("Re-StyleGAN2", "Obama 100", "FID", "72.92")
    assert obama[4:] == ("72.00 ± 2.83", "77.00 ± 4.24", "-0.92", "6–9", "9", "0.0900 ± 0.0000", "2")
    assert panda[4:] == ("30.00", "30.00", "+13.67", "3", "9", "0.0900", "1, 0 finished")
    assert "Run here: 2 of 36 cells." in sheet.parts


def test_statistics_count_over_the_last_quarter(tmp_path: Path) -> None:
    ticks = [tick(i, float(i), **({"Stability__mse": 0.1 * i} if i > 1 else {})) for i in range(1, 9)]
    make_run(tmp_path / "stability" / "stylegan2-cifar10-10-seed0" / "00000-a", ticks, kimg=8)
    (row,) = grid(shown(load("stability"), tmp_path), "Ours").rows
    assert row[3:9] == ("–", "–", "0.700", "–", "–", "8")


def test_runs_with_other_arguments_are_named(tmp_path: Path) -> None:
    job = Job(cell("few-shot", "stylegan2-obama"), 0, Place(Path("data"), tmp_path, extra=("--kimg=9",)))
    finished(job.folder, {9: 80.0})
    note_settings(job)
    assert "Folders begun with other arguments than the table's, 1: --kimg=9." in shown(load("few-shot"), tmp_path).parts
    fewer = json.loads((job.folder / "cell.json").read_text())
    fewer["arguments"].remove("--mirror=1")
    (job.folder / "cell.json").write_text(json.dumps(fewer))
    job.folder.rename(job.folder.with_name(f"{job.name}-old"))
    finished(job.folder, {9: 80.0})
    (job.folder / "cell.json").write_text(json.dumps(fewer))
    parts = shown(load("few-shot"), tmp_path).parts
    assert "Folders begun with other arguments than the table's, 1: --kimg=9 without --mirror=1." in parts


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("name", NAMES)
def test_every_table_in_every_format(name: str, form: str, tmp_path: Path, capsys: Any) -> None:
    code, output = call(["tables", "show", name, f"--format={form}", f"--out={tmp_path}"], capsys)
    table = load(name)
    assert code == 0 and all(row.title.replace("'", "&#39;") in output or row.title in output for row in paper_rows(table))
    for row in table.rows:
        assert all(str(value) in output for values in row.paper.values() for value in values if value is not None)
    assert ("Run here: none" in output) == bool(table.cells())
    assert not list(tmp_path.iterdir())


def paper_rows(table: Table) -> Sequence[Any]:
    return [row for row in table.rows if row.paper]


def test_formats() -> None:
    sheet = Sheet("A & B", ("Words.", Grid("Numbers:", ("name", "value"), (("a|b", "1.50"), ("long name", "10")))))
    assert FORMATS["text"](sheet) == (
        "A & B\n=====\n\nWords.\n\nNumbers:\nname       value\n----------------\na|b         1.50\nlong name     10\n"
    )
    assert FORMATS["markdown"](sheet) == (
        "### A & B\n\nWords.\n\nNumbers:\n\n| name | value |\n|---|---|\n| a\\|b | 1.50 |\n| long name | 10 |\n"
    )
    page = FORMATS["html"](sheet)
    assert "<h1>A &amp; B</h1>" in page and "<td>a|b</td><td>1.50</td>" in page and page.startswith("<!doctype html>")
    assert "color-scheme:light dark" in page  # a dark browser shows it dark


def test_to_show_a_table_takes_no_torch(tmp_path: Path) -> None:
    """Importing it takes longer than all the rest."""
    finished(tmp_path / "few-shot" / "stylegan2-obama-seed0", {3: 90.0}, hook=HOOK)
    code = f"import sys; from regan_ext.cli import main; main(['tables', 'show', 'few-shot', '--out={tmp_path}'], 'regan-ext', "
    result = run_fresh_python(["-c", f"{code} standalone_mode=False); sys.exit('torch' in sys.modules)"])
    assert result.returncode == 0 and "Run here: 1 of 36 cells." in result.stdout


def test_the_page_shows_what_the_command_prints() -> None:
    page, kept = (ROOT / "docs" / "tables.md").read_text("utf-8"), ROOT / "docs" / "results"
    others = {
        "blocks-order", "fashion-overfitting", "floors", "foreign-loops", "groups-ring", "hosts",
        "hosts-learn", "mask-change", "teacher-digits",
    }  # fmt: skip
    assert {path.stem for path in kept.glob("*")} <= {*NAMES, *others}
    for name in NAMES:
        results = kept / f"{name}.jsonl"
        found = read_file(load(name), results) if results.exists() else []
        assert FORMATS["markdown"](sheet_of(load(name), found)) in page, f"regan-ext tables show {name} --format=markdown"


def test_the_page_has_the_mask_changes_that_were_measured() -> None:
    page = (ROOT / "docs" / "tables.md").read_text("utf-8")
    for line in (ROOT / "docs" / "results" / "mask-change.jsonl").read_text("utf-8").splitlines():
        arm = json.loads(line)
        values = [f"{arm['mask_change'][at][role]:.4f}" for at in ("2", "3") for role in ("conv", "affine", "mapping")]
        assert f"| {' | '.join([arm['arm'], *values])} |" in page


def test_a_picture_shows_the_corner_of_each_last_grid(tmp_path: Path, capsys: Any) -> None:
    finished(tmp_path / "digits-few-shot" / "stylegan2-digits-100-seed3", {3: 90.0})
    run = tmp_path / "digits-few-shot" / "stylegan2-digits-100-seed3" / "00000-a"
    for name, shade in (("reals", 40), ("fakes_init", 0), ("fakes000003", 80), ("fakes000009", 120)):
        Image.new("L", (512, 512), shade).save(run / f"{name}.png")
    arguments = ["tables", "picture", "digits-few-shot", str(tmp_path / "sheet.png"), f"--out={tmp_path}"]
    code, output = call(arguments, capsys)
    assert code == 2 and "--seed" in output
    code, output = call([*arguments, "--seed=3"], capsys)
    assert code == 0 and output == f"StyleGAN2: {run / 'fakes000009.png'}\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (6 * 32 + 16) + 16, 10 * 32 + 22 + 16 + 16)
        assert [sheet.getpixel((x, 200)) for x in (16, 207, 208, 224, 415)] == [40, 40, 255, 120, 120]


def test_results_of_another_table_or_of_none_are_told(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(UserError, match="No such file"):
        read_file(load("ffhq"), path)
    finished(tmp_path / "few-shot" / "stylegan2-obama-seed0", {3: 90.0})
    path.write_text(dumps(read_folder(load("few-shot"), tmp_path)), encoding="utf-8")
    with pytest.raises(UserError, match="stylegan2-obama is no cell of ffhq"):
        read_file(load("ffhq"), path)
    for content in ("[1]", "{", '{"cell": 1}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="is no file that 'regan-ext tables results' wrote"):
            read_file(load("ffhq"), path)


# ---------------------------------------------------------------- estimates


def test_long_titles_of_a_picture_are_wrapped() -> None:
    font, title = picture.ImageFont.load_default(size=11), "Re-StyleGAN2, full learning rate in dense phases"
    lines = picture._wrapped(title, 192, font).split("\n")
    assert len(lines) == 2 and " ".join(lines) == title and all(font.getlength(line) <= 192 for line in lines)


@pytest.mark.parametrize("name, kind", [("few-shot", "stylegan2"), ("cifar10", "cifar"), ("digits-ablation", "auto")])
def test_operations_are_those_of_the_hosts_networks(name: str, kind: str, host_dir: Path) -> None:
    from regan_ext.tables import estimate
    from regan_ext.tables.shapes import discriminator_shapes, generator_shapes

    column = load(name).columns[0]
    net = estimate.architecture(load(name).cells()[0])
    construct = embedded_train.host_module("dnnlib").util.construct_class_by_name
    common: Dict[str, Any] = dict(c_dim=net.classes, img_resolution=column.resolution, img_channels=column.channels)
    size = dict(channel_base=net.base, channel_max=net.most)
    mapping = dict(num_layers=8 if kind == "stylegan2" else 2)
    latents = dict(z_dim=512, w_dim=512)
    G = construct(class_name="training.networks.Generator", mapping_kwargs=mapping, synthesis_kwargs=size, **latents, **common)
    architecture = "orig" if kind == "cifar" else "resnet"
    D = construct(class_name="training.networks.Discriminator", architecture=architecture, **size, **common)
    for network, shapes in ((G, generator_shapes(net)), (D, discriminator_shapes(net))):
        theirs = layer_operations({name: tuple(p.shape) for name, p in network.named_parameters()})
        assert layer_operations(shapes) == theirs
    assert net.classes == (10 if name == "digits-ablation" else 0)


def test_estimates_follow_what_they_are_given(capsys: Any) -> None:
    arguments = ["tables", "estimate", "few-shot", "--only=obama", "--seeds=0-1"]
    code, output = call([*arguments, "--sec-per-kimg=24"], capsys)
    assert code == 0 and "which you measured" in output
    assert "Together: 24.0 GPU-hours, estimated." in output  # 6 cells, 2 seeds, 300 kimg of 24 seconds
    code, output = call([*arguments, "--pflops=0.01"], capsys)
    hours = 12 * cost_of(cell("few-shot", "stylegan2-obama")).run / 1e13 / 3600
    assert code == 0 and f"Together: {hours:.0f} GPU-hours, estimated." in output and "Nothing was measured" in output
    assert "0.015 PFLOP/s" in call(arguments, capsys)[1]
    assert call([*arguments, "--pflops=1", "--sec-per-kimg=1"], capsys)[0] == 2


def test_only_whole_channels_make_a_run_cheaper() -> None:
    dense, weight = (cost_of(cell("few-shot", f"{name}-obama")) for name in ("stylegan2", "re-stylegan2"))
    assert weight.run == dense.run and weight.forward == dense.forward and weight.mean_forward < dense.mean_forward
    channel = cost_of(cell("digits-ablation", "channel-0.5-g0.7kimg"))
    assert channel.run < cost_of(cell("digits-ablation", "weight-0.5-g0.7kimg")).run


# ---------------------------------------------------------------- presets


def resolved(arguments: List[str], data: Path, capsys: Any) -> Tuple[Dict[str, Any], str]:
    common = ["train", "--host=embedded", "-n", "--outdir=nowhere", f"--data={data}", "--device=cpu", "--cbase=128", "--cmax=8"]
    code, output = call([*common, *arguments], capsys)
    assert code == 0, output
    options = json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]
    return options, next((line for line in output.splitlines() if line.startswith("Preset")), "")


def test_presets_fill_what_was_left_unset(data_zip: Path, host_dir: Path, capsys: Any) -> None:
    args, line = resolved(["--regan-preset=few-shot"], data_zip, capsys)
    assert (args["total_kimg"], args["batch_size"], args["network_snapshot_ticks"]) == (300, 16, 10)
    assert args["loss_kwargs"]["inner"]["r1_gamma"] == 10 and args["metrics"] == ["fid5k_full", "kid5k_full"]
    expected = "--cfg=stylegan2 --kimg=300 --batch=16 --gamma=10 --snap=10 --metrics=fid5k_full,kid5k_full"
    method = "--regan-ratio=0.3 --regan-interval=37kimg --regan-warmup=75kimg --regan-finish=dense"
    assert line == f"Preset few-shot: {method} {expected}"
    given = ["--kimg=200", "--batch=8", "--snap=5", "--gamma=2", "--metrics=none", "--cfg=auto"]
    args, line = resolved(["--regan-preset=few-shot", *given], data_zip, capsys)
    assert (args["total_kimg"], args["batch_size"], args["metrics"], line) == (200, 8, [], f"Preset few-shot: {method}")
    assert args["loss_kwargs"]["inner"]["r1_gamma"] == 2
    args, line = resolved(["--regan-preset=ffhq", "--kimg=1000"], data_zip, capsys)
    assert (args["total_kimg"], args["batch_size"]) == (1000, 32) and args["metrics"] == ["fid50k_full"]
    of_paper = "--regan-ratio=0.3 --regan-interval=100 --regan-warmup=0 --regan-finish=dense"
    assert resolved(["--regan-preset=paper"], data_zip, capsys)[1] == f"Preset paper: {of_paper}"


def test_the_few_shot_preset_makes_three_whole_cycles_at_every_batch() -> None:
    from regan_ext.train.options import configuration
    from training_hooks.methods.regan import METHOD
    from training_hooks.methods.regan.config import PRESETS

    for batch in (4, 8, 12, 16, 32):
        total = -(-300_000 // batch)
        schedule = configuration(METHOD, PRESETS["few-shot"].settings, batch).schedule(total)
        assert schedule is not None and schedule.sparse_iterations(total) * batch == pytest.approx(111_000, rel=0.01)


def test_data_files_are_packaged() -> None:
    setup = (ROOT / "setup.py").read_text("utf-8")
    assert '"regan_ext.tables": ["data/*.json", "*.html"]' in setup
    assert shutil.which("regan-ext") is None or {p.stem for p in (ROOT / "regan_ext/tables/data").glob("*.json")} == {
        *NAMES,
        "files",
    }
