"""Images that show the same with other pixels: encoded anew, scaled, sharpened. Found by small versions of them."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
from PIL import Image

__all__ = ["LIMIT", "NearCopies"]

LIMIT = 50_000  # images; every one is compared with every other
_SIDE = 16  # pixels of the small version
_STEPS = 8.0  # of 255, the RMS difference below which two small versions show the same
_LIGHT = 16.0  # the same for their means
_CORRELATION = 0.985  # above it; drawings on the same white differ little in levels and much in this
_ROWS = 256  # compared with all others at a time, which bounds memory


class NearCopies:
    """Takes images one by one, and then knows which of them are alike.

    A small version is 16x16 levels of grey, less their mean. Two are alike where they differ little in levels and correlate:
    photos of one motive do not, and neither do two drawings on the same white.
    """

    def __init__(self) -> None:
        self._names: List[str] = []
        self._small: List["np.ndarray[Any, Any]"] = []

    def add(self, name: str, image: Image.Image) -> None:
        """Take an RGB or grey image of any size."""
        if len(self._names) < LIMIT:
            small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
            self._names.append(name)
            self._small.append(np.asarray(small, dtype=np.uint8))

    def pairs(self) -> List[Tuple[str, str]]:
        """Names of two images that are alike, for every image but the first of its kind."""
        if len(self._names) < 2:
            return []
        small = np.stack(self._small).reshape(len(self._small), -1).astype(np.float32)
        means = small.mean(axis=1)
        small -= means[:, None]
        powers = (small**2).sum(axis=1)
        found: List[Tuple[str, str]] = []
        for start in range(0, len(small), _ROWS):
            rows = slice(start, min(start + _ROWS, len(small)))
            products = small[rows] @ small[: rows.stop].T
            sums = powers[rows, None] + powers[None, : rows.stop]
            alike = (sums - 2 * products < _STEPS**2 * small.shape[1]) & (2 * products >= _CORRELATION * sums)
            alike &= np.abs(means[rows, None] - means[None, : rows.stop]) < _LIGHT
            for row, others in enumerate(alike, start):
                before = np.flatnonzero(others[:row])
                if before.size:
                    found.append((self._names[int(before[0])], self._names[row]))
        return found
