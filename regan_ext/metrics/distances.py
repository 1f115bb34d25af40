"""Kernel and Fréchet distances of any parts of a set of features, all out of one matrix of scalar products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distances"]

_Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Distances:
    """What lies how far from what.

    Args:
        products: scalar products of all features with one another, float64 [N, N].
        features: how many numbers a feature vector has.
    """

    products: "NDArray[np.float64]"
    features: int

    @classmethod
    def of(cls, features: "NDArray[np.float32]") -> "Distances":
        """Of feature vectors [N, F]."""
        wide = features.astype(np.float64)
        return cls(wide @ wide.T, features.shape[1])

    def kernel(self, some: _Numbers, others: _Numbers) -> float:
        """The kernel distance of two parts, unbiased: 0 on average for two draws of the same images, and below 0 at times.

        The squared maximum mean discrepancy with the kernel (x·y / F + 1)³ of Bińkowski et al. (ICLR 2018), as the hosts' KID;
        that draws subsets, and here all images are compared at once.

        Args:
            some, others: rows, two of each at least.
        """

        def mean(rows: _Numbers, columns: _Numbers, same: bool) -> float:
            values = (self.products[np.ix_(rows, columns)] / self.features + 1) ** 3
            if not same:
                return float(values.mean())
            return float((values.sum() - np.trace(values)) / (len(rows) * (len(rows) - 1)))

        return mean(some, some, True) + mean(others, others, True) - 2 * mean(some, others, False)

    def frechet(self, some: _Numbers, others: _Numbers) -> float:
        """The Fréchet distance of two parts, as the hosts' FID has it; never below 0, and larger the fewer images there are.

        The root of the product of two covariances has as its trace the sum of the singular values of the products between the
        two parts, taken from their means. So no matrix of F by F is needed, and few images take no time.

        Args:
            some, others: rows, one of each at least.
        """
        between = self.products[np.ix_(some, others)]
        spread = mean = 0.0
        for part in (some, others):
            within = self.products[np.ix_(part, part)]
            spread += float(np.trace(within)) / len(part) - float(within.mean())
            mean += float(within.mean())
        mean -= 2 * float(between.mean())
        centred = between - between.mean(0) - between.mean(1)[:, None] + between.mean()
        root = float(np.linalg.svd(centred, compute_uv=False).sum()) / float(np.sqrt(len(some) * len(others)))
        return mean + spread - 2 * root
