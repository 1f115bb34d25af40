"""``regan-ext data get``: licence, download, hashes, unpacking."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, ContextManager, List, Optional, Tuple

import click

from ..support.errors import UserError
from .data_set import DataSet
from .download import DownloadError, Progress, download
from .hashes import hashes, record, recorded, recorded_path, why_wrong
from .manifest import Archive, Source
from .table import get
from .unpack import UnpackError, unpack

__all__ = ["ask", "fetch"]

Say = Callable[[str], None]
Bar = Callable[[str], ContextManager[Progress]]


def fetch(name: str, folder: Path, accepted: Callable[[], bool], say: Say, bar: Bar, url: Optional[str]) -> None:
    """Bring a data set into ``folder``: its archives, and what they unpack to in a folder of the set's name.

    Args:
        name: of the data set.
        folder: where to put it.
        accepted: asks whether the licence is accepted.
        say: takes a line about what is done.
        bar: a progress bar with this title.
        url: address of the first archive, or of a folder with all of them where it ends in a slash, in place of their own.

    Raises:
        UserError: it cannot be fetched without a person, or the licence was not accepted; nothing was written.
        DownloadError: no source gave the file.
        UnpackError: the archive is broken or not safe.
    """
    data_set = get(name)
    following = f"regan-ext data prepare {data_set.name} {data_set.layout.source} {data_set.name}.zip"
    if data_set.own:
        raise UserError(f"{data_set.name} are yours: {following}")
    say(f"Licence of {data_set.name}: {data_set.licence}")
    for note in data_set.notes:
        say(f"Note: {note}")
    if not data_set.archives and not data_set.pages:
        say(f"Nothing to fetch. Next: {following}")
        return
    if not data_set.archives:
        _say_pages(data_set.pages, say)
        raise UserError(f"{data_set.name} cannot be fetched by a program; then: {following}")
    content = folder / data_set.name
    unpacks = any(archive.limits is not None for archive in data_set.archives)
    if unpacks and content.exists() and not any(path.is_file() for path in content.rglob("*")):
        raise UserError(f"{content} is there, but it is no folder with files; delete it and call again")
    archives = _moved(data_set.archives, url)
    for archive in archives:
        say(f"From: {archive.sources[0].url} ({archive.sources[0].steps})")
    if not accepted():
        raise UserError(f"the licence of {data_set.name} was not accepted; nothing was fetched")
    for archive in archives:
        path = folder / archive.filename
        _obtain(archive, path, data_set, say, bar)
        if archive.limits is not None and not content.exists():
            inside = (data_set.name, *data_set.aliases) if archive.shared else ()
            say(f"{content}: {_unpack(archive, path, content, inside, url is None)} files unpacked")
        elif archive.limits is not None:
            say(f"{content}: unpacked already")
    source = content if unpacks else folder / archives[0].filename
    say(f"Next: regan-ext data prepare {data_set.name} {source} {data_set.name}.zip")


def _moved(archives: Tuple[Archive, ...], url: Optional[str]) -> List[Archive]:
    """The archives, with ``url`` as the place of the first, or of all where it is a folder."""
    moved = list(archives)
    if url is not None:
        for number in range(len(moved) if url.endswith("/") else 1):
            place = url + moved[number].filename if url.endswith("/") else url
            moved[number] = replace(moved[number], sources=(Source(place, True, "given with --url"),))
    return moved


def _obtain(archive: Archive, path: Path, data_set: DataSet, say: Say, bar: Bar) -> None:
    """Bring one archive, from the first source that gives it, unless it is there."""
    if path.exists():
        _look_at(archive, path, say)
        return
    failures: List[DownloadError] = []
    was_known = bool(recorded(path))
    for source in archive.sources:
        try:
            with bar(archive.filename) as progress:
                found = download(source.url, path, archive, progress)
        except DownloadError as err:
            failures.append(err)
            continue
        say(f"{path}: {found['size']} bytes, SHA256 {found['sha256']} ({_compared(archive, was_known)})")
        return
    for failure in failures[:-1]:
        say(failure.message)
    _say_pages(data_set.pages, say)
    raise failures[-1]


def _unpack(archive: Archive, path: Path, content: Path, inside: Tuple[str, ...], required: bool) -> int:
    assert archive.limits is not None
    try:
        return unpack(path, content, archive.limits, inside, required)
    except UnpackError as err:
        if archive.md5 is None and archive.sha256 is None:
            recorded_path(path).unlink(missing_ok=True)  # a file that may be broken is no measure for the next one
        raise UnpackError(f"{err.message}; delete {path} to have it fetched anew") from err


def _look_at(archive: Archive, path: Path, say: Say) -> None:
    try:
        found = hashes(path)
        wrong = why_wrong(found, archive, path)
        if wrong is not None:
            raise UserError(f"{path} is there, but it is not the right file: {wrong}; delete the file and call again")
        was_known = bool(recorded(path))
        if not was_known:
            record(path, found, "was there before")
    except OSError as err:
        raise UserError(f"{path} is there, but it cannot be used: {err.strerror or err}; move it away and call again") from err
    say(f"{path}: there already, hash {_compared(archive, was_known)}")


def _compared(archive: Archive, was_known: bool) -> str:
    if archive.md5 or archive.sha256:
        return "as published"
    return "as on first use" if was_known else "recorded, nobody published one to compare with"


def _say_pages(pages: Tuple[Source, ...], say: Say) -> None:
    say("By hand:")
    for number, page in enumerate(pages, 1):
        say(f"  {number}. {page.url}")
        say(f"     {page.steps}")


def ask(flag: bool) -> bool:
    """Whether the licence is accepted: by the flag, or by a person at a terminal.

    Raises:
        UserError: neither.
    """
    if flag:
        return True
    if not sys.stdin.isatty():
        raise UserError("nobody is here to accept the licence; read it and give --accept-licence")
    return click.confirm("Do you accept that?", default=False)
