"""Groups: several GANs whose discriminators are exchanged now and then (MGGAN)."""

from ..method import Method, Statistic
from .config import GroupsConfig

METHOD = Method(
    name="groups",
    title="Groups",
    hook="training_hooks.methods.groups.hook.GroupRun",
    config=GroupsConfig,
    source="MGGAN, chapter 3 of a thesis",
    switch="interval",
    order=50,
    networks=lambda config: ("G", "D"),
    label=lambda given, config: f"-groups{config.interval}",
    describe=lambda config: f"exchange after {config.interval} iterations, then at intervals {config.grow:g} times as long",
    statistics=(
        Statistic("Groups/exchanges", "Exchanges of discriminators", "exchanges", "no unit", "exchanges before this iteration",
                  steps=True),
        Statistic("Groups/factor", "Factor of the learning rates", "factor", "no unit",
                  "what the learning rates of both optimizers are multiplied by"),
        Statistic("Groups/change", "Change of G's loss", "share", "%",
                  "change of G's smoothed loss from one iteration to the next, as a share of it", 100, is_always=False),
    ),
)  # fmt: skip
