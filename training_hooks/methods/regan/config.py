"""The settings of the Re-GAN hook: a frozen value with names, ranges and presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

from ...core.schedule import Length, Schedule

__all__ = ["CHOICES", "PRESETS", "ReconfigurationConfig"]

#: Field → values that it may have.
CHOICES = {
    "target": ("G", "D", "both"),
    "rule": ("exact", "quantile"),
    "refresh": ("phase", "iteration"),
    "steps": ("all", "main"),
    "moments": ("keep", "restore", "reset"),
    "ema": ("follow", "off"),
    "finish": ("as-is", "dense", "sparse"),
    "prune_at": ("forward", "step"),
    "granularity": ("weight", "channel"),
    "importance": ("writers", "readers", "both"),
    "mapping": ("dense", "weight"),
}

# What only single weights can have: whole channels are chosen once per phase, before its first forward.
_WEIGHT_ONLY = {"target": "G", "rule": "exact", "refresh": "phase", "steps": "all", "prune_at": "forward", "first_extra": 0}


@dataclass(frozen=True)
class ReconfigurationConfig:
    """Settings of architectural reconfiguration (Re-GAN, CVPR 2023, section 3 and algorithm 1).

    Args:
        ratio: share of every selected tensor that is pruned in sparse phases, in [0, 1).
        interval: iterations of each sparse and each dense phase, g in the paper.
        warmup: iterations trained dense before the first pruning, Δw in the paper.
        lr_scale: factor on the learning rate of dense phases after a sparse one.
        target: networks to reconfigure, "G", "D" or "both".
        scope: see ``training_hooks.sparsity.selection.select``.
        exclude: shell patterns of parameter names left dense; None = the layers that write or read RGB.
        rule: "exact" prunes floor(ratio · n) entries, "quantile" what is below the quantile (reference code).
        refresh: masks are chosen once per sparse "phase", or anew at each sparse "iteration" (reference code).
        steps: masks hold through "all" optimizer steps of an iteration, or the "main" one only (reference code).
        moments: policy for Adam's moments, see ``training_hooks.sparsity.moments``.
        ema: the averaged generator's pruned entries "follow" to zero, or are left alone ("off").
        finish: see ``training_hooks.core.schedule.Schedule``.
        prune_at: weights are pruned before the first "forward" of a sparse phase, or after its first backward, just
            before the optimizer "step" (reference code).
        first_extra: iterations by which the first sparse phase is longer (reference code: 1).
        forget_lazy_lr: from the first sparse phase on, but for its extra iterations, use the learning rate without the
            factor that lazy regularisation put on it (reference code).
        granularity: prune single entries ("weight"), or whole channels of G's synthesis network ("channel"), which then
            computes with the others alone.
        channel_multiple: with channels, the number that stays is rounded up to a multiple of this.
        channel_min: with channels, at least so many of each feature map stay.
        importance: with channels, see ``training_hooks.sparsity.channels.choose_channels``.
        mapping: with channels, the mapping network stays "dense", or its single weights are pruned ("weight").

    Raises:
        ValueError: a value out of range; the message begins with the field's name.
    """

    ratio: float = 0.3
    interval: int = 100
    warmup: int = 0
    lr_scale: float = 0.1
    target: str = "G"
    scope: str = "weights"
    exclude: "Tuple[str, ...] | None" = None
    rule: str = "exact"
    refresh: str = "phase"
    steps: str = "all"
    moments: str = "keep"
    ema: str = "follow"
    finish: str = "as-is"
    prune_at: str = "forward"
    first_extra: int = 0
    forget_lazy_lr: bool = False
    granularity: str = "weight"
    channel_multiple: int = 8
    channel_min: int = 8
    importance: str = "writers"
    mapping: str = "dense"

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(f"ratio must be in [0, 1), got {self.ratio:g}")
        if not 0 < self.lr_scale < math.inf:
            raise ValueError(f"lr_scale must be greater than 0 and finite, got {self.lr_scale:g}")
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {', '.join(allowed)}, got {getattr(self, field)!r}")
        for field in ("channel_multiple", "channel_min"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.granularity == "channel":
            for field, only in _WEIGHT_ONLY.items():
                if getattr(self, field) != only:
                    raise ValueError(f"granularity channel needs {field}={only}, got {field}={getattr(self, field)}")
        if isinstance(self.exclude, str):
            raise ValueError(f"exclude must be a list of patterns, got {self.exclude!r}; [{self.exclude!r}] is one")
        if self.exclude is not None:
            object.__setattr__(self, "exclude", tuple(self.exclude))
        Schedule(self.warmup, self.interval, first_extra=self.first_extra)

    def schedule(self, total: "int | None" = None) -> Schedule:
        """The schedule for a run of ``total`` iterations."""
        return Schedule(self.warmup, self.interval, total, self.finish, self.first_extra)

    def to_dict(self) -> Dict[str, Any]:
        """Plain JSON values."""
        values = dataclasses.asdict(self)
        values["exclude"] = None if self.exclude is None else list(self.exclude)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ReconfigurationConfig":
        """Inverse of ``to_dict``.

        Raises:
            ValueError: an unknown field, a value of another type, or one out of range.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown fields {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
        for field in dataclasses.fields(cls):
            if field.name in values and not _fits(values[field.name], field.default):
                raise ValueError(f"{field.name} must be of the type of {field.default!r}, got {values[field.name]!r}")
        return cls(**values)


def _fits(value: Any, default: Any) -> bool:
    """Whether a value from a file is of the type of its field; what has no default is None or patterns."""
    if default is None:
        return value is None or (isinstance(value, (list, tuple)) and all(isinstance(pattern, str) for pattern in value))
    return type(value) is type(default) or (isinstance(default, float) and type(value) is int)


# Lengths here may be in kimg; they become iterations once the batch size is known.
PRESETS: Dict[str, Dict[str, Any]] = {
    # Section 4 and figure 6 of the paper: ratio 0.3 for StyleGAN2, interval 100 "with only G", learning rate / 10 while
    # growing. The paper prints no number for its warm-up.
    "paper": dict(ratio=0.3, interval=Length(100), warmup=Length(0), finish="dense"),
    # The StyleGAN2 code published with the paper: its example's numbers and its behaviour, quirks included.
    "reference": dict(
        ratio=0.3,
        interval=Length(5000),
        warmup=Length(10000),
        scope="reference",
        rule="quantile",
        refresh="iteration",
        steps="main",
        prune_at="step",
        first_extra=1,
        forget_lazy_lr=True,
    ),
    # The shares of a run that the published code's few-shot example gives to warm-up (a quarter) and to each phase (an
    # eighth), of 300 kimg: three whole cycles. In images, so that a phase shows the network as many whatever the batch.
    "few-shot": dict(ratio=0.3, interval=Length(37, "kimg"), warmup=Length(75, "kimg"), finish="dense"),
    # The ratio of the paper's FFHQ runs. It prints no interval for them: the 5000 iterations of 32 images of that example.
    "ffhq": dict(ratio=0.3, interval=Length(160, "kimg"), warmup=Length(320, "kimg"), finish="dense"),
}
