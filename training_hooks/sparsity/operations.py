"""Counts the multiply–accumulate operations of StyleGAN2 networks from the shapes of their parameters.

Theory, not measurement: what is counted is the products of weights with activations, as the host's layers compute them.
Resampling filters, activations, noise and normalisation are left out.
"""

from __future__ import annotations

from math import prod
from typing import Dict, List, Mapping, Sequence, Tuple

from .anatomy import place
from .channels import Layout

__all__ = ["layer_operations", "narrow_shapes", "run_operations"]

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
    """The shapes that a network's parameters have when only ``kept`` channels of each feature map are computed with."""
    narrow = {}
    for name, shape in shapes.items():
        sizes: List[int] = list(shape)
        for dimension, feature in enumerate(layout.axes.get(name, ())):
            if feature is not None:
                sizes[dimension] = sizes[dimension] // layout.features[feature].channels * kept[feature]
        narrow[name] = tuple(sizes)
    return narrow


def run_operations(generator: float, discriminator: float, images: int) -> float:
    """Multiply–accumulates of a run, by theory. Half of its FLOPs.

    Regularisation is included, as the hosts do it lazily: G's on half a batch every 4th iteration, D's every 16th. A backward
    pass counts as two forward passes, or one where only inputs have gradients; the second derivatives of regularisation as two
    of what they differentiate.

    Args:
        generator: of a forward pass for one image, the mean over the run.
        discriminator: the same of D.
        images: of the run.
    """
    return ((3 + 1 + 6 / 2 / 4) * generator + (2 + 6 + 6 / 16) * discriminator) * images
