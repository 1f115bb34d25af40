"""Which parameters RG-GAN prunes: names and shapes only."""

from __future__ import annotations

import fnmatch
from typing import Any, Iterable, List, Mapping, Sequence

from ...sparsity.anatomy import RGB
from ...sparsity.selection import SelectionError, listed, select
from .config import RGConfig

__all__ = ["check_rgb", "knows_rgb", "selected"]

# Left dense by default: the layers that write or read RGB, and the one that gives StyleGAN2's D its logit.
_DENSE = {"G": RGB["G"], "D": (*RGB["D"], "b4.out.*")}


def selected(config: RGConfig, network: str, shapes: Mapping[str, Sequence[int]]) -> List[str]:
    """Names of the parameters of ``network`` ("G" or "D") that are pruned.

    Raises:
        SelectionError: none, or a pattern matches nothing.
    """
    exclude = _DENSE[network] if config.exclude is None else config.exclude
    return select(shapes, config.scope, exclude, strict=config.exclude is not None)


def knows_rgb(config: RGConfig, network: str, names: Iterable[str]) -> bool:
    """Whether the layers that write (G) or read (D) RGB are told from the others: by ``config``, or by their usual names."""
    names = list(names)
    return config.exclude is not None or any(fnmatch.filter(names, pattern) for pattern in RGB[network])


def check_rgb(config: RGConfig, network: str, names: Mapping[str, Any]) -> None:
    """Check that no RGB layer is pruned unasked, see ``knows_rgb``.

    Raises:
        SelectionError: it might be.
    """
    if not knows_rgb(config, network, names):
        usual = ", ".join(RGB[network])
        raise SelectionError(
            f"exclude has to name the layers of {network} that write or read RGB, because none is called {usual}; "
            f"or none to prune them too. There are: {listed(list(names))}"
        )
