"""A step that trains, in a folder of its own, and how far it has come."""

from __future__ import annotations

import abc
import json
import os
import shlex
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from training_hooks.core.files import whole_file
from training_hooks.core.own_snapshots import is_own_file

from ..runs.chain import last_run
from ..runs.folder import Run
from ..support.errors import UserError
from ..support.pickles import TRUST, foreign
from ..support.process import Supervisor, module_command
from ..support.reading import Damaged, mapping, read_json
from .step import DIFFERS, FINISHED, FRESH, INTERRUPTED, UNMEASURED, Say, Standing, Step

__all__ = ["Training", "difference", "note_settings", "noted", "settings_of"]

_LOG_FILE = "train.log"


class Training(Step):
    """A ``regan-ext train``. Its folder holds the run folder, or several where it was interrupted."""

    @property
    @abc.abstractmethod
    def note(self) -> Path:
        """The file that ``settings`` are written down in."""

    @property
    @abc.abstractmethod
    def settings(self) -> Tuple[str, ...]:
        """The arguments that make it what it is: not where files lie, nor how many GPUs work on it."""

    @property
    def where(self) -> Mapping[str, Any]:
        """What is written down beside them: where files lie, and what works on it."""
        return {}

    @property
    def is_bound(self) -> bool:
        """Whether the arguments in ``note`` have to be those of now."""
        return True

    @property
    @abc.abstractmethod
    def trust(self) -> bool:
        """Whether it goes on from and measures snapshots that none of the user's own runs wrote on this machine."""

    @abc.abstractmethod
    def command(self, resume: bool) -> List[str]:
        """The whole command; ``resume`` goes on from the newest state in the folder."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Of the environment of its process, beside those of this one."""
        return {}

    def unmeasured(self, run: Run) -> List[str]:
        """Metrics that the finished run has no value of, and should have."""
        return []

    def measuring(self, snapshot: Path, metrics: Sequence[str]) -> List[str]:
        """The command that measures a snapshot and notes the results beside it."""
        raise NotImplementedError

    def shell(self, resume: bool) -> str:
        """``command`` as a line for a shell."""
        return shlex.join(self.command(resume))

    def standing(self) -> Standing:
        differs = difference(settings_of(noted(self.note)), self.settings)
        if differs is not None and self.is_bound:
            return Standing(
                DIFFERS, f"was begun with other options ({differs}): give the same, choose another --out, or delete its folder"
            )
        run = last_run(self.folder)
        if run is None:
            return Standing(FRESH)
        if not run.is_finished:
            return Standing(INTERRUPTED, f"at {run.starts[-1][0]} kimg", run) if run.starts else Standing(FRESH, run=run)
        unmeasured = self.unmeasured(run)
        if not unmeasured:
            return Standing(FINISHED, f"{run.kimg:g} kimg", run)
        detail = f"is trained, but {', '.join(unmeasured)} has no value in {run.folder}"
        return Standing(UNMEASURED, detail, run, unmeasured)

    def look(self) -> Tuple[Standing, Optional[str]]:
        (now, reason), snapshot = super().look(), None
        if now.kind == INTERRUPTED:
            snapshot = _newest(self.folder)
            now = replace(now, kind=FRESH) if snapshot is None else now
        if now.kind == UNMEASURED:
            assert now.run is not None
            snapshot = now.run.last_snapshot
            reason = None if snapshot.is_file() else f"{now.detail} ({self.folder})"
        if reason is None and snapshot is not None and not self.trust and not is_own_file(snapshot):
            reason = f"{foreign(snapshot)}; {TRUST}"
        return now, reason

    def preview(self, now: Standing) -> str:
        return self.shell(now.kind == INTERRUPTED) if now.kind != UNMEASURED else shlex.join(self._measuring(now))

    def work(self, now: Standing, supervisor: Supervisor, handles: Sequence[int], say: Say) -> Optional[str]:
        """Train, and measure what training has not."""
        log, wrong = self.folder / _LOG_FILE, None
        if now.kind != UNMEASURED:
            going_on = now.kind == INTERRUPTED
            note_settings(self)
            say(f"{f'goes on, {now.detail}' if going_on else 'starts'}; output in {log}")
            wrong = supervisor.run(self.command(going_on), log, handles, variables=self.variables)
            now = self.standing()
        if now.kind == UNMEASURED and now.run is not None and now.run.last_snapshot.is_file():
            say(f"is trained; measures {', '.join(now.unmeasured)}")
            wrong = supervisor.run(self._measuring(now), log, handles)
        return wrong

    def _measuring(self, now: Standing) -> List[str]:
        assert now.run is not None
        return self.measuring(now.run.last_snapshot, now.unmeasured)


def _newest(folder: Path) -> Optional[Path]:
    """The snapshot to go on from: its state is whole and is its own, which the names do not tell; None without one."""
    from ..train.resume import newest_pair

    try:
        return newest_pair(folder).snapshot
    except UserError:
        return None


def difference(before: Optional[Sequence[str]], now: Sequence[str]) -> Optional[str]:
    """What of the arguments that something was begun with is other now, such as "--gamma: 1 -> 2"; None where nothing is, or
    where they are not known. The order does not matter, nor whether they were typed as ``--x=1`` or as ``--x 1``.
    """
    was, given = _values(now if before is None else before), _values(now)
    flags = [flag for flag in dict.fromkeys([*was, *given]) if was.get(flag) != given.get(flag)]
    absent = "not given"
    return ", ".join(f"{flag}: {was.get(flag, absent)} -> {given.get(flag, absent)}" for flag in flags) or None


def _values(arguments: Sequence[str]) -> Dict[str, str]:
    """Flag → value, as typed last; "given" where it has none."""
    values: Dict[str, str] = {}
    before = ""
    for argument in arguments:
        if before and not argument.startswith("--"):
            values[before], before = argument, ""
            continue
        flag, equals, value = argument.partition("=")
        values[flag] = value if equals else "given"
        before = "" if equals else flag
    return values


def note_settings(step: Training) -> None:
    """Write down what the step is begun with, and on what machine."""
    about = {"where": dict(step.where)} if step.where else {}
    content = {"arguments": list(step.settings), **about, "machine": _this_machine()}
    with whole_file(step.note) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


@cache
def _this_machine() -> Dict[str, Any]:
    """Asked in another process, so that this one takes no memory of a GPU; it is not for Ctrl-C to end."""
    command = module_command("regan_ext.support.machine")
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=os.name == "posix")
    content: Dict[str, Any] = json.loads(said.stdout)
    return content


def noted(path: Path) -> Dict[str, Any]:
    """What is written down of a step in its note; empty where nothing is."""
    try:
        return mapping(read_json(path))
    except Damaged:
        return {}


def settings_of(note: Mapping[str, Any]) -> Optional[Tuple[str, ...]]:
    """The arguments that the step was begun with; None where they are not known."""
    arguments = note.get("arguments")
    return tuple(map(str, arguments)) if isinstance(arguments, list) else None
