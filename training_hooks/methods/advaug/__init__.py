"""AdvAug: G and D are trained on perturbed features beside the plain ones."""

from ..method import Method, Statistic
from ..setting import as_text
from .config import AdvAugConfig
from .places import outlook

_NETWORKS = {"G": "where G trains", "D": "where D trains"}

METHOD = Method(
    name="advaug",
    title="AdvAug",
    hook="training_hooks.methods.advaug.hook.AdvAug",
    config=AdvAugConfig,
    source="Chen, Cheng, Gan, Liu, Wang, NeurIPS 2021",
    switch="halves",
    order=30,
    networks=lambda config: tuple(half.upper() for half in config.halves),
    label=lambda given, config: f"-advaug-{''.join(config.halves)}"
    + "".join(f"-{name}{as_text(value, '-')}" for name, value in given.items() if name != "halves"),
    plan=outlook,
    statistics=tuple(
        Statistic(f"AdvAug/{name}_{network}", f"AdvAug {title}, {network}", axis, "no unit", f"{meaning}, {where}",
                  is_always=False)
        for name, title, axis, meaning in (
            ("shift", "shift of logits", "shift", "how far the perturbation moves D's logits, mean over images"),
            ("loss", "loss of the perturbed half", "loss", "mean loss of the perturbed half"),
            ("delta", "size", "size", "root mean square of the perturbation to that of the feature"),
        )
        for network, where in _NETWORKS.items()
    ),
)  # fmt: skip
