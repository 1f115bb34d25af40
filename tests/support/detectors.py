"""A feature network for metrics, without meaning."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["FEATURES", "Tiny", "write_detector"]

FEATURES = 24


class Tiny(torch.nn.Module):
    """Random linear features of an image, and probabilities, by the call convention of NVIDIA's detectors."""

    def __init__(self, features: int, seed: int = 0, scale: float = 1):
        super().__init__()
        numbers = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn([3 * 16 * 16, features], generator=numbers) / 1000 * scale)

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(img.float(), [16, 16])
        features = small.flatten(1) @ self.weight
        return features if return_features else features.softmax(dim=1)


def write_detector(path: Path, features: int = FEATURES, seed: int = 0, scale: float = 1) -> Path:
    torch.jit.script(Tiny(features, seed, scale).eval()).save(str(path))
    return path
