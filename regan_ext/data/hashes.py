"""Hashes of files, held against what was published or against what was recorded when the file first came."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from training_hooks.core.files import whole_file

from ..support.reading import read_bytes
from .manifest import Archive

__all__ = ["Digest", "digest", "record", "recorded", "recorded_path", "why_wrong"]


@dataclass(frozen=True)
class Digest:
    """Size in bytes and hashes of a file, in hexadecimal."""

    size: int
    md5: str
    sha256: str


def digest(path: Path) -> Digest:
    """Read the file once and hash it."""
    # Published MD5s tell whether a download is whole; against a forger only SHA-256 would help.
    md5, sha256, size = hashlib.new("md5", usedforsecurity=False), hashlib.sha256(), 0
    with open(path, "rb") as file:
        while True:
            data = file.read(1 << 20)
            if not data:
                return Digest(size, md5.hexdigest(), sha256.hexdigest())
            size += len(data)
            md5.update(data)
            sha256.update(data)


def recorded_path(target: Path) -> Path:
    """Where the hashes of ``target`` are written down: a JSON file beside it."""
    return target.with_name(target.name + ".json")


def recorded(target: Path) -> Optional[Digest]:
    """What was written down of ``target`` when it first came; None where nothing was, or it cannot be read."""
    try:
        values = json.loads(read_bytes(recorded_path(target)))
        return Digest(int(values["size"]), str(values["md5"]), str(values["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def record(target: Path, found: Digest, url: str) -> None:
    """Write the hashes of ``target`` down beside it."""
    values = {"url": url, **asdict(found)}
    with whole_file(recorded_path(target)) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def why_wrong(found: Digest, archive: Archive, target: Path) -> Optional[str]:
    """What is wrong with a file of these hashes, or None.

    Args:
        found: hashes of the file.
        archive: what was published of it.
        target: its place, beside which its hashes were recorded on first use.
    """
    first = recorded(target)
    if archive.size is not None and found.size != archive.size:
        return f"has {found.size} bytes, expected {archive.size}"
    for kind in ("sha256", "md5"):
        expected = getattr(archive, kind)
        if expected is not None and getattr(found, kind) != expected:
            return f"its {kind.upper()} is {getattr(found, kind)}, expected {expected}"
    if archive.sha256 is None and archive.md5 is None and first is not None and found.sha256 != first.sha256:
        remedy = f"if it was changed on purpose, delete {recorded_path(target)}"
        return f"its SHA256 is {found.sha256}, on first use it was {first.sha256} ({remedy})"
    return None
