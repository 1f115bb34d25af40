"""The checks of ``regan-ext doctor`` that concern torch and the GPUs that it sees, or should see."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import List, Tuple

from .findings import Finding, Surroundings, run_program

__all__ = ["device", "driver_gpus", "pytorch", "runs_on"]

_INSTALL = "https://pytorch.org/get-started/locally"


def pytorch(name: str, around: Surroundings) -> Finding:
    """The version of torch and what it was built for."""
    if around.torch is None:
        if around.torch_error == "ModuleNotFoundError: No module named 'torch'":
            return Finding(name, "todo", "not installed", f"install it as {_INSTALL} says for your system")
        extra = {
            "win32": "; if it fails again, install the Microsoft Visual C++ Redistributable",
            "linux": "; if it fails again, look in LD_LIBRARY_PATH for another CUDA and unset it",
        }.get(sys.platform, "")
        remedy = f"python -m pip install --force-reinstall torch, as {_INSTALL} says for your system{extra}"
        return Finding(name, "todo", f"import torch fails: {around.torch_error}", remedy)
    version = around.torch.version
    if version.cuda:
        built = f"built for CUDA {version.cuda}"
    else:
        hip = getattr(version, "hip", None)
        built = f"built for ROCm {hip}" if hip else "built without CUDA"
    detail = f"{around.torch.__version__}, {built}"
    return Finding(name, "ok", detail)


def device(name: str, around: Surroundings) -> Finding:
    """The GPUs, what ``--device=auto`` chooses, and why there is no GPU."""
    if around.torch is None:
        return Finding(name, "info", "not known: PyTorch does not import")
    if not around.gpus:
        return _no_gpu(name, around)
    detail = f"--device=auto chooses {around.device}: {'; '.join(map(str, around.gpus))}"
    codes = around.torch.cuda.get_arch_list()
    unknown = [gpu for gpu in around.gpus if codes and not any(runs_on(code, gpu.capability) for code in codes)]
    if unknown and around.torch.version.cuda:
        problem = f"this PyTorch has no kernels for the {unknown[0].name}, only for {' '.join(codes)}"
        remedy = f"install a PyTorch for this GPU, see {_INSTALL}, or train with --device=cpu"
        return Finding(name, "todo", f"{detail}; {problem}", remedy)
    return Finding(name, "ok", detail)


def _no_gpu(name: str, around: Surroundings) -> Finding:
    if around.device == "cuda":
        remedy = "see whether nvidia-smi works and no other program holds the GPU; a restart loads an updated driver"
        return Finding(name, "todo", f"--device=auto chooses cuda, which fails: {around.gpu_error}", remedy)
    chosen, visible = "--device=auto chooses cpu", os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus, error = driver_gpus()
    if not gpus:
        return Finding(name, "info", f"{chosen}: no CUDA device" + (f" ({error})" if error else ""))
    if visible in ("", "-1"):
        return Finding(name, "info", f"{chosen}: CUDA_VISIBLE_DEVICES={visible} hides the {gpus[0]}")
    detail = f"{chosen} although the driver knows {gpus[0]}"
    version = around.torch.version
    if not version.cuda:
        detail += ": this PyTorch is built without CUDA"
        return Finding(name, "todo", detail, f"install a PyTorch with CUDA, see {_INSTALL}")
    detail += f", with CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
    said = f": {around.gpu_error}" if around.gpu_error else ""
    update = f"update the NVIDIA driver to one for CUDA {version.cuda}"
    return Finding(name, "todo", detail + said, f"{update}, or install a PyTorch for the driver, see {_INSTALL}")


def driver_gpus() -> Tuple[List[str], str]:
    """Names of the GPUs that NVIDIA's driver knows, and its complaint if it has one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    status, output = run_program([program, "-L"], timeout=20)
    names = re.findall(r"^GPU \d+: (.*?)(?: \(UUID.*)?$", output, re.MULTILINE)
    return names, "" if status == 0 else f"nvidia-smi: {' '.join(output.split())}"


def runs_on(code: str, capability: Tuple[int, int]) -> bool:
    """Whether compiled code such as "sm_86", "sm_90a" or "compute_80" runs on a GPU of this capability."""
    number = re.search(r"\d+", code)
    if number is None:
        return False
    own = divmod(int(number[0]), 10)
    if code.endswith("a"):
        return own == capability
    if code.startswith("compute_"):
        return own <= capability
    return own[0] == capability[0] and own[1] <= capability[1]
