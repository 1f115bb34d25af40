"""The checks of ``regan-ext doctor`` that tell whether a host's CUDA operations can be built: one is, as the hosts do."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional, Tuple

from .checks import writable
from .findings import Check, Finding, Surroundings, run_program

__all__ = ["build_locks", "checks", "remedy", "torch_builds", "torch_extensions", "trial_build"]

_SLOW = "the host falls back to its slow reference operations"
_STALE_SECONDS = 3600
_PATIENCE = 600  # seconds for the trial

# Headers that the hosts' operations include by way of torch's, so that half a toolkit shows; and a kernel, which runs as soon
# as the library is loaded, so that code for another GPU shows.
_SOURCE = r"""
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <cusparse.h>
#include <cusolverDn.h>
__global__ void trial_kernel(float* x) { x[0] = 1.0f; }
struct Trial {
    Trial() {
        float* x = nullptr;
        cudaError_t error = cudaMalloc(&x, sizeof(float));
        if (error == cudaSuccess) {
            trial_kernel<<<1, 1>>>(x);
            error = cudaGetLastError();
        }
        if (error == cudaSuccess) error = cudaDeviceSynchronize();
        if (error != cudaSuccess) {
            fprintf(stderr, "CUDA error: %s\n", cudaGetErrorString(error));
            fflush(stderr);
            _Exit(1);
        }
    }
} trial_now;
"""
_SCRIPT = """
import sys
from torch.utils.cpp_extension import CUDA_HOME, load
try:
    load("regan_ext_trial", [sys.argv[1] + "/trial.cu"], build_directory=sys.argv[1], is_python_module=False)
except Exception as err:
    sys.exit(str(err))
print(CUDA_HOME)
"""


def checks(around: Surroundings) -> List[Tuple[str, Check]]:
    """The checks that tell whether the host's CUDA operations can be built; a single one where that does not matter."""
    sources = around.checkout is not None and any(around.checkout.path.glob("torch_utils/ops/*.cu"))
    if not around.gpus or not around.torch.version.cuda or not sources:
        return [("CUDA operations", _not_needed)]
    return [("trial build", trial_build), ("build locks", build_locks)]


def _not_needed(name: str, around: Surroundings) -> Finding:
    what = "the embedded host" if around.checkout is None else str(around.checkout.path)
    detail = f"{what} has no CUDA sources: it trains with reference operations, which are slower"
    if around.torch is None:
        detail = "not looked at: PyTorch does not import"
    elif not around.gpus:
        detail = "not needed on the CPU, the host's reference operations are used"
    elif not around.torch.version.cuda:
        detail = "not looked at: this PyTorch is built for ROCm"
    return Finding(name, "info", detail)


def trial_build(name: str, around: Surroundings) -> Finding:
    """Whether torch builds an operation from CUDA source with what is installed here, and whether it runs."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="regan-ext-doctor-") as folder:
        for file, content in (("trial.cu", _SOURCE), ("trial.py", _SCRIPT)):
            (Path(folder) / file).write_text(content, encoding="ascii")
        # As a file, so that no torch.py of the current folder is imported.
        status, output = run_program([sys.executable, str(Path(folder) / "trial.py"), folder], _PATIENCE)
    if status == 0:
        return Finding(name, "ok", f"built and run in {time.monotonic() - begin:.0f} s, with {output.splitlines()[-1]}")
    lines = [" ".join(line.split()) for line in output.replace(folder + os.sep, "").splitlines()] or ["nothing"]
    telling = re.compile(r"error(?! building extension)|fatal|not found|required|cannot", re.IGNORECASE)
    said = next((line for line in lines if telling.search(line)), lines[-1])
    return Finding(name, "todo", f"{said[:300]}: {_SLOW}", remedy(output, around))


def remedy(output: str, around: Surroundings) -> str:
    """What to do about a build that failed with this output."""
    toolkit = f"install the CUDA toolkit {around.torch.version.cuda} (https://developer.nvidia.com/cuda-toolkit-archive)"
    toolkit += " and set CUDA_HOME to its folder"
    compiler = "install g++ (Debian, Ubuntu: sudo apt install build-essential; conda: conda install gxx)"
    if os.name == "nt":
        compiler = "install the Visual Studio Build Tools with C++, and start from the 'x64 Native Tools Command Prompt'"
    known = (
        ("No module named 'setuptools'|No module named 'distutils'", "python -m pip install --upgrade setuptools"),
        ("Ninja is required", "activate the environment that has ninja, or python -m pip install --force-reinstall ninja"),
        ("Unsupported gpu architecture", f"{toolkit}; or set TORCH_CUDA_ARCH_LIST to an older GPU's and +PTX, such as 8.9+PTX"),
        ("no kernel image|TORCH_CUDA_ARCH_LIST", "unset TORCH_CUDA_ARCH_LIST"),
        (r"unsupported (GNU|clang|Microsoft)", "install a C++ compiler that this nvcc supports, and set CC and CXX to it"),
        (r"CUDA_HOME|nvcc\S*: not found|\.h: No such file|Cannot open include file|cannot find -l", toolkit),
        (r"\+\+: not found|(host|checking) compiler|MSVC is required", compiler),
        ("driver version is insufficient", "update the NVIDIA driver"),
    )
    other = "correct this; torch_utils.custom_ops.verbosity = 'full' makes the host show what its own builds say"
    return next((what for pattern, what in known if re.search(pattern, output)), other)


def torch_extensions(around: Surroundings) -> Optional[Path]:
    """Where torch builds CUDA operations; None if it cannot say."""
    if os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(os.environ["TORCH_EXTENSIONS_DIR"])
    if around.torch is None:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it says there that it sees a toolkit and no GPU
            return Path(importlib.import_module("torch.utils.cpp_extension").get_default_build_root())
    except (ImportError, AttributeError):
        return None


def torch_builds(name: str, around: Surroundings) -> Finding:
    """Whether torch can write where it builds."""
    folder = torch_extensions(around)
    if folder is None:
        return Finding(name, "info", "not known: PyTorch cannot tell")
    found = writable(name, around, lambda: folder, "TORCH_EXTENSIONS_DIR")
    if found.status == "todo" and not around.gpus:
        return Finding(name, "info", f"{found.detail}; not needed on the CPU")
    return found


def build_locks(name: str, around: Surroundings) -> Finding:
    """Whether an interrupted build has left a lock file, at which every later one waits for ever."""
    root = torch_extensions(around)
    ages = {}
    for lock in root.rglob("lock") if root is not None else ():
        with contextlib.suppress(FileNotFoundError):  # a build that ends meanwhile
            ages[lock] = time.time() - lock.stat().st_mtime
    stale = sorted(str(lock) for lock, age in ages.items() if age > _STALE_SECONDS)
    if stale:
        detail = "an interrupted build left a lock file; 'Setting up PyTorch plugin' waits for it for ever"
        return Finding(name, "todo", detail, f"delete {', '.join(stale)}")
    if ages:
        return Finding(name, "info", f"a build is under way, or was interrupted just now: {min(map(str, ages))}")
    return Finding(name, "ok", "none left over")
