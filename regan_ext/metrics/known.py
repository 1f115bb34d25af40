"""What has been measured already: lines of metric-*.jsonl that another measurement would only repeat."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from pathlib import Path
from typing import Any, Mapping, Optional

from ..runs.metric import metric_file, points_of
from ..support.reading import mapping, read_lines
from .check import reference_of
from .content import read_content
from .fetch import DETECTORS
from .prepare import Prepared
from .protocol import Protocol
from .registry import parse
from .settings import MetricSettings

__all__ = ["expected_protocol", "known_line"]


def expected_protocol(name: str, settings: MetricSettings, prepared: Prepared) -> Optional[Mapping[str, Any]]:
    """The protocol that a measurement of a metric would have, but for the seed.

    Args:
        name: of the metric.
        settings: what it compares with.
        prepared: the generator and its data set.

    Returns:
        None where that is not known before: of a metric of none of the families, or with a detector that cannot be had.
    """
    metric = parse(name)
    if metric is None:
        return None
    dnnlib = sys.modules["dnnlib"]
    noted = Protocol(settings.network, prepared.G_kwargs)
    noted.generated = metric.generated
    noted.detector_url = settings.detector or DETECTORS[metric.kind.detector].url
    try:
        if metric.kind.compares:
            training = prepared.dataset_kwargs if metric.against == "train" else {**prepared.dataset_kwargs, "max_size": None}
            reference = reference_of(settings, metric.against, training)
            content = read_content(Path(reference["path"]), Path(dnnlib.make_cache_dir_path("gan-metrics")))
            noted.compared_with(reference, len(dnnlib.util.construct_class_by_name(**reference)), content)
        return noted.to_dict(dnnlib.util.open_url)
    except (OSError, zipfile.BadZipFile, ValueError):  # the measurement itself says what is wrong
        return None


def known_line(snapshot: Path, name: str, protocol: Optional[Mapping[str, Any]], seed: int) -> Optional[str]:
    """The last line beside a snapshot that has the metric's values by the same protocol; None without one.

    Args:
        snapshot: the network pickle.
        name: of the metric.
        protocol: as ``expected_protocol`` gives it.
        seed: of this measurement. Lines that were written in training have none, and count.
    """
    file = metric_file(snapshot.parent, name)
    if protocol is None or not file.is_file():
        return None
    for record in reversed(read_lines(file)[0]):
        measured = dict(mapping(record.get("protocol")))
        of_this = Path(str(record.get("snapshot_pkl"))).name == snapshot.name and measured.pop("seed", seed) == seed
        points = points_of(record)
        whole = bool(points) and all(math.isfinite(point.value) for point in points)
        if of_this and measured == protocol and whole:
            return json.dumps(record)
    return None
