"""Opening network pickles: the one place that does. What is none is told in a line that says what to give instead."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import stat
from pathlib import Path
from typing import IO, Any, Callable

from .errors import UserError

__all__ = ["TRUST", "foreign", "open_pickle", "unpickle"]

TRUST = "add --trust if you know where it is from"
_REMEDY = "give a network pickle, network-snapshot-NNNNNN.pkl"


def foreign(path: Path) -> str:
    """Why a pickle is not opened without being asked for."""
    return f"{path} is a pickle that no run of yours wrote on this machine, and opening a pickle runs the code in it"


def open_pickle(path: Path) -> IO[bytes]:
    """The file, open to read and at its beginning, once its first and last bytes are a pickle's. Nothing in it has run.

    Raises:
        UserError: no such file, one that is no regular file or cannot be read, or no whole pickle.
    """
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):  # opening a pipe waits for its writer
            raise UserError(f"{path} is {'a folder' if stat.S_ISDIR(kind) else 'no regular file'}; {_REMEDY}")
        file = open(path, "rb")  # noqa: SIM115 (for the caller to close)
        try:
            _check_bytes(file, path)
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError as err:
        leads = f" (it is a link to {os.readlink(path)})" if os.path.islink(path) else ""
        raise UserError(f"{path} does not exist{leads}") from err
    except (OSError, ValueError) as err:
        raise UserError(f"{path} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def _check_bytes(file: IO[bytes], path: Path) -> None:
    begin = file.read(4)
    file.seek(max(0, os.fstat(file.fileno()).st_size - 1))
    end = file.read(1)
    file.seek(0)
    if not begin:
        raise UserError(f"{path} is empty; {_REMEDY}")
    if begin == b"PK\x03\x04":
        what = "the state of a run" if path.name.startswith("regan-state-") else "a zip archive, such as torch.save writes"
        raise UserError(f"{path} is not a network pickle but {what}; {_REMEDY}")
    if begin[:1] != b"\x80":
        raise UserError(f"{path} is not a network pickle; {_REMEDY}")
    if end != b".":
        raise UserError(
            f"{path} is cut short, or no network pickle: it begins as a pickle and does not end as one; copy it again"
        )


def unpickle(file: IO[bytes], path: Path, load: Callable[[IO[bytes]], Any] = pickle.load) -> Any:
    """The object in a pickle that may be opened: this runs the code in it.

    Args:
        file: as ``open_pickle`` gives it.
        path: for the message.
        load: what reads it.

    Raises:
        UserError: it cannot be opened.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # a host prints the source in a pickle that it cannot run
            return load(file)
    except (Exception, SystemExit) as err:  # damaged bytes, and the code in a pickle, can fail in any way
        if isinstance(err, ModuleNotFoundError) and str(err.name).startswith("dnnlib.tflib"):
            convert = f"python legacy.py --source={path} --dest=FILE.pkl"
            raise UserError(f"{path} holds TensorFlow networks; '{convert}' in a host's checkout converts them") from err
        said = (str(err).splitlines() or [""])[0][:160]
        raise UserError(f"{path} cannot be opened as a network pickle ({type(err).__name__}: {said}); {_REMEDY}") from err
