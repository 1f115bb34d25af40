"""``dataset.json`` beside the images: their labels, and the filter that they were scaled with."""

from __future__ import annotations

import json
import posixpath
import unicodedata
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ..support.errors import UserError
from ..support.text import counted, printable
from .archive import FILTER_KEY
from .containers import Container
from .decoding import Unreadable

__all__ = ["Label", "class_notes", "file_of", "filter_of", "host_problem", "labels_of", "matched", "too_many_classes"]

Label = Union[int, List[float]]  # a class from 0, or a vector

NAME = "dataset.json"
_FORM = "labels are whole numbers from 0, or lists of equally many finite numbers"
_SPARE = 100  # classes of which one at least is used; a subset of a set of many classes keeps their numbers


def file_of(container: Container) -> Optional[str]:
    """The name of the file: at the top, or below where there is one only, as in the zip of a folder; None for none."""
    if NAME in container.names:
        return NAME
    found = [name for name in container.names if posixpath.basename(name) == NAME]
    return found[0] if len(found) == 1 else None


def labels_of(container: Container, file: str = NAME) -> Optional[Dict[str, Label]]:
    """Image name → label, as the file spells it; None where there is no such file or it says that there are none.

    Raises:
        UserError: it is not of the host's form, or the host could not train with such labels.
    """
    if file not in container.names:
        return None
    try:
        # Whatever encoding JSON can have, as the host reads it.
        rows = json.loads(container.read(file))["labels"]
        pairs = (
            None if rows is None else list(rows.items()) if isinstance(rows, dict) else [(name, label) for name, label in rows]
        )
    except (Unreadable, ValueError, KeyError, TypeError, RecursionError) as err:
        raise UserError(
            f'{container.path}: {file} is not of the form {{"labels": [["name.png", 0], ...]}} ({_reason(err)})'
        ) from err
    if pairs is None:
        return None
    labels = {}
    length = next((len(label) for _, label in pairs if isinstance(label, list)), None)
    for name, value in pairs:
        label = _label(value, length)
        if label is None:
            found = json.dumps(value)[:40]
            raise UserError(f"{container.path}: {file} cannot be used: {printable(str(name))} has {found}; {_FORM}")
        labels[str(name)] = label
    return labels


def _reason(err: Exception) -> str:
    return f"no {err}" if isinstance(err, KeyError) else " ".join(str(err).split()) or type(err).__name__


def _label(value: Any, length: Optional[int]) -> Optional[Label]:
    """The label as the host takes it, None where it would not or would make another of it."""
    if length is not None:
        fits = isinstance(value, list) and len(value) == length > 0 and all(map(_is_finite, value))
        return [float(part) if type(part) is float else part for part in value] if fits else None
    if type(value) is float and value.is_integer() and value < 2**53:
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**63 else None  # JSON's true is an int to isinstance


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and -3e38 < value < 3e38  # what single precision holds


def too_many_classes(labels: Mapping[str, Label]) -> Optional[str]:
    """Why these are no classes, in words; None where they can be: G gets an input for every number up to the largest."""
    classes = {label for label in labels.values() if isinstance(label, int)}
    largest = max(classes, default=0)
    if largest < max(len(labels), _SPARE * len(classes)):
        return None
    first = next(name for name, label in labels.items() if label == largest)
    return (
        f"{printable(first)} has {largest}, which asks for {largest + 1} classes, and {len(labels)} images have "
        f"{len(classes)} different ones: number the classes from 0"
    )


def class_notes(labels: Mapping[str, Label]) -> List[str]:
    """What is allowed and seldom meant."""
    classes = {label for label in labels.values() if isinstance(label, int)}
    missing = max(classes, default=-1) + 1 - len(classes)
    if missing == 1 and 0 not in classes:
        return ["the classes are counted from 1; the host counts from 0, and class 0 is without images"]
    return [f"{missing} of {max(classes) + 1} classes are without images"] if missing else []


def host_problem(container: Container, names: Sequence[str]) -> Tuple[List[str], List[str]]:
    """What the host would trip over in the labels of the images that it lists, and what is only worth a note.

    It reads them in every run, whether the run is conditional or not.
    """
    try:
        labels = labels_of(container)
    except UserError as err:
        return [err.message.removeprefix(f"{container.path}: ")], []
    if labels is None:
        stray = file_of(container)
        return [], [] if stray in (None, NAME) else [f"{stray} is not at the top, where the host looks for labels"]
    without = [name for name in names if name not in labels]
    if without:
        found, _ = matched(labels, names)
        meant, known = found.get(without[0]), set(names)
        other = next((spelt for spelt in labels if labels[spelt] == meant and spelt not in known), None)
        hint = f"; it has {printable(other)}" if other is not None and without[0] in found else ""
        return [f"{NAME} has no label for {counted(len(without), 'image')}, the first is {printable(without[0])}{hint}"], []
    taken = {name: labels[name] for name in names}
    problem = too_many_classes(taken)
    return ([f"{NAME} cannot be used: {problem}"], []) if problem else ([], class_notes(taken))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")).lstrip("/"))


_LOOKS: Tuple[Callable[[str], str], ...] = (
    _plain,
    lambda name: _plain(name).casefold(),
    lambda name: posixpath.splitext(_plain(name).casefold())[0],
)


def matched(labels: Mapping[str, Label], images: Sequence[str]) -> Tuple[Dict[str, Label], List[str]]:
    """Find the image that each label is meant for, in whatever spelling that leaves no doubt.

    Args:
        labels: name → label, as somebody wrote them.
        images: names of the images.

    Returns:
        Image → label, and the names of the labels that fit no image.
    """
    known = set(images)
    found = {name: label for name, label in labels.items() if name in known}
    left = [name for name in labels if name not in known]
    for look in _LOOKS:
        left = _take(found, labels, left, images, look, look)
    look = _LOOKS[-1]
    ours, theirs = _prefixes(left, [name for name in images if name not in found], look)
    left = _take(found, labels, left, images, lambda name: theirs + look(name), lambda name: ours + look(name))
    return found, left


def _take(
    found: Dict[str, Label],
    labels: Mapping[str, Label],
    left: List[str],
    images: Sequence[str],
    of_label: Callable[[str], str],
    of_image: Callable[[str], str],
) -> List[str]:
    """Add to ``found`` what is the same to both looks and nothing else is; returns the labels that are left."""
    if not left:
        return left
    free = [name for name in images if name not in found]
    by_look = {of_image(name): name for name in free}
    counts = Counter(map(of_image, free)) + Counter(map(of_label, left))
    hits = {name: by_look[of_label(name)] for name in left if of_label(name) in by_look and counts[of_label(name)] == 2}
    found.update({image: labels[name] for name, image in hits.items()})
    return [name for name in left if name not in hits]


def _prefixes(left: Sequence[str], free: Sequence[str], look: Callable[[str], str]) -> Tuple[str, str]:
    """The folder that only the labels name, and the one that only the images lie in; empty where there is doubt."""
    by_base: Dict[str, List[str]] = {}
    for name in free:
        by_base.setdefault(posixpath.basename(look(name)), []).append(look(name))
    votes = set()
    for name in map(look, left):
        for image in by_base.get(posixpath.basename(name), [])[:_SPARE]:
            if image.endswith("/" + name):
                votes.add(("", image[: -len(name)]))
            elif name.endswith("/" + image):
                votes.add((name[: -len(image)], ""))
    return next(iter(votes)) if len(votes) == 1 else ("", "")


def filter_of(path: Path) -> Optional[str]:
    """The filter that the images of a folder or zip were scaled with, where its ``dataset.json`` names one."""
    try:
        # Without a look at what else lies in a folder, which may be a hundred thousand files.
        content = (path / NAME).read_bytes() if path.is_dir() else zipfile.ZipFile(path).read(NAME)
        found = json.loads(content)[FILTER_KEY]
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
