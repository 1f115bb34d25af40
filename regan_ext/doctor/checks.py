"""The checks of ``regan-ext doctor`` that concern neither torch nor a GPU: packages, host, faults, folders.

Nothing is left behind, and nothing is fetched.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Callable

from packaging.requirements import Requirement

from ..hosts import embedded
from ..hosts.compat import fixes as compat
from ..hosts.detectors import DETECTORS, STYLEGAN2_ADA, downloaded, torchscript_in_place_of
from ..hosts.download_cache import dnnlib_cache
from ..hosts.patch import check as check_patch
from ..hosts.patch import name_lines
from ..support.errors import UserError
from .findings import Finding, Surroundings, say

__all__ = [
    "EXTRAS", "embedded_host", "extra_packages", "fid_detector", "fix", "free_space", "has_pip", "host", "package",
    "patch_state", "python", "stand_in", "writable",
]  # fmt: skip

_GIB = 1024**3

# What a host misses without the package, for those that it can train without.
_OPTIONAL = {
    "tensorboard": "the host skips its TensorBoard files",
    "ninja": "needed only to build the CUDA operations",
    "setuptools": "needed only to build the CUDA operations",
}

_STAND_INS = {
    "distutils": "Python 3.12 and later have it only through setuptools",
    "pkg_resources": "setuptools 82 and later no longer have it",
}


def python(name: str, around: Surroundings) -> Finding:
    """The interpreter and the system."""
    system = f"{platform.system()} {platform.machine()}"
    return Finding(name, "ok", f"{platform.python_version()} ({sys.executable}), {system}")


def package(name: str, around: Surroundings) -> Finding:
    """The version of the distribution ``name``."""
    try:
        return Finding(name, "ok", importlib.metadata.version(name) or "installed, without a version")
    except importlib.metadata.PackageNotFoundError:
        pass
    if name in _OPTIONAL and (name == "tensorboard" or not around.gpus):
        return Finding(name, "info", f"not installed: {_OPTIONAL[name]}")
    return Finding(name, "todo", "not installed, and the host needs it", f"python -m pip install {name}")


def host(name: str, around: Surroundings) -> Finding:
    """Which host would be trained, and why."""
    if around.host_error:
        remedy = "give --host=DIR or --host=embedded; STYLEGAN2_ADA has to be unset or name a checkout"
        return Finding(name, "todo", around.host_error, remedy)
    if around.checkout is None:
        return Finding(name, "ok", around.reason)
    return Finding(name, "ok", f"{around.checkout} ({around.reason})")


def patch_state(name: str, around: Surroundings) -> Finding:
    """Whether the checkout's ``train.py`` has the two lines that attach this package."""
    if around.checkout is None:
        return Finding(name, "info", "no checkout: 'regan-ext train' needs no patch")
    folder = around.checkout.path
    try:
        lines = check_patch(folder)
    except UserError as err:
        remedy = f"restore train.py, for example with git checkout train.py, then run: regan-ext patch apply {folder}"
        return Finding(name, "todo", err.message, remedy)
    if lines is None:
        use = f"'python train.py' gets the --regan options with: regan-ext patch apply {folder}"
        return Finding(name, "info", f"not patched: 'regan-ext train' works as it is; {use}")
    return Finding(name, "ok", f"patched ({name_lines(lines)})")


def embedded_host(name: str, around: Surroundings) -> Finding:
    """Whether the embedded host is at hand and as it was unpacked, or can be fetched."""
    if embedded.folder().is_dir():
        found = embedded.changes(embedded.folder())
        if found:
            return Finding(name, "todo", f"{embedded.folder()} has changed: {', '.join(found)}", embedded.REUNPACK)
        return Finding(name, "ok", f"unpacked in {embedded.folder()}")
    if around.wheel is not None:
        return Finding(name, "info", f"will be unpacked from {around.wheel}")
    if has_pip():
        return Finding(name, "info", "not here yet: pip will fetch slideflow-noncommercial 0.0.2 at its first use")
    detail = "not here yet, and there is no pip to fetch it"
    if around.checkout is not None:
        return Finding(name, "info", detail)
    remedy = "python -m ensurepip (uv: uv pip install pip), or give a checkout with --host=DIR"
    return Finding(name, "todo", detail, remedy)


def has_pip() -> bool:
    """Whether pip can be run, seen without setuptools' import hook, which replaces distutils when asked for pip."""
    return PathFinder.find_spec("pip") is not None


def fid_detector(name: str, around: Surroundings) -> Finding:
    """Whether FID and its like can be computed without network access."""
    inception, flavour = DETECTORS["inception"], None if around.checkout is None else around.checkout.flavour
    url = (STYLEGAN2_ADA if flavour is None else flavour.detectors).format(inception.name)
    found = downloaded(torchscript_in_place_of(url) or url)
    unfinished = [path for path in found if path.suffix == ".tmp"]
    if unfinished:
        detail = f"not whole, and the host takes it for the detector: {', '.join(map(str, unfinished))}"
        return Finding(name, "todo", detail, "delete it")
    if len(found) == 1:
        return Finding(name, "ok", f"{found[0]}, metrics need no network")
    if found:
        detail = f"the host takes none of several files: {', '.join(map(str, found))}"
        return Finding(name, "todo", detail, "delete all but one of them")
    target = dnnlib_cache() / "downloads" / inception.filename
    offline = f"offline, regan-ext metrics fetch --from=FILE puts it there as {target}"
    return Finding(name, "info", f"metrics other than --metrics=none will download it from NVIDIA; {offline}")


EXTRAS = {
    "demo": "the handwritten digits: demo, data prepare digits, metrics detector",
    "report": "report",
    "export": "export --to=safetensors, onnx and MP4 videos",
    "tune": "tune",
    "data": "data prepare mnist-5k",
    "features": "metrics detector efficientnet-lite0",
    "tensorboard": "the host's logs for TensorBoard",
}


def extra_packages(name: str, around: Surroundings) -> Finding:
    """Whether the packages of an extra are there, in the versions that it asks for. ``name`` is "[demo]" and the like."""
    extra = name.strip("[]")
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("regan-ext") or []]
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "info", "not tried: regan-ext runs from a folder and is not installed")
    missing = []
    for requirement in wanted:
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        try:
            fits = requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            fits = False
        missing += [] if fits else [f"{requirement.name}{requirement.specifier}"]
    if missing:
        command = f'pip install "regan-ext[{extra}]"'
        return Finding(name, "info", f"for {EXTRAS[extra]}; {', '.join(missing)} not installed: {command}")
    return Finding(name, "ok", f"for {EXTRAS[extra]}")


def fix(name: str, around: Surroundings) -> Finding:
    """Whether the fault of the fix ``name`` is present here."""
    chosen = next(fix for fix in compat.FIXES if fix.name == name)
    if around.torch is None:
        return Finding(name, "info", "not tried: PyTorch does not import")
    try:
        present = chosen.is_present()
    except ModuleNotFoundError as err:
        return Finding(name, "info", f"not tried: {err}")
    except Exception as err:  # packages that do not fit each other fail in many ways while they are imported
        remedy = "python -m pip install --force-reinstall numpy scipy, so that they fit each other and PyTorch"
        return Finding(name, "todo", f"cannot be tried: {say(err)}", remedy)
    return Finding(name, "patched", chosen.fault) if present else Finding(name, "ok", "no fault")


def stand_in(name: str, around: Surroundings) -> Finding:
    """Whether this package's stand-in takes the place of the module ``name``.

    Importing ``regan_ext`` has put the stand-ins on the path, so a missing module shows in where it would come from.
    """
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module in sys.modules that somebody put there by hand
        return Finding(name, "ok", "present")
    ours = spec is None or str(spec.origin).startswith(str(Path(compat.__file__).parent / "stand_ins"))
    if ours:
        return Finding(name, "patched", f"ModuleNotFoundError: No module named '{name}' ({_STAND_INS[name]})")
    return Finding(name, "ok", "present")


def _try_to_write(folder: Path) -> Path:
    """Create and delete a file in ``folder`` or, where there is none, in its nearest parent; returns which it was."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    with tempfile.NamedTemporaryFile(prefix=".regan-ext-doctor-", dir=folder):
        return folder


def writable(name: str, around: Surroundings, find: Callable[[], Path], variable: str) -> Finding:
    """Whether the folder that ``find`` names, and that ``variable`` moves elsewhere, can be written."""
    try:
        folder = find().absolute()
        tried = _try_to_write(folder)
    except OSError as err:
        return Finding(name, "todo", f"cannot be written: {say(err)}", f"set {variable} to a folder that can be written")
    return Finding(name, "ok", str(folder) if tried == folder else f"{folder} (will be created in {tried})")


def free_space(name: str, around: Surroundings, find: Callable[[], Path], remedy: str) -> Finding:
    """How much free space there is where ``find`` says."""
    folder = find()
    free = shutil.disk_usage(folder).free
    detail = f"{free / _GIB:.1f} GiB free in {folder}"
    return Finding(name, "ok", detail) if free >= _GIB else Finding(name, "todo", detail, remedy)
