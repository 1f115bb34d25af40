"""What a feature network says of images, outside of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import torch

__all__ = ["Describe", "feature_function"]

Describe = Callable[[torch.Tensor], torch.Tensor]


def feature_function(detector: Path, device: Any) -> Describe:
    """The function that gives features, float32 [N, F] on the CPU, for uint8 images [N, C, H, W], grey or in colour.

    Args:
        detector: TorchScript file, as ``check_detector`` takes it.
        device: where to compute.
    """
    network: Any = torch.jit.load(str(detector), map_location=device).eval()

    def features(images: torch.Tensor) -> torch.Tensor:
        colour = images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images
        with torch.no_grad():
            found: torch.Tensor = network(colour.to(device), return_features=True)
        return found.float().cpu()

    return features
