"""The ``train`` command of a trial: what of it the user gives, a dry run of it, and the process that it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from training_hooks import loop

from ..errors import UserError
from ..options import CHANNEL_FIELDS
from ..presets import HOST_PRESETS, fill

__all__ = ["Plan", "Process", "Refused", "Training", "dry_run", "tidy"]

_SNAPSHOTS = 10  # in a run, where the user does not say how often
_GRACE = 600.0  # seconds that a process has for its last snapshot and metric, before it is told to end at once
_POLL = 2.0
_MOMENT = 1.0  # seconds that a process has to note a signal that reached it too
_STOPPING = b"Stopping after this iteration"  # as training_hooks.stop tells it
_SEARCHED = tuple(f"--regan-{name}" for name in ("ratio", "interval", "warmup", "lr-scale", "granularity", "moments"))
# Options that are the search's own, and how to say what they would say.
_RESERVED = {
    "--outdir": "runs lie beside the study",
    "--resume": "trials go on by themselves",
    "--metrics": "give --metric before the --",
    "--max-hours": "give --timeout-hours before the --",
    "-n": "there is no dry run of a search",
    "--dry-run": "there is no dry run of a search",
    "--help": "see regan-ext train --help",
    **{flag: f"give --space={flag[len('--regan-') :].replace('-', '_')}=… before the --" for flag in _SEARCHED},
}
_DEFAULTS = {"--pairs": "none", "--keep-states": "1"}  # a search writes many runs


class Refused(Exception):
    """``train`` does not take these options; the message is its own."""

    @property
    def is_about_search(self) -> bool:
        """Whether it is the value of a setting that is searched: another one may be taken."""
        named = re.match(r"Invalid value for '?(--[a-z-]+)", str(self))
        return named is not None and named[1] in _SEARCHED


@dataclass(frozen=True)
class Plan:
    """What a dry run tells of the runs of a study."""

    iterations: int
    batch: int
    total_kimg: float
    ticks: int


@dataclass(frozen=True)
class Training:
    """The options of ``train`` that all runs of a study share."""

    options: Tuple[str, ...]
    metric: str

    @classmethod
    def parse(cls, options: Sequence[str], metric: str) -> "Training":
        """Look through what the user gives.

        Raises:
            UserError: options that are the search's own.
        """
        for option in options:
            flag = option.split("=")[0]
            if flag in _RESERVED:
                raise UserError(f"{flag} cannot be given to the trials: {_RESERVED[flag]}")
        return cls(tuple(options), metric)

    def command(self, outdir: Path, more: Sequence[str]) -> List[str]:
        """A whole command."""
        defaults = [f"{flag}={value}" for flag, value in _DEFAULTS.items() if not self._has(flag)]
        where = [f"--outdir={outdir}", f"--metrics={self.metric}"]
        return [sys.executable, "-m", "regan_ext", "train", *self._options(more), *defaults, *where, *more]

    def snap(self, plan: Plan) -> List[str]:
        """The option for the number of snapshots, where the user does not give it."""
        return [] if self._has("--snap") else [f"--snap={max(1, plan.ticks // _SNAPSHOTS)}"]

    def without_method(self) -> "Training":
        """The same without Re-GAN; what its preset sets of the host's options stays."""
        options: List[str] = []
        preset = None
        rest = iter(self.options)
        for option in rest:
            if not option.startswith("--regan-"):
                options.append(option)
                continue
            flag, equals, value = option.partition("=")
            value = value if equals else next(rest, "")
            preset = value if flag == "--regan-preset" else preset
        unset = {name: None for name in HOST_PRESETS.get(preset or "", {}) if not self._has(f"--{name}")}
        filled = fill(preset, dict(unset))
        return Training((*options, *(o for o in filled if not o.startswith(("--metrics=", "--snap=")))), self.metric)

    def _options(self, more: Sequence[str]) -> List[str]:
        """The user's options; those of whole channels would be refused where single weights are pruned."""
        if "--regan-granularity=weight" not in more:
            return list(self.options)
        channel = tuple(f"--regan-{field.replace('_', '-')}" for field in CHANNEL_FIELDS)
        kept: List[str] = []
        rest = iter(self.options)
        for option in rest:
            if option in channel:
                next(rest, None)
            elif not option.startswith(tuple(f"{flag}=" for flag in channel)):
                kept.append(option)
        return kept

    def _has(self, flag: str) -> bool:
        return any(option == flag or option.startswith(f"{flag}=") for option in self.options)


def dry_run(command: Sequence[str]) -> Plan:
    """Let ``train`` look at its options.

    Raises:
        Refused: it does not take them.
    """
    # Apart from this terminal: one that Ctrl-C ends would look like one that refuses.
    apart = os.name == "posix"
    done = subprocess.run([*command, "-n"], stdin=subprocess.DEVNULL, capture_output=True, check=False, start_new_session=apart)
    output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        raise Refused(_message(f"{output}\n{errors}"))
    args = json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]
    batch, total = args["batch_size"], args["total_kimg"]
    iterations = -(-int(total * 1000) // batch)
    return Plan(iterations, batch, total, max(1, int(total / loop.kimg_per_tick(args))))


def _message(output: str) -> str:
    """What a command ended with: its error, which may have several lines, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it says nothing"]
    errors = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    last = lines[errors[-1] :][:4] if errors else lines[-1:]
    return " ".join(last).removeprefix("Error: ")


class Process:
    """A training process, apart from this terminal, so that Ctrl-C reaches it once: through us."""

    def __init__(self, command: Sequence[str], log: Path, handles: Sequence[int]):
        # Threads that spin while they wait crawl as soon as another program uses the cores.
        options: Dict[str, Any] = {"env": {"GOMP_SPINCOUNT": "10000", **os.environ}, "stdin": subprocess.DEVNULL}
        if os.name == "posix":
            options.update(start_new_session=True, pass_fds=tuple(handles))
        self.log = log
        self._before = log.stat().st_size if log.exists() else 0  # of other processes
        with open(log, "ab") as output:
            self._child = subprocess.Popen(list(command), stdout=output, stderr=subprocess.STDOUT, **options)
        self._asked: Optional[float] = None
        self._is_told = False

    def watch(self, look: Callable[[], None], every: float = _POLL) -> int:
        """Wait for its end, and call ``look`` meanwhile; returns its exit code."""
        while True:
            try:
                return self._child.wait(every)
            except subprocess.TimeoutExpired:
                look()
            self._pass_on()

    @property
    def was_asked(self) -> bool:
        """Whether it has been told to end."""
        return self._asked is not None

    def stop(self) -> None:
        """Ask it to end with a snapshot, which ``watch`` does in a moment; if it was asked before, to end at once."""
        again, self._asked = self.was_asked, time.monotonic()
        if again:
            self._signal()

    def _pass_on(self) -> None:
        """Tell the process what ``stop`` was told.

        The second signal means to end at once, and who signals us may have signalled the process too (``scancel``, systemd): it
        is told only if it has not noted that in its log.
        """
        if self._asked is None:
            return
        waited = time.monotonic() - self._asked
        if not self._is_told and waited > _MOMENT:
            self._is_told = True
            if not self._is_stopping():
                self._signal()
        if waited > _GRACE:
            self.stop()

    def _is_stopping(self) -> bool:
        with open(self.log, "rb") as file:
            file.seek(self._before)
            return _STOPPING in file.read()

    def _signal(self) -> None:
        self._is_told = True
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def last_line(self) -> str:
        """What it said last, or what its error was."""
        return _message(self.log.read_text(encoding="utf-8", errors="replace"))


def tidy(folders: Sequence[Path], keep: Optional[int]) -> None:
    """Delete the snapshots and states of a run that is over, but for the snapshot at ``keep`` kimg."""
    for folder in folders:
        for path in [*folder.glob("network-snapshot-*.pkl"), *folder.glob("regan-state-*.pt")]:
            match = re.fullmatch(r"network-snapshot-(\d+)", path.stem)
            if match is None or keep is None or int(match[1]) != keep:
                path.unlink(missing_ok=True)
