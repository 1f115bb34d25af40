"""Adaptive pseudo augmentation: now and then a generated image is given to the discriminator as a real one.

Source: Jiang, Dai, Wu, Loy, "Deceive D: Adaptive Pseudo Augmentation for GAN Training with Limited Data", NeurIPS 2021.

In someone's own loop, once per iteration each::

    apa = AdaptivePseudoAugmentation()
    apa.remember(fakes)  # where G trains
    reals, _ = apa.replace(reals)  # where D trains
    apa.observe(D(reals))
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch

from ...core.hook import MAIN_PHASES, Hook, Round, Training
from .config import APAConfig

__all__ = ["AdaptivePseudoAugmentation", "adjusted", "mix"]

_SIGNS = "Loss/signs/real"  # the hosts' statistic of sign(D(real))


def adjusted(p: float, mean_sign: float, target: float, step: float) -> float:
    """``p`` moved by ``step`` towards more fakes where ``mean_sign`` is above ``target``, towards fewer where it is below;
    never outside [0, 1]."""
    direction = (mean_sign > target) - (mean_sign < target)
    return min(1.0, max(0.0, p + direction * step))


def mix(chosen: torch.Tensor, reals: torch.Tensor, fakes: torch.Tensor) -> torch.Tensor:
    """``fakes`` where ``chosen`` (bool [batch]) is true, else ``reals``. Both [batch, ...]; the type is that of ``reals``."""
    return torch.where(chosen.view(-1, *[1] * (reals.ndim - 1)), fakes.to(reals.dtype), reals)


class AdaptivePseudoAugmentation(Hook):
    """With probability p, each on its own, reals of the discriminator's batch give way to fakes of the same iteration.

    Every ``interval`` iterations p moves by batch_size · interval / (1000 · kimg): up where the mean of sign(D(real)) since the
    last move is above ``target``, which is a sign of overfitting, down where it is below. p starts at 0. The reals of that
    mean are those that D was given, so fakes in their place are among them, as in the authors' code.

    Args:
        target: of the mean of sign(D(real)), in [-1, 1].
        kimg: thousands of images in which p can move by 1.
        interval: iterations between two moves of p.

    Raises:
        ValueError: a value out of its range.
    """

    name = "apa"

    def __init__(self, target: float = 0.6, kimg: float = 500, interval: int = 4):
        config = APAConfig(target, kimg, interval)
        self.target, self.kimg, self.interval = config.target, config.kimg, config.interval
        #: Probability that a real gives way to a fake.
        self.p = 0.0
        self._fakes: List[Tuple[torch.Tensor, Optional[torch.Tensor]]] = []  # images and labels of every round
        self._signs: Union[float, torch.Tensor] = 0.0  # sum since p moved last
        self._logits = self._observed = 0  # how many they are of, and how often they were observed
        self._replaced: Union[float, torch.Tensor] = 0.0  # since the last report
        self._seen = 0
        self._collector: Any = None
        self._batch_size = 0
        self._awaited: Optional[Round] = None  # whose fakes are still to come

    # ---------------------------------------------------------------- one's own loop

    def remember(self, fakes: torch.Tensor, labels: Optional[torch.Tensor] = None) -> None:
        """Keep this iteration's fakes [batch, ...], and their labels [batch, ...] where there are any. No gradient reaches
        them."""
        self._fakes = [(fakes.detach(), labels)]

    def replace(
        self, reals: torch.Tensor, labels: Optional[torch.Tensor] = None, index: int = 0
    ) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        """Reals and their labels, with what was remembered in the place of some.

        Args:
            reals: [batch, ...], of the shape of the fakes.
            labels: [batch, ...], or None.
            index: of the round of gradient accumulation.

        Raises:
            RuntimeError: p is above 0 and nothing was remembered.
        """
        self._seen += reals.shape[0]
        if self.p == 0:
            return reals, labels
        if index >= len(self._fakes):
            raise RuntimeError("there are no fakes of this round to replace reals by")
        fakes, fake_labels = self._fakes[index]
        chosen = torch.rand(reals.shape[0], device=reals.device) < self.p
        self._replaced = self._replaced + chosen.sum()
        if labels is not None and fake_labels is not None:
            labels = mix(chosen, labels, fake_labels)
        return mix(chosen, reals, fakes), labels

    def observe(self, logits: torch.Tensor) -> None:
        """Take in what D says of its real batch [batch, ...]; each ``interval``-th call moves p. Of one process alone."""
        self._signs = self._signs + logits.detach().sign().sum()
        self._logits += logits.numel()
        self._observed += 1
        if self._observed % self.interval == 0:
            self._adjust(logits.shape[0])

    # ---------------------------------------------------------------- a host's loop

    def start(self, training: Training) -> None:
        """Watch the loss for the images that G is trained on.

        Raises:
            ValueError: the loss has no ``run_G``.
        """
        training.wrap("run_G", self._watched, self.order)
        assert training.batch_size is not None
        self._batch_size = training.batch_size
        self._collector = training.stats.Collector(regex=_SIGNS, keep_previous=False)

    def on_iteration(self, iteration: int) -> None:
        if iteration > 0 and iteration % self.interval == 0:
            self._collect()
            self._adjust(self._batch_size)

    def on_round(self, batch: Round) -> Round:
        if batch.phase.startswith("G"):
            if batch.phase[1:] in MAIN_PHASES:
                self._fakes = self._fakes if batch.index > 0 else []
                self._awaited = batch if self.p > 0 else None
            return batch
        reals, labels = self.replace(batch.real_img, batch.real_c, batch.index)
        return dataclasses.replace(batch, real_img=reals, real_c=labels)

    def on_report(self) -> Mapping[str, float]:
        replaced = float(self._replaced) / max(1, self._seen)
        self._replaced, self._seen = 0.0, 0
        return {"APA/p": self.p, "APA/replaced": replaced}

    def state_dict(self) -> Dict[str, Any]:
        """Of all ranks together, so every rank has to ask for it."""
        self._collect()
        return {
            "p": self.p,
            "signs": float(self._signs),
            "logits": self._logits,
            "observed": self._observed,
            "replaced": float(self._replaced),
            "seen": self._seen,
        }

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        counts = ("logits", "observed", "replaced", "seen")
        if not 0 <= state["p"] <= 1 or not math.isfinite(state["signs"]) or not all(0 <= state[n] < math.inf for n in counts):
            raise ValueError("its probability or counts are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._collect()  # what the host has put back of its own counts is not new
        self.p, self._signs, self._logits = state["p"], state["signs"], state["logits"]
        self._observed, self._replaced, self._seen = state["observed"], state["replaced"], state["seen"]

    # ----------------------------------------------------------------

    def _watched(self, run_g: Any) -> Any:
        def run_and_remember(*args: Any, **kwargs: Any) -> Any:
            result = run_g(*args, **kwargs)
            if self._awaited is not None:  # later calls of the round are of regularisation
                self._fakes.append((result[0].detach(), self._awaited.gen_c))
                self._awaited = None
            return result

        return run_and_remember

    def _collect(self) -> None:
        """Take in what the host has counted on all ranks since the last call."""
        if self._collector is None:
            return
        self._collector.update()
        number, mean = self._collector.num(_SIGNS), self._collector.mean(_SIGNS)
        if number > 0 and math.isfinite(mean):
            self._signs = self._signs + round(mean * number)  # a sum of signs is a whole number
            self._logits += number

    def _adjust(self, batch_size: int) -> None:
        if self._logits > 0:
            step = batch_size * self.interval / (1000 * self.kimg)
            self.p = adjusted(self.p, float(self._signs) / self._logits, self.target, step)
        self._signs, self._logits = 0.0, 0
