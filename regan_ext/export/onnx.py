"""A generator as ONNX: latents and labels in, images out; checked against the network after writing."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import click
import numpy as np
import torch

from ..hosts.flavour import has_other_synthesis
from ..snapshots.open import Snapshot
from ..snapshots.sample import codes, draw, has_styles, image_channels, labels, latents
from ..support.errors import UserError

__all__ = ["TOLERANCE", "write_onnx"]

TOLERANCE = 1e-4  # largest difference of a pixel, images being in [-1, 1]
_BATCHES = (1, 3)
_FIXED = (1,)  # where the file is of one image at a time


class _Images(torch.nn.Module):
    """The generator with its options fixed to what the exporter can follow."""

    def __init__(self, generator: Any):
        super().__init__()
        self.generator = generator
        self.options = {"noise_mode": "const", "force_fp32": True} if has_styles(generator) else {}
        if not has_other_synthesis(generator):
            self.options["fused_modconv"] = False

    def forward(self, z: torch.Tensor, c: Optional[torch.Tensor] = None) -> Any:
        return self.generator(z, c, **self.options)


def _batches(generator: Any) -> Sequence[int]:
    """Numbers of images to try the file with. The layers of StyleGAN3 -t and -r group by image, which fixes the number."""
    return _FIXED if hasattr(getattr(generator, "synthesis", None), "input") else _BATCHES


def _inputs(generator: Any, batch: int, seed: int = 0) -> Dict[str, torch.Tensor]:
    """Latents, and labels where the network takes any."""
    classes = labels(generator, batch)
    return {"z": latents(generator, batch, [seed]), **({} if classes is None else {"c": classes})}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and its warnings about the host's code."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _export(generator: Any, inputs: Dict[str, torch.Tensor], path: Path) -> None:
    """Write the file. Every input's first dimension is the same unknown, or that of the inputs."""
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise UserError(f"--to=onnx needs PyTorch 2.5 or later, this is {torch.__version__}")
    batch = torch.export.Dim("batch", min=1)
    shapes = None if _batches(generator) == _FIXED else tuple({0: batch} for _ in inputs)
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                _Images(generator).eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["image"],
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
    except Exception as err:  # the exporter has its own exceptions, pages long
        raise click.ClickException(
            f"PyTorch {torch.__version__} cannot export this network to ONNX ({type(err.__cause__ or err).__name__})"
        ) from err
    program.save(str(path), external_data=False)


def _difference(generator: Any, path: Path) -> float:
    """Largest difference between the file in onnxruntime and the network in torch, over all batch sizes."""
    onnxruntime = importlib.import_module("onnxruntime")  # optional
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in _batches(generator):
        inputs = _inputs(generator, batch, seed=batch)
        (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        expected = draw(generator, codes(generator, inputs["z"], inputs.get("c"))).numpy()
        if found.shape != expected.shape:
            raise click.ClickException(f"the ONNX file gives images of shape {found.shape}, the network {expected.shape}")
        if not np.isfinite(found).all():
            return float("nan")
        largest = max(largest, float(np.abs(found - expected).max(initial=0)))
    return largest


def write_onnx(snapshot: Snapshot, path: Path, which: str) -> List[str]:
    """Export the network, with a free batch size where its layers allow that, then run the file. Returns what to tell the user.

    Raises:
        UserError: PyTorch is too old.
        click.ClickException: the file's images differ from the network's by more than ``TOLERANCE``.
    """
    generator = snapshot.network(which).eval()
    batches, size = _batches(generator), generator.img_resolution
    batch = "batch" if batches == _BATCHES else "1"
    inputs = _inputs(generator, 2 if batches == _BATCHES else 1)
    _export(generator, inputs, path)
    difference = _difference(generator, path)
    if not difference <= TOLERANCE:
        raise click.ClickException(
            f"the ONNX file's images differ from the network's by {difference:.1e}, more than {TOLERANCE:g}; it was removed"
        )
    shapes = ", ".join(f"{name} [{batch}, {value.shape[1]}]" for name, value in inputs.items())
    return [
        f"{which}: {shapes} -> image [{batch}, {image_channels(generator)}, {size}, {size}]",
        f"Largest difference from PyTorch, in onnxruntime at batch {' and '.join(map(str, batches))}: {difference:.1e}",
    ]
