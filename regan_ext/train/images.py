"""A look at the training images before anything starts, and a plain word where loading one of them fails later."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import Iterator, Optional

import click

from ..data.containers import open_container
from ..data.decoding import Unreadable
from ..data.host_view import NO_IMAGES, as_the_host, host_names, view
from ..data.mending import how_to_mend
from ..support.errors import UserError
from ..support.text import echo, printable

__all__ = ["check_images", "faults_named"]


def check_images(path: str, outdir: Optional[str] = None) -> None:
    """Look at the header of every image, and at the labels, as ``regan-ext data check`` does.

    Args:
        path: zip or folder.
        outdir: folder that runs will be written into, None for none.

    Raises:
        UserError: the host would trip over one of them, now or in the middle of the training, or read it wrongly.
    """
    if not Path(path).exists():
        raise UserError(f"--data: {path} does not exist")
    if outdir is not None and Path(path).is_dir() and _is_inside(Path(outdir), Path(path)):
        raise UserError(
            f"--outdir: {outdir} lies inside --data={path}, and the pictures of the run would be taken for training images; "
            "choose a folder outside it"
        )
    try:
        found = view(open_container(Path(path)))
    except UserError as err:
        raise UserError(f"--data: {err.message}") from err
    problems = list(found.problems)
    if found.broken:
        name, reason = found.broken[0]
        more = f", nor can {len(found.broken) - 1} others" if found.broken[1:] else ""
        problems.insert(0, f"{printable(name)} cannot be read ({reason}){more}")
    if problems:
        remedies = [] if NO_IMAGES in problems else [how_to_mend(Path(path))]
        raise UserError(f"--data: {path}: {'; '.join([*problems, *remedies])}")
    for note in found.notes:
        echo(f"Note: --data: {note}.", err=True)


def _is_inside(inner: Path, outer: Path) -> bool:
    try:
        return inner.resolve().is_relative_to(outer.resolve())
    except (OSError, RuntimeError):  # links that go round in a circle; the host will tell
        return False


@contextlib.contextmanager
def faults_named(path: str) -> Iterator[None]:
    """Turn what the host raises while it loads an image, in this process or in one of its loader's, into one line.

    Raises:
        click.ClickException: exit code 1; it names the first image that cannot be loaded.
    """
    try:
        yield
    except Exception as err:
        if not _is_of_loading(err):
            raise
        culprit = _culprit(path)
        said = " ".join(str(err).strip().splitlines()[-1:]) or type(err).__name__
        reason = f"the training images could not be loaded ({said})" if culprit is None else culprit
        raise click.ClickException(f"--data: {path}: {reason}; the run has ended") from err


def _is_of_loading(err: BaseException) -> bool:
    """Whether it comes from the host's data set class; of a loader's process there is only the text."""
    frames = [(frame.f_code.co_filename, frame.f_code.co_name) for frame, _ in traceback.walk_tb(err.__traceback__)]
    here = any(Path(file).name == "dataset.py" and name in _LOADERS for file, name in frames)
    return here or ("DataLoader worker process" in str(err) and any(f"in {name}" in str(err) for name in _LOADERS))


_LOADERS = ("__getitem__", "_load_raw_image", "_get_raw_labels", "_load_raw_labels", "get_label")


def _culprit(path: str) -> Optional[str]:
    """The first image that cannot be decoded to the last pixel, or is unlike the first one, with the reason."""
    try:
        container = open_container(Path(path))
    except UserError as err:
        return err.message.removeprefix(f"{path} ")
    shape = None
    for name in host_names(container):
        try:
            found = as_the_host(container.read(name), os.path.splitext(name)[1].lower())
        except Unreadable as err:
            return f"{printable(name)} cannot be read ({err})"
        if shape is not None and found.shape != shape:
            return f"{printable(name)} has {'x'.join(map(str, found.shape))} values, and the first image {shape}"
        shape = found.shape
    return None
