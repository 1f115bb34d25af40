"""``regan-ext`` in the process that tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List

import pytest
from click.testing import CliRunner, Result

from .runs import SCHEDULE, SMALL, Run

__all__ = ["call", "ended", "outcome", "resolved"]


def call(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> "tuple[int, str]":
    """Exit code and output of ``regan-ext`` with ``arguments``, in this process."""
    from regan_ext.cli import main

    with pytest.raises(SystemExit) as stop:
        main.main(args=arguments, prog_name="regan-ext")
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err


def ended(*arguments: Any, code: int = 0) -> Result:
    """What ``regan-ext`` gives, called in this process; its exit code has to be ``code``, and an error one line."""
    from regan_ext.cli import main

    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("Error: "), result.stderr
    return result


def resolved(arguments: List[str], data: Path, outdir: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    common = [
        "train",
        "--host=embedded",
        "-n",
        f"--outdir={outdir}",
        f"--data={data}",
        "--device=cpu",
        "--metrics=none",
    ]
    code, output = call([*common, *arguments], capsys)
    assert code == 0, output
    assert not outdir.exists()
    begin = output.index("{", output.index("Training options:"))
    return json.JSONDecoder().raw_decode(output[begin:])[0]


def outcome(whole: Run, folder: Path, capsys: Any, *more: str, value: str = "") -> "tuple[int, str]":
    data = whole.options["training_set_kwargs"]["path"]
    value = value or str(folder / "network-snapshot-000002.pkl")
    common = ["train", "--host=embedded", f"--outdir={folder / 'runs'}", f"--data={data}", *SMALL, *SCHEDULE, "--kimg=3"]
    return call([*common, f"--resume={value}", "-n", *more], capsys)
