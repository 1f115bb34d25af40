"""Hashes of files, held against what was published or against what was recorded when the file first came."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Optional

from training_hooks.core.files import whole_file

from ..support.reading import Damaged, mapping, read_json
from .manifest import Archive

__all__ = ["hashes", "record", "recorded", "recorded_path", "why_wrong"]


def hashes(path: Path) -> Dict[str, Any]:
    """The file's "size" in bytes, and "md5" and "sha256" in hexadecimal."""
    # Published MD5s tell whether a download is whole; against a forger only SHA-256 would help.
    kinds = {"md5": hashlib.new("md5", usedforsecurity=False), "sha256": hashlib.sha256()}
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            for kind in kinds.values():
                kind.update(block)
        return {"size": file.tell(), **{name: kind.hexdigest() for name, kind in kinds.items()}}


def recorded_path(target: Path) -> Path:
    """Where the hashes of ``target`` are written down: a JSON file beside it."""
    return target.with_name(target.name + ".json")


def recorded(target: Path) -> Dict[str, Any]:
    """What was written down of ``target`` when it first came; empty where nothing was, or it cannot be read."""
    with contextlib.suppress(Damaged):
        return mapping(read_json(recorded_path(target)))
    return {}


def record(target: Path, found: Dict[str, Any], url: str) -> None:
    """Write the hashes of ``target`` down beside it."""
    with whole_file(recorded_path(target)) as file:
        file.write(json.dumps({"url": url, **found}, indent=2).encode() + b"\n")


def why_wrong(found: Dict[str, Any], archive: Archive, target: Path) -> Optional[str]:
    """What is wrong with a file of these hashes, or None: against what was published, else against what was recorded."""
    for kind in ("size", "sha256", "md5"):
        expected = getattr(archive, kind)
        if expected is not None and found[kind] != expected:
            return f"its {kind if kind == 'size' else kind.upper()} is {found[kind]}, expected {expected}"
    first = recorded(target).get("sha256", found["sha256"])
    if archive.sha256 is None and archive.md5 is None and found["sha256"] != first:
        remedy = f"if it was changed on purpose, delete {recorded_path(target)}"
        return f"its SHA256 is {found['sha256']}, on first use it was {first} ({remedy})"
    return None
