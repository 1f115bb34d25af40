"""More metrics for the host's own code: the same computations with other numbers of generated images and other references.

A family is a pattern of names: ``fid5k_full`` is the host's ``fid50k_full`` with 5000 generated images. What the last part
says is which real images are compared with:

full   the images of --metricdata, else of all of --data
train  the images that are trained on, also where there is --metricdata
test   the images of --metricdata, which has to be given
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..runs.metric import PARTS

__all__ = ["STANDARD", "Metric", "fewest_images", "parse", "register"]

STANDARD = ("fid5k_full", "kid5k_full", "pr5k3_full", "fid10k_test", "is10k")
_FAMILIES = re.compile(r"(?:(?P<kind>fid|kid)(?P<n>\d+)k|pr(?P<pr>\d+)k3)_(?P<against>full|train|test)|is(?P<score>\d+)k")

# Fewer real images give no number: kernel distances leave out the pairs of an image with itself, and a neighbourhood of
# precision and recall reaches to the third nearest other image. To a Fréchet distance one image is a covariance of zero.
_FEWEST = {"kid": 2, "pr": 4}


@dataclass(frozen=True)
class Metric:
    """A metric of a family.

    Args:
        kind: "fid", "kid", "pr" or "is".
        generated: how many images are generated.
        against: "full", "train" or "test"; inception scores compare with nothing and have "full".
    """

    kind: str
    generated: int
    against: str


def parse(name: str) -> Optional[Metric]:
    """The metric of that name, or None where it is of none of the families."""
    match = _FAMILIES.fullmatch(name)
    if match is None:
        return None
    kind = match["kind"] or ("pr" if match["pr"] else "is")
    generated = 1000 * int(match["n"] or match["pr"] or match["score"])
    return Metric(kind, generated, match["against"] or "full") if generated else None


def fewest_images(name: str) -> int:
    """How many real images the metric of that name needs, be it the host's own or of a family; 1 for those it does not know."""
    return next((fewest for kind, fewest in _FEWEST.items() if name.startswith(kind)), 1)


def register(metric_main: ModuleType, names: Sequence[str] = ()) -> None:
    """Make the host know ``STANDARD`` and those of ``names`` that are of a family. What it knows already stays its own."""
    for name in (*STANDARD, *names):
        metric = parse(name)
        if metric is not None and not metric_main.is_valid_metric(name):
            function = _computing(metric_main, name, metric)
            function.__name__ = name
            metric_main.register_metric(function)


def _computing(metric_main: Any, name: str, metric: Metric) -> Callable[[Any], Dict[str, float]]:
    """The function that the host calls. All settings but the number of images are those of its own 50k metrics."""
    compute: Dict[str, Callable[[Any], List[float]]] = {
        "fid": lambda opts: [metric_main.frechet_inception_distance.compute_fid(opts, max_real=None, num_gen=metric.generated)],
        "kid": lambda opts: [
            metric_main.kernel_inception_distance.compute_kid(
                opts, max_real=1000000, num_gen=metric.generated, num_subsets=100, max_subset_size=1000
            )
        ],
        "pr": lambda opts: metric_main.precision_recall.compute_pr(
            opts, max_real=200000, num_gen=metric.generated, nhood_size=3, row_batch_size=10000, col_batch_size=10000
        ),
        "is": lambda opts: metric_main.inception_score.compute_is(opts, num_gen=metric.generated, num_splits=10),
    }
    parts = PARTS.get(metric.kind, [""])

    def function(opts: Any) -> Dict[str, float]:
        opts.against = metric.against
        opts.dataset_kwargs.update(xflip=False)
        if metric.against != "train":
            opts.dataset_kwargs.update(max_size=None)
        return {name + part: value for part, value in zip(parts, compute[metric.kind](opts))}

    return function
