"""Which parameters RG-GAN prunes: names and shapes only."""

from __future__ import annotations

from typing import List, Mapping, Sequence

from ...sparsity.anatomy import DENSE
from ...sparsity.selection import select
from .config import RGConfig

__all__ = ["selected"]


def selected(config: RGConfig, network: str, shapes: Mapping[str, Sequence[int]]) -> List[str]:
    """Names of the parameters of ``network`` ("G" or "D") that are pruned.

    Raises:
        SelectionError: none, or a pattern matches nothing.
    """
    exclude = DENSE[network] if config.exclude is None else config.exclude
    return select(shapes, config.scope, exclude, strict=config.exclude is not None)
