"""R3GAN: StyleGAN3's loop with networks and a loss of its own, two batches an iteration, and schedules for all rates."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .detectors import STYLEGAN3
from .flavour import Flavour, Unfit

__all__ = ["FLAVOUR"]

_CHANNELS = Unfit("this host's networks are not StyleGAN2's, which channels need")

_SMALLEST = 4  # pixels of the first stage; each of the others doubles them


def _fault(args: Mapping[str, Any]) -> Optional[str]:
    made, data = _SMALLEST * 2 ** (len(args["G_kwargs"]["WidthPerStage"]) - 1), args["training_set_kwargs"]
    if data["resolution"] != made:
        remedy = f"take another, or regan-ext data prepare with --resolution={made}"
        return f"this --preset makes images of {made} pixels, and those of --data have {data['resolution']}; {remedy}"
    is_conditional = "ConditionEmbeddingDimension" in args["G_kwargs"]
    if is_conditional and not data["use_labels"]:
        return "this --preset is for classes of images; give --cond=1, and --data with labels"
    return "this --preset knows no classes of images; leave --cond out" if data["use_labels"] and not is_conditional else None


FLAVOUR = Flavour(
    name="R3GAN",
    files=(
        "train.py", "training/training_loop.py", "training/loss.py", "training/networks.py", "R3GAN/Networks.py",
        "R3GAN/Trainer.py", "dnnlib/util.py", "torch_utils/misc.py", "torch_utils/training_stats.py",
    ),
    setup="launch_training",
    is_handed=True,
    entry="subprocess_fn",
    capacity=(),
    minibatch_std=(),
    group=1,
    lazy={"G": None, "D": None},
    path_length=0,
    of_beginning=(),
    sizes=("c_dim", "img_resolution"),
    channels=3,
    batches=2,
    scheduled={"lr": ("lr_scheduler", "base_value"), "beta2": ("beta2_scheduler", "base_value")},
    choices={"preset": ("CIFAR10", "FFHQ-64", "FFHQ-256", "ImageNet-32", "ImageNet-64")},
    lacks=("batch_gpu", "cbase", "cmax"),
    unfit={
        "advaug": Unfit("this host's loss has no run_G and run_D, which AdvAug comes in by"),
        "teacher": Unfit("this host's loss has no run_G, which a teacher's gradient comes in by"),
        "apa": Unfit("this host's loss compares every fake with a real image, which APA would replace by a fake"),
        "diffaugment": Unfit("this host's loss shows D what its own --aug makes of the images, and nothing else"),
        "groups": Unfit("this host goes on from a checkpoint of its own, in which no discriminator would be exchanged"),
        "regan.granularity=channel of G": _CHANNELS,
        "regan.granularity=channel of D": _CHANNELS,
    },
    fault=_fault,
    detectors=STYLEGAN3,
    exports={"narrow": _CHANNELS},
)  # fmt: skip
