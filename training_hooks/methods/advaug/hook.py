"""Adversarial feature augmentation: G and D are trained on perturbed features beside the plain ones.

Source: Chen, Cheng, Gan, Liu, Wang, "Data-Efficient GAN Training Beyond (Just) Augmentations: A Lottery Ticket Perspective",
NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Set, Tuple

import torch

from ...core.hook import MAIN_PHASES, Hook, Round, Step, Training
from ...core.probing import probing
from ...core.ranks import bare
from ...core.wraps import Wraps
from .config import AdvAugConfig
from .perturbation import ascent, drawn, goes_through, joined, size
from .places import Caught, Place, located

__all__ = ["AdvAug"]

_Pair = Tuple[torch.Tensor, torch.Tensor]
_LOSSES = {"Loss/G/loss": "AdvAug/loss_G", "Loss/D/loss": "AdvAug/loss_D"}  # the hosts' statistics → those of the other half


class AdvAug(Hook):
    """Gives the losses of main phases D's logits twice: of plain features, and behind them of perturbed ones.

    Where D trains, D's feature is perturbed; where what comes after it is linear, that is one product with its slope, elsewhere
    D computes once more. Where G trains, G's feature is perturbed, and images and logits are computed once more. Phases of
    regularisation are left alone, and the host's own statistics are those of the plain half.

    A loss has to be a mean over D's logits. A loop of one's own calls ``loop.round``, ``loop.run_G`` and ``loop.run_D``; the
    fakes that D trains on come from ``run_G`` in the same round.

    Args:
        config: the settings; None = those that follow.
        settings: fields of ``AdvAugConfig`` by name.

    Raises:
        ValueError: a value out of range, or a place that a network does not have.
    """

    name = "advaug"
    order = 1  # around all others, which see batches as they know them

    def __init__(self, config: Optional[AdvAugConfig] = None, **settings: Any):
        self.config = config if config is not None else AdvAugConfig.from_dict(settings)
        self._places: Dict[str, Place] = {}  # "g", "d" → feature
        self._is_linear: Optional[bool] = None  # what comes after D's feature; None = not known yet
        self._computing: Dict[str, Any] = {}  # "g", "d" → what the loss computes images or logits with
        self._reporting: Optional[Wraps] = None
        self._means: Dict[str, Tuple[Any, int]] = {}  # statistic → sum and number of what it is the mean of
        self._used: Set[str] = set()  # what was perturbed since the last step: "g"; "real" and "fake", where D trains
        self._now = _Now()

    # ---------------------------------------------------------------- events

    def start(self, training: Training) -> None:
        if self.config.is_idle:
            return
        for half in self.config.halves:
            self._places[half] = self._place(half, training)
        training.wrap("run_G", self._around_g, self.order)
        training.wrap("run_D", self._around_d, self.order)
        if training.stats is not None:
            self._reporting = Wraps(training.stats)
            self._reporting.add("report", self._around_report)

    def _place(self, half: str, training: Training) -> Place:
        kind = half.upper()
        if kind not in training.networks:
            raise ValueError(f"halves: {half} needs {kind} among the networks")
        network: Any = training.networks[kind]
        tensors = [*network.named_parameters(), *network.named_buffers()]
        name = located(self.config, half, [name for name, _ in tensors])
        if half == "g" and not hasattr(network, "synthesis"):
            return Place(lambda: network, network.get_submodule(name), True, f"{kind}.{name}")

        def keep(computing: Any) -> Any:
            self._computing[half] = computing
            return computing

        training.wrap("G_synthesis" if half == "g" else "D", keep, self.order)
        module = None if name == "synthesis" else network.get_submodule(name)
        # Bare, because the wrapper of several processes would send gradients once more in rounds that it does not send them in.
        return Place(lambda: bare(self._computing[half]), module, half == "g" and module is not None, f"{kind}.{name}")

    def on_round(self, batch: Round) -> Round:
        half = batch.phase[:1].lower()
        is_main = batch.phase[1:] in MAIN_PHASES and half in self._places
        self._now = _Now(half, real=batch.real_img) if is_main else _Now()
        if is_main and batch.phase == "Dboth":
            raise RuntimeError("AdvAug: halves: d needs a loop that regularises D in a phase of its own, Dreg")
        return batch

    def before_step(self, step: Step) -> None:
        half = step.network.lower()
        needed = {"g"} if half == "g" else {"real", "fake"}
        if step.is_main and half in self._places and not needed <= self._used:
            raise RuntimeError(
                f"a step of {step.network} was trained without perturbed features, so AdvAug would do nothing; a loop of one's "
                "own calls loop.round, and then loop.run_D with what loop.run_G has given, and batch.real_img, each by itself"
            )
        self._used -= needed
        self._now.rows = 0

    def on_report(self) -> Mapping[str, float]:
        means, self._means = self._means, {}
        return {name: float(total) / number for name, (total, number) in means.items()}

    def on_tick(self) -> None:
        self._now = _Now()

    def close(self) -> None:
        if self._reporting is not None:
            self._reporting.clear()
        self._places, self._computing, self._now = {}, {}, _Now()

    # ---------------------------------------------------------------- the forward pass

    def _around_g(self, run_g: Any) -> Any:
        def run_and_catch(*args: Any, **kwargs: Any) -> Any:
            now = self._now
            if not now.half or now.fake is not None:  # later calls are of regularisation
                return run_g(*args, **kwargs)
            if now.half == "d":
                result = run_g(*args, **kwargs)
            else:
                result, now.caught = self._places["g"].catch(lambda: run_g(*args, **kwargs))
            now.fake = _first(result).detach()
            return result

        return run_and_catch

    def _around_d(self, run_d: Any) -> Any:
        def run_twice(images: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            now, kind = self._now, self._now.kind(images)
            if not kind:
                now.rows = 0
                return run_d(images, *args, **kwargs)
            if kind == "g":
                logits, perturbed = self._of_g(lambda shown: run_d(shown, *args, **kwargs), images)
            else:
                logits, perturbed = self._of_d(lambda: run_d(images, *args, **kwargs), self.config.sign(kind))
            self._used.add(kind)
            now.seen.add(kind)
            now.rows = logits.shape[0]
            self._note(f"AdvAug/shift_{now.half.upper()}", (perturbed - logits).detach().abs().mean())
            return joined(logits, perturbed, self.config.weight)

        return run_twice

    def _around_report(self, report: Any) -> Any:
        def report_plain(name: str, value: Any) -> Any:
            rows = self._now.rows
            if rows and isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == 2 * rows:
                report(name, value[:rows])
                if name in _LOSSES:
                    self._note(_LOSSES[name], value[rows:].detach().mean())
                return value
            return report(name, value)

        return report_plain

    # ---------------------------------------------------------------- the two halves

    def _of_g(self, show: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> _Pair:
        """D's logits of G's images, and of those that its perturbed feature becomes."""
        caught, self._now.caught = self._now.caught, None
        assert caught is not None
        rest, logits = caught.rest, _checked(show(images))

        def again(feature: torch.Tensor) -> torch.Tensor:
            return show(_first(rest(feature)))

        return logits, again(self._moved("G", caught.feature, logits, self.config.sign("g"), again))

    def _of_d(self, compute: Callable[[], torch.Tensor], sign: int) -> _Pair:
        """D's logits of what it is shown, and of its perturbed feature."""
        logits, caught = self._places["d"].catch(compute)
        feature = caught.feature
        _checked(logits)
        if self._is_linear is None:
            self._is_linear = not goes_through(_slope(logits, feature, is_function=True), feature.grad_fn)
        if not self._is_linear or self.config.is_cut:
            return logits, caught.rest(self._moved("D", feature, logits, sign, caught.rest))
        slope = _slope(logits, feature, is_function=True)  # a function of the weights after the feature
        delta = self._delta("D", feature, slope, sign, lambda _: slope).to(logits.dtype)
        return logits, logits + (slope.to(logits.dtype) * delta).flatten(1).sum(1).view_as(logits)

    def _moved(
        self,
        network: str,
        feature: torch.Tensor,
        logits: torch.Tensor,
        sign: int,
        again: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The perturbed feature. ``again`` gives logits of another."""

        def slope_at(moved: torch.Tensor) -> torch.Tensor:
            return _slope(again(moved.requires_grad_()), moved)

        slope = None if self.config.noise else _slope(logits, feature, is_kept=True)
        return (feature.detach() if self.config.is_cut else feature) + self._delta(network, feature, slope, sign, slope_at)

    def _delta(
        self,
        network: str,
        feature: torch.Tensor,
        slope: Optional[torch.Tensor],
        sign: int,
        slope_at: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """What is added to a feature, without gradients; ``slope`` may be None for noise."""
        config = self.config
        if slope is None or config.noise:
            delta = drawn(feature, size(feature, config.noise, config.relative), config.direction == "reference")
        else:
            delta = ascent(feature, slope, sign * size(feature, config.step, config.relative), config.steps, slope_at)
        self._note(f"AdvAug/delta_{network}", delta.float().norm() / feature.detach().float().norm())
        return delta

    def _note(self, name: str, value: torch.Tensor) -> None:
        """Count a value in a statistic of the tick."""
        total, number = self._means.get(name, (0.0, 0))
        self._means[name] = (total + value, number + 1)


@dataclass
class _Now:
    """A round of a main phase of one half; of any other phase nothing is known.

    Args:
        half: "g" or "d"; "" = another phase.
        real: images that the loop has.
        fake: images that G has given first.
        caught: G's feature on the way to them.
        seen: kinds of images that D has been shown.
        rows: of each half of the logits that were given last; 0 = they were given once.
    """

    half: str = ""
    real: Any = None
    fake: Optional[torch.Tensor] = None
    caught: Optional[Caught] = None
    seen: Set[str] = field(default_factory=set)
    rows: int = 0

    def kind(self, images: torch.Tensor) -> str:
        """What D is shown: "g", where G trains; "real" or "fake", where D does; "" what is none of these, or once more."""
        kind = ""
        if self.half and _is_same(images, self.fake):
            kind = "g" if self.half == "g" else "fake"
        elif self.half == "d" and (_is_same(images, self.real) or ("fake" in self.seen and images.shape == self.real.shape)):
            kind = "real"  # a host may have changed some of them
        return "" if kind in self.seen else kind


def _is_same(images: torch.Tensor, others: Optional[torch.Tensor]) -> bool:
    """Whether it is the same batch, as a loss detaches it."""
    return others is not None and images.shape == others.shape and images.data_ptr() == others.data_ptr()


def _slope(logits: torch.Tensor, feature: torch.Tensor, is_kept: bool = False, is_function: bool = False) -> torch.Tensor:
    """Of the sum of logits, because that of their mean would vanish in half precision; ``is_kept`` leaves the graph for more,
    ``is_function`` makes the slope part of it."""
    with probing():
        return torch.autograd.grad(logits.sum(), feature, retain_graph=is_kept or is_function, create_graph=is_function)[0]


def _checked(logits: Any) -> torch.Tensor:
    if not isinstance(logits, torch.Tensor) or logits.ndim == 0 or logits.numel() != logits.shape[0]:
        what = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise RuntimeError(f"AdvAug needs a D that gives one logit an image, and this one gives {what}")
    return logits


def _first(result: Any) -> torch.Tensor:
    """The images among what run_G or a synthesis network gives."""
    images: torch.Tensor = result if isinstance(result, torch.Tensor) else result[0]
    return images
