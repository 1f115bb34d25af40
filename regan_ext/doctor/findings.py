"""What ``regan-ext doctor`` finds: its findings, and the surroundings that its checks look at.

torch is imported and the GPUs are asked once, here; a torch that does not import is one of the things to find.
"""

from __future__ import annotations

import importlib
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Literal, Optional, Sequence, Tuple

from ..hosts import embedded
from ..hosts.checkout import Checkout, HostError
from ..hosts.device import resolve
from ..hosts.find import EMBEDDED_STYLEGAN3, find_host

__all__ = ["Check", "Finding", "Gpu", "Status", "Surroundings", "look", "run_check", "run_program", "say"]

Status = Literal["ok", "patched", "todo", "info"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        name: what was looked at; unique within a report.
        status: "ok"; "patched", a fault that this package mends at run time; "todo", the user has to act; "info".
        detail: what there is, or the fault.
        remedy: for "todo", exactly what to do.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees. The capability is (major, minor), the memory in bytes."""

    name: str
    capability: Tuple[int, int]
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, capability {self.capability[0]}.{self.capability[1]}, {self.memory / 1024**3:.0f} GiB"


@dataclass(frozen=True)
class Surroundings:
    """What the checks look at.

    Args:
        torch: the module, or None where it does not import; then ``torch_error`` says why.
        torch_error: text of that error.
        device: what ``--device=auto`` chooses, "cpu" or "cuda".
        gpus: the GPUs that torch sees.
        gpu_error: why torch sees none, in its own words, if it said so.
        checkout: the host, or None for the embedded one.
        reason: why it is this host.
        host_error: why there is no host although one was named; "" else.
        wheel: the wheel given as the host, if one was.
    """

    torch: Any = None
    torch_error: str = ""
    device: str = "cpu"
    gpus: Tuple[Gpu, ...] = ()
    gpu_error: str = ""
    checkout: Optional[Checkout] = None
    reason: str = "embedded StyleGAN2-ADA"
    host_error: str = ""
    wheel: Optional[str] = None


# A check is given the name that its finding is to bear.
Check = Callable[[str, Surroundings], Finding]


def run_check(name: str, check: Check, around: Surroundings) -> Finding:
    """The finding of ``check``. A check that fails is itself something to report, and the others still have to run."""
    try:
        return check(name, around)
    except Exception as err:
        report = "report this, with the whole output of 'regan-ext doctor'"
        remedy = "give your user access to this, then run it again" if isinstance(err, OSError) else report
        return Finding(name, "todo", f"cannot be looked at: {say(err)}", remedy)


def say(err: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(err).split())
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def run_program(command: Sequence[str], timeout: float = 60) -> Tuple[int, str]:
    """Exit status and output, with the errors, of a program; 124 if it did not end within ``timeout`` seconds.

    Raises:
        OSError: it cannot be started.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end within {timeout:g} seconds"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def look(given: Optional[str]) -> Surroundings:
    """The surroundings, with the host that ``regan-ext train --host=given`` would train.

    Raises:
        HostError: ``given`` is no host.
    """
    wheel = given if given is not None and embedded.is_wheel(given) else None
    checkout, reason, host_error = _find_host(given, wheel)
    torch, torch_error = None, ""
    try:
        torch = importlib.import_module("torch")
    except Exception as err:  # a broken installation raises whatever it likes
        torch_error = say(err)
    device, gpus, gpu_error = ("cpu", (), "") if torch is None else _find_gpus(torch)
    return Surroundings(torch, torch_error, device, gpus, gpu_error, checkout, reason, host_error, wheel)


def _find_host(given: Optional[str], wheel: Optional[str]) -> Tuple[Optional[Checkout], str, str]:
    try:
        if wheel is not None:
            embedded._check(Path(wheel))  # find_host would unpack it, and a doctor changes nothing
            return None, f"embedded StyleGAN2-ADA (from {wheel})", ""
        if given == EMBEDDED_STYLEGAN3 and not embedded.folder(embedded.STYLEGAN3).is_dir():
            return None, "embedded StyleGAN3, which pip will fetch at its first use", ""
        return (*find_host(given), "")
    except (HostError, OSError, ValueError) as err:
        text = " ".join(str(err).split()) if isinstance(err, HostError) else say(err)
        if given is not None:
            raise HostError(text) from err
        return None, "", text


def _find_gpus(torch: Any) -> Tuple[str, Tuple[Gpu, ...], str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch tells in a warning that the driver is too old
        try:
            device = resolve("auto")
            count = torch.cuda.device_count() if device == "cuda" else 0
            seen = [torch.cuda.get_device_properties(index) for index in range(count)]
            gpus = tuple(Gpu(gpu.name, (gpu.major, gpu.minor), gpu.total_memory) for gpu in seen)
        except (RuntimeError, AssertionError) as err:
            return "cuda", (), say(err)
    return device, gpus, " ".join(" ".join(str(warning.message).split()) for warning in caught)
