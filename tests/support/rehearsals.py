"""Rehearsals of ``train`` as forks, which are quicker than processes of their own."""

from __future__ import annotations

import subprocess
from typing import Any, Sequence

import pytest

from regan_ext.steps import rehearsal

from .processes import run_python

__all__ = ["fork_rehearsals", "forked"]


class _Forks:
    """In the place of the module ``subprocess``."""

    DEVNULL = subprocess.DEVNULL

    @staticmethod
    def run(command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
        return forked(command)


def forked(command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    """What a ``regan-ext train`` does."""
    ended = run_python(["-m", "regan_ext", *command[list(command).index("train") :]])
    return subprocess.CompletedProcess(list(command), ended.returncode, ended.stdout.encode(), b"")


def fork_rehearsals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have them be forks until the patch is undone."""
    monkeypatch.setattr(rehearsal, "subprocess", _Forks)
