"""Recognise a folder as a checkout of StyleGAN2-ADA-PyTorch, or of a fork of the same shape."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import List

from ..support.errors import UserError
from ..support.paths import absolute

__all__ = ["LARGEST", "Checkout", "HostError", "recognise"]

LARGEST = 2_000_000  # bytes of a script; to parse one of 10 MB takes a minute

_FILES = ("train.py", "training/training_loop.py", "training/loss.py", "training/networks.py", "dnnlib/util.py",
          "torch_utils/misc.py", "torch_utils/training_stats.py")  # fmt: skip


class HostError(UserError):
    """A folder that is not a host, or a host that cannot be had. The message says what was looked for."""


@dataclass(frozen=True)
class Checkout:
    """A host's folder.

    Args:
        path: absolute path of the folder.
        flavour: name of the flavour, "stylegan2-ada-pytorch".
    """

    path: Path
    flavour: str

    @property
    def train_py(self) -> Path:
        """The script that users run."""
        return self.path / "train.py"


def _functions(path: Path) -> List[str]:
    if path.stat().st_size > LARGEST:
        raise HostError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, and no host's has more than {LARGEST / 1e6:.0f} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubtful escapes in a host are not this command's business
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:  # null bytes, and nesting too deep for the parser
        raise HostError(f"{path} is not valid Python: {str(err) or type(err).__name__}") from err
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def recognise(folder: "str | Path") -> Checkout:
    """The host in ``folder``.

    Raises:
        HostError: a file or function that makes a host is missing; all that are missing are named.
    """
    path = absolute(folder)
    if not path.is_dir():
        raise HostError(f"{folder} is not a folder")
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        raise HostError(f"{folder} is not a StyleGAN2-ADA-PyTorch checkout: it has no {', '.join(missing)}")
    train = _functions(path / "train.py")
    absent = [f"{name}() in train.py" for name in ("setup_training_loop_kwargs", "subprocess_fn", "main") if name not in train]
    if "training_loop" not in _functions(path / "training/training_loop.py"):
        absent.append("training_loop() in training/training_loop.py")
    if absent:
        hint = " (it looks like stylegan3, which is not supported yet)" if "launch_training" in train else ""
        raise HostError(f"{folder} is not a StyleGAN2-ADA-PyTorch checkout: it has no {', '.join(absent)}{hint}")
    return Checkout(path, "stylegan2-ada-pytorch")
