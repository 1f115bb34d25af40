"""Recognise a folder as a checkout of a known host, or of a fork of the same shape."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

from ..support.errors import UserError
from ..support.paths import absolute
from . import deceived, diffaugment, dvschultz, projected_gan, r3gan, stylegan2_ada, stylegan3, stylegan3_fun
from .flavour import Flavour

__all__ = ["FLAVOURS", "LARGEST", "Checkout", "HostError", "is_of_family", "of_script", "parsed", "recognise"]

LARGEST = 2_000_000  # bytes of a script; to parse one of 10 MB takes a minute

_COMMON = ("train.py", "training/training_loop.py", "torch_utils/training_stats.py")

#: The hosts that are known, what others are forks of before those.
FLAVOURS = (
    stylegan2_ada.FLAVOUR, diffaugment.FLAVOUR, deceived.FLAVOUR, dvschultz.FLAVOUR,
    stylegan3.FLAVOUR, stylegan3_fun.FLAVOUR, projected_gan.FLAVOUR, r3gan.FLAVOUR,
)  # fmt: skip


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

    def __str__(self) -> str:
        return f"{self.flavour.name} in {self.path}"

    @property
    def train_py(self) -> Path:
        """The script that users run."""
        return self.path / "train.py"


def _functions(path: Path) -> List[str]:
    """Those that a script defines, and those of its classes as "Class.function"."""
    if path.stat().st_size > LARGEST:
        raise HostError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, and no host's has more than {LARGEST / 1e6:.0f} MB")
    return list(_defined(parsed(path.read_bytes(), str(path)).body))


def _defined(body: List[ast.stmt], begin: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield begin + node.name
        elif isinstance(node, ast.ClassDef) and not begin:
            yield from _defined(node.body, f"{node.name}.")


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
    known: Dict[str, List[str]] = {}
    lacking = {flavour.name: _lacking(path, flavour, known) for flavour in FLAVOURS}
    fitting = [flavour for flavour in FLAVOURS if not lacking[flavour.name]]
    if not fitting:
        # The one that the folder is nearest to says what is missing.
        nearest = min(FLAVOURS, key=lambda flavour: (_distance(flavour, lacking[flavour.name]), -flavour.marks)).name
        raise HostError(f"{folder} is not a {nearest} checkout: it has no {', '.join(lacking[nearest])}")
    found = max(fitting, key=lambda flavour: flavour.marks)  # a fork has all that its origin has
    relative = next((name for file, name in found.relatives.items() if (path / file).exists()), None)
    if relative is not None:
        raise HostError(f"{folder} is a checkout of {relative}, which is not supported yet")
    return Checkout(path, found)


def is_of_family(folder: "str | Path") -> bool:
    """Whether a folder has what all hosts have in common, whether or not it can be trained."""
    return all(Path(folder, name).is_file() for name in _COMMON)


def of_script(namespace: Mapping[str, Any]) -> Flavour:
    """The family of the host whose ``train.py`` has these global names, or the one that it is nearest to.

    Raises:
        HostError: it lies in a host's folder that cannot be trained.
    """
    folder = Path(namespace.get("__file__") or "").parent
    if is_of_family(folder):
        return recognise(folder).flavour
    return min(FLAVOURS, key=lambda flavour: len(flavour.missing(namespace)))


def _distance(flavour: Flavour, lacking: List[str]) -> int:
    """Of what a flavour is recognised by, how much a folder lacks: a file with all the functions in it."""
    return len(lacking) + sum(len(functions) for name, functions in flavour.functions.items() if name in lacking)


def _lacking(path: Path, flavour: Flavour, known: Dict[str, List[str]]) -> List[str]:
    """The files that a folder lacks of a flavour, and the functions that are not in the files that it has.

    Args:
        path: folder.
        flavour: family of hosts.
        known: file → functions that it defines, of those that have been read; filled in place.
    """
    missing = [name for name in flavour.files if not (path / name).is_file()]
    for name, functions in flavour.functions.items():
        if name not in missing:
            known[name] = known[name] if name in known else _functions(path / name)
            missing += [f"{each}() in {name}" for each in functions if each not in known[name]]
    return missing
