"""DiffAugment: every image that the discriminator sees is changed at random, differentiably."""

from ..method import Method
from .config import DiffAugmentConfig

METHOD = Method(
    name="diffaugment",
    title="DiffAugment",
    hook="training_hooks.methods.diffaugment.hook.DiffAugment",
    config=DiffAugmentConfig,
    source="Zhao, Liu, Lin, Zhu, Han, NeurIPS 2020",
    switch="policy",
    order=10,
    label=lambda given, config: f"-diffaug-{'-'.join(config.policy)}",
    describe=lambda config: ",".join(config.policy),
)
