"""The settings of the Re-GAN hook: a frozen value with names, ranges and presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ...core.schedule import Length, Phase, Schedule, Span
from ..method import Preset
from ..setting import Config, setting
from ..target import check_patterns

__all__ = ["IN_TURN", "LOOP_QUIRKS", "PRESETS", "QUIRKS", "ReconfigurationConfig", "upgraded"]

#: What phases are with ``phases_d="in-turn"``, for readers.
IN_TURN = "the phases are those of G; D is sparse where G is dense, the warm-up excepted"

#: What the StyleGAN2 code published with the paper does otherwise than the paper → what it is.
QUIRKS = {
    "quantile": "prune what is strictly below the tensor's quantile, not exactly floor(ratio · n) entries",
    "refresh": "choose the masks anew in every sparse iteration, not once per phase",
    "main-steps": "let masks hold through the main optimizer step of an iteration only, not through regularisation",
    "late": "prune after the first backward pass of a phase, just before the optimizer's step, not before the first forward",
    "long-first": "make the first sparse phase longer by one iteration",
    "forget-lazy": "from the second sparse iteration on, use the learning rate without lazy regularisation's factor",
}  # fmt: skip

#: The same of the SNGAN, ProGAN and AutoGAN code, beside "quantile" and "late". They are for loops that know their epochs.
LOOP_QUIRKS = {"epochs": "choose the masks anew at the first step of every sparse epoch, not once per phase"}


@dataclass(frozen=True)
class ReconfigurationConfig(Config):
    """Settings of architectural reconfiguration (Re-GAN, CVPR 2023, section 3 and algorithm 1).

    Args:
        ratio: share of every selected tensor that is pruned in sparse phases, in [0, 1); 0.3 by default.
        interval: iterations of each sparse and each dense phase, g in the paper; 100 by default.
        warmup: iterations trained dense before the first pruning, Δw in the paper; 0 by default.
        lr_scale: factor on the learning rate of dense phases after a sparse one, above 0, 0.1 by default; or a text such as
            "0.5:2", the factor of sparse phases and that of dense ones.
        target: networks to reconfigure, "G" (default), "D" or "both".
        ratio_d: the share of D's parameters, where it is another one, as a text such as "0.5"; or a text such as "0:0.5", from
            which share to which it goes linearly over the run. "" (default) = ``ratio``.
        phases_d: whether D is sparse together with G ("in-step", default), or where G is dense, the warm-up excepted
            ("in-turn").
        scope: parameters that are pruned, see ``training_hooks.sparsity.selection.select``; "weights" by default.
        exclude: shell patterns of parameter names left dense; None (default) = the layers that write or read RGB.
        score: what makes a weight worth keeping: its "magnitude" (default), its "saliency" (magnitude times the root of Adam's
            second moment), its "change" since training began, or chance ("random"). "none" prunes nothing: phases and their
            learning rates alone. See ``training_hooks.sparsity.scores``.
        turnover: share of what is pruned that the pruning before did not prune, at least, in [0, 1); 0 by default.
        regrow: what a pruned weight has when it grows back: "zero" (default), the "value" that it had when it was pruned, a
            "random" draw with mean and standard deviation of its tensor when training began, or its "initial" value.
        regrow_scale: factor on the standard deviation of random draws, at least 0; 1 by default.
        moments: policy for Adam's moments, see ``training_hooks.sparsity.moments``; "keep" by default.
        ema: whether the averaged generator's pruned entries "follow" to zero (default), or are left alone ("off").
        finish: phase that the run ends in, see ``training_hooks.core.schedule.Schedule``; "as-is" by default.
        granularity: prune single entries ("weight", default), or whole channels of G's synthesis network and of D ("channel"),
            which then compute with the others alone.
        channel_multiple: number of which the kept channels of a layer are a multiple, rounded up; 8 by default.
        channel_min: least number of channels of each feature map that stay; 8 by default.
        importance: norm of which weights ranks channels, see ``training_hooks.sparsity.channels.choose_channels``.
        mapping: with channels, the mapping network stays "dense" (default), or its single weights are pruned ("weight").
        quirks: names of ``QUIRKS`` and ``LOOP_QUIRKS``, departures of the published code from the paper; none by default.

    Raises:
        ValueError: a value out of range; the message begins with the field's name.
    """

    ratio: float = setting(
        0.3, "Share of G's weights pruned in sparse phases; 0 is off.", least=0, most=1, excludes_most=True, told="0",
        search=(0.1, 0.7), more="of each selected tensor exactly floor(ratio · n) weights",
    )  # fmt: skip
    interval: int = setting(
        100, "Length of each sparse and dense phase, in iterations or as 5kimg.", kind="length", least=1, log=True, search=()
    )
    warmup: int = setting(0, "Dense training before the first pruning.", kind="length", least=0, search=(0.0, 0.4))
    lr_scale: Union[float, str] = setting(
        0.1, "Factor on the learning rate of dense phases, or SPARSE:DENSE.", kind="rates", least=0, most=1000,
        excludes_least=True, log=True, search=(0.05, 1.0),
        more="those after a sparse phase; the warm-up has the full rate, and so have sparse phases where only one is given",
    )  # fmt: skip
    score: str = setting(
        "magnitude", "What is kept: the highest of these scores.",
        choices=("magnitude", "saliency", "change", "random", "none"),
        more="the weight's size; size times the root of Adam's second moment; the distance from where training began; chance; "
        "with none nothing is pruned, and phases and learning rates remain, the control for comparisons",
    )  # fmt: skip
    turnover: float = setting(
        0.0, "Least share of what is pruned that was not pruned the time before.", least=0, most=1, excludes_most=True,
        more="from the second pruning on; those that stay for it have the largest gradients by Adam's second moment",
    )  # fmt: skip
    regrow: str = setting(
        "zero", "What a weight has when it grows back.", choices=("zero", "value", "random", "initial"),
        more="0; what it had when it was pruned; a fresh draw of the spread that its tensor had when training began; its own "
        "value of that time",
    )  # fmt: skip
    regrow_scale: float = setting(1.0, "Factor on the spread of random draws.", least=0, most=1000, needs=("regrow", "random"))
    target: str = setting("G", "Network to reconfigure.", choices=("G", "D", "both"))
    ratio_d: str = setting(
        "", "Share of D's weights, or FROM:TO over the run.", needs=("target", "both", "D"), told="--regan-ratio",
        more="a sparse phase has the share of its beginning, which grows or falls linearly with the iterations",
    )  # fmt: skip
    phases_d: str = setting(
        "in-step", "Sparse phases of D: with those of G, or in turn with them.", choices=("in-step", "in-turn"),
        needs=("target", "both"),
        more="in turn D is sparse where G is dense, so that one of them is, from the end of the warm-up on",
    )  # fmt: skip
    scope: str = setting(
        "weights",
        "What is pruned: weights (tensors of 2 or more dimensions), reference (biases too), or name patterns such as "
        "'synthesis.*.weight'.",
    )
    exclude: Optional[Tuple[str, ...]] = setting(
        None, "Name patterns to leave dense, or none.", kind="patterns", told="the RGB layers",
        more="a pattern that matches nothing is an error, and so are RGB layers of an unknown name",
    )  # fmt: skip
    moments: str = setting(
        "keep", "Adam's moments at regrowth.", choices=("keep", "restore", "reset"), search=("keep", "restore"),
        more="the second moments of regrown weights go on as they are, get back those of the time of pruning, or become 0",
    )  # fmt: skip
    ema: str = setting("follow", "Does the average follow the masks?", choices=("follow", "off"))
    finish: str = setting(
        "as-is", "Phase that the run ends in.", choices=("as-is", "dense", "sparse"),
        more="with the latter two whole phases only, the last one longer by what is left",
    )  # fmt: skip
    granularity: str = setting(
        "weight", "Prune single weights, or whole channels, which makes sparse phases faster.", choices=("weight", "channel"),
        search=("weight", "channel"),
    )  # fmt: skip
    channel_multiple: int = setting(
        8, "Round the number of channels that stay up to a multiple of this.", least=1, most=65536,
        needs=("granularity", "channel"),
    )  # fmt: skip
    channel_min: int = setting(
        8, "Least number of channels that stay in a layer.", least=1, most=65536, needs=("granularity", "channel")
    )
    importance: str = setting(
        "writers", "Norm of which weights makes a channel important.", choices=("writers", "readers", "both"),
        more="the L2 norm of the weights that write the channel, of those that read it, or the product of both",
        needs=("granularity", "channel"),
    )  # fmt: skip
    mapping: str = setting(
        "dense", "With channels, leave the mapping network dense or prune its weights.", choices=("dense", "weight"),
        needs=("granularity", "channel"),
    )  # fmt: skip
    quirks: Tuple[str, ...] = setting(
        (), "Departures of the published code from the paper.", choices=(*QUIRKS, *LOOP_QUIRKS), is_hidden=True, told="none"
    )

    def check(self) -> None:
        if self.granularity == "channel":
            if self.quirks:
                raise ValueError(f"granularity channel has no quirks, got quirks={','.join(self.quirks)}")
            if self.regrow in ("random", "initial"):
                raise ValueError(f"regrow {self.regrow} needs granularity=weight; whole channels grow back from zero or value")
        if self.ratio_d and self.target == "G":
            raise ValueError(f"ratio_d needs target=D or both, got ratio_d={self.ratio_d}")
        if self.phases_d == "in-turn" and self.target != "both":
            raise ValueError(f"phases_d in-turn needs target=both, got target={self.target}")
        if self.phases_d == "in-turn" and self.quirks:
            raise ValueError(f"phases_d in-turn needs no quirks, got quirks={','.join(self.quirks)}")
        if self.turnover and self.ratio_changes:
            raise ValueError(f"turnover {self.turnover:g} needs a ratio that stays, got ratio_d={self.ratio_d}")
        check_patterns(self)
        self._check_exploration()
        Schedule(self.warmup, self.interval, first_extra=self.first_extra)

    def _check_exploration(self) -> None:
        """Check what goes beyond the paper."""
        if self.quirks and (self.score, self.turnover, self.regrow) != ("magnitude", 0, "zero"):
            raise ValueError(f"quirks need score=magnitude, turnover=0 and regrow=zero, got quirks={','.join(self.quirks)}")
        if self.turnover and self.score == "none":
            raise ValueError(f"turnover {self.turnover:g} needs a score, because score=none prunes nothing")
        ratio = max(self.ratio, *self.ratios("D"))
        if self.turnover and ratio * (1 + self.turnover) >= 1:
            raise ValueError(
                f"turnover {self.turnover:g} at ratio {ratio:g} has too few weights to choose from; "
                f"it has to be below {1 / ratio - 1:.3g}"
            )

    def ratios(self, network: str) -> Tuple[float, float]:
        """Share of what is selected of a network ("G" or "D") that is pruned at the beginning of a run, and at its end."""
        if network != "D" or not self.ratio_d:
            return self.ratio, self.ratio
        try:
            parts = [float(part) for part in self.ratio_d.split(":")]
        except ValueError:
            parts = []
        if len(parts) not in (1, 2) or not all(0 <= part < 1 for part in parts) or not any(parts):
            raise ValueError(
                "ratio_d must be a number in (0, 1) such as 0.5, or FROM:TO such as 0:0.5, each in [0, 1), "
                f"got {self.ratio_d!r}"
            )
        return parts[0], parts[-1]

    @property
    def ratio_changes(self) -> bool:
        """Whether the share of D goes from one value to another over the run."""
        begin, end = self.ratios("D")
        return begin != end

    def of(self, network: str, done: Optional[float] = None) -> "ReconfigurationConfig":
        """The settings with the ratio of one network: the largest of the run, or that after the share ``done`` of it.
        ``ratio_d`` is the same where the network has it, and "" otherwise."""
        begin, end = self.ratios(network)
        ratio = max(begin, end) if done is None else begin + (end - begin) * done
        return replace(self, ratio=ratio, ratio_d=repr(ratio) if network == "D" and self.ratio_d and ratio else "")

    def scale(self, phase: Phase) -> float:
        """Factor on the learning rate in phases of a kind."""
        if phase == Phase.WARMUP:
            return 1.0
        factors = str(self.lr_scale).split(":")
        return float(factors[-1]) if phase == Phase.DENSE else float(factors[0]) if len(factors) == 2 else 1.0

    def phase(self, network: str, span: Span) -> Phase:
        """What kind of phase a network ("G" or "D") is in during a phase of the schedule, which is G's."""
        if network == "G" or self.phases_d == "in-step" or span.phase == Phase.WARMUP:
            return span.phase
        if span.phase == Phase.DENSE:
            return Phase.SPARSE
        return Phase.WARMUP if span.cycle == 1 else Phase.DENSE

    def sparse_iterations(self, network: str, iterations: int, total: Optional[int] = None) -> int:
        """In how many of the first ``iterations`` iterations of a run of ``total`` a network is sparse."""
        of_schedule = self.schedule(total).sparse_iterations(iterations)
        if network == "G" or self.phases_d == "in-step":
            return of_schedule
        return max(0, iterations - self.warmup) - of_schedule

    @property
    def first_extra(self) -> int:
        """Iterations by which the first sparse phase is longer."""
        return int("long-first" in self.quirks)

    def schedule(self, total: Optional[int] = None) -> Schedule:
        """The schedule for a run of ``total`` iterations.

        Raises:
            ValueError: ``finish`` needs a length, or a greater one.
        """
        return Schedule(self.warmup, self.interval, total, self.finish, self.first_extra)


# Setting of version 1 → what the paper has, what the published code has, and the quirk's name.
_VERSION_1 = {
    "rule": ("exact", "quantile", "quantile"),
    "refresh": ("phase", "iteration", "refresh"),
    "steps": ("all", "main", "main-steps"),
    "prune_at": ("forward", "step", "late"),
    "first_extra": (0, 1, "long-first"),
    "forget_lazy_lr": (False, True, "forget-lazy"),
}


def upgraded(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings of version 1, which had a setting for each quirk, in the form of version 2; all others stay as they are."""
    kept, quirks = dict(settings), []
    for name, (plain, odd, quirk) in _VERSION_1.items():
        if kept.get(name) in (plain, odd):
            quirks += [quirk] if kept.pop(name) == odd else []
    return {**kept, "quirks": [*kept.get("quirks", ()), *quirks]} if quirks else kept


# Lengths here may be in kimg; they become iterations once the batch size is known. The host's options are the network, budget,
# batch and R1 weight of StyleGAN2 in its own paper (config F) and in the code published with Re-GAN, and snapshots so often
# that the best of them can be chosen. DiffAugment's few-shot runs set the 300 kimg.
PRESETS: Dict[str, Preset] = {
    # Section 4 and figure 6 of the paper: ratio 0.3 for StyleGAN2, interval 100 "with only G", learning rate / 10 while
    # growing. The paper prints no number for its warm-up.
    "paper": Preset(dict(ratio=0.3, interval=Length(100), warmup=Length(0), finish="dense")),
    # The StyleGAN2 code published with the paper: its example's numbers and its behaviour, quirks included.
    "reference": Preset(dict(ratio=0.3, interval=Length(5000), warmup=Length(10000), scope="reference", quirks=tuple(QUIRKS))),
    # The shares of a run that the published code's few-shot example gives to warm-up (a quarter) and to each phase (an
    # eighth), of 300 kimg: three whole cycles. In images, so that a phase shows the network as many whatever the batch.
    "few-shot": Preset(
        dict(ratio=0.3, interval=Length(37, "kimg"), warmup=Length(75, "kimg"), finish="dense"),
        dict(cfg="stylegan2", kimg=300, batch=16, gamma=10.0, snap=10, metrics=["fid5k_full", "kid5k_full"]),
    ),
    # The same lengths, with masks that change: weights grow back as they were, are chosen by saliency, and train at the full
    # rate. The mapping network, whose weights are a hundred times as large and hardly move, stays dense.
    "explore": Preset(
        dict(
            ratio=0.3,
            interval=Length(37, "kimg"),
            warmup=Length(75, "kimg"),
            finish="dense",
            lr_scale=1.0,
            score="saliency",
            regrow="value",
            scope="synthesis.*.weight",
        ),
        dict(cfg="stylegan2", kimg=300, batch=16, gamma=10.0, snap=10, metrics=["fid5k_full", "kid5k_full"]),
    ),
    # The ratio of the paper's FFHQ runs. It prints no interval for them: the 5000 iterations of 32 images of that example.
    "ffhq": Preset(
        dict(ratio=0.3, interval=Length(160, "kimg"), warmup=Length(320, "kimg"), finish="dense"),
        dict(cfg="stylegan2", kimg=25000, batch=32, gamma=10.0, snap=80),
    ),
}
