"""Re-GAN: prune, train sparse, grow, train dense, repeat."""

from ...sparsity.anatomy import ROLES
from ..method import Method, Statistic
from ..target import targets
from .config import PRESETS, ReconfigurationConfig, upgraded
from .outlook import describe, label, outlook

_SECONDS = "measured mean seconds of an iteration in {} phases since the last tick"

METHOD = Method(
    name="regan",
    title="Re-GAN",
    hook="training_hooks.methods.regan.hook.Reconfiguration",
    config=ReconfigurationConfig,
    source="Saxena, Cao, Xu, Kulshrestha, CVPR 2023",
    switch="ratio",
    order=0,
    version=2,
    networks=targets,
    label=label,
    plan=outlook,
    describe=describe,
    presets=PRESETS,
    upgraded=upgraded,
    statistics=(
        Statistic("ReGAN/phase", "Phase", "phase", "", "0 warm-up, 1 sparse, 2 dense", is_drawn=False),
        Statistic(
            "ReGAN/cycle", "Cycle", "cycle", "", "number of the sparse–dense pair, from 1; 0 in the warm-up", is_drawn=False
        ),
        Statistic(
            "ReGAN/lr", "Learning rate", "learning rate", "per step",
            "learning rate of the reconfigured network, of G where both are", log=True, steps=True, from_zero=False,
        ),
        Statistic(
            "ReGAN/sparsity", "Sparsity", "zeros among selected weights", "%",
            "measured share of exact zeros among the selected weights", 100, is_watched=True, steps=True,
        ),
        Statistic(
            "ReGAN/mask_change", "Mask change between prunings", "newly pruned weights", "%",
            "share of the pruned weights that the mask before did not prune", 100, steps=True,
        ),
        Statistic(
            "ReGAN/explored", "Explored share", "weights ever in a sparse net", "%",
            "share of the selected weights that were part of a sparse network so far", 100, steps=True,
        ),
        Statistic(
            "ReGAN/hook_ms", "Time of the hook", "time per iteration", "ms",
            "milliseconds that the hook took per iteration since the last tick", is_drawn=False,
        ),
        Statistic(
            "ReGAN/flops_ratio", "Operations", "share of a dense run", "",
            "operations of the forward passes so far of what is reconfigured over those of a dense run, by theory",
            is_drawn=False,
        ),
        *(
            Statistic(
                f"ReGAN/{name}/{role}", f"{title}, {role}", axis, "%", f"the same of the {what} alone", 100,
                is_drawn=name == "mask_change", steps=True, is_always=False,
            )
            for name, title, axis in (
                ("mask_change", "Mask change between prunings", "newly pruned weights"),
                ("explored", "Explored share", "weights ever in a sparse net"),
            )
            for role, what in ROLES.items()
        ),
        *(
            Statistic(f"ReGAN/sec_{phase}", f"Time, {phase}", "time per iteration", "s", _SECONDS.format(phase), is_drawn=False)
            for phase in ("warmup", "sparse", "dense")
        ),
    ),
)  # fmt: skip
