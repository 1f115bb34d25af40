"""The kinds of metrics that the hosts know, and those that ``regan-ext`` adds numbers and references to: a row each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence

__all__ = ["KINDS", "Kind", "direction", "kind_of"]


@dataclass(frozen=True)
class Kind:
    """A kind of metric. Its name is the beginning of the names of its metrics.

    Args:
        better: which values are better, "higher" or "lower".
        parts: endings of the names of its values; the default is one value of the metric's own name.
        fewest: number of real images without which it has no number.
        detector: the host's feature network, "inception" or "vgg16".
        suffix: what follows the number of images in its names.
        compares: whether it compares with real images.
        compute: gives the values, in the order of ``parts``, of the host's module ``metric_main``, its options of a metric and
            the number of images to generate; None for a kind of the host's alone.
    """

    better: str
    parts: Sequence[str] = ("",)
    fewest: int = 1
    detector: str = "inception"
    suffix: str = ""
    compares: bool = True
    compute: Optional[Callable[[Any, Any, int], Sequence[float]]] = None


# All settings but the number of images are those of the host's own 50k metrics.
KINDS: Mapping[str, Kind] = {
    # To a Fréchet distance one image is a covariance of zero.
    "fid": Kind("lower", compute=lambda host, opts, n: [
        host.frechet_inception_distance.compute_fid(opts, max_real=None, num_gen=n)]),
    # Kernel distances leave out the pairs of an image with itself.
    "kid": Kind("lower", fewest=2, compute=lambda host, opts, n: [host.kernel_inception_distance.compute_kid(
        opts, max_real=1000000, num_gen=n, num_subsets=100, max_subset_size=1000)]),
    # A neighbourhood reaches to the third nearest other image.
    "pr": Kind("higher", ("_precision", "_recall"), fewest=4, detector="vgg16", suffix="3",
               compute=lambda host, opts, n: host.precision_recall.compute_pr(
                   opts, max_real=200000, num_gen=n, nhood_size=3, row_batch_size=10000, col_batch_size=10000)),
    "is": Kind("higher", ("_mean", "_std"), compares=False, compute=lambda host, opts, n: host.inception_score.compute_is(
        opts, num_gen=n, num_splits=10)),
    "ppl": Kind("lower", detector="vgg16"),
    "eqt": Kind("higher"),
    "eqr": Kind("higher"),
}  # fmt: skip


def kind_of(name: str) -> Optional[Kind]:
    """The kind of the metric, or of the value, of that name; None of one that is not known."""
    match = re.match("[a-z]+", name)
    return None if match is None else KINDS.get(match[0])


def direction(metric: str) -> Optional[str]:
    """Which values of a metric are better.

    Args:
        metric: name of the metric or of one of its values, such as fid50k_full or pr50k3_full_recall.

    Returns:
        "higher" for inception scores, precision, recall and equivariance, "lower" for distances, path lengths and standard
        deviations, None where it is not known.
    """
    kind = kind_of(metric)
    return "lower" if metric.endswith("_std") else None if kind is None else kind.better
