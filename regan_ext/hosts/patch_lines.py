"""The two lines that attach this package to a checkout's ``train.py``, put in and taken out, as functions on bytes.

The places are found in the syntax tree, so forks and edited files work too. The first line records the hash of the
file without the two lines: that is how taking them out proves that it gives back the original, byte for byte.
"""

from __future__ import annotations

import ast
import codecs
import hashlib
import re
import warnings
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import click

__all__ = ["PatchError", "State", "add_lines", "inspect", "name_lines", "remove_lines", "unidiff"]

_IMPORT = "import regan_ext  # regan-ext: added by 'regan-ext patch apply', sha256 of the file without these two lines: {}"
_ATTACH = "regan_ext.attach_to(globals())  # regan-ext"
# The wording of the comment may change from version to version; each must be able to take out the lines of the others.
_IMPORT_PATTERN = re.compile(rb"import regan_ext  # regan-ext: .*\b([0-9a-f]{16})")
_MAIN_TESTS = tuple(ast.dump(ast.parse(t, mode="eval").body) for t in ("__name__=='__main__'", "'__main__'==__name__"))


class PatchError(click.ClickException):
    """A ``train.py`` that cannot be patched or reverted. One line that says why; nothing has been written."""

    exit_code = 2


@dataclass(frozen=True)
class State:
    """What a ``train.py`` says about the two lines.

    Args:
        kind: "not patched", "patched" (reverting gives back the original), "edited" (patched, then edited) or "broken".
        lines: numbers of the lines meant, from 1: the two lines, or those that make it broken.
        problem: for "broken", what is wrong and the remedy.
    """

    kind: str
    lines: Tuple[int, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        if self.kind == "not patched":
            return self.kind
        if self.kind == "broken":
            return f"broken: {self.problem}"
        afterwards = ", edited afterwards" if self.kind == "edited" else ""
        return f"patched{afterwards} ({name_lines(self.lines)})"


def inspect(data: bytes) -> State:
    """The state of a ``train.py`` with the content ``data``.

    Raises:
        PatchError: it is not valid Python.
    """
    lines = _split(data)[1]
    imports = [n for n, line in enumerate(lines, 1) if _IMPORT_PATTERN.fullmatch(line.rstrip(b"\r\n"))]
    attaches = [n for n, line in enumerate(lines, 1) if line.rstrip(b"\r\n") == _ATTACH.encode()]
    if len(imports) == len(attaches) == 1 and imports[0] < attaches[0]:
        ours = (*imports, *attaches)
        recorded = _IMPORT_PATTERN.fullmatch(lines[imports[0] - 1].rstrip(b"\r\n"))
        assert recorded is not None
        intact = _digest(_without(data, ours)) == recorded[1].decode()
        return State("patched" if intact else "edited", ours)
    uses = tuple(sorted({*imports, *attaches, *_uses(_parse(data))}))
    if not uses:
        return State("not patched")
    if len(uses) == 1 and len(imports) + len(attaches) == 1:
        which = "first" if imports else "second"
        problem = f"train.py has only the {which} of the two lines, {name_lines(uses)}: delete it in an editor"
    else:
        problem = (
            f"train.py uses regan_ext in {name_lines(uses)}, "
            "but not as the two lines that 'regan-ext patch apply' adds: delete this in an editor"
        )
    return State("broken", uses, problem)


def add_lines(data: bytes) -> bytes:
    """``data`` with the two lines; every other byte is kept, and they end as the lines around them do.

    Args:
        data: a ``train.py`` that has neither of the lines.

    Raises:
        PatchError: there is no place for one of the lines, or the result would not be valid Python.
    """
    bom, lines = _split(data)
    (first, import_line), (second, attach_line) = _insertions(data)
    body = [*lines[: first - 1], import_line, *lines[first - 1 : second - 1], attach_line, *lines[second - 1 :]]
    result = bom + b"".join(body)
    _check_only_two_statements(data, result, (first, second + 1))
    return result


def remove_lines(data: bytes, force: bool = False) -> bytes:
    """``data`` without the two lines.

    Args:
        data: a ``train.py`` in the state "patched" or "edited".
        force: take the lines out of an edited file too, and keep the edits.

    Raises:
        PatchError: the lines are not both there, or the file was edited and ``force`` is not given, or cannot be done.
    """
    state = inspect(data)
    if state.kind in ("broken", "not patched"):
        raise PatchError(state.problem or "train.py is not patched")
    result = _without(data, state.lines)
    if state.kind == "patched":
        return result  # the hash has proved that this is the original, which is more than a syntax check can
    by_hand = f"delete {name_lines(state.lines)} in an editor"
    if not force:
        edited = "train.py was edited after the patch was applied"
        raise PatchError(f"{edited}: {by_hand}, or give --force, which deletes these two lines and keeps the edits")
    try:
        _check_only_two_statements(result, data, state.lines)
        left = _uses(_parse(result))
    except PatchError as err:
        raise PatchError(f"{err.message}; {by_hand}") from err
    if left:
        raise PatchError(f"train.py still uses regan_ext in {name_lines(left)} without the two lines; {by_hand}")
    return result


def unidiff(data: bytes) -> bytes:
    """The two lines for ``data`` as a patch without context, so that no line of the host is in it.

    Raises:
        PatchError: as :func:`add_lines`.
    """
    add_lines(data)
    (first, import_line), (second, attach_line) = _insertions(data)
    start = "diff --git a/train.py b/train.py\n--- a/train.py\n+++ b/train.py\n"
    return b"".join(
        (
            f"{start}@@ -{first - 1},0 +{first} @@\n+".encode(),
            import_line,
            f"@@ -{second - 1},0 +{second + 1} @@\n+".encode(),
            attach_line,
        )
    )


def _split(data: bytes) -> Tuple[bytes, List[bytes]]:
    """The byte order mark, if any, and the lines with their ends."""
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return bom, data[len(bom) :].splitlines(keepends=True)


def _without(data: bytes, numbers: Sequence[int]) -> bytes:
    bom, lines = _split(data)
    return bom + b"".join(line for n, line in enumerate(lines, 1) if n not in numbers)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def name_lines(numbers: Sequence[int]) -> str:
    """The numbers as words for a message: line 3, or lines 3 and 7."""
    *most, last = (str(n) for n in numbers)
    return f"lines {', '.join(most)} and {last}" if most else f"line {last}"


def _parse(data: bytes, what: str = "train.py") -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a host's invalid escape sequences are not the user's concern here
        try:
            compile(data, "train.py", "exec", dont_inherit=True)  # finds more than the parser does
            return ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:  # null bytes, and nesting too deep for the parser
            raise PatchError(f"{what} is not valid Python: {str(err) or type(err).__name__}") from err


def _uses(tree: ast.Module) -> List[int]:
    """Numbers of the lines that import or name this package."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Name):
            names = [node.id]
        else:
            continue
        if any(name.split(".")[0] == "regan_ext" for name in names):
            found.add(node.lineno)
    return sorted(found)


def _insertions(data: bytes) -> Tuple[Tuple[int, bytes], Tuple[int, bytes]]:
    """For each of the two lines, the number of the line it goes above and its bytes, with a line end."""
    lines = _split(data)[1]
    body = _parse(data).body
    imports = [
        i
        for i, node in enumerate(body)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
    ]
    blocks = [node.lineno for node in body if isinstance(node, ast.If) and ast.dump(node.test) in _MAIN_TESTS]
    if not imports:
        raise PatchError("train.py has no top-level import to put the first line above")
    if not blocks:
        raise PatchError("train.py has no top-level 'if __name__ == \"__main__\":' to put the second line above")
    if len(blocks) > 1:
        raise PatchError(f"train.py has more than one 'if __name__ == \"__main__\":', {name_lines(blocks)}")
    position, second = imports[0], blocks[0]
    first = body[position].lineno
    if position > 0 and (body[position - 1].end_lineno or 0) >= first:
        raise PatchError(f"the first import of train.py shares line {first} with another statement")
    if first > second:
        raise PatchError(f"the first import of train.py (line {first}) comes after its main block (line {second})")
    end = _line_end(lines[first - 1])
    return (
        (first, _IMPORT.format(_digest(data)).encode() + end),
        (second, _ATTACH.encode() + (_line_end(lines[second - 1]) or end)),
    )


def _line_end(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _check_only_two_statements(plain: bytes, patched: bytes, ours: Sequence[int]) -> None:
    """Raise PatchError unless the lines ``ours`` of ``patched`` are all that the two programs differ in."""
    tree, expected = _parse(patched, "train.py with the two lines"), _parse(plain, "train.py without the two lines")
    rest = [node for node in tree.body if node.lineno not in ours]
    if len(tree.body) - len(rest) != 2 or [ast.dump(n) for n in rest] != [ast.dump(n) for n in expected.body]:
        raise PatchError(f"{name_lines(ours)} would not stand alone in train.py")
