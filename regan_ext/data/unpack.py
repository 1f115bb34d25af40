"""Unpack archives that nobody vouches for: nothing outside the target folder, nothing half-written, no bombs."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, cast

import click

from ..support.folders import passing_folder
from .manifest import Limits, normalised

__all__ = ["UnpackError", "is_archive", "unpack"]

_CHUNK = 1 << 20
_HARMLESS = 1 << 20  # bytes that may come out whatever the ratio: the padding of a small tar packs very well
_SUFFIXES = (".zip", ".tar.gz", ".tgz")
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, NotImplementedError,
    UnicodeDecodeError,
)  # fmt: skip


class UnpackError(click.ClickException):
    """An archive that is broken or not safe. One line; nothing of it was left on disk. Exit code 1."""


class _Member(NamedTuple):
    name: str
    path: PurePosixPath
    is_folder: bool
    open: Callable[[], IO[bytes]]


class _Counted(io.RawIOBase):
    """What comes out of a gzip stream, until it is more than allowed; headers and padding of the tar count too."""

    def __init__(self, stream: gzip.GzipFile, allowed: int) -> None:
        self._stream, self._left = stream, allowed

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise UnpackError("unpacks to more than a data set of this name can hold")
        return data


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive that ``unpack`` takes."""
    return path.name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, target: Path, limits: Limits, inside: Sequence[str] = (), required: bool = True) -> int:
    """Unpack a zip or tar.gz into the new folder ``target``, whole or not at all.

    Args:
        archive: the file.
        target: folder to make; must not exist.
        limits: what may come out at most.
        inside: take only the folder or nested zip that has one of these names, without what is above it.
        required: with ``inside``, whether an archive without such a folder is an error or is taken whole.

    Returns:
        Number of files written.

    Raises:
        UnpackError: broken, no archive, a member that leaves the folder, a link or device, beyond the limits, no ``inside``.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with passing_folder(target.parent, ".unpacking-") as temporary:
            content, nested = temporary / "content", temporary / "nested.zip"
            content.mkdir()
            count = _unpack_into(archive, content, nested, limits, [normalised(name) for name in inside], required)
            if count == 0:
                raise UnpackError("holds no files")
            content.rename(target)
            return count
    except UnpackError as err:
        raise UnpackError(f"{archive}: {err.message}; nothing was unpacked") from err
    except _BROKEN as err:
        raise UnpackError(f"{archive}: broken or cut short ({err}); nothing was unpacked") from err
    except OSError as err:
        raise UnpackError(f"{archive}: cannot be unpacked into {target} ({err.strerror or err}); nothing was unpacked") from err


def _unpack_into(archive: Path, content: Path, nested: Path, limits: Limits, inside: List[str], required: bool) -> int:
    allowed = min(limits.bytes, max(_HARMLESS, int(limits.ratio * archive.stat().st_size)))
    if not zipfile.is_zipfile(archive):
        with gzip.open(archive) as stream, tarfile.open(fileobj=cast(Any, _Counted(stream, allowed)), mode="r|") as tar:
            return _write_all(_tar_members(tar), content, limits.files, allowed)
    with zipfile.ZipFile(archive) as file:
        members = list(_zip_members(file))
        if inside:
            chosen, found = _choose(members, inside)
            if found is not None:
                with found.open() as source, open(nested, "wb") as out:
                    _copy(source, out, allowed)
                return _unpack_into(nested, content, nested, limits, [], False)
            if not chosen and required:
                raise UnpackError(f"has no folder or zip named {' or '.join(inside)}")
            members = chosen or members
        return _write_all(iter(members), content, limits.files, allowed)


def _choose(members: List[_Member], inside: List[str]) -> "tuple[List[_Member], Optional[_Member]]":
    """Members below a folder of a wanted name, and the first nested zip of such a name."""
    chosen = []
    for member in members:
        parts = [normalised(part) for part in member.path.parts]
        for depth, part in enumerate(parts):
            if part in inside and depth + 1 < len(parts):
                chosen.append(member._replace(path=PurePosixPath(*member.path.parts[depth + 1 :])))
                break
    zips = (member for member in members if member.path.suffix.lower() == ".zip" and "__MACOSX" not in member.path.parts)
    return chosen, next((member for member in zips if normalised(member.path.stem) in inside), None)


def _safe(name: str) -> PurePosixPath:
    """``name`` as a path below the target folder.

    Raises:
        UnpackError: it is absolute, climbs out, or is spelled so that a system may understand it that way.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in ("\\", ":", "\0")):
        raise UnpackError(f"has a member that points outside its folder, {name!r}")
    return path


def _zip_members(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnpackError(f"has a link or device as a member, {info.filename!r}")
        if info.flag_bits & 1:
            raise UnpackError("is encrypted")
        yield _Member(info.filename, _safe(info.filename), info.filename.endswith("/"), lambda info=info: file.open(info))  # type: ignore[misc]


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise UnpackError(f"has a link or device as a member, {info.name!r}")

        def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
            stream = tar.extractfile(info)
            assert stream is not None  # a regular file has one
            return stream

        yield _Member(info.name, _safe(info.name), info.isdir(), opened)


def _write_all(members: Iterator[_Member], content: Path, files: int, allowed: int) -> int:
    count = 0
    for number, member in enumerate(members):
        if number >= files:
            raise UnpackError(f"has more than {files} members, more than a data set of this name can hold")
        path = content.joinpath(*member.path.parts)
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(path, "xb") as out:
            allowed -= _copy(source, out, allowed)
        count += 1
    return count


def _copy(source: IO[bytes], out: IO[bytes], allowed: int) -> int:
    """Copy at most ``allowed`` bytes, by what really comes out and not by what the archive says. Returns how many."""
    copied = 0
    while True:
        data = source.read(_CHUNK)
        if not data:
            return copied
        copied += len(data)
        if copied > allowed:
            raise UnpackError("unpacks to more than a data set of this name can hold")
        out.write(data)
