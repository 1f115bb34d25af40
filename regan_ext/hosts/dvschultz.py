"""dvschultz's fork of StyleGAN2-ADA-PyTorch."""

from __future__ import annotations

from dataclasses import replace

from . import stylegan2_ada
from .flavour import Counter, Unfit

__all__ = ["FLAVOUR"]

FLAVOUR = replace(
    stylegan2_ada.FLAVOUR,
    name="dvschultz/stylegan2-ada-pytorch",
    files=(*stylegan2_ada.FLAVOUR.files, "training/stylegan2_multi.py"),
    counter=Counter("--nkimg", "nimg", 1),
    unfit={
        "advaug": Unfit(
            "--topk picks among all logits, and AdvAug gives them twice; leave out one of the two",
            lambda args: bool(args["loss_kwargs"].get("G_top_k")),
        ),
    },
)
