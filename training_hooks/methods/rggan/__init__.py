"""RG-GAN: thresholds grow while quality does, and what they took comes back when it does not."""

from ..method import Method, Statistic
from ..target import targets
from .config import PRESETS, RGConfig
from .outlook import completed, describe, label, outlook

METHOD = Method(
    name="rg",
    title="RG-GAN",
    hook="training_hooks.methods.rggan.hook.RegenerativePruning",
    config=RGConfig,
    help="Regenerative pruning: sparse or dense by a metric.",
    source="RG-GAN, AAAI 2024",
    order=1,
    networks=targets,
    label=label,
    completed=completed,
    plan=outlook,
    describe=describe,
    presets=PRESETS,
    excludes={"regan": "each of them owns the masks of the networks"},
    statistics=(
        Statistic("RG/mode", "RG-GAN mode", "mode", "1 sparse, 0 dense", "1 sparse, 0 dense", steps=True),
        Statistic(
            "RG/kept_G", "Weights of G kept", "share of selected weights", "%",
            "share of the selected weights of G that are not pruned; 1 where G is not pruned at all", 100, is_watched=True,
        ),
        Statistic(
            "RG/kept_D", "Weights of D kept", "share of selected weights", "%",
            "the same of D", 100, is_watched=True,
        ),
        Statistic(
            "RG/threshold", "Threshold", "mean threshold", "σ at the start",
            "mean threshold over the selected weights, in standard deviations of their tensors at the start",
        ),
        Statistic(
            "RG/returned", "Weights that came back", "weights per tick", "",
            "number of weights that came back since the last tick, at a switch to dense, a restart or by ste", log=True,
        ),
        Statistic(
            "RG/restarts", "Restarts of tensors", "restarts so far", "", "how often a tensor began anew so far", is_drawn=False
        ),
        Statistic("RG/switches", "Switches", "switches so far", "", "how often the mode changed so far", is_drawn=False),
    ),
)  # fmt: skip
