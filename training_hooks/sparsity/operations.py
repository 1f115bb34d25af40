"""Counts the multiply–accumulate operations of StyleGAN2 networks from the shapes of their parameters.

Theory, not measurement: what is counted is the products of weights with activations, as the host's layers compute them.
Resampling filters, activations, noise and normalisation are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Dict, List, Mapping, Sequence, Tuple

from .anatomy import place
from .channels import Layout

__all__ = ["RunCost", "layer_operations", "narrow_shapes"]

Shapes = Mapping[str, Sequence[int]]


def layer_operations(shapes: Shapes) -> Dict[str, int]:
    """Weight name → multiply–accumulates for one image, of a StyleGAN2 generator or discriminator (name → shape).

    The host's upsampling convolutions run on their input's resolution, its downsampling ones on their output's.

    Raises:
        ValueError: a weight is of no layer that these networks have.
    """
    counts = {}
    for name, shape in shapes.items():
        if len(shape) < 2 or name.endswith(".const"):
            continue
        found = place(name)
        if found is None:
            raise ValueError(f"{name} is of no layer of a StyleGAN2 network")
        counts[name] = prod(shape) * found.pixels
    return counts


def narrow_shapes(shapes: Shapes, layout: Layout, kept: Sequence[int]) -> Dict[str, Tuple[int, ...]]:
    """The shapes that a generator's parameters have when only ``kept`` channels of each feature map are computed with."""
    narrow = {}
    for name, shape in shapes.items():
        sizes: List[int] = list(shape)
        for dimension, feature in enumerate(layout.axes.get(name, ())):
            if feature is not None:
                sizes[dimension] = kept[feature]
        narrow[name] = tuple(sizes)
    return narrow


@dataclass(frozen=True)
class RunCost:
    """Multiply–accumulates of a run, by theory. Half of its FLOPs.

    Args:
        generator: of a dense forward pass for one image.
        discriminator: the same of D.
        sparse: share of ``generator`` that a sparse forward pass takes.
        batch: images per iteration.
        iterations: of the run.
        sparse_iterations: how many of them are sparse.
    """

    generator: int
    discriminator: int
    sparse: float
    batch: int
    iterations: int
    sparse_iterations: int

    @property
    def total(self) -> float:
        """Of the whole run, regularisation included, as the hosts do it lazily: G's on half a batch every 4th iteration, D's
        every 16th. A backward pass counts as two forward passes, or one where only inputs have gradients; the second
        derivatives of regularisation as two of what they differentiate.
        """
        share = self.sparse_iterations / self.iterations
        g = self.generator * (1 - share * (1 - self.sparse))
        per_image = (3 + 1 + 6 / 2 / 4) * g + (2 + 6 + 6 / 16) * self.discriminator
        return per_image * self.batch * self.iterations

    @property
    def dense_total(self) -> float:
        """The same of a run that is dense throughout."""
        return RunCost(self.generator, self.discriminator, 1.0, self.batch, self.iterations, 0).total
