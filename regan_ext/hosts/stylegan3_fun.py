"""stylegan3-fun, PDillis' fork of StyleGAN3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional

from . import stylegan3
from .flavour import Counter

__all__ = ["FLAVOUR"]


def _fault(args: Mapping[str, Any]) -> Optional[str]:
    if "extended_sgan2" not in args["G_kwargs"]:
        return None
    return "--cfg=stylegan2-ext asks for networks that the host does not have; take --cfg=stylegan2"


FLAVOUR = replace(
    stylegan3.FLAVOUR,
    name="stylegan3-fun",
    files=(*stylegan3.FLAVOUR.files, "torch_utils/gen_utils.py"),
    counter=Counter("--resume-kimg", "resume_kimg", 1000),
    fault=_fault,
)
