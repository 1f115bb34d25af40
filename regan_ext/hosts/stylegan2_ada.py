"""StyleGAN2-ADA-PyTorch, and forks of the same shape."""

from __future__ import annotations

from .flavour import Flavour

__all__ = ["FLAVOUR"]

FLAVOUR = Flavour(
    name="stylegan2-ada-pytorch",
    files=(
        "train.py", "training/training_loop.py", "training/loss.py", "training/networks.py", "dnnlib/util.py",
        "torch_utils/misc.py", "torch_utils/training_stats.py",
    ),
    setup="setup_training_loop_kwargs",
    entry="subprocess_fn",
    capacity=(("G_kwargs", "synthesis_kwargs"), ("D_kwargs",)),
    minibatch_std=("D_kwargs", "epilogue_kwargs"),
    group=4,
    lazy={"G": 4, "D": 16},
    words={"frozen_layers": ("D_kwargs", "block_kwargs", "freeze_layers")},
)  # fmt: skip
