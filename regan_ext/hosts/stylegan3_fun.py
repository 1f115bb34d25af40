"""stylegan3-fun, PDillis' fork of StyleGAN3."""

from __future__ import annotations

from dataclasses import replace

from . import stylegan3
from .flavour import Counter

__all__ = ["FLAVOUR"]

FLAVOUR = replace(
    stylegan3.FLAVOUR,
    name="stylegan3-fun",
    files=(*stylegan3.FLAVOUR.files, "torch_utils/gen_utils.py"),
    counter=Counter("--resume-kimg", "resume_kimg", 1000),
)
