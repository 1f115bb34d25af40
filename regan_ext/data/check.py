"""``regan-ext data check``: what a folder or zip holds, whether it is what it should be, and what its pixels hash to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import click
import numpy as np
from PIL import Image

from ..support.errors import UserError
from ..support.reading import read_bytes
from ..support.text import counted, echo, printable
from .archive import check_file, write_list
from .containers import Container, Zipped
from .data_set import DataSet
from .decoding import Unreadable
from .entries import Entry
from .host_view import View, view
from .images import pixel_hash
from .mending import how_to_mend
from .table import get

__all__ = ["Findings", "check", "fingerprint"]

_LONGEST_LIST = 1_000_000_000  # bytes; FFHQ's own has 267 million


@dataclass
class Findings:
    """What was found in a folder or zip.

    Args:
        sizes: (width, height) in pixels → number of images.
        modes: Pillow's name of a pixel format → number of images.
        formats: file format → number of images.
        hashes: (name, SHA-256 of the pixels) of every image.
        broken: (name, reason) of those that cannot be decoded.
        differing: names of images whose pixels are not those of FFHQ's list.
        problems: why it cannot be used, each in words.
    """

    sizes: "Counter[Tuple[int, int]]" = field(default_factory=Counter)
    modes: "Counter[str]" = field(default_factory=Counter)
    formats: "Counter[str]" = field(default_factory=Counter)
    hashes: List[Tuple[str, str]] = field(default_factory=list)
    broken: List[Tuple[str, str]] = field(default_factory=list)
    differing: List[str] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)

    def lines(self, was_compared: bool) -> List[str]:
        """The findings for a reader; ``was_compared`` with FFHQ's list."""
        wrong = len(self.differing)
        compared = [f"FFHQ's list: {len(self.hashes) - wrong} images have its pixels, {wrong} not"] if was_compared else []
        sizes = [f"{width}x{height}: {count}" for (width, height), count in self.sizes.most_common(5)]
        sizes += [f"{len(self.sizes) - 5} other sizes"] if len(self.sizes) > 5 else []
        same = len(self.hashes) - len({found for _, found in self.hashes})
        return [
            f"images: {len(self.hashes)}" + (f", {len(self.broken)} broken" if self.broken else ""),
            f"sizes: {', '.join(sizes)}",
            f"pixels: {', '.join(f'{mode} {count}' for mode, count in self.modes.most_common())}",
            f"format: {', '.join(f'{kind} {count}' for kind, count in self.formats.most_common())}",
            f"copies: {counted(same, 'image')} with the pixels of another",
            *compared,
            f"fingerprint: {fingerprint([found for _, found in self.hashes])}",
        ]


def fingerprint(hashes: Sequence[str]) -> str:
    """One SHA-256 for a set of images, whatever their names, their order and their lossless encoding."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def check(
    name: str,
    path: Path,
    count: Optional[int],
    expected: Optional[str],
    hashes: Optional[Path],
    pixel_md5: Optional[Path],
    tick: Callable[[int, int], None],
) -> List[str]:
    """Decode every image of ``path`` and hold it against what is known of the data set.

    Args:
        name: of the data set, or "my-images".
        path: folder, zip, or CIFAR-10's archive.
        count: number of images to expect in place of the set's own.
        expected: fingerprint to expect.
        hashes: file to write the SHA-256 of the pixels of every image into.
        pixel_md5: FFHQ's list, ffhq-dataset-v2.json, to compare every image with.
        tick: takes the number of images done, and of all.

    Returns:
        Lines that say what was found.

    Raises:
        UserError: ``path`` or an argument cannot be read.
        click.ClickException: exit code 1; it is not what it should be.
    """
    data_set = get(name)
    listed = None if pixel_md5 is None else _read_list(pixel_md5)
    if hashes is not None:
        check_file(hashes, path, *([] if pixel_md5 is None else [pixel_md5]))
    entries, container = data_set.layout.everything(path)
    if not entries:
        raise UserError(f"{path} holds no images")
    findings, notes = _look(entries, listed, tick), []
    # What prepare and the host's tool write has this file; what was downloaded has not.
    prepared = container is not None and (data_set.own or "dataset.json" in container.names)
    findings.problems += _against_manifest(data_set, findings, prepared, count)
    if container is not None and prepared:
        seen = _as_the_host_reads(container)
        findings.problems += seen.problems
        notes = [f"note: {note}" for note in seen.notes]
    if hashes is not None:
        rows = [f"{digest}  {printable(entry)}" for entry, digest in findings.hashes]
        write_list(hashes, [f"SHA-256 over the pixels of the images of {path.name}"], rows)
    found = fingerprint([digest for _, digest in findings.hashes])
    if expected is not None and found != expected.lower():
        findings.problems.append(f"the fingerprint is not {expected}")
    if findings.problems:
        for line in findings.lines(listed is not None) + notes:
            echo(line)
        raise click.ClickException(f"{path}: {'; '.join(findings.problems)}")
    return findings.lines(listed is not None) + notes


def _look(entries: Sequence[Entry], listed: Optional[Dict[int, str]], tick: Callable[[int, int], None]) -> Findings:
    findings = Findings()
    for number, entry in enumerate(entries):
        try:
            image = entry.load(True)
        except Unreadable as err:
            findings.broken.append((entry.name, str(err)))
        else:
            findings.sizes[image.size] += 1
            findings.modes[image.mode] += 1
            findings.formats[image.format or "pickle"] += 1
            findings.hashes.append((entry.name, pixel_hash(image)))
            if listed is not None and not _is_listed(entry.name, image, listed):
                findings.differing.append(entry.name)
        tick(number + 1, len(entries))
    if findings.broken:
        name, reason = findings.broken[0]
        findings.problems.append(f"{counted(len(findings.broken), 'image')} cannot be decoded, the first is {name} ({reason})")
    if findings.differing:
        findings.problems.append(
            f"{len(findings.differing)} images do not have FFHQ's pixels, the first is {findings.differing[0]}"
        )
    return findings


def _read_list(path: Path) -> Dict[int, str]:
    """Number of an image → MD5 of its pixels, from FFHQ's own list."""
    try:
        values = json.loads(read_bytes(path, _LONGEST_LIST))
        return {int(number): str(entry["image"]["pixel_md5"]) for number, entry in values.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise UserError(f"--pixel-md5: {path} is not FFHQ's ffhq-dataset-v2.json ({err})") from err


def _is_listed(name: str, image: Image.Image, listed: Dict[int, str]) -> bool:
    digits = "".join(sign for sign in Path(name).stem if sign.isdigit())
    # FFHQ's list is of MD5s; they tell copies apart, and protect against nobody.
    found = hashlib.new("md5", np.asarray(image).tobytes(), usedforsecurity=False).hexdigest()
    return digits != "" and listed.get(int(digits)) == found


def _against_manifest(data_set: DataSet, findings: Findings, prepared: bool, count: Optional[int]) -> List[str]:
    problems = []
    total = len(findings.hashes) + len(findings.broken)
    allowed = {} if data_set.own else dict(data_set.splits)
    if data_set.count is not None and prepared:
        allowed = {"chosen": data_set.count}
    if count is not None:
        allowed = {"--count": count}
    elif len(data_set.splits) > 1:
        allowed["all parts"] = sum(allowed.values()) + data_set.others
    if allowed and total not in allowed.values():
        known = ", ".join(f"{number}" if part == "all" else f"{number} ({part})" for part, number in allowed.items())
        problems.append(f"it has {counted(total, 'image')}, expected {known}")
    raw = data_set.raw_size
    if raw is not None and not prepared and set(findings.sizes) - {(raw, raw)}:
        problems.append(f"not every image is {raw}x{raw}")
    return problems


def _as_the_host_reads(container: Container) -> View:
    """What the host's data set class would trip over, and what is only worth a note."""
    found = view(container)
    if isinstance(container, Zipped) and container.is_compressed:
        found.problems.append("the zip is compressed, which makes loading slow")
    if found.problems:
        found.problems[-1] += f"; {how_to_mend(container.path)}"
    return found
