"""What was asked for about metrics: values that reach every process of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

__all__ = ["MetricSettings"]


@dataclass(frozen=True)
class MetricSettings:
    """What metrics compare with what, and when.

    Args:
        data: zip or folder of the images to compare with; None = the training images.
        detector: TorchScript file of the feature network; None = the host's own.
        every: compute metrics at every so many snapshots, and at the end.
        names: the metrics that were asked for.
        network: name of the network that is measured, as a result line tells it.
    """

    data: Optional[str] = None
    detector: Optional[str] = None
    every: int = 1
    names: Tuple[str, ...] = ()
    network: str = "G_ema"
