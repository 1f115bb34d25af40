"""A folder or a zip with files in it, read in place: what lies there, and its content."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Tuple, Union

from ..support.errors import UserError
from .decoding import Unreadable, suffixes

__all__ = ["Container", "Folder", "Zipped", "image_names", "is_image", "open_container", "run_folder_of"]

MAX_FILE = 1 << 29  # bytes; no single image of a data set is larger
_ENDS = 1 << 16  # bytes; most headers end before
_RUN = "training_options.json"  # every host writes it into the folder of a run


class Folder:
    """The files below a folder, links followed to files but not to folders.

    Attributes:
        names: of the files, sorted, without litter, without the folders of runs.
        all_names: of these too.
        links: names of the links to folders.
        runs: names of the folders of runs in it, "." for itself.
        odd: name → why it is no file that can be read: a pipe, a device, a link that leads nowhere.

    Raises:
        UserError: a folder cannot be read; its images would be missing without a word.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all_names: List[str] = []
        self.links: List[str] = []
        self.odd: Dict[str, str] = {}
        for root, folders, files in os.walk(path, onerror=_refuse):
            here = Path(root).relative_to(path)
            for file in files:
                name = (here / file).as_posix()
                self.all_names.append(name)
                oddity = _oddity(os.path.join(root, file))
                if oddity is not None:
                    self.odd[name] = oddity
            self.links += [(here / name).as_posix() for name in folders if os.path.islink(os.path.join(root, name))]
        self.runs = _runs(self.all_names)
        self.names = _wanted(self.all_names, self.runs)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            Unreadable: the system will not give it, it is no file, or far too large for an image.
        """
        with self._opened(name) as (file, _):
            return file.read(MAX_FILE)

    def ends(self, name: str) -> Tuple[bytes, bytes, int]:
        """The first and the last bytes of a file, 64 KiB at most, and its size; raises as ``read`` does."""
        with self._opened(name) as (file, size):
            head = file.read(_ENDS)
            file.seek(max(0, size - _ENDS))
            return head, file.read(_ENDS), size

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Tuple[BinaryIO, int]]:
        if name in self.odd:
            raise Unreadable(self.odd[name])
        try:
            with open(self.path / name, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_FILE:
                    raise Unreadable("too large for an image")
                yield file, size
        except OSError as err:
            raise Unreadable(err.strerror or str(err)) from err


class Zipped:
    """The members of a zip, read without unpacking it; the attributes are those of a ``Folder``."""

    links: Tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, UnicodeDecodeError, NotImplementedError) as err:
            raise UserError(f"{path} is not a zip that can be read ({err})") from err
        self.odd: Dict[str, str] = {}
        self.all_names = sorted({name for name in self._zip.namelist() if not name.endswith("/")})
        self.runs = _runs(self.all_names)
        self.names = _wanted(self.all_names, self.runs)

    @property
    def is_compressed(self) -> bool:
        """Whether reading a member takes more than copying it."""
        return any(info.compress_type != zipfile.ZIP_STORED for info in self._zip.infolist())

    def read(self, name: str) -> bytes:
        """Content of a member.

        Raises:
            Unreadable: broken, encrypted, or far too large for an image.
        """
        try:
            if self._zip.getinfo(name).file_size > MAX_FILE:
                raise Unreadable("too large for an image")
            return self._zip.read(name)
        except Unreadable:
            raise
        except Exception as err:  # zipfile raises nearly anything over broken members
            raise Unreadable(f"broken in the zip: {err}") from err

    def ends(self, name: str) -> Tuple[bytes, bytes, int]:
        """The first and the last bytes of a member, 64 KiB at least where it has so many, and its size; raises as ``read``."""
        info, file = self._zip.getinfo(name), self._zip.fp
        is_plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        if is_plain and info.file_size > 2 * _ENDS and file is not None:
            with contextlib.suppress(OSError, struct.error):
                file.seek(info.header_offset)
                header = file.read(30)
                name_length, extra_length = struct.unpack("<HH", header[26:])
                file.seek(name_length + extra_length, os.SEEK_CUR)
                start = file.tell()
                head = file.read(_ENDS)
                file.seek(start + info.file_size - _ENDS)
                return head, file.read(_ENDS), info.file_size
        data = self.read(name)
        return data, data, len(data)


Container = Union[Folder, Zipped]


def _refuse(err: OSError) -> None:
    raise UserError(f"{err.filename} cannot be read: {err.strerror}") from err


def _oddity(path: str) -> Optional[str]:
    """Why a name is not one of a file: opening a pipe would wait for ever, and reading a device has no end."""
    try:
        mode = os.stat(path).st_mode
    except OSError as err:
        return f"a link that leads nowhere ({err.strerror})" if os.path.islink(path) else err.strerror or str(err)
    return None if stat.S_ISREG(mode) else "a pipe, a socket or a device, no file"


def _runs(names: List[str]) -> List[str]:
    return sorted(os.path.dirname(name) or "." for name in names if os.path.basename(name) == _RUN)


def run_folder_of(name: str, runs: List[str]) -> Optional[str]:
    """Which of the folders of runs a name lies in, None for none."""
    return next((run for run in runs if run == "." or name.startswith(run + "/")), None)


def _wanted(names: List[str], runs: List[str]) -> List[str]:
    return sorted(name for name in names if not _is_litter(name) and run_folder_of(name, runs) is None)


def _is_litter(name: str) -> bool:
    """Hidden files, and what macOS and Windows add."""
    parts = name.split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1] in ("Thumbs.db", "desktop.ini")


def open_container(path: Path) -> Container:
    """The folder or zip at ``path``.

    Raises:
        UserError: it is neither.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UserError(f"{path} is neither a folder nor a zip")
    return Zipped(path)


def is_image(name: str) -> bool:
    """Whether it is one by its name, of a format that can be read."""
    return os.path.splitext(name)[1].lower() in suffixes()


def image_names(container: Container) -> List[str]:
    """Names of the images in it, sorted as the host sorts them."""
    return [name for name in container.names if is_image(name)]
