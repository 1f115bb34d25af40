"""DeceiveD: StyleGAN2-ADA-PyTorch with adaptive pseudo augmentation (APA) in the place of ADA."""

from __future__ import annotations

from dataclasses import replace

from . import stylegan2_ada
from .flavour import Unfit

__all__ = ["FLAVOUR"]

FLAVOUR = replace(
    stylegan2_ada.FLAVOUR,
    name="DeceiveD",
    further={"training/loss.py": ("StyleGAN2Loss.adaptive_pseudo_augmentation",)},
    of_beginning=(("ema_rampup",), ("apa_kimg",)),
    adaptive="apa_target",
    unfit={
        "apa": Unfit("the host's own APA is on; --aug=noaug turns it off", lambda args: args.get("augment_kwargs") is not None),
        "diffaugment": Unfit(
            "this host's D is shown augmented images with --with-dataaug=true only", lambda args: not args.get("with_dataaug")
        ),
    },
)
