"""What measuring a snapshot outside of training needs first: the host's modules, the generator, the images."""

from __future__ import annotations

import importlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from ..hosts import device as devices
from ..hosts.compat import fixes as compat
from ..hosts.flavour import Flavour
from ..snapshots.open import open_snapshot
from ..snapshots.sample import check_trunc, has_styles, image_channels
from ..support.errors import UserError
from .check import check_place

__all__ = ["Prepared", "Wanted", "absolute", "prepare"]


@dataclass(frozen=True)
class Wanted:
    """What the commands that measure a snapshot have in common. Paths are as they were given.

    Args:
        snapshot: the network pickle.
        data: the training images; None = where the snapshot says that they are.
        metricdata: images that were not trained on; None = none.
        detector: TorchScript file of a feature network; None = the command's default.
        which: "G_ema" or "G".
        trunc: truncation psi, 1 for none.
        seed: of latents, noise and labels.
        host: the checkout; None = as train finds it.
        trust: open the pickle without asking.
        device: "auto", "cpu" or "cuda".
    """

    snapshot: Path
    data: Optional[str]
    metricdata: Optional[str]
    detector: Optional[str]
    which: str
    trunc: float
    seed: int
    host: Optional[str]
    trust: bool
    device: str


@dataclass(frozen=True)
class Prepared:
    """A generator that can be measured.

    Args:
        generator: in evaluation mode, on the CPU.
        G_kwargs: what to call it with beside latents and labels.
        dataset_kwargs: the host's arguments of its training set.
        dataset: that data set.
        device: where to compute.
        flavour: family of the host; None for the embedded one.
    """

    generator: Any
    G_kwargs: Dict[str, Any]
    dataset_kwargs: Dict[str, Any]
    dataset: Any
    device: Any
    flavour: Optional[Flavour]


def prepare(wanted: Wanted) -> Prepared:
    """Open the snapshot and its data set.

    Raises:
        UserError: something is wrong with the options, the snapshot or the data.
    """
    import torch

    compat.prepare_imports()
    kind = devices.of_option(wanted.device)
    opened = open_snapshot(wanted.snapshot, wanted.host, wanted.trust)
    generator = opened.network(wanted.which).eval().requires_grad_(False)
    importlib.import_module("torch_utils.ops.grid_sample_gradfix")
    compat.apply(sys.modules, only=["sqrtm"])
    if kind == "cpu":
        devices.use_cpu([], 1)
    check_trunc(generator, wanted.trunc)
    if wanted.trunc != 1 and not bool(generator.mapping.w_avg.isfinite().all()):
        raise UserError(f"--trunc: the average style of {wanted.snapshot} is not finite, so it can only be measured without")
    kwargs = _dataset_kwargs(wanted, opened.data.get("training_set_kwargs"), generator)
    G_kwargs: Dict[str, Any] = {"force_fp32": True} if kind == "cpu" and has_styles(generator) else {}
    if wanted.trunc != 1:
        G_kwargs["truncation_psi"] = wanted.trunc
    return Prepared(generator, G_kwargs, kwargs, _dataset(kwargs, generator), torch.device(kind), opened.flavour)


def absolute(path: Optional[str]) -> Optional[str]:
    """An option's path as an absolute one."""
    return None if path is None else str(Path(path).absolute())


def _dataset_kwargs(wanted: Wanted, known: Any, generator: Any) -> Dict[str, Any]:
    kwargs: Dict[str, Any] = {"class_name": "training.dataset.ImageFolderDataset", "max_size": None}
    kwargs.update(known if isinstance(known, dict) else {})
    if wanted.data is not None:
        kwargs["path"] = wanted.data
    if "path" not in kwargs:
        raise UserError(f"{wanted.snapshot} does not say what it was trained on; give the images with --data")
    check_place("--data", str(kwargs["path"]), "" if wanted.data is not None else "; give the training images of this snapshot")
    sizes = {"path": absolute(str(kwargs["path"])), "resolution": generator.img_resolution}
    return {**kwargs, **sizes, "use_labels": generator.c_dim != 0, "xflip": False}


def _dataset(kwargs: Dict[str, Any], generator: Any) -> Any:
    construct = sys.modules["dnnlib"].util.construct_class_by_name
    path = kwargs["path"]
    try:
        dataset = construct(**kwargs)
        label_dim = dataset.label_dim
    except (OSError, zipfile.BadZipFile, ValueError, AssertionError, IndexError, KeyError) as err:
        raise UserError(f"--data: {path} cannot be read as a data set of {generator.img_resolution} pixels ({err})") from err
    if dataset.num_channels != image_channels(generator):
        raise UserError(f"--data: {path} has {dataset.num_channels} channels, the network {image_channels(generator)}")
    if label_dim != generator.c_dim:
        raise UserError(f"--data: {path} has {label_dim} classes, the network {generator.c_dim}")
    return dataset
