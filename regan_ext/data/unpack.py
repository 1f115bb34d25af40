"""Unpack archives that nobody vouches for: nothing outside the target folder, nothing half-written, no bombs."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Iterator, List, Sequence

import click

from ..support.locks import passing_folder
from .manifest import Limits, normalised

__all__ = ["UnpackError", "is_archive", "unpack"]

_HARMLESS = 1 << 20  # bytes that may come out whatever the ratio: the padding of a small tar packs very well
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, ValueError,
    IndexError,
)  # fmt: skip


class UnpackError(click.ClickException):
    """An archive that is broken or not safe. One line; nothing of it was left on disk. Exit code 1."""


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive that ``unpack`` takes."""
    return path.name.lower().endswith((".zip", ".tar.gz", ".tgz"))


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
        UnpackError: broken, no archive, a link out of the folder or a device, beyond the limits, no ``inside``.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with passing_folder(target.parent, ".unpacking-") as temporary:
            content = temporary / "content"
            content.mkdir()
            _unpack_into(content, archive, limits, [normalised(name) for name in inside], required)
            count = sum(path.is_file() for path in content.rglob("*"))
            if count == 0:
                raise UnpackError("holds no files")
            content.rename(target)
            return count
    except UnpackError as err:
        raise UnpackError(f"{archive}: {err.message}; nothing was unpacked") from err
    except _BROKEN as err:
        raise UnpackError(f"{archive}: broken, cut short or not safe ({err}); nothing was unpacked") from err
    except OSError as err:
        raise UnpackError(f"{archive}: cannot be unpacked into {target} ({err.strerror or err}); nothing was unpacked") from err


def _unpack_into(content: Path, archive: Path, limits: Limits, inside: List[str], required: bool) -> None:
    most = min(limits.bytes, max(_HARMLESS, int(limits.ratio * archive.stat().st_size)))
    if not zipfile.is_zipfile(archive):
        if not hasattr(tarfile, "data_filter"):
            raise UnpackError("this Python cannot tell what is safe in it; 3.9.17, 3.10.12, 3.11.4 and all later ones can")
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(content, _bounded(tar, limits.files, most), filter="data")
        return
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
        # No more than its stated size comes out of a member.
        if len(infos) > limits.files or sum(info.file_size for info in infos) > most:
            raise UnpackError("holds more than a data set of this name can")
        nested = next((info for info in infos if _is_nested(info, inside)), None)
        if nested is not None:
            _unpack_into(content, Path(file.extract(nested, content.parent / "nested")), limits, [], False)
            return
        chosen = [info for info in infos if _shorten(info, inside)]
        if not chosen and inside and required:
            raise UnpackError(f"has no folder or zip named {' or '.join(inside)}")
        file.extractall(content, chosen or infos)


def _bounded(tar: tarfile.TarFile, files: int, most: int) -> Iterator[tarfile.TarInfo]:
    """The members, as long as they are not too many or too large."""
    for number, info in enumerate(tar, 1):
        most -= info.size
        if number > files or most < 0:
            raise UnpackError("holds more than a data set of this name can")
        yield info


def _is_nested(info: zipfile.ZipInfo, inside: List[str]) -> bool:
    """Whether it is a zip of a wanted name; what macOS adds is none."""
    path = PurePosixPath(info.filename)
    return path.suffix.lower() == ".zip" and normalised(path.stem) in inside and "__MACOSX" not in path.parts


def _shorten(info: zipfile.ZipInfo, inside: List[str]) -> bool:
    """Whether it is a file below a folder of a wanted name, which its name is cut down to then."""
    parts = PurePosixPath(info.filename).parts
    depth = next((depth for depth, part in enumerate(parts[:-1]) if normalised(part) in inside), None)
    if depth is None:
        return False
    info.filename = "/".join(parts[depth + 1 :]) + ("/" if info.is_dir() else "")
    return True
