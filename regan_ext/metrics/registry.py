"""More metrics for the host's own code: the same computations with other numbers of generated images and other references.

A name such as ``fid5k_full`` is the host's ``fid50k_full`` with 5000 generated images. What the last part says is which real
images are compared with:

full   the images of --metricdata, else of all of --data
train  the images that are trained on, also where there is --metricdata
test   the images of --metricdata, which has to be given

The kinds of metrics are rows of ``training_hooks.nvidia.metrics``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Dict, Optional, Sequence

from training_hooks.nvidia.metrics import KINDS, Kind

__all__ = ["STANDARD", "Metric", "parse", "register"]

STANDARD = ("fid5k_full", "kid5k_full", "pr5k3_full", "fid10k_test", "is10k")


@dataclass(frozen=True)
class Metric:
    """A metric that can be computed with any number of images.

    Args:
        kind: what it is.
        generated: number of images that are generated.
        against: "full", "train" or "test"; one that compares with nothing has "full".
    """

    kind: Kind
    generated: int
    against: str


def parse(name: str) -> Optional[Metric]:
    """The metric of that name, or None where it is none of these."""
    match = re.fullmatch(r"([a-z]+)([1-9]\d*)k(\d*)(?:_(full|train|test))?", name)
    kind = KINDS.get(match[1]) if match else None
    if not match or kind is None or kind.compute is None or match[3] != kind.suffix or bool(match[4]) != kind.compares:
        return None
    return Metric(kind, 1000 * int(match[2]), match[4] or "full")


def register(metric_main: ModuleType, names: Sequence[str] = ()) -> None:
    """Make the host know ``STANDARD`` and those of ``names`` that can be parsed. What it knows already stays its own."""
    for name in (*STANDARD, *names):
        metric = parse(name)
        if metric is not None and not metric_main.is_valid_metric(name):
            function = _computing(metric_main, name, metric)
            function.__name__ = name
            metric_main.register_metric(function)


def _computing(metric_main: Any, name: str, metric: Metric) -> Callable[[Any], Dict[str, float]]:
    """The function that the host calls."""

    def function(opts: Any) -> Dict[str, float]:
        opts.against = metric.against
        opts.dataset_kwargs.update(xflip=False)
        if metric.against != "train":
            opts.dataset_kwargs["max_size"] = None
        assert metric.kind.compute is not None  # as ``parse`` has seen
        values = metric.kind.compute(metric_main, opts, metric.generated)
        return {name + part: value for part, value in zip(metric.kind.parts, values)}

    return function
