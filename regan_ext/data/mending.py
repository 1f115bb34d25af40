"""Go through the images of a data set, say what is wrong with each, and mend it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from PIL import Image

from ..errors import UserError
from .archive import one_line
from .images import Unreadable, is_grey, load_pixels, mend, pixel_hash, what_is_wrong
from .sources import Entry

__all__ = ["Plan", "Report", "common_mode", "examined", "how_to_mend"]

_SIZE = ("not square", "too small", "too large")


@dataclass(frozen=True)
class Plan:
    """What the images are to become.

    Args:
        resolution: side in pixels.
        resize: name of the filter for scaling.
        mode: "RGB" or "L".
        own: a folder of the reader's own: each file that is wrong gets a line, and broken ones and copies are left out.
            Of a known set every image has to be good, and none is left out.
        keep_duplicates: keep images with the same pixels in a folder of one's own.
        lazy: decode only what has to be changed in more than its size.
    """

    resolution: int
    resize: str
    mode: str
    own: bool
    keep_duplicates: bool = False
    lazy: bool = False


@dataclass
class Report:
    """What was found.

    Args:
        say: takes each line about a file.
        tick: takes the number of images done, and of all.
    """

    say: Callable[[str], None]
    tick: Callable[[int, int], None]
    wrong: int = 0  # files of which something is wrong
    kinds: "Counter[str]" = field(default_factory=Counter)  # kind of fault → files

    def note(self, name: str, faults: Sequence[str], aloud: bool) -> None:
        """Count the faults of a file, and say them where ``aloud``."""
        if not faults:
            return
        self.wrong += 1
        self.kinds.update({re.split(r" \(|: ", fault)[0] for fault in faults})
        if aloud:
            self.say(f"{one_line(name)}: {'; '.join(faults)}")

    @property
    def scaled(self) -> int:
        """Number of images that were too large or too small."""
        return self.kinds["too small"] + self.kinds["too large"]

    def check_strict(self, strict: bool) -> None:
        """
        Raises:
            UserError: ``strict``, and something was wrong.
        """
        if strict and self.wrong:
            raise UserError(f"--strict: something is wrong with {self.wrong} files; nothing was written")

    def lines(self) -> List[str]:
        """One line for every kind of fault, the most frequent first."""
        return [f"  {count} {kind}" for kind, count in sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))]


def how_to_mend(path: Path) -> str:
    """What a message about images that cannot be used ends with."""
    return f"regan-ext data prepare my-images {shlex.quote(str(path))} OUT.zip mends that"


def common_mode(entries: Sequence[Entry]) -> str:
    """ "RGB" where any image that can be opened has colour, else "L"."""
    for entry in entries:
        try:
            if not is_grey(entry.load(False)):
                return "RGB"
        except Unreadable:
            continue
    return "L"


def examined(entries: Sequence[Entry], plan: Plan, report: Report) -> Iterator[Tuple[Entry, Image.Image, bool]]:
    """Each image that can be used, mended in all but its size, and whether that changed it.

    Raises:
        UserError: an image of a known set cannot be read.
    """
    seen: Dict[str, str] = {}
    for number, entry in enumerate(entries):
        report.tick(number, len(entries))
        try:
            image = entry.load(not plan.lazy)
            faults = what_is_wrong(image, plan.resolution, plan.mode)
            touched = any(not fault.startswith(_SIZE) for fault in faults)
            if touched or image.mode != plan.mode:
                touched, image = True, mend(load_pixels(image), plan.mode)
        except Unreadable as err:
            if not plan.own:
                raise UserError(f"{entry.name}: {err}; nothing was written") from err
            report.note(entry.name, [f"left out ({err})"], aloud=True)
            continue
        if plan.own and not plan.keep_duplicates:
            first = seen.setdefault(pixel_hash(image), entry.name)
            if first != entry.name:
                report.note(entry.name, [f"copy, left out (same pixels as {first})"], aloud=True)
                continue
        report.note(entry.name, faults, aloud=plan.own)
        yield entry, image, touched
