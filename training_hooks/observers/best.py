"""Keeps the best snapshot by each metric, of either kind, as a plain copy."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..core.best import is_better, is_candidate
from ..core.files import copy_whole, tolerate_write_failure, whole_file
from ..nvidia.host_loop import HostLoop
from ..nvidia.metrics import direction

__all__ = ["keep_best"]


def keep_best(loop: HostLoop, kind: str) -> None:
    """Copy the tick's snapshot where one of its metrics is the best so far of its kind: "sparse" or "dense", as the networks
    that are reconfigured are, G of two in turn.

    Writes ``network-best-<metric>-<kind>.pkl`` and a JSON file of the same name with metric, value, kimg, kind, snapshot. See
    ``training_hooks.core.best`` for what can be the best; of metrics without a known direction none is.
    """
    snapshot, kimg = loop.snapshot, loop.images / 1000
    if snapshot is None or not is_candidate(kimg):
        return
    for metric, value in loop.metrics.items():
        target = snapshot.with_name(f"network-best-{metric}-{kind}.pkl")
        note = target.with_suffix(".json")
        if not is_better(value, _noted(note), direction(metric)):
            continue
        content = {"metric": metric, "value": float(value), "kimg": kimg, "kind": kind, "snapshot": snapshot.name}
        with tolerate_write_failure(f"{target.name} (a copy of {snapshot.name})"):
            copy_whole(snapshot, target)
            with whole_file(note) as file:
                file.write(json.dumps(content).encode())


def _noted(note: Path) -> float:
    """The value of the best so far; NaN without any, and where the note cannot be read."""
    try:
        return float(json.loads(note.read_text(encoding="utf-8"))["value"])
    except (OSError, ValueError, LookupError, TypeError):
        return math.nan
