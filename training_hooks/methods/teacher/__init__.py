"""A teacher: a second discriminator, trained on other images, judges the same generator."""

from ..method import Method, Statistic
from .config import TeacherConfig
from .outlook import completed, describe, label, outlook

METHOD = Method(
    name="teacher",
    title="Teacher",
    hook="training_hooks.methods.teacher.hook.Teacher",
    config=TeacherConfig,
    source="PrivacyGAN, Wu, thesis, Warwick 2022",
    switch="network",
    order=40,
    networks=lambda config: ("G", "D") if config.trains else ("G",),
    label=label,
    completed=completed,
    plan=outlook,
    describe=describe,
    statistics=(
        Statistic("Teacher/loss", "Teacher's loss of G", "loss", "no unit", "mean of softplus(-teacher) on G's fakes"),
        Statistic("Teacher/sign", "Teacher's sign of fakes", "mean sign", "no unit",
                  "mean sign of what the teacher says of G's fakes; 1 = it takes all for real", from_zero=False),
        Statistic("Teacher/alpha", "Weight of D", "weight", "no unit", "alpha; the teacher counts 1 - alpha", is_drawn=False),
        Statistic("Teacher/cosine", "Teacher's agreement with D", "cosine", "no unit",
                  "mean cosine between the gradients of D and of the teacher by an image", from_zero=False),
    ),
)  # fmt: skip
