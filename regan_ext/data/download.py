"""Download one file: resumed after a cut, checked, and under its name only when it is whole and right."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional
from urllib.parse import urlsplit

import click
import requests

from .. import __version__
from ..support.errors import UserError
from ..support.locks import locked_file
from ..support.reading import read_bytes
from .answer import Answer, Broken, Strange, TooSlow
from .hashes import Digest, digest, record, why_wrong
from .manifest import Archive

__all__ = ["ATTEMPTS", "DownloadError", "Progress", "download", "part_path"]

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt, twice as long before each later one

Progress = Callable[[int, Optional[int]], None]  # bytes so far, bytes in all where they are known


class DownloadError(click.ClickException):
    """A server or network that does not give what was asked for. One line, exit code 1."""


class _Cut(Exception):
    """A fault that may be gone at the next attempt."""


def part_path(target: Path) -> Path:
    """Where the beginning of an unfinished download lies."""
    return target.with_name(target.name + ".part")


def _note_path(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def download(url: str, target: Path, archive: Archive, progress: Progress) -> Digest:
    """Bring ``url`` to ``target``, going on from what an earlier call left.

    What was cut stays as ``target``.part; what is wrong is deleted. The hashes are recorded beside the file.

    Args:
        url: an http or https address.
        target: file to write.
        archive: what is known of it.
        progress: called after every piece.

    Raises:
        DownloadError: the server refuses, sends a page or a wrong file, the connection breaks in every attempt, or the file
            cannot be written.
        UserError: another process is fetching it.
    """
    part = part_path(target)
    try:
        with _alone(target):
            written = _attempts(url, target, archive, progress)
            found = digest(part)
            wrong = why_wrong(found, archive, target)
            if found.size != written:
                wrong = f"{written} bytes came and {found.size} are in {part.name}, another program writes into it"
            if wrong is not None:
                part.unlink()
                _note_path(target).unlink(missing_ok=True)
                raise DownloadError(f"{url}: not the file that was expected, it was deleted: {wrong}")
            os.replace(part, target)
            record(target, found, url)
            _note_path(target).unlink(missing_ok=True)
            return found
    except OSError as err:
        raise DownloadError(f"{target}: cannot be written ({err.strerror or err}){_kept(part)}") from err


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from fetching ``target`` while the block runs. A folder that this makes goes if it stays empty.

    Raises:
        UserError: another process is fetching it.
        OSError: its folder cannot be written.
    """
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(target.with_name(target.name + ".lock")) as is_mine:
            if not is_mine:
                raise UserError(f"{target}: another regan-ext is fetching this file; wait for it")
            yield
    finally:
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a lock on the file ``path``, which is there only meanwhile; yields False where another process holds it."""
    with locked_file(path) as handles:
        # A lock on a file that its last holder has deleted keeps nobody away.
        is_mine = handles is not None and all(os.fstat(handle).st_nlink > 0 for handle in handles)
        try:
            yield is_mine
        finally:
            if is_mine:
                path.unlink(missing_ok=True)


def _attempts(url: str, target: Path, archive: Archive, progress: Progress) -> int:
    """Bring the file into its part, in as many attempts as it takes. Returns its number of bytes."""
    for attempt in range(ATTEMPTS):
        try:
            return _attempt(url, target, archive, progress)
        except _Cut as err:
            if attempt == ATTEMPTS - 1:
                raise DownloadError(f"{url}: {err}{_kept(part_path(target))}") from err
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _kept(part: Path) -> str:
    try:
        size = part.stat().st_size
    except OSError:
        return ""
    return f"; {size} bytes are kept in {part.name}, the same command goes on from there" if size else ""


def _attempt(url: str, target: Path, archive: Archive, progress: Progress) -> int:
    part, note = part_path(target), _note_path(target)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"regan-ext/{__version__}"}
    known = _known_part(url, target, archive)
    offset = part.stat().st_size if known is not None else 0
    if known is not None:
        if known["total"] == offset:
            return offset
        headers["Range"] = f"bytes={offset}-"
        if known["validator"]:
            headers["If-Range"] = known["validator"]
    try:
        with Answer(url, headers) as answer:
            response, chunks = answer.response, answer.pieces()
            offset = _judge(url, response, offset, part)
            total = _total(response, offset)
            first = next(chunks, b"")
            _refuse_page(url, response, first, offset)
            _check_total(url, total, archive)
            note.write_text(json.dumps({"url": url, "validator": _validator(response), "total": total}), encoding="utf-8")
            with open(part, "ab" if offset else "wb") as file:
                data: Optional[bytes] = first
                while data:
                    offset += file.write(data)
                    if offset > archive.max_bytes:
                        break
                    progress(offset, total)
                    data = next(chunks, None)
    except TooSlow as err:
        raise _Cut(str(err)) from err
    except Broken as err:
        raise _Cut(f"the connection failed: {err}") from err
    except Strange as err:
        raise DownloadError(f"{url}: {err}") from err
    if offset > archive.max_bytes:
        part.unlink()
        note.unlink()
        raise DownloadError(f"{url}: longer than the {archive.max_bytes} bytes that this file can have; it was deleted")
    if total is not None and offset < total:
        raise _Cut(f"cut after {offset} of {total} bytes")
    return offset


def _known_part(url: str, target: Path, archive: Archive) -> Optional[Dict[str, Any]]:
    """What was noted of a part that can be gone on from; None where the download has to begin anew.

    Without a validator of the server's the file may have changed since; that is found out only where a hash was published.
    """
    if not part_path(target).is_file() or part_path(target).stat().st_size == 0:
        return None
    try:
        noted: Dict[str, Any] = json.loads(read_bytes(_note_path(target)))
        validator = noted["validator"]
        usable = noted["url"] == url and bool(validator or archive.md5 or archive.sha256) and "total" in noted
        usable &= validator is None or (validator.isprintable() and validator.isascii() and validator == validator.strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return noted if usable else None


def _judge(url: str, response: requests.Response, offset: int, part: Path) -> int:
    """The offset that this answer begins at.

    Raises:
        DownloadError: the server will not give the file.
        _Cut: it may in another attempt.
    """
    status = response.status_code
    if url.startswith("https:") and response.url.startswith("http:"):
        raise DownloadError(f"{url}: leads to an address that is not encrypted, {response.url}")
    if status == 416:
        part.unlink(missing_ok=True)
        raise _Cut("the server does not know the part that is here; begun anew")
    if status == 206:
        match = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
        if match is None or int(match.group(1)) != offset:
            part.unlink(missing_ok=True)
            raise _Cut("the server sent another part than was asked for")
        return offset
    if status == 200:
        return 0
    if status == 429 or status >= 500:
        raise _Cut(f"the server answers {status} {response.reason}")
    advice = {401: "it wants a login", 403: "access is refused", 404: "it is not there (any more)", 410: "it is gone"}
    raise DownloadError(f"{url}: the server answers {status} {response.reason}: {advice.get(status, 'nothing was downloaded')}")


def _total(response: requests.Response, offset: int) -> Optional[int]:
    length = re.fullmatch(r"\s*([0-9]{1,18})\s*", response.headers.get("Content-Length", ""))
    return None if length is None else offset + int(length.group(1))


def _check_total(url: str, total: Optional[int], archive: Archive) -> None:
    """Do not begin what cannot be right in the end."""
    if total is None:
        return
    if archive.size is not None and total != archive.size:
        raise DownloadError(f"{url}: {total} bytes are offered, expected {archive.size}; nothing was downloaded")
    if total > archive.max_bytes:
        raise DownloadError(f"{url}: {total} bytes are offered, more than the {archive.max_bytes} that this file can have")


def _refuse_page(url: str, response: requests.Response, first: bytes, offset: int) -> None:
    """A server that wants to tell a person something sends a page in place of the file, with status 200."""
    is_html = response.headers.get("Content-Type", "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    begins = first.lstrip()[:64].lower()
    if not is_html and not (offset == 0 and begins.startswith((b"<!doctype html", b"<html"))):
        return
    text = first.decode("utf-8", errors="replace").lower()
    host = urlsplit(response.url).hostname or ""
    if "quota" in text or "too many users" in text:
        drive = "Google Drive's" if "google" in host or "google drive" in text else "the server's"
        raise DownloadError(f"{url}: {drive} quota for this file is used up; wait a day or use another source")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL)
    said = f' titled "{" ".join(title.group(1).split())[:80]}"' if title else ""
    raise DownloadError(f"{url}: a web page{said} came instead of the file; open the address in a browser")


def _validator(response: requests.Response) -> Optional[str]:
    """What If-Range takes: a strong entity tag, else the date of the last change."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")
