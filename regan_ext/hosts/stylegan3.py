"""StyleGAN3, its ``--cfg=stylegan2`` included, and forks of the same shape."""

from __future__ import annotations

from typing import Any, Mapping

from .detectors import STYLEGAN3
from .flavour import CHANNELS, Flavour, Unfit, has_other_synthesis

__all__ = ["FLAVOUR"]


def _has_other_networks(args: Mapping[str, Any]) -> bool:
    return "stylegan2" not in str(args["G_kwargs"].get("class_name"))


FLAVOUR = Flavour(
    name="stylegan3",
    files=(
        "train.py", "training/training_loop.py", "training/loss.py", "training/networks_stylegan2.py",
        "training/networks_stylegan3.py", "dnnlib/util.py", "torch_utils/misc.py", "torch_utils/training_stats.py",
    ),
    setup="launch_training",
    is_handed=True,
    entry="subprocess_fn",
    capacity=(("G_kwargs",), ("D_kwargs",)),
    minibatch_std=("D_kwargs", "epilogue_kwargs"),
    group=4,
    lazy={"G": None, "D": 16},
    path_length=0,
    words={"frozen_layers": ("D_kwargs", "block_kwargs", "freeze_layers")},
    of_beginning=(("ema_rampup",), ("ada_kimg",), ("loss_kwargs", "blur_init_sigma")),
    relatives={"training/triplane.py": "eg3d", "pg_modules/projector.py": "stylegan-xl"},
    unfit={"regan.granularity=channel of G": Unfit(CHANNELS, _has_other_networks)},
    detectors=STYLEGAN3,
    exports={"narrow": Unfit(CHANNELS, has_other_synthesis)},
)  # fmt: skip
