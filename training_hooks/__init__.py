"""Training methods as hooks: no host needed, torch alone.

What a loop of one's own needs, and what a hook of one's own is made of. The names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .apa import AdaptivePseudoAugmentation
    from .config import PRESETS, ReconfigurationConfig
    from .diffaug import DiffAugment, augment, parse_policy
    from .hook import Hook, Round, Step, Training
    from .reconfiguration import Reconfiguration
    from .stability import Stability

__all__ = [
    "PRESETS", "AdaptivePseudoAugmentation", "DiffAugment", "Hook", "Reconfiguration", "ReconfigurationConfig", "Round",
    "Stability", "Step", "Training", "augment", "parse_policy",
]  # fmt: skip

_MODULES = {
    "apa": ("AdaptivePseudoAugmentation",),
    "config": ("PRESETS", "ReconfigurationConfig"),
    "diffaug": ("DiffAugment", "augment", "parse_policy"),
    "hook": ("Hook", "Round", "Step", "Training"),
    "reconfiguration": ("Reconfiguration",),
    "stability": ("Stability",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted(__all__)
