"""Which parameters RG-GAN prunes: names and shapes only."""

from __future__ import annotations

from typing import List, Mapping, Sequence

from ...sparsity.anatomy import RGB
from ...sparsity.selection import select
from .config import RGConfig

__all__ = ["selected"]

# Left dense by default: the layers that write or read RGB, and the one that gives StyleGAN2's D its logit.
_DENSE = {"G": RGB["G"], "D": (*RGB["D"], "b4.out.*")}


def selected(config: RGConfig, network: str, shapes: Mapping[str, Sequence[int]]) -> List[str]:
    """Names of the parameters of ``network`` ("G" or "D") that are pruned.

    Raises:
        SelectionError: none, or a pattern matches nothing.
    """
    exclude = _DENSE[network] if config.exclude is None else config.exclude
    return select(shapes, config.scope, exclude, strict=config.exclude is not None)
