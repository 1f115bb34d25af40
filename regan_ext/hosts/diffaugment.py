"""DiffAugment-stylegan2-pytorch of data-efficient-gans: StyleGAN2-ADA-PyTorch with a differentiable augmentation of its own."""

from __future__ import annotations

from dataclasses import replace

from . import stylegan2_ada
from .flavour import Unfit

__all__ = ["FLAVOUR"]

FLAVOUR = replace(
    stylegan2_ada.FLAVOUR,
    name="DiffAugment-stylegan2-pytorch",
    files=(*stylegan2_ada.FLAVOUR.files, "DiffAugment_pytorch.py"),
    unfit={"diffaugment": Unfit("the host has a --DiffAugment of its own, which is on by default")},
)
