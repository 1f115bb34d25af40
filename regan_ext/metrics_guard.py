"""A failing metric is no reason to lose a training run."""

from __future__ import annotations

import traceback
from types import ModuleType
from typing import Any

__all__ = ["guard_metrics"]


def guard_metrics(metric_main: ModuleType) -> None:
    """Let ``calc_metric`` of the host report what went wrong instead of raising it.

    The result then has no values and an ``error``, which the host writes into metric-*.jsonl. Only for runs of one process:
    a rank that skips what the others wait for would hang them.
    """
    plain = vars(metric_main)["calc_metric"]

    def calc_metric(metric: str, **kwargs: Any) -> Any:
        try:
            return plain(metric=metric, **kwargs)
        except Exception as err:
            # whatever a metric can fail of: no network, no memory, no disk; training does not depend on it
            traceback.print_exc()
            print(f"Metric {metric} failed ({type(err).__name__}: {err}); training goes on.", flush=True)
            easy = vars(metric_main)["dnnlib"].EasyDict
            return easy(metric=metric, results=easy(), error=f"{type(err).__name__}: {err}")

    vars(metric_main)["calc_metric"] = calc_metric
