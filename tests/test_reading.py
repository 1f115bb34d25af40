"""Files that others wrote are read within bounds, or refused with a reason."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from click.testing import CliRunner
from PIL import Image
from support.damage import endless, huge_png
from support.run_folders import add_fakes

from regan_ext.cli import main
from regan_ext.data.subset import read_indices
from regan_ext.support.errors import UserError
from regan_ext.support.reading import (
    Damaged,
    number,
    parse,
    read_bytes,
    read_json,
    read_lines,
    read_picture,
    unless_read,
    whole,
)
from regan_ext.tables import results
from regan_ext.tables.model import load
from regan_ext.train.presets import read_file
from training_hooks.methods.regan import METHOD

IN_PLACE_OF_FILES: Dict[str, "tuple[Callable[[Path], Any], str]"] = {
    "folder": (Path.mkdir, "is a folder"),
    "pipe": (os.mkfifo, "is no regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    "circle": (lambda path: path.symlink_to(path), "cannot be read"),
    "nothing": (lambda path: None, "No such file"),
    "terabyte": (endless, "1.0 TB, and no more than"),
}


@pytest.mark.parametrize("kind", IN_PLACE_OF_FILES)
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    make, reason = IN_PLACE_OF_FILES[kind]
    make(path)
    for read in (read_bytes, read_json, read_picture):
        with pytest.raises(Damaged, match=reason):
            read(path)
    with pytest.raises(ValueError, match=reason):
        read_file(METHOD, str(path))
    with pytest.raises(UserError, match=reason):
        read_indices(path, ["a.png"])
    with pytest.raises(UserError, match=reason):
        results.read_file(load("few-shot"), path)
    records, notes = read_lines(path)
    assert records == [] and reason in notes[0]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 70 + "1" + "}" * 70, "[" * 5000 + "]" * 5000, "", "{", "\0", '"a'])
def test_json_that_is_none_or_too_deep(text: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(Damaged, match=r"is no JSON|nested too deeply"):
        read_json(tmp_path / "f.json")


def test_numbers_of_files_are_of_a_size_to_reckon_with() -> None:
    values = parse(f"[1, -2.5, {'9' * 400}, {'9' * 5000}, 1e400, -1e308, NaN, true, null, 3.0]")
    assert [number(value) for value in values[:2]] == [1, -2.5] and number(3.0) == 3
    assert all(math.isnan(number(value)) for value in values[2:-1])
    assert [whole(value) for value in (0, 5, 10**15, 10**15 + 1, -1, 1.0, True, "1")] == [None, 5, 10**15] + [None] * 5
    assert whole(0, least=0) == 0


def test_half_a_pair_of_escapes_can_be_written() -> None:
    value = parse('{"fid\\ud800": ["\\udfff", "\\ud83d\\ude00"]}')
    assert value == {"fid?": ["?", "\N{GRINNING FACE}"]} and json.dumps(value, ensure_ascii=False).encode()


def test_pictures_are_of_a_size_to_show(tmp_path: Path) -> None:
    path = tmp_path / "f.png"
    for side in (30_000, 9_000):
        huge_png(path, side)
        with pytest.raises(Damaged):
            read_picture(path)
    modes = {"1": "L", "L": "L", "P": "RGB", "LA": "RGB", "RGBA": "RGB", "I;16": "RGB"}
    for mode, expected in modes.items():
        Image.new(mode, (4, 5)).save(path)
        assert (read_picture(path).mode, read_picture(path).size) == (expected, (4, 5))
    add_fakes(tmp_path, [1], side=64)
    path.write_bytes((tmp_path / "fakes000001.png").read_bytes()[:5000])
    with pytest.raises(Damaged):
        read_picture(path)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text("x\n" * 1000 + '{"a": 1}\n')
    records, notes = read_lines(path)
    assert records == [{"a": 1}] and len(notes) == 6 and notes[-1] == "stats.jsonl: 995 more lines are no JSON objects"


LINE = {
    "cell": "stylegan2-obama", "seed": 0, "arguments": None, "kimg": 9, "finished": True, "hours": 1,
    "values": {"fid5k_full": [[3, 2]]},
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "x"}, {"seed": 1e999}, {"kimg": None}, {"kimg": 10**400}, {"values": []}, {"values": {"fid5k_full": [[1]]}},
        {"values": {"fid5k_full": [[1, "2"]]}}, {"values": {"fid5k_full": 3}}, {"arguments": 3},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_results_are_one_line(changes: Dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**LINE, **changes}))
    said = show(path, 2)
    assert len(said) == 1 and "is no file that 'regan-ext tables results' wrote: line 1" in said[0]


def test_results_may_lack_what_is_known_only_here(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**LINE, "machine": [], "protocols": {"fid5k_full": 7}, "surplus": 1, "hours": None}))
    assert any("2.00" in line for line in show(path, 0))


def show(path: Path, code: int) -> List[str]:
    result = CliRunner().invoke(main, ["tables", "show", "few-shot", f"--results={path}"])
    assert result.exit_code == code, result.output
    return result.output.splitlines()


def test_a_file_is_read_again_only_where_it_is_another(tmp_path: Path) -> None:
    read: List[str] = []
    path = tmp_path / "stats.jsonl"

    @unless_read
    def content(file: Path) -> str:
        read.append(file.read_text() if file.exists() else "")
        return read[-1]

    assert content(path) == content(path) == "" and len(read) == 2  # one that is not there may be made
    path.write_text("1")
    assert content(path) == content(path) == "1" and len(read) == 3
    with open(path, "a") as file:
        file.write("2")
    assert content(path) == content(path) == "12" and len(read) == 4
    other = tmp_path / "other"
    other.write_text("ab")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)
    assert content(path) == "ab" and len(read) == 5


@pytest.mark.parametrize("arguments", [["--show"], ["--", "--data=x.zip"]], ids=["show", "search"])
def test_tune_leaves_another_database_alone(arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE letters (body TEXT)")
    database.commit()
    database.close()
    before = path.read_bytes()
    result = CliRunner().invoke(main, ["tune", f"--study={path}", *arguments])
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1 and "tables such as letters" in result.output
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["mine.db"]


@pytest.mark.parametrize("content", [b"", b"no database"])
def test_tune_shows_nothing_of_what_is_no_study(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    path.write_bytes(content)
    result = CliRunner().invoke(main, ["tune", f"--study={path}", "--show"])
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1 and path.read_bytes() == content
