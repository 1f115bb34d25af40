"""``regan-ext metrics run``: metrics of a snapshot, outside of training, by the code that measures it during training."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

import click

from ..data.decoding import Unreadable
from ..hosts import stylegan2_ada
from ..hosts.detectors import DETECTORS, torchscript_in_place_of
from ..runs.metric import metric_file, points_of
from ..support.errors import UserError
from ..support.reading import mapping, read_lines
from ..support.text import echo
from .check import check_settings, reference_of
from .content import read_content
from .install import install
from .prepare import Prepared, Wanted, absolute, prepare
from .protocol import Protocol
from .registry import parse, register
from .settings import MetricSettings

__all__ = ["Measurement", "run", "run_all"]


@dataclass(frozen=True)
class Measurement:
    """What was asked for.

    Args:
        wanted: snapshot and images.
        metrics: their names.
        save: whether results are added to the metric-*.jsonl beside the snapshot.
    """

    wanted: Wanted
    metrics: Tuple[str, ...]
    save: bool


def run(measurement: Measurement) -> None:
    """Compute the metrics one after the other and print a JSON line for each, as the host does.

    Every metric begins from the seed, so that its value does not depend on those before it.

    Raises:
        UserError: something is wrong with the options, the snapshot or the data; nothing was computed.
        click.ClickException: a metric failed, or its result, which has been printed, cannot be saved.
    """
    prepared, metric_main, _ = _set_up(measurement)
    for name in measurement.metrics:
        _report(measurement, name, prepared, metric_main)


def run_all(measurement: Measurement, series: Sequence[Path]) -> None:
    """The same for all snapshots of a run, oldest first. What lies beside them with the same protocol is printed as it is.

    Args:
        measurement: with one of them, which is opened first.
        series: the snapshots.

    Raises:
        UserError: as ``run`` for the snapshot of ``measurement``.
        click.ClickException: some were not measured; each has been told, and the others are.
    """
    first, metric_main, settings = _set_up(measurement)
    protocols = {name: _expected_protocol(name, settings, first) for name in measurement.metrics}
    failed = 0
    for snapshot in series:
        here = replace(measurement, wanted=replace(measurement.wanted, snapshot=snapshot))
        prepared = first if snapshot == measurement.wanted.snapshot else None
        try:
            for name in measurement.metrics:
                line = _known_line(snapshot, name, protocols[name], measurement.wanted.seed)
                if line is not None:
                    echo(line)
                    continue
                if prepared is None:
                    prepared = prepare(here.wanted)
                _report(here, name, prepared, metric_main)
        except click.ClickException as err:
            echo(f"Error: {err.format_message()}", err=True)
            failed += 1
    if failed:
        raise click.ClickException(f"{failed} of {len(series)} snapshots were not measured")


def _set_up(measurement: Measurement) -> Tuple[Prepared, Any, MetricSettings]:
    """The snapshot, and the host's module metric_main made fit to measure it, once all has been checked."""
    wanted = measurement.wanted
    if not measurement.metrics:
        raise UserError("--metrics: name one at least, such as fid5k_full")
    settings = MetricSettings(
        absolute(wanted.metricdata), absolute(wanted.detector), names=measurement.metrics, network=wanted.which
    )
    prepared = prepare(wanted)
    metric_main = importlib.import_module("metrics.metric_main")
    register(metric_main, measurement.metrics)
    unknown = [name for name in measurement.metrics if not metric_main.is_valid_metric(name)]
    if unknown:
        known = ", ".join(metric_main.list_valid_metrics())
        raise UserError(f"--metrics: {unknown[0]} is not one of {known}, nor one of them with another number")
    construct = sys.modules["dnnlib"].util.construct_class_by_name
    check_settings(settings, prepared.dataset_kwargs, construct, counted=True, flavour=prepared.flavour)
    install(metric_main, settings)
    return prepared, metric_main, settings


def _report(measurement: Measurement, name: str, prepared: Prepared, metric_main: Any) -> None:
    """Measure one metric, print its line, and save it where that was asked for."""
    snapshot = measurement.wanted.snapshot.absolute()
    folder = str(snapshot.parent) if measurement.save else None
    result = _measure(metric_main, name, prepared, measurement.wanted)
    try:
        metric_main.report_metric(result, run_dir=folder, snapshot_pkl=str(snapshot))
    except OSError as err:
        if folder is None:
            raise
        raise click.ClickException(f"--save: metric-{name}.jsonl in {folder}: {err.strerror or err}") from err


def _measure(metric_main: Any, name: str, prepared: Prepared, wanted: Wanted) -> Any:
    import numpy as np
    import torch

    np.random.seed(wanted.seed % 2**32)
    torch.manual_seed(wanted.seed)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the host tells meanwhile; stdout is for the results
            result = metric_main.calc_metric(
                metric=name,
                G=prepared.generator,
                G_kwargs=prepared.G_kwargs,
                dataset_kwargs=prepared.dataset_kwargs,
                num_gpus=1,
                rank=0,
                device=prepared.device,
            )
    except Exception as err:
        said = (str(err).splitlines() or [""])[0][:200]
        raise click.ClickException(f"{name} failed ({type(err).__name__}: {said}){_remedy(err)}") from err
    result["protocol"]["seed"] = wanted.seed
    return result


def _remedy(err: BaseException) -> str:
    """What to do about a detector that cannot be downloaded."""
    import requests

    missing = isinstance(err, requests.exceptions.RequestException)
    name = next((name for name, known in DETECTORS.items() if known.name in str(err)), "inception")
    return f"; without network access: regan-ext metrics fetch {name} --from=FILE" if missing else ""


def _expected_protocol(name: str, settings: MetricSettings, prepared: Prepared) -> Optional[Mapping[str, Any]]:
    """The protocol that a measurement of a metric would have, but for the seed; None where that is not known before: of a
    metric of none of the families, or with a detector that cannot be had."""
    metric = parse(name)
    if metric is None:
        return None
    dnnlib = sys.modules["dnnlib"]
    noted = Protocol(settings.network, prepared.G_kwargs)
    noted.generated = metric.generated
    of_host = (prepared.flavour or stylegan2_ada.FLAVOUR).detectors.format(DETECTORS[metric.kind.detector].name)
    noted.detector_url = settings.detector or torchscript_in_place_of(of_host) or of_host
    try:
        if metric.kind.compares:
            training = prepared.dataset_kwargs if metric.against == "train" else {**prepared.dataset_kwargs, "max_size": None}
            reference = reference_of(settings, metric.against, training)
            content = read_content(Path(reference["path"]), Path(dnnlib.make_cache_dir_path("gan-metrics")))
            noted.compared_with(reference, len(dnnlib.util.construct_class_by_name(**reference)), content)
        return noted.to_dict(dnnlib.util.open_url)
    except (OSError, zipfile.BadZipFile, ValueError, Unreadable, UserError):  # the measurement itself says what is wrong
        return None


def _known_line(snapshot: Path, name: str, protocol: Optional[Mapping[str, Any]], seed: int) -> Optional[str]:
    """The last line beside a snapshot that has the metric's values by the same protocol; None without one. Lines that were
    written in training have no seed, and count."""
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
