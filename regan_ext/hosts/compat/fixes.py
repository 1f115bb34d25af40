"""What today's torch, SciPy, setuptools and Python took away from the hosts.

Each fix first tries what the host does; only where that fails is something put in its place. Nothing is decided by a
version number. ``prepare_imports`` has to run before the host is imported, ``apply`` in every process before its loop.
"""

from __future__ import annotations

import importlib.machinery
import inspect
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

__all__ = ["FIXES", "Fix", "apply", "missing_modules", "prepare_imports"]

_GRID_SAMPLE = "torch_utils.ops.grid_sample_gradfix"
_STAND_INS = Path(__file__).parent / "stand_ins"


def missing_modules() -> List[str]:
    """Top-level modules that the hosts import and this Python no longer has."""
    find = importlib.machinery.PathFinder.find_spec  # importlib.util.find_spec would import all of setuptools
    missing = [name for name in ("distutils", "pkg_resources") if find(name) is None]
    if "distutils" in missing and find("_distutils_hack") is not None:
        missing.remove("distutils")  # setuptools provides it
    return missing


def prepare_imports() -> None:
    """Offer stand-ins for missing modules, at the end of ``sys.path``, where spawned processes inherit them."""
    if missing_modules() and str(_STAND_INS) not in sys.path:
        sys.path.append(str(_STAND_INS))


@dataclass(frozen=True)
class Fix:
    """One thing the hosts rely on that may be gone.

    Args:
        name: short, stable.
        fault: what a user would see without the fix.
        is_present: tries what the host does and returns True where it fails.
        mend: puts something in place; is given the host's modules by their name.
        is_in: whether a host's own code has the fault where the packages have not; is given its modules too.
    """

    name: str
    fault: str
    is_present: Callable[[], bool]
    mend: Callable[[Mapping[str, Any]], None]
    is_in: Callable[[Mapping[str, Any]], bool] = lambda modules: False


def _sampler_takes_no_data() -> bool:
    from torch.utils.data import Sampler

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Sampler([0])  # type: ignore[call-arg]
    except TypeError:
        return True
    return False


def _let_sampler_take_data(modules: Mapping[str, Any]) -> None:
    from torch.utils.data import Sampler

    def accept(self: Any, *args: Any, **kwargs: Any) -> None:
        pass

    Sampler.__init__ = accept  # type: ignore[method-assign]


def _sqrtm_lost_disp() -> bool:
    import scipy.linalg

    return "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters


def _let_sqrtm_take_disp(modules: Mapping[str, Any]) -> None:
    import scipy.linalg

    plain = scipy.linalg.sqrtm

    def sqrtm(A: Any, disp: bool = True, **kwargs: Any) -> Any:
        root = plain(A, **kwargs)
        return root if disp else (root, 0.0)

    scipy.linalg.sqrtm = sqrtm


def _grid_sample_has_no_second_derivative() -> bool:
    import torch

    return _fails_twice(lambda image, grid: torch.nn.functional.grid_sample(image, grid, align_corners=False))


def _own_grid_sample_fails(modules: Mapping[str, Any]) -> bool:
    """Of the host's function as its loop has it, with the operation of its own that it may have."""
    module = modules.get(_GRID_SAMPLE)
    if module is None:
        return False
    before = module.enabled
    module.enabled = True
    try:
        return _fails_twice(module.grid_sample)
    finally:
        module.enabled = before


def _fails_twice(sample: Callable[[Any, Any], Any]) -> bool:
    """Whether a way to sample an image at a grid cannot be differentiated twice."""
    import torch

    image = torch.zeros([1, 1, 2, 2], requires_grad=True)
    grid = torch.zeros([1, 2, 2, 2])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (first,) = torch.autograd.grad(sample(image, grid).square().sum(), [image], create_graph=True)
            torch.autograd.grad(first.sum(), [image])
    except (RuntimeError, TypeError):
        return True
    return False


def _use_own_grid_sample(modules: Mapping[str, Any]) -> None:
    from .grid_sample import grid_sample

    modules[_GRID_SAMPLE].grid_sample = grid_sample


def _has_ddp() -> bool:
    import torch

    return torch.distributed.is_available()


def _broadcast_buffers_once(modules: Mapping[str, Any]) -> None:
    """Wrapping a module gives every rank the buffers of rank 0, as torch before 2.1 did.

    Whether they differ shows only where ranks exist, so the comparison is part of the fix: equal buffers stay untouched.
    """
    import torch

    ddp = torch.nn.parallel.DistributedDataParallel
    plain = ddp.__init__
    if getattr(plain, "broadcasts_buffers", False):
        return

    def init(self: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers=False is what the hosts ask for
            plain(self, module, *args, **kwargs)
        with torch.no_grad():
            for buffer in module.buffers():
                first = buffer.clone()
                torch.distributed.broadcast(first, src=0)
                if not torch.equal(buffer, first):
                    buffer.copy_(first)

    init.broadcasts_buffers = True  # type: ignore[attr-defined]
    ddp.__init__ = init  # type: ignore[method-assign]


def _adam_refuses_integer_beta() -> bool:
    import torch

    try:
        torch.optim.Adam([torch.zeros(1)], betas=(0, 0.9))
    except ValueError:
        return True
    return False


def float_betas(kwargs: Dict[str, Any]) -> None:
    """Make the betas of optimizer arguments floats: an integer 0 beside a float is an error since torch 2.6."""
    if "betas" in kwargs:
        kwargs["betas"] = [float(beta) for beta in kwargs["betas"]]


FIXES = (
    Fix(
        "sampler",
        "TypeError in InfiniteSampler: object.__init__() takes exactly one argument",
        _sampler_takes_no_data,
        _let_sampler_take_data,
    ),
    Fix(
        "betas",
        "ValueError: betas must be either both floats or both Tensors",
        _adam_refuses_integer_beta,
        lambda modules: None,  # mended in the keyword arguments, see float_betas
    ),
    Fix("sqrtm", "TypeError: sqrtm() got an unexpected keyword argument 'disp'", _sqrtm_lost_disp, _let_sqrtm_take_disp),
    Fix(
        "grid_sample",
        "RuntimeError: derivative for aten::grid_sampler_2d_backward is not implemented",
        _grid_sample_has_no_second_derivative,
        _use_own_grid_sample,
        _own_grid_sample_fails,
    ),
    Fix(
        "ddp_buffers",
        "AssertionError: Generator.synthesis.b4.conv1.noise_const at the first snapshot of several ranks",
        _has_ddp,
        _broadcast_buffers_once,
    ),
)


def _show_once(folder: str) -> None:
    """Show each warning that comes from a file below ``folder`` once.

    Python's own "once" forgets what it has shown whenever the filters change, which the hosts do in every iteration.
    """
    plain = warnings.showwarning
    seen = set()

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        key = (str(message), category, filename)
        if filename.startswith(folder):
            if key in seen:
                return
            seen.add(key)
        plain(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def apply(modules: Mapping[str, Any], only: Optional[List[str]] = None) -> List[str]:
    """Put every fix in place whose fault is present, and show the hosts' per-call warnings once.

    Args:
        modules: the host's modules by name, such as "torch_utils.ops.grid_sample_gradfix".
        only: names of fixes to look at; None = all.

    Returns:
        Names of the fixes that were needed.
    """
    _show_once(str(Path(modules["torch_utils.misc"].__file__).parents[1]))
    needed = [fix for fix in FIXES if (only is None or fix.name in only) and (fix.is_present() or fix.is_in(modules))]
    for fix in needed:
        fix.mend(modules)
    return [fix.name for fix in needed]
