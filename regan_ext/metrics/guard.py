"""A failing metric is no reason to lose a training run.

Several processes compute a metric together: each waits in collectives for what the others send, so one that fails alone would
leave the rest waiting for it. Therefore the processes agree, before each collective inside a metric and once at its end, that
none has failed. A process that fails takes part in the agreement that the others come to next, and all of them leave the metric
there. What this cannot mend is a process that fails inside a collective, hangs, or is killed.
"""

from __future__ import annotations

import contextlib
import traceback
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence

from training_hooks.nvidia.host_loop import HostLoop

from ..support.text import echo

__all__ = ["guard_metrics"]

# Those of torch.distributed that may be called inside a metric; the hosts' own metrics use the first two.
_COLLECTIVES = ("broadcast", "barrier", "all_reduce", "all_gather", "gather", "reduce", "scatter", "all_to_all")


class _OtherProcessFailed(RuntimeError):
    """Another process of this run failed in the metric; its own message tells why."""


def guard_metrics(metric_main: ModuleType) -> None:
    """Let ``calc_metric`` of the host report what went wrong instead of raising it, on all processes of a run alike.

    The result then has no values and an ``error``, which the host writes into metric-*.jsonl.
    """
    plain = vars(metric_main)["calc_metric"]
    names: Dict[str, List[str]] = {}  # metric → names of its values, once it has given some

    def calc_metric(metric: str, **kwargs: Any) -> Any:
        try:
            with _agreement(kwargs.get("num_gpus", 1), kwargs.get("device")):
                result = plain(metric=metric, **kwargs)
        except Exception as err:
            # whatever a metric can fail of: no network, no memory, no disk; training does not depend on it
            if not isinstance(err, _OtherProcessFailed):
                traceback.print_exc()
                echo(f"Metric {metric} failed ({type(err).__name__}: {err}); training goes on.")
            _forget(names.get(metric, []))
            # All processes obtain the detector again: the host lets them wait for one another only where it is not cached.
            getattr(vars(metric_main).get("metric_utils"), "_feature_detector_cache", {}).clear()
            easy = vars(metric_main)["dnnlib"].EasyDict
            return easy(metric=metric, results=easy(), error=f"{type(err).__name__}: {err}")
        given = list(result["results"])
        _forget([name for name in names.get(metric, []) if name not in given])  # a snapshot may be passed over
        names[metric] = given
        return result

    vars(metric_main)["calc_metric"] = calc_metric


def _forget(names: Sequence[str]) -> None:
    """Take a metric's values of an earlier snapshot out of those that the loop keeps: they are not this snapshot's."""
    loop = HostLoop.find()
    for name in names:
        if loop is not None:
            loop.metrics.pop(name, None)


@contextlib.contextmanager
def _agreement(num_processes: int, device: Any) -> Iterator[None]:
    """Let no process of a run go on with the block once another has failed in it."""
    if num_processes == 1:
        yield
        return
    import torch

    distributed = torch.distributed
    plain: Mapping[str, Callable[..., Any]] = {n: vars(distributed)[n] for n in _COLLECTIVES if n in vars(distributed)}

    def agree(failed: bool) -> None:
        flag = torch.tensor(float(failed), device=device)
        plain["all_reduce"](flag, distributed.ReduceOp.MAX)
        if float(flag) and not failed:
            raise _OtherProcessFailed("another process failed in this metric")

    def after_agreement(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            agree(failed=False)
            return collective(*args, **kwargs)

        return call

    vars(distributed).update({name: after_agreement(collective) for name, collective in plain.items()})
    try:
        yield
        agree(failed=False)
    except _OtherProcessFailed:
        raise
    except Exception:
        agree(failed=True)
        raise
    finally:
        vars(distributed).update(plain)
