"""View of the running host's training loop: its local variables, read from its frame.

The hosts keep G_ema, the run folder and every counter in local variables of one function called ``training_loop``. Nothing
they construct is handed those, so they are read from the call stack. Nothing is ever written.
"""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any, Dict, Mapping, Optional

__all__ = ["ends_tick", "find_loop", "total_iterations"]


def find_loop() -> Optional[FrameType]:
    """The frame of the innermost ``training_loop`` that called the caller; None where there is none."""
    frame: Optional[FrameType] = sys._getframe(1)
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


def total_iterations(variables: Mapping[str, Any]) -> int:
    """Iterations of the whole run."""
    return math.ceil(variables["total_kimg"] * 1000 / variables["batch_size"])
