"""The settings of adversarial feature augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from ..setting import Config, setting

__all__ = ["AdvAugConfig"]

_STEP, _PLACE_G, _PLACE_D = 0.01, "w", "head"


@dataclass(frozen=True)
class AdvAugConfig(Config):
    """Settings of adversarial feature augmentation (Chen, Cheng, Gan, Liu, Wang, NeurIPS 2021; defaults of the paper).

    Args:
        halves: where features are perturbed: "g" where G trains, "d" where D trains, or both. () (default) is nowhere.
        step: how far one step moves every value of a feature, at least 0; 0.01 by default. 0 does nothing.
        steps: steps of ascent, from 1 to 100; 1 by default.
        relative: whether ``step`` and ``noise`` are measured in root mean squares of each image's feature; False by default.
        direction: "paper" (default) perturbs against the network that trains; "reference" always raises D's logits.
        place_g: "w" (default), what the synthesis network is given; "b4", what its first layer gives; or a layer of G.
        place_d: "head" (default), what D's last layer is given; or a layer of D.
        weight: of the perturbed half of the loss to 1 of the plain one, at least 0; 1 by default. 0 does nothing.
        noise: standard deviation of random noise in the place of steps, at least 0; 0 (default) is no noise.

    Raises:
        ValueError: a value out of its range, steps beside noise, or a place of a half that is not perturbed.
    """

    halves: Tuple[str, ...] = setting(
        (), "Adversarial feature augmentation of G, D or both: g,d.", choices=("g", "d"), flag="--advaug", told="none",
        more="`g` where G trains, `d` where D trains",
    )  # fmt: skip
    step: float = setting(_STEP, "AdvAug: how far a step moves a feature.", least=0, most=1000)
    steps: int = setting(1, "AdvAug: steps of ascent.", least=1, most=100)
    relative: bool = setting(False, "AdvAug: measure steps and noise in RMS of each feature.")
    direction: str = setting(
        "paper", "AdvAug: against who trains, or always up D's logits.", choices=("paper", "reference"),
        more="the paper's text is against who trains, the authors' code up",
    )  # fmt: skip
    place_g: str = setting(
        _PLACE_G, "AdvAug: feature of G: w, b4 or a layer.", flag="--advaug-g",
        more="`w` after style mixing, what `synthesis.b4.conv1` gives, or what a layer such as `synthesis.b8.conv0` gives",
    )  # fmt: skip
    place_d: str = setting(
        _PLACE_D, "AdvAug: feature of D: head or a layer.", flag="--advaug-d",
        more="what `b4.out` is given, or what a layer such as `b4.fc` is given",
    )  # fmt: skip
    weight: float = setting(1.0, "AdvAug: weight of the perturbed half.", least=0, most=1000)
    noise: float = setting(
        0.0, "AdvAug: noise of this size in the place of steps.", least=0, most=1000,
        more="the baseline: Gaussian; with `reference` uniform from 0, and without gradients below the feature",
    )  # fmt: skip

    def check(self) -> None:
        object.__setattr__(self, "halves", tuple(half for half in ("g", "d") if half in self.halves))
        if self.noise and (self.step, self.steps) != (_STEP, 1):
            raise ValueError("noise is drawn once and takes no steps; leave out step and steps")
        for half, name, default in (("g", "place_g", _PLACE_G), ("d", "place_d", _PLACE_D)):
            if getattr(self, name) != default and half not in self.halves:
                raise ValueError(f"{name} says where {half} is perturbed, and it is not")

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be perturbed, or what is perturbed would not count."""
        return not self.halves or self.weight == 0 or (self.step == 0 and self.noise == 0)

    def sign(self, kind: str) -> int:
        """Whether D's logits are raised (1) or lowered (-1).

        Args:
            kind: "real" or "fake", where D trains; "g", where G trains.
        """
        return 1 if self.direction == "reference" or kind == "fake" else -1

    @property
    def is_cut(self) -> bool:
        """Whether no gradient of the perturbed half reaches what comes before the feature."""
        return bool(self.noise) and self.direction == "reference"
