"""Where a run stands, in a small file that others may read while it trains."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Optional

from .hook import Hook, Training

__all__ = ["STATUS_FILE", "Progress"]

STATUS_FILE = "regan-status.json"


class Progress(Hook):
    """Writes ``regan-status.json`` into the run folder on rank 0, whole or not at all.

    Fields: iteration (done so far), total (iterations of the run), batch_size, sec_per_iteration (mean since the start),
    time (seconds since the epoch), pid.

    Args:
        every: least number of seconds between two writes.
    """

    def __init__(self, every: float = 0.5):
        self._every = every
        self._path: Optional[Path] = None
        self._fixed: Dict[str, Any] = {}
        self._begin = self._written = 0.0
        self._first: Optional[int] = None

    def start(self, training: Training) -> None:
        if training.rank == 0 and training.run_dir is not None:
            self._path = Path(training.run_dir) / STATUS_FILE
        self._fixed = {"total": training.total_iterations, "batch_size": training.batch_size, "pid": os.getpid()}

    def on_iteration(self, iteration: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._begin = iteration, now
        if self._path is not None and now - self._written >= self._every:
            self._write(iteration, now)

    def on_tick(self) -> None:
        self._written = 0.0  # a tick's maintenance is over: say so at once

    def _write(self, iteration: int, now: float) -> None:
        assert self._path is not None
        self._written = now
        trained = iteration - (self._first or 0)
        pace = (now - self._begin) / trained if trained else None
        status = {"iteration": iteration, **self._fixed, "sec_per_iteration": pace, "time": time.time()}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(status), encoding="utf-8")
        os.replace(temporary, self._path)
