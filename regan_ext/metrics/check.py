"""What can be known to be wrong with the metrics of a run before it begins."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from training_hooks.nvidia.metrics import kind_of

from ..hosts.flavour import Flavour
from ..support.errors import UserError
from .registry import parse
from .settings import MetricSettings

__all__ = [
    "FACTS",
    "check_data",
    "check_detector",
    "check_place",
    "check_settings",
    "reference_of",
    "too_few",
    "tried_detector",
]

FACTS = "detector.json"  # among a detector's extra files, where it is one of ours: which network it is


def check_settings(
    settings: MetricSettings,
    dataset_kwargs: Dict[str, Any],
    construct: Callable[..., Any],
    counted: bool = False,
    flavour: Optional[Flavour] = None,
) -> None:
    """Refuse what cannot be measured.

    Args:
        settings: what was asked for.
        dataset_kwargs: the host's arguments of the training set.
        construct: the host's ``construct_class_by_name``.
        counted: whether metrics are refused too that have no value for as few real images as there are.
        flavour: family of the host; None = one whose D is all its own.

    Raises:
        UserError: a metric without the images that it compares with; images that are of another size, or none; a file that is
            no detector, or is the network that the host's D is made of; the first metric with too few images.
    """
    metrics = {name: parse(name) for name in settings.names}
    for name, metric in metrics.items():
        if metric is not None and metric.against == "test" and settings.data is None:
            raise UserError(f"--metrics={name} compares with images that were not trained on; give them with --metricdata")
    if settings.data is not None:
        check_data(settings.data, dataset_kwargs, construct)
    if settings.detector is not None:
        check_detector(Path(settings.detector), settings.names, dataset_kwargs.get("resolution") or 64)
        _check_judge(Path(settings.detector), flavour)
    for name, metric in metrics.items() if counted else ():
        against = "full" if metric is None else metric.against
        reference = reference_of(settings, against, dataset_kwargs)
        fault = too_few(name, reference if against == "train" else {**reference, "max_size": None}, construct)
        if fault is not None:
            raise UserError(f"--metrics={fault}")


def too_few(name: str, reference: Mapping[str, Any], construct: Callable[..., Any]) -> Optional[str]:
    """Why a metric cannot be measured against the data set of ``reference``: too few images; None where they are enough."""
    kind = kind_of(name)
    fewest = 1 if kind is None else kind.fewest
    found = fewest if fewest == 1 else len(construct(**reference))
    if found >= fewest:
        return None
    return f"{name} needs at least {fewest} real images, and {reference.get('path')} has {found}"


def reference_of(settings: MetricSettings, against: str, dataset_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of the data set that a metric compares with.

    Args:
        settings: what was asked for.
        against: "full", "train" or "test", as in ``Metric``.
        dataset_kwargs: the host's arguments of the training set, as the metric has changed them.

    Raises:
        ValueError: the metric compares with a test set, and there is none.
    """
    if against == "train" or (against == "full" and settings.data is None):
        return dataset_kwargs
    if settings.data is None:
        raise ValueError("this metric compares with the images of --metricdata, which was not given")
    return {**dataset_kwargs, "path": settings.data, "max_size": None, "xflip": False, "use_labels": False}


def check_place(option: str, path: str, advice: str = "") -> None:
    """Refuse a path that can hold no images. The opening of a pipe would wait for its writer.

    Args:
        option: what it was given with.
        path: of a folder or a zip.
        advice: what to do where there is none.

    Raises:
        UserError: there is nothing, or neither a folder nor a file.
    """
    if not os.path.exists(path):
        raise UserError(f"{option}: {path} does not exist{advice}")
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise UserError(f"{option}: {path} is neither a folder nor a file")


def check_data(
    data: str,
    dataset_kwargs: Dict[str, Any],
    construct: Callable[..., Any],
    option: str = "--metricdata",
    use_labels: bool = False,
) -> None:
    """Refuse images that are not of the size and the channels of the training set.

    Args:
        data: zip or folder of them.
        dataset_kwargs: the host's arguments of the training set.
        construct: constructs what its arguments name.
        option: that named them.
        use_labels: whether they need the classes of the training set too, where that has some.

    Raises:
        UserError: they are not.
    """
    check_place(option, data)
    plain = {"path": data, "max_size": None, "xflip": False, "resolution": None}
    plain["use_labels"] = use_labels and dataset_kwargs.get("use_labels", False)
    try:
        found = construct(**{**dataset_kwargs, **plain})
        theirs = found.label_dim if plain["use_labels"] else 0
    except (OSError, zipfile.BadZipFile, ValueError, AssertionError, IndexError) as err:
        raise UserError(f"{option}: {data} is no data set of the host ({err or type(err).__name__})") from err
    own = construct(**dataset_kwargs)
    if list(found.image_shape) != list(own.image_shape):
        shapes = ("x".join(map(str, [*shape[1:], shape[0]])) for shape in (found.image_shape, own.image_shape))
        raise UserError(
            "{}: {} has images of {} (height, width, channels), the training set of {}".format(option, data, *shapes)
        )
    if plain["use_labels"] and theirs != own.label_dim:
        raise UserError(f"{option}: {data} has labels of {theirs} classes, the training set of {own.label_dim}")


def check_detector(path: Path, names: Sequence[str] = (), side: int = 64) -> None:
    """Refuse a file that cannot take the place of the host's feature network, by calling it once.

    Args:
        path: the file.
        names: metrics that will use it.
        side: of the images that it will be given, in pixels.

    Raises:
        UserError: it is no TorchScript file, or gives no features, or no probabilities where ``names`` has an inception score.
    """
    if not path.is_file():
        raise UserError(f"--metric-detector: {path} does not exist")
    try:
        detector, _ = tried_detector(path, side)
    except ValueError as err:
        raise UserError(f"--metric-detector: {path} {err}") from err
    arguments = [argument.name for argument in detector.forward.schema.arguments]
    scores = [name for name in names if name.startswith("is")]
    if scores and "no_output_bias" not in arguments:
        raise UserError(f"--metric-detector: {path} gives no probabilities (no_output_bias=True), which {scores[0]} needs")


def _check_judge(path: Path, flavour: Optional[Flavour]) -> None:
    """Refuse the network by which the host's D judges: its generator is trained to please it."""
    with zipfile.ZipFile(path) as file:
        notes = [name for name in file.namelist() if name.endswith(f"/extra/{FACTS}")]
        network = json.loads(file.read(notes[0]))["network"] if notes else None
    if flavour is not None and network is not None and network == flavour.judge:
        raise UserError(
            f"--metric-detector: {path} is {network}, which the discriminator of {flavour.name} is made of: what is trained to "
            "please it looks better by it than it is; take Inception (regan-ext metrics fetch inception)"
        )


def tried_detector(path: Path, side: int = 64) -> Tuple[Any, Any]:
    """A feature network on the CPU, and the features that it gives of two black images of ``side`` pixels.

    Raises:
        ValueError: it gives none; the message says why, to follow its name.
    """
    import torch

    if not zipfile.is_zipfile(path):
        raise ValueError("is not a TorchScript file, or is not whole")
    try:
        detector: Any = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as err:
        raise ValueError("is not a TorchScript file, or is not whole") from err
    try:
        with torch.no_grad():
            features = detector(torch.zeros([2, 3, side, side], dtype=torch.uint8), return_features=True)
    except RuntimeError as err:
        said = [line.strip() for line in str(err).splitlines() if line.strip()] or [""]
        raise ValueError(f"does not take uint8 images [N, 3, H, W] and return_features=True ({said[0][:160]})") from err
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 2:
        raise ValueError("gives no features [N, F] with return_features=True")
    return detector, features
