"""APA: now and then a generated image is given to the discriminator as a real one."""

from ..method import Method, Statistic
from .config import APAConfig

METHOD = Method(
    name="apa",
    title="APA",
    hook="training_hooks.methods.apa.hook.AdaptivePseudoAugmentation",
    config=APAConfig,
    help="Adaptive pseudo augmentation: fakes among D's reals.",
    source="Jiang, Dai, Wu, Loy, NeurIPS 2021",
    order=20,
    statistics=(
        Statistic("APA/p", "APA p", "probability", "%", "probability that a real gives way to a fake", 100),
        Statistic(
            "APA/replaced", "Reals that APA replaced", "share of real images", "%",
            "share of the reals of the tick that gave way to a fake", 100,
        ),
    ),
)  # fmt: skip
