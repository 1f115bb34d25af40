"""Does steps, one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import List, Sequence, Tuple

from ..support.errors import UserError
from ..support.locks import locked
from ..support.process import Supervisor
from ..support.text import clock, echo
from .step import FINISHED, Say, Step, with_needs

__all__ = ["dry_run", "run"]

_BUSY = "another process is at it"


def dry_run(steps: Sequence[Step]) -> None:
    """Print what ``run`` would execute, and nothing else; on stderr, why others are left out."""
    for step in with_needs(steps):
        with locked(step.folder, create=False) as mine:
            now, reason = step.look() if mine is not None else (None, _BUSY)
        if now is None or reason is not None:
            echo(f"{step.name}: {reason}", err=True)
        else:
            echo(step.preview(now))


def run(steps: Sequence[Step], say: Say) -> int:
    """Do what is missing, and go on with what was interrupted.

    What stops a run (Ctrl-C, SIGTERM, SIGUSR1, SIGHUP) stops the training process with a snapshot; then this ends too.

    Args:
        steps: those that are wanted; what they need comes before them.
        say: tells the user a line.

    Returns:
        Exit code: 0 all steps are finished, 1 some failed or could not be done, 130 stopped.

    Raises:
        UserError: the folder of the first step cannot be made.
    """
    steps = with_needs(steps)
    for step in steps[:1]:
        try:
            step.folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UserError(f"{step.folder} cannot be made: {err.strerror}") from err
    with Supervisor(say) as supervisor:
        progress = _Progress(len(steps), say, supervisor)
        for number, step in enumerate(steps, 1):
            if supervisor.was_signalled:
                break
            progress.run(number, step)
    if supervisor.was_signalled:
        say("Stopped. The same command goes on.")
        return 130
    # What another process was at may be finished by now.
    failures = [(step, reason) for step, reason in progress.failures if step.standing().kind != FINISHED]
    for step, reason in failures:
        say(f"not finished: {step.name}: {reason}")
    return 1 if failures else 0


@dataclass
class _Progress:
    """What has become of the steps so far."""

    total: int
    say: Say
    supervisor: Supervisor
    failures: List[Tuple[Step, str]] = field(default_factory=list)

    def run(self, number: int, step: Step) -> None:
        """Do one step, if it has to be done."""
        label = f"[{number}/{self.total}] {step.name}"
        with locked(step.folder) as mine:
            if mine is None:
                self._leave_out(step, label, _BUSY)
                return
            now, reason = step.look()
            if now.kind == FINISHED:
                self.say(f"{label}: {reason}")
                return
            waits = [each.name for each in step.after if each.standing().kind != FINISHED]
            reason = f"waits for {', '.join(waits)}" if waits else reason
            if reason is not None:
                self._leave_out(step, label, reason)
                return
            begin = time.monotonic()
            wrong = step.work(now, self.supervisor, mine, lambda text: self.say(f"{label}: {text}"))
            now, spent = step.standing(), clock(time.monotonic() - begin)
            if now.kind == FINISHED:
                self.say(f"{label}: finished after {spent}; {step.result(now)}")
            elif not self.supervisor.was_signalled:
                self._leave_out(step, label, f"{wrong or now.detail or 'ended without training to the end'} ({spent})")

    def _leave_out(self, step: Step, label: str, reason: str) -> None:
        self.failures.append((step, reason))
        self.say(f"{label}: {reason}")
