"""``regan-ext data subset``: some images of a prepared zip, and the list of which."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import List, Optional

from ..support.errors import UserError
from ..support.reading import LINES_BYTES, Damaged, parse, read_text
from .archive import ImageZip, check_target, image_zip, indices_path, numbered, same, same_target, write_list
from .containers import Zipped, image_names, open_container
from .dataset_json import filter_of, labels_of
from .decoding import Unreadable
from .layouts.folder import chosen

__all__ = ["read_indices", "subset"]

_NUMBER = re.compile(r"(\d+)(?:\s+#.*)?")  # and a comment; no image has a bare number for its name


def read_indices(path: Path, names: List[str]) -> List[str]:
    """The images that a list names: one a line by name or by number, below comment lines, or a JSON list of either.

    The list may begin with the comment that ``prepare`` and ``subset`` write, "# 3 of 40 images": then it is for a zip of 40.

    Args:
        path: the list.
        names: images of the zip, in the order that numbers from 0 count.

    Returns:
        Their names, sorted.

    Raises:
        UserError: it cannot be read, is empty, is for another zip, or names what is not there or what it has named before.
    """
    try:
        text = read_text(path, LINES_BYTES)
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        items = [str(item) for item in parse(text)] if path.suffix.lower() == ".json" else lines
    except (Damaged, TypeError) as err:
        raise UserError(f"--indices: {path} cannot be read as a list: it {err}") from err
    if not items:
        raise UserError(f"--indices: {path} names no image")
    head = re.match(r"# \d+ of (\d+) ", text)
    if head is not None and head.group(1) != str(len(names)):
        raise UserError(
            f"--indices: {path} chooses from {head.group(1)[:20]} images, and the zip has {len(names)}; "
            "take the zip that it was made for, or delete its first line"
        )
    items = [_name(item, names, path) for item in items]
    known = set(names)
    strangers = [item for item in items if item not in known]
    if strangers:
        raise UserError(f"--indices: {path} names {strangers[0]}, which is not in the zip ({len(strangers)} such lines)")
    if len(set(items)) != len(items):
        raise UserError(f"--indices: {path} names an image twice")
    return sorted(items)


def _name(item: str, names: List[str], path: Path) -> str:
    number = _NUMBER.fullmatch(item)
    if number is None:
        return item
    try:
        return names[int(number.group(1))]
    except (IndexError, ValueError) as err:  # Python reads no number of more than 4,300 digits
        found = number.group(1)[:20]
        raise UserError(f"--indices: {path} has the number {found}, and there are {len(names)} images") from err


def _row(number: int, name: str) -> str:
    """How a list names an image: by its name, where ``read_indices`` would understand it so."""
    is_plain = name.isprintable() and name == name.strip() and not name.startswith("#") and not _NUMBER.fullmatch(name)
    return name if is_plain else numbered(number, name)


def subset(
    source: Path, out: Path, count: Optional[int], seed: int, indices: Optional[Path], rest: Optional[Path]
) -> List[str]:
    """Copy images and their labels, byte for byte and under their names, and list their names beside the new zip.

    Args:
        source: a prepared zip.
        out: zip to write.
        count: so many images, chosen by ``seed``; None where ``indices`` names them.
        seed: which ones.
        indices: a list of images.
        rest: zip for the other images; None for none.

    Returns:
        Lines that say what was written.

    Raises:
        UserError: something is wrong with the arguments; nothing was written.
    """
    if (count is None) == (indices is None):
        raise UserError("give either --count or --indices")
    outs = [out] + ([] if rest is None else [rest])
    check_target(out, source, listed=True)
    if rest is not None:
        if same_target(out, rest):
            raise UserError("--rest needs a file of its own")
        check_target(rest, source, *([] if indices is None else [indices]), listed=True)
    container = open_container(source)
    if not isinstance(container, Zipped):
        raise UserError(f"{source} is a folder; prepare makes a zip of it")
    names = image_names(container)
    if indices is not None:
        first, how = read_indices(indices, names), f"those of {indices.name}"
    else:
        first, how = [names[number] for number in chosen(len(names), count or 0, seed)], f"seed {seed}"
    taken = set(first)
    others = [name for name in names if name not in taken]
    if rest is not None and not others:
        raise UserError("--rest: every image was chosen, none is left")
    lines = []
    with ExitStack() as stack:
        for path, part in zip(outs, [first, others]):
            _copy(container, stack.enter_context(image_zip(path)), part)
    numbers = {name: number for number, name in enumerate(names)}
    for path, part in zip(outs, [first, others]):
        if indices is None or not same(indices, indices_path(path)):
            rows = [_row(numbers[name], name) for name in part]
            write_list(indices_path(path), [f"{len(part)} of {len(names)} images of {source.name}, {how}"], rows)
        lines += [f"{path}: {len(part)} images of {len(names)}", f"They are listed in {indices_path(path)}"]
    return lines


def _copy(source: Zipped, archive: ImageZip, names: List[str]) -> None:
    labels = labels_of(source) or {}
    for name in names:
        try:
            archive.add(name, source.read(name))
        except Unreadable as err:
            raise UserError(f"{source.path}: {name}: {err}") from err
    archive.add_labels([(name, labels.get(name)) for name in names], filter_of(source.path))
