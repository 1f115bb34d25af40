"""R3GAN: StyleGAN3's loop with networks and a loss of its own, two batches an iteration, and schedules for all rates."""

from __future__ import annotations

from .detectors import STYLEGAN3
from .flavour import Flavour, Unfit

__all__ = ["FLAVOUR"]

_CHANNELS = Unfit("this host's networks are no StyleGAN2 synthesis networks, which channels need")

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
    batches=2,
    scheduled={"lr": ("lr_scheduler", "base_value"), "beta2": ("beta2_scheduler", "base_value")},
    choices={"preset": ("CIFAR10", "FFHQ-64", "FFHQ-256", "ImageNet-32", "ImageNet-64")},
    lacks=("batch_gpu", "cbase", "cmax"),
    unfit={
        "advaug": Unfit("this host's loss has no run_G and run_D, which AdvAug comes in by"),
        "apa": Unfit("this host's loss compares every fake with a real image, which APA would replace by a fake"),
        "diffaugment": Unfit("this host's loss shows D what its own --aug makes of the images, and nothing else"),
        "regan.granularity=channel": _CHANNELS,
    },
    detectors=STYLEGAN3,
    exports={"narrow": _CHANNELS},
)  # fmt: skip
