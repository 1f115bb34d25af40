"""Re-GAN and its sibling methods for an unmodified StyleGAN2-ADA checkout.

``import regan_ext`` is light: it imports neither torch nor a host.
"""

from __future__ import annotations

from typing import Any, Dict

from .hosts.compat.fixes import prepare_imports

__all__ = ["__version__", "attach_to"]
__version__ = "0.1.0"

prepare_imports()


def attach_to(namespace: Dict[str, Any]) -> None:
    """Add the options of this package to the click command of a host's ``train.py``.

    Args:
        namespace: ``globals()`` of that ``train.py``, once everything in it is defined.

    Raises:
        RuntimeError: the namespace is not of a known shape.
    """
    from .train.attach import attach

    attach(namespace)
