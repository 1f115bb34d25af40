"""The settings of RG-GAN: a frozen value with names and ranges, and what they mean together."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Optional, Tuple

from ...core.schedule import Length
from ..method import Preset
from ..setting import Config, setting
from ..target import check_patterns

__all__ = ["PRESETS", "RESTART", "RGConfig", "share_pruned"]

_REACH, _STRENGTH = "0.3@200kimg", 1e-4
#: Share of a tensor, at or below which its thresholds begin anew at 0.
RESTART = 0.01


@dataclass(frozen=True)
class RGConfig(Config):
    """Settings of RG-GAN (regenerative pruning, AAAI 2024; the paper's abstract and its public code).

    Args:
        metric: name of the value by which the mode is chosen, such as "fid5k_full"; "" (default) = the first that is measured.
        target: networks to prune, "both" (default), "G" or "D".
        rule: how thresholds move, "ramp" (default), "ste" (experimental) or "penalty" (as the public code does).
        reach: with the ramp, the share of fresh weights that is pruned, @, after how many sparse iterations or kimg of them.
        rate: of the ramp per sparse iteration, in place of ``reach``; 0 (default) = by ``reach``.
        strength: λ of the penalty λ·Σ exp(-threshold), with rules ste and penalty; 1e-4 by default.
        threshold_lr: learning rate of the thresholds with rule ste, in units of a tensor's σ; 0.01 by default.
        weights: of the last values of the metric in their mean, the newest last; they sum to 1.
        scope: parameters that are pruned, see ``training_hooks.sparsity.selection.select``; "weights" by default.
        exclude: shell patterns of parameter names left dense; None (default) = the layers that write or read RGB, and
            the one that gives StyleGAN2's D its logit.
        moments: policy for Adam's moments of weights that return, see ``training_hooks.sparsity.moments``.
        ema: whether the averaged generator's pruned entries "follow" to zero (default), or are left alone ("off").

    Raises:
        ValueError: a value out of range; the message begins with the field's name.
    """

    metric: str = setting("", "Metric that decides between sparse and dense.", told="the first of --metrics")
    target: str = setting("both", "Networks to prune.", choices=("both", "G", "D"))
    rule: str = setting(
        "ramp", "How thresholds move; ste is experimental.", choices=("ramp", "ste", "penalty"),
        more="by a known course, by a straight-through estimate of the gradient and a penalty, or by the penalty alone",
    )  # fmt: skip
    reach: str = setting(
        _REACH, "Ramp: share of fresh weights pruned @ sparse iterations or kimg until then.",
        more="the share is in (0, 1), the length no longer than the run",
    )  # fmt: skip
    rate: float = setting(
        0.0, "Ramp: rate per sparse iteration, in place of reach.", least=0, most=1, told="by reach",
        more="thresholds are ln(1 + rate · n) after n sparse iterations, in standard deviations of the tensor at the start",
    )  # fmt: skip
    strength: float = setting(
        _STRENGTH, "Strength of the penalty on low thresholds, with ste and penalty.", least=0, most=1e6, flag="--rg-lambda"
    )
    threshold_lr: float = setting(
        0.01, "Learning rate of thresholds with ste.", least=0, most=1000, excludes_least=True, needs=("rule", "ste"),
    )  # fmt: skip
    weights: str = setting(
        "0.1,0.1,0.2,0.2,0.4", "Weights of the last values in the mean, newest last.",
        more="they sum to 1; nothing is decided before there are as many values",
    )  # fmt: skip
    scope: str = setting(
        "weights", "What is pruned: weights, reference (biases too), or name patterns such as 'synthesis.*.weight'."
    )
    exclude: Optional[Tuple[str, ...]] = setting(
        None, "Name patterns to leave dense, or none.", kind="patterns", told="RGB layers, D's last",
        more="a pattern that matches nothing is an error, and so are RGB layers of an unknown name",
    )  # fmt: skip
    moments: str = setting(
        "keep", "Adam's moments of weights that return.", choices=("keep", "restore", "reset"),
        more="the second moments go on as they are, get back those of the time of pruning, or become 0",
    )  # fmt: skip
    ema: str = setting("follow", "Does the average follow the masks?", choices=("follow", "off"))

    def check(self) -> None:
        weights = self.mean_weights
        if not math.isclose(math.fsum(weights), 1, abs_tol=1e-9):
            raise ValueError(f"weights must sum to 1, {self.weights!r} sum to {math.fsum(weights):g}")
        if weights[-1] == 1:
            raise ValueError(f"weights {self.weights!r} would compare the newest value with itself")
        self._reach()
        if self.rule != "ramp" and (self.rate or self.reach != _REACH):
            raise ValueError(f"{'rate' if self.rate else 'reach'} is of the rule ramp, not of {self.rule}")
        if self.rule == "ramp" and self.strength != _STRENGTH:
            raise ValueError("strength is of the rules ste and penalty, not of ramp")
        if self.rate and self.reach != _REACH:
            raise ValueError(f"rate {self.rate:g} and reach {self.reach} say the same; give one of them")
        check_patterns(self)

    @property
    def mean_weights(self) -> Tuple[float, ...]:
        """``weights`` as numbers, that of the newest value last."""
        try:
            values = tuple(float(part) for part in self.weights.split(","))
        except ValueError:
            values = ()
        if len(values) < 2 or not all(0 <= value <= 1 for value in values):
            raise ValueError(f"weights must be two or more numbers in [0, 1] such as 0.1,0.1,0.2,0.2,0.4, got {self.weights!r}")
        return values

    def _reach(self) -> Tuple[float, Length]:
        share, at, length = self.reach.partition("@")
        try:
            parsed = float(share), Length.parse(length)
        except ValueError:
            at, parsed = "", (0.5, Length(1))
        if not at or not 0 < parsed[0] < 1 or parsed[1].value == 0:
            raise ValueError(f"reach must be a share in (0, 1) @ a length such as 0.3@200kimg, got {self.reach!r}")
        return parsed

    def ramp_rate(self, batch_size: Optional[int], total: Optional[int] = None) -> float:
        """Rate of the ramp per sparse iteration; 0 with the other rules.

        Args:
            batch_size: images per iteration; None = not known.
            total: iterations of the run; None = not known.

        Raises:
            ValueError: ``reach`` is longer than the run or shorter than an iteration, or needs the batch size.
        """
        if self.rule != "ramp":
            return 0.0
        if self.rate:
            return self.rate
        share, length = self._reach()
        try:
            iterations = length.iterations(batch_size)
        except ValueError as err:
            raise ValueError(f"reach {self.reach}: {err}") from err
        if iterations < 1 or (total is not None and iterations > total):
            run = "less than one iteration" if iterations < 1 else f"{iterations} iterations, the run has {total}"
            least = "" if total is None else f"; a length of at most {total} or a --rg-rate does"
            raise ValueError(f"reach {self.reach} is {run}{least}")
        return math.expm1(statistics.NormalDist().inv_cdf((1 + share) / 2)) / iterations


def share_pruned(threshold: float) -> float:
    """Share of normally distributed weights whose magnitude is below ``threshold`` standard deviations."""
    return 2 * statistics.NormalDist().cdf(threshold) - 1


PRESETS = {
    # What the public code does where its layers are concerned: every weight, thresholds moved by the penalty alone through
    # Adam, its default λ, and no guard of whole output channels.
    "reference": Preset(dict(rule="penalty", strength=1e-12, exclude=())),
}
