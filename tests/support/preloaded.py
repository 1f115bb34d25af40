"""What a fork of the server of ``processes`` does, and the packages that the server imports for it: others' alone."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import runpy
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import requests  # noqa: F401
import scipy.signal  # noqa: F401
import torch
import torch._dynamo  # by the first optimizer
import torch.utils.data
import torch.utils.tensorboard

_PATH = sys.path[1:]  # what follows the script's folder


def run(arguments: List[str], environment: Dict[str, str], folder: str, output: str) -> None:
    """Be ``python ARGUMENTS`` in ``folder``; what it says, stdout and stderr, goes to the file ``output``."""
    _become_a_child(environment, output)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("regan_ext", "training_hooks")]:
        del sys.modules[name]  # a script that starts this process has imported them, and a child imports its main module again
    multiprocessing.set_start_method(None, force=True)
    os.chdir(folder)
    first, *rest = arguments
    paths = environment["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [*paths, *(path for path in _PATH if path not in paths)]
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, folder)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec", dont_inherit=True), vars(sys.modules["__main__"]))
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(first).absolute().parent))
        runpy.run_path(first, run_name="__main__")


def _become_a_child(environment: Dict[str, str], output: str) -> None:
    """Take over what a child has of its parent, and not of the server; let its own children be forks."""
    global _output
    _output = output
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    warnings.filterwarnings("error", module="regan_ext|training_hooks")  # as in the process that tests
    torch.utils.data.DataLoader = _Loader  # type: ignore[misc]
    torch.multiprocessing.spawn = _spawn


_output = ""


def _spawn(fn: Callable[..., None], args: Tuple[Any, ...], nprocs: int) -> None:
    """Do as ``torch.multiprocessing.spawn``, with forks of the same server: they have nothing of this process but ``args``."""
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    server.ensure_running = lambda: None  # it is, and has forked this process
    given = (dict(os.environ), _output, fn, args)
    torch.multiprocessing.start_processes(_rank, given, nprocs, start_method="forkserver")


def _rank(index: int, environment: Dict[str, str], output: str, fn: Callable[..., None], args: Tuple[Any, ...]) -> None:
    _become_a_child(environment, output)
    fn(index, *args)


class _Loader(torch.utils.data.DataLoader):
    """Its processes are forks that get the images' data set as spawned ones do, pickled."""

    def __init__(self, dataset: Any, num_workers: int = 0, **kwargs: Any):
        if num_workers > 0:
            dataset, kwargs["multiprocessing_context"] = pickle.loads(pickle.dumps(dataset)), "fork"
        super().__init__(dataset, num_workers=num_workers, **kwargs)
