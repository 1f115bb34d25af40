"""User mistakes."""

from __future__ import annotations

import click

__all__ = ["UserError"]


class UserError(click.ClickException):
    """A mistake that the user can correct: one line on stderr, exit code 2, nothing written."""

    exit_code = 2
