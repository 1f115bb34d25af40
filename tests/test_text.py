"""What strangers name their files, servers and presets never reaches a terminal as something that it obeys."""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.live import Live
from rich.table import Table
from support.runs import SMALL

import regan_ext
from regan_ext.cli import main
from regan_ext.support.text import echo, printable, printable_errors, terminal

NASTY = "a\x1b[31m\x1b]0;title\x07\rb\u202ec\x9bd[red]e\u200bf"
SHOWN = r"a\x1b[31m\x1b]0;title\x07\rb\u202ec\x9bd[red]e\u200bf"


@given(st.text(st.characters(codec=None), max_size=60))
def test_only_visible_characters_are_left_and_those_stay(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown == shown.encode().decode()
    assert not text.isprintable() or shown == text


def test_a_name_that_is_no_text_can_be_shown() -> None:
    assert printable(os.fsdecode(b"\xff.png")) == r"\udcff.png" and printable("größe é ß 图") == "größe é ß 图"


def test_lines_and_tabs_of_a_table_stay(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"one\ttwo\n{NASTY}")
    assert capsys.readouterr().out == f"one\ttwo\n{SHOWN}\n"


def test_errors_of_click() -> None:
    with pytest.raises(click.BadParameter, match="x1b") as caught, printable_errors():
        raise click.BadParameter(NASTY, param_hint="--data")
    assert SHOWN in caught.value.format_message()


def test_an_error_whose_message_is_one_of_a_host() -> None:
    with pytest.raises(click.UsageError) as caught, printable_errors():
        raise click.UsageError(ValueError("--gpus must be a power of two"))  # type: ignore[arg-type]
    assert caught.value.format_message() == "--gpus must be a power of two"


def test_rich_shows_names_as_they_are() -> None:
    out = io.StringIO()
    console = terminal(file=out, width=200, force_terminal=True, color_system="truecolor")
    table = Table(title=NASTY)
    table.add_column(NASTY)
    table.add_row(NASTY)
    console.print(NASTY, style="bold")
    with Live(table, console=console, auto_refresh=False):
        pass
    said = out.getvalue()
    assert said.count(SHOWN) >= 4 and "\x07" not in said and "\x1b]0" not in said and "\x1b[31m" not in said


def _picture(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "{folder}"],
        ["watch", "{folder}"],
        ["export", "{file}", "--to=dense", "--trust"],
        ["metrics", "run", "{file}", "--metrics=fid50k_full", "--trust"],
        ["data", "check", "my-images", "{folder}"],
        ["data", "prepare", "my-images", "{folder}", "{folder}.zip", "--resolution=8"],
        ["data", "subset", "{file}", "{folder}.zip", "--count=1"],
        ["data", "get", NASTY],
        ["patch", "check", "{folder}"],
        ["doctor", "--host={folder}"],
        ["tables", "show", NASTY],
        ["tune", "{file}", "--show"],
        [NASTY],
    ],
    ids=lambda arguments: " ".join(arguments[:2])[:20].replace(NASTY[:10], "unknown"),
)
def test_a_name_in_any_answer(tmp_path: Path, arguments: list) -> None:
    name = NASTY + "\n"
    folder, file = tmp_path / name, tmp_path / f"{name}.pkl"
    folder.mkdir()
    _picture(folder / f"{NASTY}.png")
    (folder / f"{NASTY}.txt").write_text("no image")
    file.write_bytes(b"no pickle")
    result = CliRunner().invoke(main, [part.format(folder=folder, file=file) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not any(sign in result.output for sign in "\x1b\x07\r\u202e\x9b\u200b"), result.output


def test_a_preset_and_the_host_that_uses_it(tmp_path: Path, data_zip: Path) -> None:
    preset = tmp_path / "mine.json"
    preset.write_text(json.dumps({"regan": {"ratio": NASTY}, NASTY: 1}))
    arguments = ["train", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, f"--regan-preset={preset}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "x1b" in result.output and "\x1b" not in result.output


def test_there_is_no_other_way_to_the_terminal() -> None:
    package = Path(regan_ext.__file__).parent
    calls = {(path.name, call) for path in package.rglob("*.py") for call in _WAYS.findall(path.read_text(encoding="utf-8"))}
    # The patch is bytes, of this package's own.
    assert calls == {("text.py", "click.echo(printable("), ("cli.py", "click.echo(packaged_patch(")}


_WAYS = re.compile(r"click\.s?echo\((?:\w+\()?|(?<![\w.])Console\(")
