"""FreezeD: the discriminator's layers near the image stay as they came from a trained network."""

from ..method import Method, Statistic
from .config import FreezeDConfig
from .layers import arguments, outlook

METHOD = Method(
    name="freezed",
    title="FreezeD",
    hook="training_hooks.methods.freezed.hook.FreezeD",
    config=FreezeDConfig,
    source="Mo, Cho, Shin, 2020",
    switch="layers",
    order=5,
    networks=lambda config: ("D",),
    label=lambda given, config: f"-freeze-d{config.layers[0]}" if any(config.depth) else "-freeze-d-names",
    arguments=arguments,
    plan=outlook,
    describe=lambda config: ",".join(config.layers),
    statistics=(
        Statistic("FreezeD/share", "Frozen share of D", "share of weights", "%", "share of D's weights that stay", 100,
                  is_drawn=False),
    ),
)  # fmt: skip
