"""DiffAugment-stylegan2-pytorch of data-efficient-gans: StyleGAN2-ADA-PyTorch with a differentiable augmentation of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional

from . import stylegan2_ada
from .flavour import Unfit

__all__ = ["FLAVOUR"]

_NAMES = ("color", "translation", "cutout")


def _fault(args: Mapping[str, Any]) -> Optional[str]:
    given = str(args["loss_kwargs"].get("diffaugment") or "")
    unknown = [name for name in given.split(",") if given and name not in _NAMES]
    return f"--DiffAugment: {', '.join(unknown)} is not one of {', '.join(_NAMES)}" if unknown else None


FLAVOUR = replace(
    stylegan2_ada.FLAVOUR,
    name="DiffAugment-stylegan2-pytorch",
    files=(*stylegan2_ada.FLAVOUR.files, "DiffAugment_pytorch.py"),
    fault=_fault,
    unfit={"diffaugment": Unfit("the host has a --DiffAugment of its own, which is on by default")},
)
