"""View of the running host's training loop: its local variables, read from its frame.

The hosts keep G_ema, the run folder and every counter in local variables of one function called ``training_loop``. Nothing
they construct is handed those, so they are read from the call stack. Only ``set_variables`` writes, when a run is resumed.
"""

from __future__ import annotations

import ctypes
import math
import sys
from types import FrameType
from typing import Any, Dict, Mapping, Optional

__all__ = [
    "ends_tick", "find_loop", "kimg_per_tick", "loop_variables", "set_variables", "tick_ends", "total_iterations",
]  # fmt: skip

_KIMG_PER_TICK = 4


def find_loop(frame: Optional[FrameType] = None) -> Optional[FrameType]:
    """The frame of the innermost ``training_loop`` that called the caller, or ``frame``; None where there is none."""
    frame = sys._getframe(1) if frame is None else frame
    while frame is not None and frame.f_code.co_name != "training_loop":
        frame = frame.f_back
    return frame


def loop_variables() -> Dict[str, Any]:
    """Local variables of the running ``training_loop``.

    Raises:
        RuntimeError: no such function is running.
    """
    frame = find_loop()
    if frame is None:
        raise RuntimeError("no function called training_loop is running; the seams work only inside a host's loop")
    return dict(frame.f_locals)


def ends_tick(variables: Mapping[str, Any]) -> bool:
    """Whether the iteration that is being trained is the last of its tick (observed rule of the NVIDIA hosts).

    The first iteration of a run is a tick of its own.
    """
    images = variables["cur_nimg"] + variables["batch_size"]
    return bool(
        images >= variables["total_kimg"] * 1000
        or variables["cur_tick"] == 0
        or images >= variables["tick_start_nimg"] + variables["kimg_per_tick"] * 1000
    )


def tick_ends() -> bool:
    """The same of the running loop; True where there is none."""
    frame = find_loop()
    return frame is None or ends_tick(frame.f_locals)


def kimg_per_tick(arguments: Mapping[str, Any]) -> float:
    """Length of a tick in kimg by a loop's keyword arguments; the NVIDIA hosts leave it to the default of their loops."""
    given = arguments.get("kimg_per_tick")
    return _KIMG_PER_TICK if given is None else float(given)


def total_iterations(variables: Mapping[str, Any]) -> int:
    """Iterations of the whole run."""
    return math.ceil(variables["total_kimg"] * 1000 / variables["batch_size"])


def set_variables(frame: FrameType, values: Mapping[str, Any]) -> None:
    """Set local variables of a running function, for the counters that a resumed run has to begin with.

    Up to Python 3.12 ``f_locals`` is a copy, which CPython writes back on request; from 3.13 on it writes through.

    Raises:
        RuntimeError: the function has no such variable, or this Python cannot set it.
    """
    unknown = sorted(set(values) - set(frame.f_code.co_varnames) - set(frame.f_code.co_cellvars))
    if unknown:
        raise RuntimeError(f"{frame.f_code.co_name} has no variable {', '.join(unknown)}")
    variables = frame.f_locals
    variables.update(values)
    if sys.version_info < (3, 13):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
    wrong = [name for name, value in values.items() if frame.f_locals[name] != value]
    if wrong:
        raise RuntimeError(f"this Python ({sys.version.split()[0]}) cannot set the loop's {', '.join(wrong)}")
