"""``regan-ext data subset``: some images of a prepared zip, and the list of which."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import List, Optional

from ..errors import UserError
from .archive import ImageZip, check_target, write_list
from .images import Unreadable
from .prepare import chosen, indices_path
from .sources import Zipped, image_names, labels_of, open_container

__all__ = ["read_indices", "subset"]


def read_indices(path: Path, names: List[str]) -> List[str]:
    """The images that a list names: one a line by name or by number, below comment lines, or a JSON list of either.

    Args:
        path: the list.
        names: images of the zip, in the order that numbers from 0 count.

    Returns:
        Their names, sorted.

    Raises:
        UserError: it cannot be read, is empty, or names what is not there or what it has named before.
    """
    try:
        text = path.read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        items = [str(item) for item in json.loads(text)] if path.suffix.lower() == ".json" else lines
    except (OSError, ValueError, TypeError) as err:
        raise UserError(f"--indices: {path} cannot be read as a list ({err})") from err
    if not items:
        raise UserError(f"--indices: {path} names no image")
    if all(item.isdecimal() for item in items):
        outside = [item for item in items if int(item) >= len(names)]
        if outside:
            raise UserError(f"--indices: {path} has the number {outside[0]}, and there are {len(names)} images")
        items = [names[int(item)] for item in items]
    known = set(names)
    strangers = [item for item in items if item not in known]
    if strangers:
        raise UserError(f"--indices: {path} names {strangers[0]}, which is not in the zip ({len(strangers)} such lines)")
    if len(set(items)) != len(items):
        raise UserError(f"--indices: {path} names an image twice")
    return sorted(items)


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
    if len({path.absolute() for path in outs}) < len(outs):
        raise UserError("--rest needs a file of its own")
    for path in outs:
        check_target(path, source)
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
            _copy(container, stack.enter_context(ImageZip(path)), part)
    for path, part in zip(outs, [first, others]):
        write_list(indices_path(path), [f"{len(part)} of {len(names)} images of {source.name}, {how}"], part)
        lines += [f"{path}: {len(part)} images of {len(names)}", f"They are listed in {indices_path(path)}"]
    return lines


def _copy(source: Zipped, archive: ImageZip, names: List[str]) -> None:
    labels = labels_of(source)
    for name in names:
        try:
            archive.add(name, source.read(name))
        except Unreadable as err:
            raise UserError(f"{source.path}: {name}: {err}") from err
    archive.add_labels([(name, labels.get(name)) for name in names])
