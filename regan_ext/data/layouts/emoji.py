"""Emoji, a PNG file each, called by their code points: one of each base emoji, without flags."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import DefaultDict, List

from ..containers import Container
from ..entries import Found, entry_of
from ..request import Request
from .folder import Folder

__all__ = ["Emoji", "base_of"]

_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
# What does not make another emoji: joiner, variation selector, the signs of woman and man, facing right.
_MARKS = {"200d", "fe0f", "2640", "2642", "27a1"} | _TONES
# Man and woman are persons, boy and girl children, old man and old woman old persons.
_PERSONS = {"1f468": "1f9d1", "1f469": "1f9d1", "1f466": "1f9d2", "1f467": "1f9d2", "1f474": "1f9d3", "1f475": "1f9d3"}
_SAME = {"1f46a": "1f9d1-1f9d1-1f9d2"}  # the family, which is drawn as adult, adult, child
_FLAGS = re.compile(r"1f1[ef][0-9a-f](-|$)|(1f3f3|1f3f4|1f38c|1f3c1|1f6a9)(-|$)")


class Emoji(Folder):
    """The folder of an npm package of iamcal/emoji-data, or the package itself.

    Skin tones, genders and directions of one emoji differ in a few pixels: one in the training set and another among the images
    that it is measured against would be a copy. So one picture stands for all of them, the most neutral.
    """

    def found(self, container: Container, request: Request, split: str) -> Found:
        """The emoji, in the order of their code points."""
        names = {match.string: match[1] for match in map(_code_points, container.names) if match}
        twins: DefaultDict[str, List[str]] = defaultdict(list)
        for name, points in names.items():
            if not _FLAGS.match(points) and not {*points.split("-")} & _TONES:
                twins[base_of(points)].append(name)
        kept = sorted(min(group, key=lambda name: _oddity(names[name])) for group in twins.values())
        flags = sum(bool(_FLAGS.match(points)) for points in names.values())
        twice = len(names) - flags - len(kept)
        note = f"Left out: {flags} flags, and {twice} pictures of an emoji in another skin tone, gender or direction."
        return Found([entry_of(container, name) for name in kept], notes=[note] if len(kept) < len(names) else [])


def base_of(points: str) -> str:
    """What an emoji is a variant of.

    Args:
        points: its code points, in small hexadecimal letters with hyphens between them.
    """
    parts = points.split("-")
    base = "-".join(_PERSONS.get(part, part) for part in parts if part not in _MARKS)
    return _SAME.get(base, base) or points


def _code_points(name: str) -> "re.Match[str] | None":
    return re.search(r"(?:^|/)([0-9a-f]{4,5}(?:-[0-9a-f]{4,5})*)\.png$", name)


def _oddity(points: str) -> "tuple[int, int, str]":
    """The lower the more neutral."""
    parts = points.split("-")
    return len(parts), sum(part in _PERSONS for part in parts), points
