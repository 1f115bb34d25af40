"""Where a run stands, in a small file that others may read while it trains."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Dict, Optional

from ..core.files import tolerate_write_failure, whole_file
from ..core.hook import Hook, Training
from ..core.status import STATUS_FILE

__all__ = ["Progress"]

_MEASURED = 20  # iterations after which the length of the run is told


class Progress(Hook):
    """Writes ``regan-status.json`` into the run folder on rank 0, whole or not at all, and tells once how long the run takes.

    Fields: iteration (done so far), total (iterations of the run), batch_size, sec_per_iteration (mean since the start),
    time (seconds since the epoch), pid, host (name of the machine that the pid is of); ended, of a run that was ended because
    something is wrong, see ``training_hooks.core.status``.

    Args:
        every: least number of seconds between two writes.
    """

    observes = True

    def __init__(self, every: float = 0.5):
        self._every = every
        self._path: Optional[Path] = None
        self._fixed: Dict[str, Any] = {}
        self._begin = self._written = 0.0
        self._first: Optional[int] = None
        self._measured_from = 0.0

    def start(self, training: Training) -> None:
        if training.rank == 0 and training.run_dir is not None:
            self._path = Path(training.run_dir) / STATUS_FILE
        self._fixed = {"total": training.total_iterations, "batch_size": training.batch_size, "pid": os.getpid()}
        self._fixed["host"] = socket.gethostname()

    def on_iteration(self, iteration: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._begin = iteration, now
        if self._path is not None and iteration == self._first + 1 + _MEASURED:
            self._tell(iteration, now)
        if iteration == self._first + 1:
            self._measured_from = now  # the first iteration waits for everything that is slow once
        if self._path is not None and now - self._written >= self._every:
            self._write(iteration, now)

    def on_tick(self) -> None:
        self._written = 0.0  # a tick's maintenance is over: say so at once

    def _tell(self, iteration: int, now: float) -> None:
        total, pace = self._fixed["total"], (now - self._measured_from) / _MEASURED
        if total is None or total <= iteration:
            return
        left = pace * (total - iteration)
        length = f"{left / 3600:.1f} hours" if left >= 5400 else f"{left / 60:.1f} minutes"
        print(
            f"About {length} of training left at {pace:.3g} s per iteration (mean of {_MEASURED}), snapshots and metrics not "
            f"counted.",
            flush=True,
        )

    def _write(self, iteration: int, now: float) -> None:
        assert self._path is not None
        self._written = now
        trained = iteration - (self._first or 0)
        pace = (now - self._begin) / trained if trained else None
        status = {"iteration": iteration, **self._fixed, "sec_per_iteration": pace, "time": time.time()}
        with tolerate_write_failure(str(self._path)), whole_file(self._path) as file:
            file.write(json.dumps(status).encode())
