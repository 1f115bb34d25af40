"""Go through the images of a data set, say what is wrong with each, and mend it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from PIL import Image

from ..support.errors import UserError
from ..support.text import counted, printable
from .dataset_json import Label
from .decoding import Unreadable
from .deep import deep_values, load_shallow, white_level
from .entries import Entry
from .images import is_grey, mend, pixel_hash, what_is_done, what_is_wrong
from .near_copies import NearCopies

__all__ = ["Plan", "Report", "Survey", "examined", "how_to_mend", "survey"]

_SHOWN = 20  # lines about faults


@dataclass(frozen=True)
class Plan:
    """What the images are to become.

    Args:
        resolution: side in pixels.
        resize: name of the filter for scaling.
        mode: "RGB" or "L".
        own: a folder of the reader's own: faults are told file by file, and broken ones and copies are left out.
            Of a known set every image has to be good, and none is left out.
        keep_duplicates: keep images with the same pixels in a folder of one's own.
        shape: how images become square, "crop" or "pad".
        bits: of the white level of images with more than 8.
    """

    resolution: int
    resize: str
    mode: str
    own: bool
    keep_duplicates: bool = False
    shape: str = "crop"
    bits: int = 16


@dataclass
class Report:
    """What was found, for the end.

    Args:
        say: takes each line about a file, where nothing will be written.
        tick: takes the number of images done, and of all.
        verbose: keep a line for every file, and not for some of those with a fault only.
        strict: refuse faults.
    """

    say: Callable[[str], None]
    tick: Callable[[int, int], None]
    verbose: bool = False
    strict: bool = False
    wrong: int = 0  # files with a fault
    faults: "Counter[str]" = field(default_factory=Counter)  # kind → files
    done: "Counter[str]" = field(default_factory=Counter)  # kind of what is no fault → files
    lines: List[str] = field(default_factory=list)
    near: NearCopies = field(default_factory=NearCopies)

    def note(self, name: str, faults: Sequence[str], done: Sequence[str] = (), aloud: bool = True) -> None:
        """Count what was found in a file, and keep a line about it where it is to be told ``aloud``."""
        self.wrong += bool(faults)
        self.faults.update({_kind(fault) for fault in faults})
        self.done.update({_kind(step) for step in done})
        told = [*faults, *done] if self.verbose else faults
        if told and aloud:
            self.lines.append(f"{printable(name)}: {'; '.join(told)}")

    @property
    def scaled(self) -> int:
        """Number of images that were too large or too small."""
        return sum(count for kind, count in (self.faults + self.done).items() if kind.startswith(("too small", "reduced")))

    def check(self, written: int) -> None:
        """Refuse what cannot be written, or was not to be.

        Raises:
            UserError: there is no image, or there are faults and they were to be refused.
        """
        if written and not (self.strict and self.wrong):
            return
        for line in self.shown():
            self.say(line)
        if not written:
            raise UserError("there is no image that can be used; nothing was written")
        raise UserError(f"--strict: something is wrong with {counted(self.wrong, 'file')}; nothing was written")

    def shown(self) -> List[str]:
        """The lines about files, the first of them where there are many."""
        more = len(self.lines) - _SHOWN
        return (
            self.lines
            if more <= 0 or self.verbose
            else [*self.lines[:_SHOWN], f"and {counted(more, 'file')} more; --verbose lists all"]
        )

    def counts(self) -> List[str]:
        """One line for every kind of thing that was done or wrong, the most frequent first."""
        both = self.faults + self.done
        return [f"  {count} {kind}" for kind, count in sorted(both.items(), key=lambda item: (-item[1], item[0]))]

    def near_copies(self) -> List[str]:
        """A sentence about images that are nearly copies, if there are any."""
        pairs = self.near.pairs()
        if not pairs:
            return []
        first = ", ".join(f"{printable(other)} like {printable(one)}" for one, other in pairs[:3])
        more = " ..." if len(pairs) > 3 else "."
        return [f"{counted(len(pairs), 'image')} nearly the same as another, and kept: {first}{more}"]


def _kind(finding: str) -> str:
    return re.split(r" \(|: ", finding)[0]


def how_to_mend(path: Path) -> str:
    """What a message about images that cannot be used ends with."""
    return f"regan-ext data prepare my-images {shlex.quote(str(path))} OUT.zip fixes that"


@dataclass(frozen=True)
class Survey:
    """What the images have in common.

    Args:
        mode: "RGB" where any has colour, else "L".
        bits: of the white level that the values of all with more than 8 bits show; 16 without any.
        deep: number of those.
    """

    mode: str
    bits: int = 16
    deep: int = 0


def survey(entries: Sequence[Entry]) -> Survey:
    """Look at the headers of the images, and at the pixels of those with more than 8 bits a channel."""
    mode, levels = "L", []
    for entry in entries:
        try:
            if not is_grey(entry.load(False)):
                mode = "RGB"
            values = deep_values(entry.load)
        except Unreadable:
            continue
        if values is not None:
            levels.append(white_level(values))
    return Survey(mode, max(levels, default=16) or 16, len(levels))


def examined(entries: Sequence[Entry], plan: Plan, report: Report) -> Iterator[Tuple[Entry, Image.Image]]:
    """Each image that can be used, mended in all but its size.

    Raises:
        UserError: an image of a known set cannot be read.
    """
    seen: Dict[str, Tuple[str, Optional[Label]]] = {}
    for number, entry in enumerate(entries):
        report.tick(number, len(entries))
        try:
            image = entry.load(False)
            wanted = (image, plan.resolution, plan.mode, plan.shape)
            faults, done = what_is_wrong(*wanted), what_is_done(*wanted)
            image = mend(load_shallow(entry.load, plan.bits), plan.mode, plan.bits)
        except Unreadable as err:
            if not plan.own:
                raise UserError(f"{entry.name}: {err}; nothing was written") from err
            report.note(entry.name, [f"left out ({err})"])
            continue
        if plan.own and not plan.keep_duplicates:
            first, label = seen.setdefault(pixel_hash(image), (entry.name, entry.label))
            if first != entry.name:
                other = "" if label == entry.label else f", which has the label {label} and not {entry.label}"
                report.note(entry.name, [f"copy, left out (same pixels as {printable(first)}{other})"])
                continue
        report.note(entry.name, faults, done, aloud=plan.own)
        if plan.own:
            report.near.add(entry.name, image)
        yield entry, image
