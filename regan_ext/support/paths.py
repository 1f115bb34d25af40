"""The one check of a path that a user gives, of a file to read as of one to write, before either happens."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Optional

import click

__all__ = ["UserPath", "absolute", "expanded", "is_address"]

# What every file system in use has room for, in bytes; a longer name is refused by some call later, with a traceback.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095


def expanded(text: str) -> str:
    """``text`` with a leading ``~`` or ``~user`` as that folder. Shells leave the one in ``--option=~/x`` alone.

    Raises:
        ValueError: it is empty, too long, has a NUL in it, names a user who is not known here, or leads through a folder that
            is closed to this one.
    """
    if not text.strip():
        raise ValueError("the path is empty")
    if "\0" in text:
        raise ValueError("the path has a NUL character in it")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        user = path.split(os.sep, 1)[0]
        raise ValueError(f"{text!r}: there is no user {user[1:]!r} here; ./{user} names a file")
    encoded = os.fsencode(path)
    longest = max(map(len, encoded.split(os.fsencode(os.sep))))
    if longest > _LONGEST_NAME or len(encoded) > _LONGEST_PATH:
        what = f"a name of {longest} bytes" if longest > _LONGEST_NAME else f"{len(encoded)} bytes"
        raise ValueError(f"{text[:20]}… is too long: {what}, at most {_LONGEST_NAME} a name and {_LONGEST_PATH} in all")
    try:
        os.stat(path)
    except PermissionError as err:
        raise ValueError(f"{text!r} lies in a folder that you may not look into") from err
    except OSError:  # what is not there may be made, and what is no good the one who opens it will say
        pass
    return path


def absolute(folder: "str | Path") -> Path:
    """``folder`` from the root on, ``~`` expanded. Links stay as the user named them, except where ``..`` leads out of one."""
    path = Path(os.path.expanduser(folder)).absolute()
    return path.resolve() if ".." in path.parts else path


def is_address(text: str) -> bool:
    """Whether it is a URL, and so no path."""
    return re.match(r"[a-z]+://", text) is not None


class UserPath(click.Path):
    """``click.Path`` of a path that ``expanded`` lets pass; takes the same arguments."""

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        try:
            text = expanded(os.fspath(value))
        except ValueError as err:
            self.fail(str(err), param, ctx)
        return super().convert(text, param, ctx)
