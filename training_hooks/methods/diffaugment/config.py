"""The settings of differentiable augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from ..setting import Config, setting

__all__ = ["NAMES", "DiffAugmentConfig"]

#: Augmentations that there are.
NAMES = ("color", "translation", "cutout")


@dataclass(frozen=True)
class DiffAugmentConfig(Config):
    """Settings of differentiable augmentation (Zhao et al., NeurIPS 2020).

    Args:
        policy: names of ``NAMES`` in the order in which they are applied, after the host's own augmentation.

    Raises:
        ValueError: an unknown name, or one twice.
    """

    policy: Tuple[str, ...] = setting(
        (), f"Differentiable augmentation: any of {','.join(NAMES)}.", choices=NAMES, flag="--DiffAugment", told="none"
    )
