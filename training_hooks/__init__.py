"""Training methods as hooks: no host needed, torch alone.

What a loop of one's own needs, and what a hook of one's own is made of. The names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .core.hook import Hook, Round, Step, Training
    from .core.loop import Loop
    from .core.schedule import Length
    from .methods.advaug.hook import AdvAug
    from .methods.apa.hook import AdaptivePseudoAugmentation
    from .methods.blocks.block import DiscriminatorBlock, GeneratorBlock
    from .methods.diffaugment.hook import DiffAugment, augment, parse_policy
    from .methods.freezed.hook import FreezeD
    from .methods.groups.own_loop import Group, Groups
    from .methods.method import Method, Statistic
    from .methods.regan.config import PRESETS, ReconfigurationConfig
    from .methods.regan.hook import Reconfiguration
    from .methods.rggan.config import RGConfig
    from .methods.rggan.hook import RegenerativePruning
    from .methods.setting import Config, setting
    from .methods.teacher.hook import Teacher
    from .methods.tickets.hook import Tickets
    from .observers.stability import Stability

__all__ = [
    "PRESETS", "AdaptivePseudoAugmentation", "AdvAug", "Config", "DiffAugment", "DiscriminatorBlock", "FreezeD",
    "GeneratorBlock", "Group", "Groups", "Hook", "Length", "Loop", "Method", "RGConfig", "Reconfiguration",
    "ReconfigurationConfig", "RegenerativePruning", "Round", "Stability", "Statistic", "Step", "Teacher", "Tickets", "Training",
    "augment", "parse_policy", "setting",
]  # fmt: skip

_MODULES = {
    "methods.advaug.hook": ("AdvAug",),
    "methods.apa.hook": ("AdaptivePseudoAugmentation",),
    "methods.blocks.block": ("DiscriminatorBlock", "GeneratorBlock"),
    "methods.regan.config": ("PRESETS", "ReconfigurationConfig"),
    "methods.diffaugment.hook": ("DiffAugment", "augment", "parse_policy"),
    "methods.freezed.hook": ("FreezeD",),
    "methods.groups.own_loop": ("Group", "Groups"),
    "core.hook": ("Hook", "Round", "Step", "Training"),
    "core.loop": ("Loop",),
    "core.schedule": ("Length",),
    "methods.regan.hook": ("Reconfiguration",),
    "methods.method": ("Method", "Statistic"),
    "methods.rggan.config": ("RGConfig",),
    "methods.rggan.hook": ("RegenerativePruning",),
    "methods.setting": ("Config", "setting"),
    "methods.teacher.hook": ("Teacher",),
    "methods.tickets.hook": ("Tickets",),
    "observers.stability": ("Stability",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted(__all__)
