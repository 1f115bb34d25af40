"""The two lines that attach this package to a checkout's ``train.py``: put in, taken out, looked for.

The places are found in the syntax tree, so forks and edited files work too. All other bytes stay as they are.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import importlib.resources
import re
import shlex
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from training_hooks.core.files import make_durable, whole_path

from ..support.errors import UserError
from ..support.paths import absolute
from .checkout import LARGEST, Checkout, HostError, parsed, recognise

__all__ = ["PACKAGED", "add_lines", "apply", "check", "find_lines", "name_lines", "packaged_patch", "remove_lines", "revert"]

#: Hosts that there is a static patch for, of one commit each.
PACKAGED = ("stylegan2-ada-pytorch", "stylegan3")
_IMPORT, _ATTACH = (
    b"import regan_ext  # regan-ext: added by 'regan-ext patch apply'",
    b"regan_ext.attach_to(globals())  # regan-ext",
)
_IMPORT_PATTERN = re.compile(
    rb"import regan_ext  # regan-ext: .*"
)  # the wording of the comment changes from version to version
_MAIN_TESTS = tuple(ast.dump(ast.parse(t, mode="eval").body) for t in ("__name__=='__main__'", "'__main__'==__name__"))


# ---------------------------------------------------------------- files


def apply(folder: "str | Path") -> str:
    """Put the two lines into the ``train.py`` of the checkout ``folder``, unless they are there already.

    Returns:
        What was done, for the user.

    Raises:
        UserError: ``folder`` is not a host, its ``train.py`` has no place for the lines or uses this package in another way,
            or it cannot be written. Nothing has changed.
    """
    host = _host(folder)
    path = host.train_py
    data = _read(path)
    lines = find_lines(data)
    if lines is not None:
        return f"{path} is patched already ({name_lines(lines)}). Nothing changed."
    result = add_lines(data)
    _write(path, data, result)
    added = name_lines(find_lines(result) or ())
    undo = f"regan-ext patch revert {shlex.quote(str(path.parent))}"
    return f"Patched {path} of {host.flavour.name}: added {added}. Undo with '{undo}'."


def revert(folder: "str | Path") -> str:
    """Take the two lines out of the ``train.py`` in ``folder`` again, if they are there.

    Returns:
        What was done, for the user.

    Raises:
        UserError: what is left would not be valid Python or still uses this package; or there is no host, or its file cannot
            be written. Nothing has changed.
    """
    path = absolute(folder) / "train.py"
    if not path.is_file():
        path = _host(folder).train_py  # says what is missing
    data = _read(path)
    lines = find_lines(data)
    if lines is None:
        _host(folder)
        return f"{path} is not patched. Nothing changed."
    _write(path, data, remove_lines(data))
    return f"Deleted {name_lines(lines)} of {path}: all others are as they were."


def check(folder: "str | Path") -> Optional[Tuple[int, int]]:
    """Numbers of the two lines in the ``train.py`` of the checkout ``folder``, None where it has neither.

    Raises:
        UserError: it is not a host, or has one of them or others.
    """
    return find_lines(_read(_host(folder).train_py))


def packaged_patch(host: str = PACKAGED[0]) -> bytes:
    """The static patch for a pristine checkout of one of ``PACKAGED``.

    Raises:
        UserError: this installation lacks it.
    """
    name = f"{host}.patch"
    with contextlib.suppress(ModuleNotFoundError, FileNotFoundError):
        return importlib.resources.files("regan_ext.patches").joinpath(name).read_bytes()
    # setup.py puts the folder patches/ into the package; a source tree that was not installed has it one level up
    source = Path(__file__).parents[2] / "patches" / name
    if not source.is_file():
        raise UserError(f"this installation of regan-ext has no {name}: install it again, or use 'patch apply'")
    return source.read_bytes()


def _host(folder: "str | Path") -> Checkout:
    try:
        return recognise(folder)
    except (HostError, OSError, ValueError) as err:
        raise UserError(str(err)) from err


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"train.py has {path.stat().st_size / 1e6:.0f} MB: that is no host's")
        return path.read_bytes()
    except OSError as err:
        raise UserError(f"cannot read train.py: {err}") from err


def _write(path: Path, before: bytes, data: bytes) -> None:
    """Replace the content ``before``, whole or not at all; what somebody has saved meanwhile is not lost."""
    try:
        if path.stat().st_nlink > 1:
            raise UserError(
                f"{path} is one file under several names (hard links), and all would change or part ways; "
                f"make it a file of its own: cp -p {path.name} new.py && mv new.py {path.name}"
            )
        with whole_path(path) as temporary:
            temporary.write_bytes(data)
            make_durable(temporary)
            if path.read_bytes() != before:  # the last moment: what takes long is done
                raise UserError("train.py was changed by another program meanwhile; nothing was done, try again")
    except OSError as err:
        raise UserError(f"cannot write train.py, nothing changed: {err}") from err


# ---------------------------------------------------------------- lines


def find_lines(data: bytes) -> Optional[Tuple[int, int]]:
    """Numbers, from 1, of the two lines in a ``train.py`` with the content ``data``; None where it does not use this package.

    Raises:
        UserError: it is not valid Python, has one of them alone, or uses the package in another way.
    """
    lines = [line.rstrip(b"\r\n") for line in _split(data)[1]]
    imports = [n for n, line in enumerate(lines, 1) if _IMPORT_PATTERN.fullmatch(line)]
    attaches = [n for n, line in enumerate(lines, 1) if line == _ATTACH]
    if len(imports) == len(attaches) == 1 and imports[0] < attaches[0]:
        return imports[0], attaches[0]
    uses = sorted({*imports, *attaches, *_uses(parsed(data, "train.py"))})
    if not uses:
        return None
    if len(uses) == 1 and len(imports) + len(attaches) == 1:
        which = "first" if imports else "second"
        raise UserError(f"train.py has only the {which} of the two lines, {name_lines(uses)}: delete it in an editor")
    raise UserError(
        f"train.py uses regan_ext in {name_lines(uses)}, "
        "but not as the two lines that 'regan-ext patch apply' adds: delete this in an editor"
    )


def add_lines(data: bytes) -> bytes:
    """``data`` with the two lines, which end as the lines around them do.

    Args:
        data: a ``train.py`` that has neither of the lines.

    Raises:
        UserError: there is no place for one of the lines, or the result would not be valid Python.
    """
    bom, lines = _split(data)
    first, second = _places(data)
    end = _line_end(lines[first - 1])
    lines.insert(second - 1, _ATTACH + (_line_end(lines[second - 1]) or end))
    lines.insert(first - 1, _IMPORT + end)
    result = bom + b"".join(lines)
    parsed(result, "train.py with the two lines")
    return result


def remove_lines(data: bytes) -> bytes:
    """``data`` without the two lines.

    Raises:
        UserError: they are not both there, or what is left would not be valid Python or still uses this package.
    """
    found = find_lines(data)
    if found is None:
        raise UserError("train.py is not patched")
    bom, lines = _split(data)
    result = bom + b"".join(line for n, line in enumerate(lines, 1) if n not in found)
    by_hand = f"delete {name_lines(found)} in an editor"
    try:
        left = _uses(parsed(result, "train.py without the two lines"))
    except UserError as err:
        raise UserError(f"{err.message}; {by_hand}") from err
    if left:
        raise UserError(f"train.py still uses regan_ext in {name_lines(left)} without the two lines; {by_hand}")
    return result


def name_lines(numbers: Sequence[int]) -> str:
    """The numbers as words for a message: line 3, or lines 3 and 7."""
    *most, last = (str(n) for n in numbers)
    return f"lines {', '.join(most)} and {last}" if most else f"line {last}"


def _split(data: bytes) -> Tuple[bytes, List[bytes]]:
    """The byte order mark, if any, and the lines with their ends."""
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return bom, data[len(bom) :].splitlines(keepends=True)


def _line_end(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _uses(tree: ast.Module) -> List[int]:
    """Numbers of the lines that import or name this package."""
    found = set()
    for node in ast.walk(tree):
        names = [node.id] if isinstance(node, ast.Name) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] == "regan_ext" for name in names):
            found.add(node.lineno)  # type: ignore[attr-defined]
    return sorted(found)


def _places(data: bytes) -> Tuple[int, int]:
    """Numbers of the lines that the two go above: the first import, and the block that a script runs."""
    body = parsed(data, "train.py").body
    is_import = [isinstance(n, ast.Import) or (isinstance(n, ast.ImportFrom) and n.module != "__future__") for n in body]
    blocks = [node.lineno for node in body if isinstance(node, ast.If) and ast.dump(node.test) in _MAIN_TESTS]
    if not any(is_import):
        raise UserError("train.py has no top-level import to put the first line above")
    if not blocks:
        raise UserError("train.py has no top-level 'if __name__ == \"__main__\":' to put the second line above")
    if len(blocks) > 1:
        raise UserError(f"train.py has more than one 'if __name__ == \"__main__\":', {name_lines(blocks)}")
    position = is_import.index(True)
    first = body[position].lineno
    if position > 0 and (body[position - 1].end_lineno or 0) >= first:
        raise UserError(f"the first import of train.py shares line {first} with another statement")
    if first > blocks[0]:
        raise UserError(f"the first import of train.py (line {first}) comes after its main block (line {blocks[0]})")
    return first, blocks[0]
