"""``regan-ext data get``: licence, download, hashes, unpacking."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, ContextManager, Optional, Tuple

import click

from ..support.errors import UserError
from .data_set import DataSet
from .download import DownloadError, Progress, download
from .hashes import hashes, record, recorded, recorded_path, why_wrong
from .manifest import Archive
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
        DownloadError: the server did not give the file.
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
        _say_pages(data_set, say)
        raise UserError(f"{data_set.name} cannot be fetched by a program; then: {following}")
    content = folder / data_set.name
    unpacks = any(archive.limits is not None for archive in data_set.archives)
    if unpacks and content.exists() and not any(path.is_file() for path in content.rglob("*")):
        raise UserError(f"{content} is there, but it is no folder with files; delete it and call again")
    archives = [_moved(archive, url, number == 0) for number, archive in enumerate(data_set.archives)]
    for archive in archives:
        say(f"From: {archive.url} ({archive.offered_by})")
    if not accepted():
        raise UserError(f"the licence of {data_set.name} was not accepted; nothing was fetched")
    for archive in archives:
        path = folder / archive.filename
        _obtain(archive, path, data_set, say, bar)
        if archive.limits is not None and content.exists():
            say(f"{content}: unpacked already")
        elif archive.limits is not None:
            inside = (data_set.name, *data_set.aliases) if archive.shared else ()
            say(f"{content}: {_unpack(archive, path, content, inside, url is None)} files unpacked")
    source = content if unpacks else folder / archives[0].filename
    say(f"Next: regan-ext data prepare {data_set.name} {source} {data_set.name}.zip")


def _moved(archive: Archive, url: Optional[str], is_first: bool) -> Archive:
    """The archive at the address that was given, which is that of the first or of a folder of all."""
    if url is None or not (is_first or url.endswith("/")):
        return archive
    return replace(archive, url=url + archive.filename if url.endswith("/") else url, offered_by="given with --url")


def _obtain(archive: Archive, path: Path, data_set: DataSet, say: Say, bar: Bar) -> None:
    """Bring one archive, unless it is there."""
    was_known = bool(recorded(path))
    if path.exists():
        try:
            found = hashes(path)
            wrong = why_wrong(found, archive, path)
            if wrong is not None:
                raise UserError(f"{path} is there, but it is not the right file: {wrong}; delete the file and call again")
            if not was_known:
                record(path, found, "was there before")
        except OSError as err:
            raise UserError(
                f"{path} is there, but it cannot be used: {err.strerror or err}; move it away and call again"
            ) from err
        done = f"{path}: there already, hash"
    else:
        try:
            with bar(archive.filename) as progress:
                found = download(archive.url, path, archive, progress)
        except DownloadError:
            _say_pages(data_set, say)
            raise
        done = f"{path}: {found['size']} bytes, SHA256 {found['sha256']},"
    if archive.md5 or archive.sha256:
        say(f"{done} as published")
    else:
        say(f"{done} {'as on first use' if was_known else 'recorded, nobody published one to compare with'}")


def _unpack(archive: Archive, path: Path, content: Path, inside: Tuple[str, ...], required: bool) -> int:
    assert archive.limits is not None
    try:
        return unpack(path, content, archive.limits, inside, required)
    except UnpackError as err:
        if archive.md5 is None and archive.sha256 is None:
            recorded_path(path).unlink(missing_ok=True)  # a file that may be broken is no measure for the next one
        raise UnpackError(f"{err.message}; delete {path} to have it fetched anew") from err


def _say_pages(data_set: DataSet, say: Say) -> None:
    say("By hand:")
    for number, (address, steps) in enumerate(data_set.pages, 1):
        say(f"  {number}. {address}")
        say(f"     {steps}")


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
