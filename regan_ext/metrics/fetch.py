"""Puts a detector of the hosts' where they look for it, so that metrics need no network."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from training_hooks.core.files import copy_whole

from ..data.download import DownloadError, Progress, download
from ..data.hashes import hashes
from ..data.manifest import Archive
from ..hosts.detectors import DETECTORS, downloaded
from ..hosts.download_cache import dnnlib_cache
from ..support.errors import UserError, writing
from .check import tried_detector

__all__ = ["fetch"]


def fetch(name: str, source: Optional[Path], sha256: Optional[str], progress: Progress) -> List[str]:
    """Copy a file into the host's cache, or download it there, once it has been called and gives features.

    Args:
        name: a key of ``DETECTORS``.
        source: the file; None downloads NVIDIA's.
        sha256: what the file has to have, in hexadecimal; None where nobody knows.
        progress: called while downloading.

    Returns:
        Lines that say what was done.

    Raises:
        UserError: it is not that file, or the cache cannot be written.
        click.ClickException: it cannot be downloaded.
    """
    detector, folder = DETECTORS[name], dnnlib_cache() / "downloads"
    target = folder / detector.filename
    others = [path for path in downloaded(detector.url) if path != target]
    if others:
        raise UserError(f"the host takes none of several files: delete {', '.join(map(str, others))}")
    fetched: Optional[Path] = None
    if source is None:
        fetched = source = dnnlib_cache() / "regan-ext" / target.name
        try:
            download(detector.url, fetched, Archive(target.name, sha256=sha256, max_bytes=10**9), progress)
        except DownloadError as err:
            raise DownloadError(f"{err.message}; or fetch it elsewhere and bring it with --from=FILE") from err
    found = _check(name, source, sha256)
    with writing(target):
        folder.mkdir(parents=True, exist_ok=True)
        copy_whole(source, target)
    if fetched is not None:
        for path in (fetched, fetched.with_name(fetched.name + ".json")):
            path.unlink(missing_ok=True)
    lines = [f"{target}: metrics find it there and need no network", f"SHA-256 {found}"]
    return lines if sha256 else [*lines, "NVIDIA publishes no hash of this file; compare this one with a copy that you trust."]


def _check(name: str, source: Path, sha256: Optional[str]) -> str:
    """SHA-256 of the file, where it is what it is meant to be."""
    if not source.is_file():
        raise UserError(f"--from: {source} does not exist" if not source.exists() else f"--from: {source} is not a file")
    try:
        found = str(hashes(source)["sha256"])
    except OSError as err:
        raise UserError(f"--from: {source} cannot be read: {err.strerror or err}") from err
    if sha256 is not None and found != sha256.lower():
        raise UserError(f"--from: {source} is another file: its SHA-256 is {found}, expected {sha256.lower()}")
    expected = DETECTORS[name].features
    try:
        _, features = tried_detector(source)
    except ValueError as err:
        raise UserError(f"--from: {source} {err}") from err
    if expected not in (None, features.shape[1]):
        raise UserError(f"--from: {source} is not NVIDIA's {name}: it gives {features.shape[1]} features, expected {expected}")
    return found
