"""A feature network for handwritten digits, small enough to train anywhere in seconds.

NVIDIA's Inception network has to be downloaded and was trained on photographs. This one is trained on the 1797 digits that
scikit-learn carries (8x8 pixels, scaled to 32x32 as ``regan-ext data prepare`` does), from a fixed seed, on one thread of the
CPU. It is called as the hosts call theirs: uint8 images [N, 3, H, W], with ``return_features`` or ``no_output_bias``.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from training_hooks.core.files import whole_file

from ..data.layouts.digits import load

__all__ = ["DigitClassifier", "Training", "digit_images", "train_detector"]

_SIDE = 32  # pixels


class DigitClassifier(nn.Module):
    """Three convolutions and two layers on top; ``features`` numbers of the last but one are what metrics compare.

    Those are taken after a leaky ReLU, so that none of them is the same for all images, and are scaled to mean 0 and
    variance 1 over the digits, so that a distance of one means the same in all of them.
    """

    def __init__(self, features: int = 64):
        super().__init__()
        self.resolution = _SIDE
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * (_SIDE // 8) ** 2, features), nn.LeakyReLU(0.2)),
        )
        self.head = nn.Linear(features, 10)
        self.scale = nn.BatchNorm1d(features, affine=False)  # its averages are set once, when training is over

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        """Features [N, 64], or the ten probabilities [N, 10], of uint8 images [N, C, H, W]."""
        grey = img.to(torch.float32).mean(dim=1, keepdim=True)
        if grey.shape[2] != self.resolution or grey.shape[3] != self.resolution:
            size = [self.resolution, self.resolution]
            grey = torch.nn.functional.interpolate(grey, size=size, mode="bilinear", align_corners=False, antialias=True)
        features = self.body(grey / 127.5 - 1)
        if return_features:
            return self.scale(features)
        logits = torch.nn.functional.linear(features, self.head.weight) if no_output_bias else self.head(features)
        return logits.softmax(dim=1)


@dataclass(frozen=True)
class Training:
    """How the classifier is trained. The defaults are those of the published numbers."""

    seed: int = 0
    epochs: int = 10
    batch: int = 64
    lr: float = 3e-3
    folds: int = 5


def digit_images() -> Tuple[Tensor, Tensor]:
    """All digits as uint8 [1797, 1, 32, 32], scaled as in the demo's data set, and their classes.

    Raises:
        click.ClickException: scikit-learn is missing.
    """
    from PIL import Image

    digits, scaled = load(), []
    for pixels in digits.images:
        scaled.append(np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(scaled)[:, None]), torch.from_numpy(digits.target.astype(np.int64))


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, and random numbers from ``seed``; both are put back afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over several threads round differently
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _fit(images: Tensor, classes: Tensor, training: Training) -> DigitClassifier:
    with _reproducible(training.seed):
        network = DigitClassifier()
        optimizer = torch.optim.Adam(network.parameters(), lr=training.lr)
        steps = training.epochs * -(-len(images) // training.batch)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for _ in range(training.epochs):
            for chosen in torch.randperm(len(images)).split(training.batch):
                logits = network.head(network.body(images[chosen].float() / 127.5 - 1))
                loss = torch.nn.functional.cross_entropy(logits, classes[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
        network.eval().requires_grad_(False)
        found = network.body(images.float() / 127.5 - 1)
        seen = {"running_mean": found.mean(dim=0), "running_var": found.var(dim=0), "num_batches_tracked": torch.tensor(0)}
        network.scale.load_state_dict(seen)
        return network


def _right(network: DigitClassifier, images: Tensor, classes: Tensor) -> int:
    with torch.no_grad():
        return int((network(images).argmax(dim=1) == classes).sum())


def train_detector(path: Path, training: Training) -> "dict[str, object]":
    """Train the classifier and write it as TorchScript, whole or not at all.

    Its accuracy on digits that it has not seen is measured on as many other networks as there are folds, each trained the
    same way without one of them; the network that is written has seen all digits.

    Args:
        path: the TorchScript file.
        training: settings.

    Returns:
        ``held_out_accuracy`` over all folds, ``training_accuracy`` of the written network, ``images`` and the settings.

    Raises:
        click.ClickException: scikit-learn is missing.
        OSError: the file cannot be written.
    """
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    images, classes = digit_images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(training.seed))
    right = 0
    for fold in range(training.folds):
        held_out = order[fold :: training.folds]
        rest = torch.ones(len(images), dtype=torch.bool)
        rest[held_out] = False
        network = _fit(images[rest], classes[rest], training)
        right += _right(network, images[held_out], classes[held_out])
    network = _fit(images, classes, training)
    facts = {
        "images": len(images),
        "held_out_accuracy": round(right / len(images), 4) if training.folds else None,
        "training_accuracy": round(_right(network, images, classes) / len(images), 4),
        **asdict(training),
    }
    content = io.BytesIO()  # a file's name would become part of its content
    torch.jit.save(torch.jit.script(network), content, _extra_files={"training.json": json.dumps(facts).encode()})
    with whole_file(path) as file:
        file.write(content.getvalue())
    return facts
