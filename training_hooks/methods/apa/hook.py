"""Adaptive pseudo augmentation: now and then a generated image is given to the discriminator as a real one.

Source: Jiang, Dai, Wu, Loy, "Deceive D: Adaptive Pseudo Augmentation for GAN Training with Limited Data", NeurIPS 2021.

In someone's own loop it is a method of a ``Loop``, which trains G before D in each iteration. Without one, once per iteration
each::

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
from ...core.loop import warn
from ...core.ranks import gather
from .config import APAConfig

__all__ = ["AdaptivePseudoAugmentation", "adjusted", "mix"]

_SIGNS = "Loss/signs/real"  # the hosts' statistic of sign(D(real))
_FED = 'where D trains, they come from loop.round("Dmain", real_img=...)'


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
        self._is_own, self._num_ranks = False, 1  # a loop of one's own
        self._device = torch.device("cpu")
        self._reals: Optional[torch.Tensor] = None  # whose logits are still to come
        self._heard: List[torch.Tensor] = []  # sums of signs in such a loop, of this process, since the last collection
        self._heard_logits = 0
        self._is_first_tick = True

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

    # ---------------------------------------------------------------- a host's loop, or a Loop

    def start(self, training: Training) -> None:
        """Watch the forward pass for the images that G is trained on, and, where no host counts, for what D says of reals.

        Raises:
            ValueError: the loss has no ``run_G``, or the batch size is not known.
        """
        if training.batch_size is None:
            raise ValueError("APA goes by the number of images, so the loop has to be given its batch_size")
        training.wrap("run_G", self._watched, self.order)
        self._batch_size, self._num_ranks = training.batch_size, training.num_ranks
        self._is_own = training.stats is None
        if self._is_own:
            training.wrap("run_D", self._listening, self.order)
            self._device = next(training.networks["D"].parameters()).device
        else:
            self._collector = training.stats.Collector(regex=_SIGNS, keep_previous=False)

    def on_iteration(self, iteration: int) -> None:
        if self._is_own:
            self._fakes = []
        if iteration > 0 and iteration % self.interval == 0:
            self._collect()
            self._adjust(self._batch_size)

    def on_round(self, batch: Round) -> Round:
        if batch.phase.startswith("G"):
            if batch.phase[1:] in MAIN_PHASES:
                self._fakes = self._fakes if batch.index > 0 else []
                self._awaited = batch if self.p > 0 or self._is_own else None
            return batch
        if self._is_own:
            self._check_fed(batch)
        reals, labels = self.replace(batch.real_img, batch.real_c, batch.index)
        if self._is_own and batch.phase[1:] in MAIN_PHASES:
            self._reals = reals
        return dataclasses.replace(batch, real_img=reals, real_c=labels)

    def _check_fed(self, batch: Round) -> None:
        """Check from the first iteration on that a loop of one's own tells what will be needed once p is above 0."""
        if batch.real_img is None:
            raise RuntimeError(f"APA gives D fakes among the real images: {_FED}")
        if batch.index >= len(self._fakes):
            raise RuntimeError(
                "APA gives D fakes of the same iteration: G has to train before D, with loop.round('Gmain', ...) and loop.run_G"
            )
        if self._reals is not None:
            raise RuntimeError("APA goes by what D says of real images: D has to be called as loop.run_D(batch.real_img)")

    def on_report(self) -> Mapping[str, float]:
        if self._is_own and self._is_first_tick and self._seen == 0:
            warn(f"APA has been shown no real images, so it does nothing: {_FED}")
        self._is_first_tick = False
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

    def _watched(self, run_g: Any) -> Any:
        def run_and_remember(*args: Any, **kwargs: Any) -> Any:
            result = run_g(*args, **kwargs)
            if self._awaited is not None:  # later calls of the round are of regularisation
                images = result if isinstance(result, torch.Tensor) else result[0]
                self._fakes.append((images.detach(), self._awaited.gen_c))
                self._awaited = None
            return result

        return run_and_remember

    def _listening(self, run_d: Any) -> Any:
        def run_and_count(images: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            logits = run_d(images, *args, **kwargs)
            if self._reals is not None and images.data_ptr() == self._reals.data_ptr():
                self._heard.append(logits.detach().float().sign().sum())
                self._heard_logits += logits.numel()
                self._reals = None
            return logits

        return run_and_count

    def _collect(self) -> None:
        """Take in what has been counted on all ranks since the last call, by the host or here."""
        if self._is_own:
            mine = (float(torch.stack(self._heard).sum()) if self._heard else 0.0, self._heard_logits)
            signs, logits = map(sum, zip(*gather(mine, self._device, self._num_ranks)))
            self._signs, self._logits, self._heard, self._heard_logits = self._signs + signs, self._logits + logits, [], 0
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
