"""Projected GAN, with StyleGAN2's generator or FastGAN's, and forks of the same shape."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .detectors import STYLEGAN3
from .flavour import CHANNELS, Flavour, Unfit, has_other_synthesis

__all__ = ["FLAVOUR"]

_FASTGAN = "pg_modules.networks_fastgan.Generator"
_FROZEN = Unfit("most of this host's D is a pretrained network that stays as it is")
_SMALLEST = 128  # pixels; FastGAN's generator has no output for less


def _is_fastgan(args: Mapping[str, Any]) -> bool:
    return bool(args["G_kwargs"].get("class_name") == _FASTGAN)


def _fault(args: Mapping[str, Any]) -> Optional[str]:
    if not _is_fastgan(args):
        return None
    resolution = args["training_set_kwargs"]["resolution"]
    if resolution < _SMALLEST:
        return (
            f"--cfg=fastgan and fastgan_lite make images of {_SMALLEST} pixels or more, and those of --data have {resolution}; "
            "give larger ones, or --cfg=stylegan2"
        )
    return "--cfg=fastgan and fastgan_lite know no --fp32; leave it out" if "num_fp16_res" in args["G_kwargs"] else None


FLAVOUR = Flavour(
    name="projected-gan",
    files=(
        "train.py", "training/training_loop.py", "training/loss.py", "pg_modules/networks_stylegan2.py",
        "pg_modules/networks_fastgan.py", "pg_modules/discriminator.py", "dnnlib/util.py", "torch_utils/misc.py",
        "torch_utils/training_stats.py",
    ),
    setup="launch_training",
    is_handed=True,
    entry="subprocess_fn",
    capacity=(("G_kwargs",),),
    minibatch_std=(),
    group=1,
    lazy={"G": None, "D": 16},
    path_length=0,
    of_beginning=(("ema_rampup",),),
    channels=3,
    rolling="network-snapshot.pkl",
    restart=3,
    packages=("dill", "timm"),
    half_alone=("fastgan", "fastgan_lite"),
    judge="efficientnet-lite0",
    fault=_fault,
    unfit={
        "advaug": Unfit("this host's D has many heads with many logits an image, and AdvAug needs one logit"),
        "teacher": Unfit("this host's G learns by a hinge loss of many heads, and a teacher's is that of one logit"),
        "apa": Unfit("this host's run_G gives images alone, and APA takes its fakes from images and latents"),
        "diffaugment": Unfit("this host's D augments all that it is shown, with the same DiffAugment"),
        "regan.granularity=channel of G": Unfit(CHANNELS, _is_fastgan),
        "regan.granularity=channel of D": _FROZEN,
        **{f"{method}.target={target}": _FROZEN for method in ("regan", "rg") for target in ("D", "both")},
    },
    detectors=STYLEGAN3,
    exports={"narrow": Unfit(CHANNELS, has_other_synthesis)},
    relatives={"training/networks_stylegan3_resetting.py": "stylegan-xl"},
)  # fmt: skip
