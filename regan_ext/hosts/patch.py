"""Files of a checkout with and without the two lines of :mod:`regan_ext.hosts.patch_lines`, and the packaged patch."""

from __future__ import annotations

import contextlib
import importlib.resources
import shlex
from pathlib import Path

from training_hooks.core.files import make_durable, whole_path

from ..support.paths import absolute
from .checkout import LARGEST, HostError, recognise
from .patch_lines import PatchError, State, add_lines, inspect, name_lines, remove_lines

__all__ = ["apply", "check", "packaged_patch", "revert"]

_PATCH = "stylegan2-ada-pytorch.patch"


def apply(folder: "str | Path") -> str:
    """Put the two lines into the ``train.py`` of the checkout ``folder``, unless they are there already.

    Returns:
        What was done, for the user.

    Raises:
        PatchError: ``folder`` is not a host, its ``train.py`` has no place for the lines, is broken or was edited after
            it was patched, or it cannot be written. Nothing has changed.
    """
    path = _train_py(folder)
    data = _read(path)
    state = inspect(data)
    undo, where = "regan-ext patch revert", shlex.quote(str(path.parent))
    if state.kind == "broken":
        raise PatchError(state.problem)
    if state.kind == "edited":
        raise PatchError(
            f"train.py is patched already ({name_lines(state.lines)}) and was edited afterwards: "
            f"it works as it is; to patch it afresh, run '{undo} --force {where}' first"
        )
    if state.kind == "patched":
        return f"{path} is patched already ({name_lines(state.lines)}). Nothing changed."
    result = add_lines(data)
    _write(path, data, result)
    return f"Patched {path}: added {name_lines(inspect(result).lines)}. Undo with '{undo} {where}'."


def revert(folder: "str | Path", force: bool = False) -> str:
    """Take the two lines out of the ``train.py`` in ``folder`` again, if they are there.

    Args:
        folder: the checkout.
        force: do it also where the file was edited after it was patched; the edits stay.

    Returns:
        What was done, for the user.

    Raises:
        PatchError: as :func:`remove_lines`; or there is no host, or its file cannot be written. Nothing has changed.
    """
    path = absolute(folder) / "train.py"
    if not path.is_file():
        path = _train_py(folder)  # says what is missing
    data = _read(path)
    state = inspect(data)
    if state.kind == "not patched":
        _train_py(folder)
        return f"{path} is not patched. Nothing changed."
    _write(path, data, remove_lines(data, force))
    what = "the original is back" if state.kind == "patched" else "the later edits are kept"
    return f"Deleted {name_lines(state.lines)} of {path}: {what}."


def check(folder: "str | Path") -> State:
    """The state of the ``train.py`` of the checkout ``folder``.

    Raises:
        PatchError: it is not a host.
    """
    return inspect(_read(_train_py(folder)))


def packaged_patch() -> bytes:
    """The static patch for a pristine StyleGAN2-ADA-PyTorch.

    Raises:
        PatchError: this installation lacks it.
    """
    with contextlib.suppress(ModuleNotFoundError, FileNotFoundError):
        return importlib.resources.files("regan_ext.patches").joinpath(_PATCH).read_bytes()
    # setup.py puts the folder patches/ into the package; a source tree that was not installed has it one level up
    source = Path(__file__).parents[2] / "patches" / _PATCH
    if not source.is_file():
        raise PatchError(f"this installation of regan-ext has no {_PATCH}: install it again, or use 'patch apply'")
    return source.read_bytes()


def _train_py(folder: "str | Path") -> Path:
    try:
        return recognise(folder).train_py
    except (HostError, OSError, ValueError) as err:
        raise PatchError(str(err)) from err


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise PatchError(f"train.py has {path.stat().st_size / 1e6:.0f} MB: that is no host's")
        return path.read_bytes()
    except OSError as err:
        raise PatchError(f"cannot read train.py: {err}") from err


def _write(path: Path, before: bytes, data: bytes) -> None:
    """Replace the content ``before``, whole or not at all; what somebody has saved meanwhile is not lost."""
    try:
        if path.stat().st_nlink > 1:
            raise PatchError(
                f"{path} is one file under several names (hard links), and all would change or part ways; "
                f"make it a file of its own: cp -p {path.name} new.py && mv new.py {path.name}"
            )
        with whole_path(path) as temporary:
            temporary.write_bytes(data)
            make_durable(temporary)
            if path.read_bytes() != before:  # the last moment: what takes long is done
                raise PatchError("train.py was changed by another program meanwhile; nothing was done, try again")
    except OSError as err:
        raise PatchError(f"cannot write train.py, nothing changed: {err}") from err
