"""Every snippet of README and docs runs; every option and link in them is real."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import click
import pytest
from click.testing import CliRunner
from support import frameworks
from support.checkout_like import make_checkout
from support.detectors import FEATURES, write_detector
from support.processes import TESTS, run_command
from support.rehearsals import fork_rehearsals
from support.runs import Run

from regan_ext.cli import main
from regan_ext.hosts import embedded
from regan_ext.metrics import digit_detector, efficientnet
from regan_ext.train.options import click_options

ROOT = TESTS.parent
CARDS = sorted((ROOT / "training_hooks").rglob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> List[Tuple[str, str]]:
    return [(page.name, body) for page in PAGES for kind, body in _BLOCK.findall(page.read_text("utf-8")) if kind == language]


def test_every_snippet_is_of_a_kind_that_is_run() -> None:
    kinds = {kind for page in PAGES for kind, _ in _BLOCK.findall(page.read_text("utf-8"))}
    assert kinds == {"bash", "python"}


@pytest.mark.parametrize("page, code", snippets("python"), ids=lambda value: value[:24])
def test_python_snippets_run(page: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frameworks.provide(monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec", dont_inherit=True), {"__name__": "snippet"})


def padded(text: str) -> str:
    """``text`` with comment lines that move its first import to line 12 and its last statement to line 537.

    Those are the lines of NVIDIA's train.py, which the static patch counts on.
    """
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("import "))
    lines[first:first] = ["#"] * (11 - first)
    last = lines.index('if __name__ == "__main__":')
    lines[last:last] = ["#"] * (536 - last)
    return "\n".join(lines) + "\n"


@pytest.fixture
def home(tmp_path: Path, host_dir: Path, data_zip: Path, regan_run: Run) -> Path:
    """A home folder with what the snippets name: a checkout under git, images, and a finished run."""
    for name in (
        "00000-obama-stylegan2-gamma10-kimg300-batch16-regan0.3-g37kimg",
        "00001-obama-stylegan2-gamma10-kimg300-batch16",
    ):
        folder = shutil.copytree(regan_run.folder, tmp_path / "runs" / name)
        for path in (folder / "network-snapshot-000001.pkl", folder / "regan-state-000001.pt"):
            path.rename(path.with_name(path.name.replace("000001", "000300")))
    (tmp_path / "data").mkdir()
    shutil.copy(data_zip, tmp_path / "data" / "obama.zip")
    checkout = make_checkout(tmp_path / "stylegan2-ada-pytorch", host_dir)
    (checkout / "train.py").write_text(padded((checkout / "train.py").read_text()))
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    return tmp_path


# What the snippets say is longer; the last one counts.
SHORT = "--device=cpu --cbase=256 --cmax=16 --batch=128 --aug=noaug --workers=1 --kimg=1 --regan-warmup=2 --regan-interval=2"


def prepared(code: str) -> str:
    """The snippet without what needs the network, and with training as a dry run and, but for metrics, small and short."""
    lines = []
    for line in code.splitlines():
        if line.startswith("pip install"):
            continue
        if re.match(r"(regan-ext train|python train\.py) ", line):
            lines += [f"{line} -n --device=cpu"] + ([f"{line} {SHORT}"] if "--metrics=none" in line else [])
        else:
            lines.append(line)
    return "\n".join(lines)


def said_by(code: str) -> str:
    """What the shell's commands say. Where all are of ``regan-ext``, those that do not train are called in this process."""
    lines = code.splitlines()
    if not all(re.fullmatch(r"regan-ext [^$&|;<>]*", line) for line in lines):
        return in_shell(code)
    return "".join(in_shell(line) if line.startswith("regan-ext train ") else in_process(line) for line in lines)


def in_shell(code: str) -> str:
    result = run_command(["bash", "-euc", code])
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


def in_process(line: str) -> str:
    arguments = in_shell(f"printf '%s\\n' {line}").splitlines()[1:]
    result = CliRunner().invoke(main, arguments, prog_name="regan-ext", catch_exceptions=False)
    assert result.exit_code == 0, result.output[-3000:]
    return result.output


def stand_in(path: Path) -> Dict[str, object]:
    """Features of no meaning and of no cost; what is described is how commands follow one another."""
    write_detector(path, scale=0.5)
    return {"features": FEATURES, "side": 16, "sha256": "0" * 64}


@pytest.mark.parametrize("page, code", snippets("bash"), ids=lambda value: value[:40])
def test_shell_snippets_run(page: str, code: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGAN_CACHE_DIR", str(embedded.cache_folder()))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    monkeypatch.setattr(digit_detector, "Training", partial(digit_detector.Training, epochs=1))
    monkeypatch.setattr(efficientnet, "write_detector", stand_in)
    fork_rehearsals(monkeypatch)
    output = said_by(prepared(code))
    if " -n " in prepared(code) and "--regan" in code:
        plan, exiting, _ = output.partition("Dry run")
        assert exiting and "Plan: " in plan and "nearly the same weights again" not in plan  # what the pages lead with can work
    if SHORT in prepared(code):
        assert "Run folder: " in output


def test_the_readmes_install_commands_are_those_of_ci() -> None:
    blocks = [body.strip() for page, body in snippets("bash") if body.startswith("pip install")]
    assert blocks == [
        'pip install -c constraints.txt -e ".[demo]" && regan-ext demo',
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert 'pip install -q -c constraints.txt -e ".[test]"\n' in script and script.rstrip().endswith("\npytest")


# Where the options of a command stand; those of train are looked for below.
COMMANDS = {
    "blocks": ["training_hooks/methods/blocks/card.md"],
    "demo": ["README.md"],
    "doctor": ["docs/troubleshooting.md"],
    "export": ["docs/export.md"],
    "groups": ["docs/groups.md"],
    "metrics": ["docs/metrics.md"],
    "patch": ["docs/hosts.md", "docs/troubleshooting.md"],
    "report": ["docs/report.md"],
    "tables": ["README.md", "docs/tables.md"],
    "tickets": ["docs/tickets.md"],
    "tune": ["docs/tune.md"],
    "watch": ["docs/report.md"],
}


def flags(command: click.Command) -> Iterator[str]:
    """The long options of a command and of those below it."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from flags(inner)
    for param in command.params:
        yield from [flag for flag in param.opts if flag.startswith("--")][:1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    text = "".join((ROOT / page).read_text("utf-8") for page in COMMANDS[name])
    missing = [flag for flag in flags(main.commands[name]) if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)]
    assert missing == []


def test_every_command_has_its_pages() -> None:
    assert {*COMMANDS, "train", "data"} == {*main.commands}


def test_every_option_is_documented() -> None:
    text = "".join(page.read_text("utf-8") for page in (ROOT / "README.md", *CARDS))
    assert [o.opts[0] for o in click_options() if not o.hidden and f"`{o.opts[0]}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target
