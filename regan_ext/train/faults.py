"""What a machine does to a training run, told in one line with a remedy and an exit code of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional

import click

from ..support.errors import UserError

__all__ = ["FilesFault", "MemoryFault", "explained", "explained_imports"]

_HOST_PACKAGES = ("dnnlib", "torch_utils", "training", "metrics", "legacy", "DiffAugment_pytorch")
_NO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED|Cannot allocate memory|"
    r"killed by signal: (?:Killed|Bus error)|signal SIGKILL|insufficient shared memory",
    re.IGNORECASE,
)
_LAST_LINE = re.compile(r"^([\w.]+): (.+)$", re.MULTILINE)


class FilesFault(click.ClickException):
    """The disk is full, or what a run reads or writes is not there or not writable any more."""

    exit_code = 4


class MemoryFault(click.ClickException):
    """There is too little memory."""

    exit_code = 5


@contextlib.contextmanager
def explained(args: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Tell in one line what the machine does to a run; other exceptions pass.

    Args:
        args: gives the loop's keyword arguments, as far as they are known by then.

    Raises:
        FilesFault, MemoryFault: the machine is at fault.
        click.ClickException: a process that this one has started ended with one.
    """
    streams = sys.stdout, sys.stderr
    try:
        yield
    except Exception as err:
        # The host puts its log between the terminal and these, and the disk of the log may be full. It never closes the log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            sys.stdout, sys.stderr = streams
        if isinstance(err, click.ClickException):
            raise
        fault = _of_a_rank(err) or _of_memory(err, args()) or _of_files(err, str(args().get("run_dir") or ""))
        if fault is None:
            raise
        raise fault from err


@contextlib.contextmanager
def explained_imports(host: Path) -> Iterator[None]:
    """Tell in one line what a host lacks.

    Args:
        host: its folder.

    Raises:
        UserError: a file of the host's or a package that it needs is missing.
    """
    try:
        yield
    except ImportError as err:
        inside = re.match(r"cannot import name '(\w+)' from '([\w.]+)' \(.*__init__\.py\)", str(err))
        name = f"{inside[2]}.{inside[1]}" if inside else str(err.name)
        if not inside and not isinstance(err, ModuleNotFoundError):
            raise
        if name.split(".")[0] in _HOST_PACKAGES:
            file = host.joinpath(*name.split("."))
            remedy = f"'git -C {shlex.quote(str(host))} checkout -- .' brings back what was deleted"
            raise UserError(f"this host is not whole, it has no {file}.py: {remedy}") from err
        raise UserError(f"the host needs {name}, which is not installed; 'regan-ext doctor' says how to get it") from err


def _is_of_a_rank(err: BaseException) -> bool:
    return type(err).__module__.startswith("torch.multiprocessing")


def _of_a_rank(err: Exception) -> Optional[click.ClickException]:
    """What another process ended with, of which there is only the text."""
    if not _is_of_a_rank(err):
        return None
    name, message = (_LAST_LINE.findall(str(err)) or [("", "")])[-1]
    kinds = {kind.__name__: kind for kind in (FilesFault, MemoryFault, UserError, click.ClickException)}
    kind = kinds.get(name.rpartition(".")[2])
    return None if kind is None else kind(message)


def _causes(err: BaseException) -> List[BaseException]:
    """An exception and those behind it: torch's writer hides a failed write behind an error of its own."""
    found: List[BaseException] = []
    following: Optional[BaseException] = err
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _of_memory(err: Exception, args: Mapping[str, Any]) -> Optional[MemoryFault]:
    causes = _causes(err)
    said = "\n".join(str(cause) for cause in causes if isinstance(cause, (RuntimeError, OSError)) or _is_of_a_rank(cause))
    if not any(isinstance(cause, MemoryError) for cause in causes) and not _NO_MEMORY.search(said):
        return None
    where = "GPU" if re.search("CUDA|HIP|CUBLAS|CUDNN", said) else "machine"
    now = args.get("batch_gpu")
    smaller = f"--batch-gpu below {now}" if isinstance(now, int) and now > 1 else "--batch-gpu"
    workers = "--workers=1 needs less for loading images, " if "DataLoader" in said else ""
    return MemoryFault(
        f"too little memory on the {where}: {workers}{smaller} trains the same batch in smaller parts, --cbase and --cmax make "
        f"the networks smaller{_goes_on(str(args.get('run_dir') or ''))}"
    )


def _of_files(err: Exception, folder: str) -> Optional[FilesFault]:
    if not folder:
        return None
    for cause in _causes(err):
        number, path = getattr(cause, "errno", None), getattr(cause, "filename", None)
        if not isinstance(cause, OSError) or not isinstance(number, int):
            continue
        if number in _GONE and not Path(folder).is_dir():
            return FilesFault(f"the run folder {folder} is not there any more; start again with an --outdir that stays")
        if number in _NO_WRITING and (path is None or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))):
            where, why = path or folder, os.strerror(number)
            return FilesFault(f"{where} cannot be written ({why}); make room or make it writable{_goes_on(folder)}")
        if number in _GONE and path is not None:
            return FilesFault(f"{path}, which the run needs, is not there; bring it back{_goes_on(folder)}")
    return None


def _goes_on(folder: str) -> str:
    from training_hooks.nvidia import state  # with torch, of which doctor finds out whether it can be imported

    if not folder or not state.in_order(folder):
        return ""
    return f"; then the same command with --resume={shlex.quote(folder)} goes on"
