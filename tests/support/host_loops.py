"""Loops that are called as a host's is, for what reads its variables."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Callable, Dict

from training_hooks.nvidia.host_loop import HostLoop
from training_hooks.nvidia.seams import HookedLoss
from training_hooks.observers.best import keep_best

# What a host's loop finds in its module, and a loss in its own.
training_stats = types.SimpleNamespace(report0=lambda name, value: value)
dnnlib = types.SimpleNamespace(
    util=types.SimpleNamespace(construct_class_by_name=lambda class_name, **given: class_name(**given))
)


def end_tick(snapshot: Path, metrics: Dict[str, float], images: int, kind: str = "dense") -> None:
    """Let the best of ``metrics`` be kept, as at the end of a host's tick."""

    def training_loop(snapshot_pkl: str, stats_metrics: Dict[str, float], cur_nimg: int) -> None:
        keep_best(HostLoop.running(), kind)

    training_loop(str(snapshot), metrics, images)


def hooked_loss(inner: Callable[..., Any], *hooks: str, **networks: Any) -> HookedLoss:
    """A host's loss as the seams construct it.

    Args:
        inner: class of the loss, which lies in a module with ``training_stats``.
        hooks: dotted names of the hooks' classes.
        networks: "G", "D" and "G_ema" of the loop.
    """

    def training_loop(batch_size: int, total_kimg: int, G: Any = None, D: Any = None, G_ema: Any = None) -> HookedLoss:
        return HookedLoss({"class_name": inner}, [{"class_name": name} for name in hooks])

    return training_loop(batch_size=4, total_kimg=1, **networks)
