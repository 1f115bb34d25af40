"""Recognise a folder as a checkout of a known host, or of a fork of the same shape."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import List

from ..support.errors import UserError
from ..support.paths import absolute
from . import stylegan2_ada, stylegan3
from .flavour import Flavour

__all__ = ["FLAVOURS", "LARGEST", "Checkout", "HostError", "is_of_family", "parsed", "recognise"]

LARGEST = 2_000_000  # bytes of a script; to parse one of 10 MB takes a minute

_COMMON = ("train.py", "training/training_loop.py", "torch_utils/training_stats.py")

#: The hosts that are known, in the order in which they are looked for.
FLAVOURS = (stylegan2_ada.FLAVOUR, stylegan3.FLAVOUR)


class HostError(UserError):
    """A folder that is not a host, or a host that cannot be had. The message says what was looked for."""


@dataclass(frozen=True)
class Checkout:
    """A host's folder.

    Args:
        path: absolute path of the folder.
        flavour: family of hosts that it is of.
    """

    path: Path
    flavour: Flavour

    @property
    def train_py(self) -> Path:
        """The script that users run."""
        return self.path / "train.py"


def _functions(path: Path) -> List[str]:
    if path.stat().st_size > LARGEST:
        raise HostError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, and no host's has more than {LARGEST / 1e6:.0f} MB")
    return [node.name for node in parsed(path.read_bytes(), str(path)).body if isinstance(node, ast.FunctionDef)]


def parsed(data: bytes, what: str) -> ast.Module:
    """The syntax tree of a script.

    Args:
        data: its content.
        what: it is, for the message.

    Raises:
        HostError: it is not valid Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a host's invalid escape sequences are not the user's concern here
        try:
            compile(data, "train.py", "exec", dont_inherit=True)  # finds more than the parser does
            return ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:  # null bytes, and nesting too deep for the parser
            raise HostError(f"{what} is not valid Python: {str(err) or type(err).__name__}") from err


def recognise(folder: "str | Path") -> Checkout:
    """The host in ``folder``.

    Raises:
        HostError: a file or function that makes a host is missing; all that are missing are named. Or it is a relative that
            cannot be trained.
    """
    path = absolute(folder)
    if not path.is_dir():
        raise HostError(f"{folder} is not a folder")
    lacking = {flavour.name: _lacking(path, flavour) for flavour in FLAVOURS}
    found = next((flavour for flavour in FLAVOURS if not lacking[flavour.name]), None)
    if found is None:
        # The one that the folder is nearest to says what is missing.
        nearest = min(lacking, key=lambda name: len(lacking[name]))
        raise HostError(f"{folder} is not a {nearest} checkout: it has no {', '.join(lacking[nearest])}")
    relative = next((name for file, name in found.relatives.items() if (path / file).exists()), None)
    if relative is not None:
        raise HostError(f"{folder} is a checkout of {relative}, which is not supported yet")
    return Checkout(path, found)


def is_of_family(folder: "str | Path") -> bool:
    """Whether a folder has what all hosts have in common, whether or not it can be trained."""
    return all(Path(folder, name).is_file() for name in _COMMON)


def _lacking(path: Path, flavour: Flavour) -> List[str]:
    """What a folder lacks of a flavour: files or, where they are all there, functions."""
    missing = [name for name in flavour.files if not (path / name).is_file()]
    if missing:
        return missing
    defined = {name: _functions(path / name) for name in flavour.functions}
    return [f"{f}() in {name}" for name, functions in flavour.functions.items() for f in functions if f not in defined[name]]
