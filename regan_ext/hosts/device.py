"""The view of torch that lets a host's loop run on the CPU.

The hosts name CUDA throughout: ``torch.device("cuda", rank)``, events, memory statistics, NCCL. ``TorchView`` stands in
for the name ``torch`` inside the host's modules that do so; everything it does not redirect is torch's own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from types import ModuleType
from typing import Any, Optional

from ..support.errors import UserError

__all__ = ["TorchView", "of_option", "resolve", "use_cpu", "use_gpu"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def resolve(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ValueError: CUDA was asked for and is not available.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ValueError(f"no CUDA device is available to PyTorch {torch.__version__} ({built}); try --device=cpu")
    if device == "auto":
        return "cuda" if available else "cpu"
    return device


def of_option(device: str) -> str:
    """The same of the option --device.

    Raises:
        UserError: CUDA was asked for and is not available.
    """
    try:
        return resolve(device)
    except ValueError as err:
        raise UserError(f"--device: {err}") from err


class _View:
    """An object with some attributes of its own; every other one is the wrapped object's."""

    def __init__(self, wrapped: Any, **own: Any):
        self.__dict__.update(own)
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _Event:
    """Stands in for ``torch.cuda.Event``: wall-clock time at ``record``."""

    cuda_event = 1  # its handle, which is 0 until it is recorded

    def __init__(self, enable_timing: bool = False):
        self._seconds = 0.0

    def record(self, stream: Any = None) -> None:
        self._seconds = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: "_Event") -> float:
        """Milliseconds from this event to ``end``."""
        return 1000 * (end._seconds - self._seconds)


def _no_bytes(device: Any = None) -> int:
    return 0


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


class TorchView(_View):
    """torch, with every CUDA device the CPU and NCCL replaced by gloo.

    ``empty`` gives zeros: the hosts feed uninitialised latents to the generator for their summary table, in training mode,
    so that whatever lies in that memory, NaN included, would enter the moving average ``w_avg`` for good.
    """

    def __init__(self, torch: ModuleType):
        cpu = torch.device("cpu")
        ddp = torch.nn.parallel.DistributedDataParallel

        def device(*args: Any, **kwargs: Any) -> Any:
            made = torch.device(*args, **kwargs)
            return cpu if made.type == "cuda" else made

        def distributed_data_parallel(module: Any, device_ids: Any = None, **kwargs: Any) -> Any:
            return ddp(module, device_ids=None, **kwargs)

        def init_process_group(backend: Optional[str] = None, **kwargs: Any) -> None:
            torch.distributed.init_process_group(backend="gloo", **kwargs)

        parallel = _View(torch.nn.parallel, DistributedDataParallel=distributed_data_parallel)
        cuda = _View(
            torch.cuda,
            Event=_Event,
            current_stream=_nothing,
            max_memory_allocated=_no_bytes,
            max_memory_reserved=_no_bytes,
            reset_peak_memory_stats=_nothing,
        )
        super().__init__(
            torch,
            device=device,
            empty=torch.zeros,
            cuda=cuda,
            nn=_View(torch.nn, parallel=parallel),
            distributed=_View(torch.distributed, init_process_group=init_process_group),
        )


def use_cpu(modules: "list[ModuleType | dict[str, Any]]", num_processes: int) -> None:
    """Let the host modules (or their namespaces) in ``modules`` run on the CPU, in ``num_processes`` processes."""
    import torch

    view = TorchView(torch)
    for module in modules:
        namespace = module if isinstance(module, dict) else vars(module)
        namespace["torch"] = view
    # Pinned memory exists only where there is an accelerator; the loop pins its labels unconditionally.
    torch.Tensor.pin_memory = lambda self, device=None: self  # type: ignore[method-assign, assignment, return-value]
    if num_processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    _keep_memory()


def _keep_memory() -> None:
    """Let malloc keep what is freed, where it is glibc's.

    It gives large pieces back to the kernel at once, which makes them of zeroed pages again for the next iteration. Where the
    networks change their width from phase to phase there are more of them.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def use_gpu(modules: "list[ModuleType | dict[str, Any]]", rank: int, number: int) -> None:
    """Let the host modules (or their namespaces) in ``modules`` run on GPU ``number`` of this machine as process ``rank``.

    The hosts number their GPU by the rank, which on a second machine begins where the first one's ends.

    Raises:
        UserError: there is no such GPU.
    """
    import torch

    if number >= torch.cuda.device_count():
        there = f"{torch.cuda.device_count()} GPUs are visible to it"
        raise UserError(f"LOCAL_RANK={number}, but {there}; start as many processes on a machine as it has GPUs")
    torch.cuda.set_device(number)

    def device(*args: Any, **kwargs: Any) -> Any:
        made = torch.device(*args, **kwargs)
        return torch.device("cuda", number) if (made.type, made.index) == ("cuda", rank) else made

    for module in modules if rank != number else ():
        namespace = module if isinstance(module, dict) else vars(module)
        namespace["torch"] = _View(torch, device=device)
