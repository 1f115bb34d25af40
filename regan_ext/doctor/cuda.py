"""The checks of ``regan-ext doctor`` that tell whether a host's CUDA operations can be built.

What can be tried is tried: the verdict on toolkit, compiler and GPU is a tiny file that nvcc compiles or does not.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from .checks import writable
from .findings import Check, Finding, Gpu, Surroundings, run_program, say
from .gpu import runs_on

__all__ = [
    "build_locks",
    "checks",
    "compiler",
    "find_compiler",
    "ninja_command",
    "nvcc",
    "targets",
    "toolkit_folder",
    "torch_builds",
    "torch_extensions",
    "trial_build",
]

_TOOLKITS = "https://developer.nvidia.com/cuda-toolkit-archive"
_SLOW = "the host falls back to its slow reference operations"
_STALE_SECONDS = 3600

# Headers that the hosts' operations include by way of torch's, so that half a toolkit shows, and a kernel.
_TRIAL = """#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <cusparse.h>
#include <cusolverDn.h>
__global__ void trial(float* x) { x[0] += 1.0f; }
"""


def checks(around: Surroundings) -> List[Tuple[str, Check]]:
    """The checks that tell whether the host's CUDA operations can be built; a single one where that does not matter."""
    sources = around.checkout is not None and any(around.checkout.path.glob("torch_utils/ops/*.cu"))
    if not around.gpus:
        return [("CUDA operations", _no_gpu)]
    if not around.torch.version.cuda:
        return [("CUDA operations", _not_cuda)]
    if not sources:
        return [("CUDA operations", _no_sources)]
    return [
        ("nvcc", nvcc),
        ("C++ compiler", compiler),
        ("ninja command", ninja_command),
        ("trial build", trial_build),
        ("build locks", build_locks),
    ]


def _no_gpu(name: str, around: Surroundings) -> Finding:
    if around.torch is None:
        return Finding(name, "info", "not looked at: PyTorch does not import")
    return Finding(name, "info", "not needed on the CPU, the host's reference operations are used")


def _not_cuda(name: str, around: Surroundings) -> Finding:
    return Finding(name, "info", "not looked at: this PyTorch is built for ROCm")


def _no_sources(name: str, around: Surroundings) -> Finding:
    what = "the embedded host" if around.checkout is None else str(around.checkout.path)
    return Finding(name, "info", f"{what} has no CUDA sources: it trains with reference operations, which are slower")


def _cpp_extension() -> Any:
    """torch.utils.cpp_extension, which builds the hosts' CUDA operations. Raises ImportError without setuptools."""
    with contextlib.redirect_stderr(io.StringIO()):  # it says there that it sees a toolkit and no GPU
        return importlib.import_module("torch.utils.cpp_extension")


def toolkit_folder() -> Optional[Path]:
    """The CUDA toolkit that torch builds with: CUDA_HOME, else where nvcc on the PATH is, else the usual place.

    Raises:
        ImportError: torch's builder lacks setuptools.
    """
    found = _cpp_extension().CUDA_HOME
    return Path(found) if found else None


def _nvcc_in(toolkit: Optional[Path]) -> Optional[Path]:
    program = toolkit / "bin" / ("nvcc.exe" if os.name == "nt" else "nvcc") if toolkit is not None else None
    return program if program is not None and program.is_file() else None


def nvcc(name: str, around: Surroundings) -> Finding:
    """Whether there is a CUDA toolkit, whole enough and of the version that torch was built for."""
    wanted = around.torch.version.cuda
    install = f"install the CUDA toolkit {wanted} ({_TOOLKITS}) and set CUDA_HOME to its folder"
    try:
        folder = toolkit_folder()
    except ImportError as err:
        return Finding(name, "todo", f"{say(err)}: {_SLOW}", "python -m pip install --upgrade setuptools")
    program = _nvcc_in(folder)
    if folder is None:
        return Finding(name, "todo", f"no nvcc by CUDA_HOME, on the PATH or in the usual place: {_SLOW}", install)
    if program is None:
        return Finding(name, "todo", f"{folder} (CUDA_HOME) has no bin/nvcc: {_SLOW}", install)
    output = run_program([str(program), "--version"])[1]
    release = re.search(r"release (\d+)\.(\d+)", output)
    if release is None:
        return Finding(name, "todo", f"{program} does not tell its version: {output[:200]}", install)
    detail = f"{release[1]}.{release[2]} in {program}, PyTorch is built for {wanted}"
    if release[1] != wanted.split(".")[0]:
        return Finding(name, "todo", f"{detail}: {_SLOW}", install)
    # conda keeps the headers below targets/ and tells the compilers so
    if not [*folder.glob("include/cuda_runtime.h"), *folder.glob("targets/*/include/cuda_runtime.h")]:
        remedy = f"set CUDA_HOME to the folder of the whole CUDA toolkit {release[1]}, such as /usr/local/cuda"
        return Finding(name, "todo", f"{detail}; but {folder} has no include/cuda_runtime.h: {_SLOW}", remedy)
    return Finding(name, "ok", detail)


def find_compiler() -> Optional[str]:
    """The C++ compiler that torch builds with: $CXX, else c++, on Windows cl."""
    command = shlex.split(os.environ.get("CXX", ""), posix=os.name != "nt") or ["cl" if os.name == "nt" else "c++"]
    found = shutil.which(command[0].strip('"'))
    if found is None and os.name == "nt":  # where the hosts look for it
        pattern = "C:/Program Files (x86)/Microsoft Visual Studio/*/*/VC/Tools/MSVC/*/bin/Hostx64/x64/cl.exe"
        found = max(glob.glob(pattern), default=None)
    return found


def compiler(name: str, around: Surroundings) -> Finding:
    """Whether there is a C++ compiler."""
    found = find_compiler()
    if found is not None:
        version = "" if os.name == "nt" else run_program([found, "--version"])[1].partition("\n")[0]
        return Finding(name, "ok", f"{version} ({found})" if version else found)
    if os.name == "nt":
        remedy = "install the Visual Studio Build Tools with C++, and start from the 'x64 Native Tools Command Prompt'"
    else:
        remedy = "install g++ (Debian, Ubuntu: sudo apt install build-essential; conda: conda install gxx)"
    return Finding(name, "todo", f"no {os.environ.get('CXX') or 'C++ compiler'} on the PATH: {_SLOW}", remedy)


def ninja_command(name: str, around: Surroundings) -> Finding:
    """Whether torch can call ninja, which may be installed where the PATH does not lead."""
    found = shutil.which("ninja")
    if found is not None:
        return Finding(name, "ok", found)
    beside = Path(sys.executable).parent
    if (beside / ("ninja.exe" if os.name == "nt" else "ninja")).is_file():
        return Finding(name, "todo", f"not on the PATH: {_SLOW}", f"activate the environment, or add {beside} to PATH")
    return Finding(name, "todo", f"not on the PATH: {_SLOW}", "python -m pip install --force-reinstall ninja")


def targets(gpus: Sequence[Gpu], known: Sequence[str], setting: str) -> List[str]:
    """What torch would have nvcc build for, such as ["sm_86", "compute_86"].

    Args:
        gpus: the GPUs.
        known: what torch itself was built for, such as ["sm_80", "sm_90"]; it asks nvcc for nothing newer by itself.
        setting: TORCH_CUDA_ARCH_LIST; its numbers count, names of GPU generations are left out.
    """
    if setting and setting != "native":
        codes = []
        for major, minor, ptx in re.findall(r"(\d+)\.(\d+a?)(\+PTX)?(?=[; ]|$)", setting):
            codes += [f"sm_{major}{minor}", f"compute_{major}{minor}"][: 2 if ptx else 1]
        return codes
    newest = max((int(number) for number in re.findall(r"sm_(\d+)", " ".join(known))), default=10**6)
    return [f"sm_{number}" for number in sorted({min(_number(gpu), newest) for gpu in gpus})]


def _number(gpu: Gpu) -> int:
    return 10 * gpu.capability[0] + gpu.capability[1]


def trial_build(name: str, around: Surroundings) -> Finding:
    """Whether nvcc, compiler and headers make code for the GPUs."""
    program = None
    with contextlib.suppress(ImportError):  # reported by the check of nvcc
        program = _nvcc_in(toolkit_folder())
    compiler = find_compiler()
    if program is None or compiler is None:
        return Finding(name, "info", "not tried: nvcc or the compiler is missing")
    setting = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    codes = targets(around.gpus, around.torch.cuda.get_arch_list(), setting)
    left_out = [gpu for gpu in around.gpus if codes and not any(runs_on(code, gpu.capability) for code in codes)]
    if setting and left_out:
        detail = f"TORCH_CUDA_ARCH_LIST={setting} leaves out the {left_out[0].name}: {_SLOW}"
        return Finding(name, "todo", detail, "unset TORCH_CUDA_ARCH_LIST")
    status, output = _compile(program, compiler, codes)
    if status == 0:
        return Finding(name, "ok", f"nvcc compiles for {' '.join(codes) or 'its default GPU'}")
    telling = [line for line in output.splitlines() if re.search(r"error|fatal", line, re.IGNORECASE)]
    detail = f"{' '.join((telling or [output])[0].split())[:300]}: {_SLOW}"
    return Finding(name, "todo", detail, _build_remedy(output, program, around))


def _compile(nvcc_program: Path, compiler: str, codes: Sequence[str]) -> Tuple[int, str]:
    """Exit status and output of nvcc for the trial file, called as torch calls it."""
    with tempfile.TemporaryDirectory(prefix="regan-ext-doctor-") as folder:
        source = Path(folder) / "trial.cu"
        source.write_text(_TRIAL, encoding="ascii")
        command = [str(nvcc_program), "-c", str(source), "-o", str(Path(folder) / "trial.o")]
        command += [f"-gencode=arch={code.replace('sm_', 'compute_')},code={code}" for code in codes]
        chosen = os.environ.get("CC") or (compiler if os.name == "nt" else "")
        status, output = run_program(command + (["-ccbin", chosen] if chosen else []))
    return status, output.replace(str(source), source.name)


def _build_remedy(output: str, program: Path, around: Surroundings) -> str:
    toolkit = f"install the whole CUDA toolkit {around.torch.version.cuda} ({_TOOLKITS}), set CUDA_HOME to its folder"
    if "Unsupported gpu architecture" in output:
        known = map(int, re.findall(r"compute_(\d+)", run_program([str(program), "--list-gpu-arch"])[1]))
        usable = [number for number in known if number <= min(map(_number, around.gpus))]
        if not usable:
            return toolkit
        return f"{toolkit}; or set TORCH_CUDA_ARCH_LIST={max(usable) // 10}.{max(usable) % 10}+PTX"
    if "No such file" in output or "Cannot open include file" in output:
        return toolkit
    if "unsupported" in output:
        return "install a C++ compiler that this nvcc supports, and set CC and CXX to it"
    return "correct this; torch_utils.custom_ops.verbosity = 'full' makes the host show what its own builds say"


# ---------------------------------------------------------------- where it is built


def torch_extensions(around: Surroundings) -> Optional[Path]:
    """Where torch builds CUDA operations; None if it cannot say."""
    if os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(os.environ["TORCH_EXTENSIONS_DIR"])
    if around.torch is None:
        return None
    try:
        return Path(_cpp_extension().get_default_build_root())
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
