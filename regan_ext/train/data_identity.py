"""What tells one set of training images from another: their content, looked at so that a large set takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ..data.containers import open_container
from ..data.host_view import host_names
from ..support.errors import UserError

__all__ = ["identity", "is_same"]

_SAMPLE = 256  # images of a folder that are read whatever its size
_READ_ALL = 1 << 28  # bytes; a folder of no more is read whole


def identity(path: Optional[str]) -> Optional[Dict[str, Any]]:
    """The images at ``path``, in the host's order, as plain values: the same for a folder and for its zip.

    A zip holds checksums of all its images. Of a large folder a sample is read.

    Args:
        path: zip or folder.

    Returns:
        images: their number; sample: hash of sizes and checksums of some; all: of all, or None; labels: hash of a
        dataset.json, or None. None where the images cannot be read, as the host will say.
    """
    if path is None or not os.path.exists(path):
        return None
    try:
        names = host_names(open_container(Path(path)))
        chosen = names[:: max(1, len(names) // _SAMPLE)]
        folder = Path(path)
        if folder.is_dir():
            small = sum(os.stat(folder / name).st_size for name in names) <= _READ_ALL
            found = dict.fromkeys(names if small else chosen)
            contents = ((name, (folder / name).read_bytes()) for name in found)
            sums = {name: (len(content), zlib.crc32(content)) for name, content in contents}
            labels = (folder / "dataset.json").read_bytes() if (folder / "dataset.json").is_file() else None
        else:
            with zipfile.ZipFile(folder) as archive:
                members = {name: archive.getinfo(name) for name in names}
                sums = {name: (member.file_size, member.CRC) for name, member in members.items()}
                labels = archive.read("dataset.json") if "dataset.json" in archive.namelist() else None
    except (UserError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return None
    whole = _hash([sums[name] for name in names]) if len(sums) == len(names) else None
    sample = _hash([sums[name] for name in chosen])
    return {"images": len(names), "sample": sample, "all": whole, "labels": _labels(labels)}


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _labels(content: Optional[bytes]) -> Optional[str]:
    """Hash of the labels alone; what else a dataset.json says may change."""
    try:
        labels = json.loads(content or b"{}")["labels"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return _hash(labels)


def is_same(one: Any, other: Any, use_labels: bool) -> Optional[bool]:
    """Whether two identities are of the same images, and of the same labels where they are used; None if one is not known."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return None
    named = ["images", "all" if one.get("all") and other.get("all") else "sample", *(["labels"] if use_labels else [])]
    return all(one.get(name) == other.get(name) for name in named)
