"""Absurd command lines and damaged inputs, and what a command may answer: for a test of half a minute and a script of an hour.

A command that is asked for something impossible has to refuse it in one line, with exit code 2 and without having written
anything. What it must never do: end in a traceback, hang, or write a file and then refuse.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

import click
import psutil
from click.testing import CliRunner

from regan_ext.cli import main

from .digits import write_small_digits
from .run_folders import HOOK, add_fakes, add_metric, add_snapshot, make_run, ticks_of_one_kimg, write_status

__all__ = ["Attack", "Outcome", "Sandbox", "absurd_values", "attacks", "leaf_commands", "nasty_values"]

NUMBERS = (
    "nan", "inf", "-inf", "1e400", "-1", "0", "0.5", "1e9", "99999999999999999999", "9" * 400, "x", "", " ", "0x10", "1,2",
)  # fmt: skip
WORDS = (
    "", " ", "nonsense", "\x1b[31mred\x1b[0m", "a" * 5000, "none", "[*", "*", "-", "é\u202e", "[red]", "%s%n", "\\", "\udcff",
)  # fmt: skip
PATHS = (
    "", "~nobody/x", "/dev/null", "/dev/full", ".", "..", "no/such/file", "a" * 300, "/" + "a" * 5000, "\udcff", "\x1b]0;x\x07",
    "run", "data.zip", "run/stats.jsonl", "empty", "garbage.pkl", "link", "fifo",
)  # fmt: skip
LISTS = ("0-9999999999", "1,,2", "5-1", "-", ",", "1-", "a-b")
ABSURD_NUMBERS = ("nan", "1e400", "x", "", "0x10")

# What a command needs to come as far as its options.
_TICKETS = ("-n", "--host=embedded", "--outdir=tickets", "--data=data.zip", "--kimg=1")
NEEDED: Dict[str, Sequence[str]] = {
    "train": (
        "-n",
        "--host=embedded",
        "--outdir=runs",
        "--data=data.zip",
        "--cbase=256",
        "--cmax=16",
        "--kimg=1",
        "--metrics=none",
    ),
    "demo": (),
    "blocks cost": (
        *("--batch=64", "--resolution=64", "--g-params=1", "--d-params=1"),
        *("--g-sec=0.01", "--d-sec=0.01", "--answer-sec=0.01", "--link=1"),
    ),
    "export": ("run", "--to=dense", "--host=embedded"),
    "report": ("run",),
    "watch": ("run", "--once"),
    "doctor": ("--host=embedded",),
    "data list": (),
    "data get": ("digits",),
    "data prepare": ("my-images", "pictures", "out.zip"),
    "data check": ("my-images", "data.zip"),
    "data subset": ("data.zip", "out.zip", "--count=3"),
    "metrics run": ("run",),
    "metrics nearest": ("run", "--out=sheet.png"),
    "metrics detector": ("digits", "out.pt"),
    "metrics floors": ("data.zip", "--metricdata=data.zip", "--metric-detector=garbage.pkl"),
    "metrics fetch": ("inception", "--from=garbage.pkl"),
    "tables list": (),
    "tables run": ("digits-few-shot", "--dry-run"),
    "tables results": ("digits-few-shot",),
    "tables show": ("digits-few-shot",),
    "tables picture": ("digits-few-shot", "picture.png"),
    "tables figure": ("digits-few-shot", "figure.png"),
    "tables estimate": ("digits-few-shot",),
    "tune": ("--study=study.db", "--show"),
    "patch apply": ("pictures",),
    "patch check": ("pictures",),
    "patch revert": ("pictures",),
    "patch show": (),
    "tickets find": _TICKETS,
    "tickets random": (*_TICKETS, "--round=1"),
    "tickets one-shot": (*_TICKETS, "--sparsity=0.5"),
    "tickets small-dense": (*_TICKETS, "--round=1"),
    "tickets train": ("mask.pt", *_TICKETS),
    "tickets show": ("pictures",),
    "groups": ("-n", "--host=embedded", "--outdir=groups", "--data=data.zip", "--groups=2", "--interval=30", "--kimg=1"),
}
# These would begin to work for minutes where an option turns out to be possible.
SECONDS = 20  # a command that takes longer hangs; the slowest of those here takes two
MEMORY = 4 << 30  # bytes beyond what the process has
LONG = ("demo", "metrics detector", "data get")


@dataclass(frozen=True)
class Attack:
    """A command line.

    Args:
        command: name of the command, such as "data prepare".
        arguments: what follows it.
        is_absurd: whether it has to be refused.
    """

    command: str
    arguments: Tuple[str, ...]
    is_absurd: bool = False

    @property
    def argv(self) -> List[str]:
        return [*self.command.split(), *self.arguments]


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Args:
        code: exit code; -1 where an exception left the command.
        output: standard output and error.
        fault: what must not happen; empty where nothing did.
    """

    code: int
    output: str
    fault: str = ""

    @property
    def kind(self) -> str:
        return self.fault.split(":")[0] or {0: "done", 1: "failed", 2: "refused"}.get(self.code, f"exit code {self.code}")


class Hang(BaseException):
    """A command that does not answer. No exception that a command, or click's runner, would take for its own."""


class Sandbox:
    """The current folder of commands that run in this process.

    Args:
        folder: its files are watched.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def of_everything(cls, folder: Path) -> "Sandbox":
        """``folder``, filled with a little of everything."""
        write_small_digits(folder / "data.zip")
        run = make_run(folder / "run", ticks_of_one_kimg(4, ReGAN__sparsity=0.3), HOOK)
        add_metric(run, "fid5k_full", {1: 30.0, 2: 20.0})
        add_fakes(run, [1, 2], side=32)
        write_status(run, 12)
        add_snapshot(run, 1)
        (folder / "pictures").mkdir()
        add_fakes(folder / "pictures", [1, 2, 3], side=32)
        (folder / "empty").mkdir()
        (folder / "garbage.pkl").write_bytes(bytes(range(256)))
        (folder / "link").symlink_to("nowhere")
        os.mkfifo(folder / "fifo")
        return cls(folder)

    def run(self, attack: Attack) -> Outcome:
        """What the command answers, and whether it may."""
        before = self._listing()
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            with _limited(SECONDS):
                result = CliRunner().invoke(main, attack.argv)
        except Hang as err:
            return Outcome(-1, "", f"hang: {err}")
        finally:
            os.chdir(here)
        written = sorted(set(self._listing().items()) - set(before.items()))
        code = result.exit_code if isinstance(result.exception, (SystemExit, type(None))) else -1
        return Outcome(code, result.output, _fault(attack, code, result, [name for name, _ in written]))

    def _listing(self) -> Mapping[str, Tuple[int, int]]:
        listing = {}
        for path in self.folder.rglob("*"):
            status = path.lstat()
            listing[str(path.relative_to(self.folder))] = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
        return listing


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Whatever runs longer ends with a Hang, whatever takes gigabytes with a MemoryError."""

    def ring(*_: object) -> None:
        raise Hang(f"no answer in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, limits[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)


def _fault(attack: Attack, code: int, result: click.testing.Result, written: Sequence[str]) -> str:
    if code == -1:
        return f"traceback: {type(result.exception).__name__}: {result.exception}"
    if "Traceback (most recent call last)" in result.output:
        return "traceback: printed"
    if "\x1b" in result.output or "\x07" in result.output:
        return "control characters: reached the terminal"
    if "executed" in [Path(name).name for name in written]:
        return "code of a planted pickle ran:"
    said = [line for line in result.output.splitlines() if not line.startswith(("Usage:", "Try "))]
    if code == 2 and not (said and said[-1].startswith("Error: ")):
        return f"refused without a reason in its last line: {said[-1:]}"
    if code == 2 and written:
        return f"written before the refusal: {', '.join(written)}"
    if attack.is_absurd and code != 2:
        return f"accepted: exit code {code}"
    return ""


def leaf_commands(command: click.Command = main, name: str = "") -> Iterator[Tuple[str, click.Command]]:
    """Every command of the program by its name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word, child in command.commands.items():
        yield from leaf_commands(child, f"{name} {word}".strip())


def options_of(name: str, command: click.Command) -> List[click.Option]:
    """The options of a command; those of training are a host's, this package's included."""
    if name == "train":
        from regan_ext.train import options

        return options.click_options()
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def nasty_values(option: click.Option) -> Sequence[str]:
    """Values of which some may be possible."""
    return NUMBERS if _is_number(option) else (*PATHS, *WORDS, *NUMBERS, *LISTS)


def absurd_values(option: click.Option) -> Sequence[str]:
    """Values that no command can take for this option."""
    if _is_number(option):
        return ABSURD_NUMBERS
    if isinstance(option.type, click.Choice):
        return ("nonsense", "", "\x1b[31m")
    return ("/" + "a" * 5000, "") if isinstance(option.type, click.Path) else ()


def _is_number(option: click.Option) -> bool:
    return isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))


def attacks(chance: random.Random) -> Attack:
    """One attack by chance: one to three options of a command with values that hurt."""
    commands = dict(leaf_commands())
    name = chance.choice(sorted(commands))
    options = [option for option in options_of(name, commands[name]) if option.name not in ("dry_run", "show", "help")]
    given: List[str] = list(NEEDED[name])
    absurd = False
    taken = ""
    if name in LONG or chance.random() < 0.3:
        possible = [(o, v) for o in options if not o.is_flag for v in absurd_values(o)]
        if possible:
            option, value = chance.choice(possible)
            given.append(f"{option.opts[0]}={value}")
            absurd, taken = True, option.opts[0]
        elif name in LONG:
            given.append("--no-such-option")
            absurd = True
    for option in chance.sample(options, min(len(options), chance.choice((0, 1, 1, 2)))):
        if option.opts[0] == taken:  # the last one would win
            continue
        given.append(option.opts[0] if option.is_flag else f"{option.opts[0]}={chance.choice(nasty_values(option))}")
    for position, word in enumerate(given):
        if not word.startswith("-") and chance.random() < 0.2:
            given[position] = chance.choice(PATHS if chance.random() < 0.7 else WORDS)
    return Attack(name, tuple(given), absurd)
