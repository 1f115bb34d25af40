"""A teacher: a second discriminator, trained on other images, judges the same generator.

Source: PrivacyGAN, chapter 5 of Hao Wu's thesis, Warwick 2022. Where it cannot work as printed, ``card.md`` says so.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import torch
from torch.nn.functional import cosine_similarity, softplus

from ...core.hook import MAIN_PHASES, Hook, Round, Step, Training
from ...core.probing import is_probing
from ...core.random_state import kept_random_states
from ...core.state_check import difference
from .config import TeacherConfig
from .files import identified, images_of, networks_of
from .judge import Judge, Labelled

__all__ = ["Teacher"]

_CALLED = "a loop of one's own calls loop.round, and then loop.run_G, where G trains and where D does"


class Teacher(Hook):
    """Gives G α times the gradient of D, and 1 - α times that of the teacher, by way of the images.

    Of what the teacher would do to G, only the gradient by the images of a main phase is computed; it joins that of the loss
    where the images are differentiated, so the sum is exact whatever that loss is. Regularisation of G is left alone. Nothing
    of the teacher is in snapshots, and the random numbers of the run are those of a run without it.

    Args:
        config: the settings; None = those that follow.
        reals: in a loop of one's own, draws so many images [number, ...] and their labels, or None, with a generator.
        settings: fields of ``TeacherConfig`` by name.

    Raises:
        ValueError: a value out of range; when training starts, a file that cannot be used, or a teacher that trains without
            images.
    """

    name = "teacher"

    def __init__(
        self,
        config: Optional[TeacherConfig] = None,
        reals: Optional[Callable[[int, torch.Generator], Labelled]] = None,
        **settings: Any,
    ):
        config = config if config is not None else TeacherConfig.from_dict(settings)
        if config.mode == "auto" and reals is not None:
            config = TeacherConfig.from_dict({**config.to_dict(), "mode": "live"})
        self.config, self._reals = config, reals
        self._judge: Optional[Judge] = None
        self._training: Optional[Training] = None
        self._ramp, self._iteration = 0, 0
        self._awaited: Optional[Round] = None  # whose images are still to come
        self._has_judged = False  # since the last step of G
        self._fakes: List[Labelled] = []  # of D's main phase
        self._means: Dict[str, Tuple[Any, int]] = {}  # statistic → sum and number of what it is the mean of

    # ---------------------------------------------------------------- events

    def start(self, training: Training) -> None:
        if not self.config.network:
            raise ValueError("network is the file of the teacher, and none is given")
        self.config = identified(self.config)
        if self.config.trains:
            if self._reals is None and not self.config.data:
                raise ValueError(f"mode {self.config.mode} needs images that the teacher trains on")
            self._reals = self._reals or images_of(self.config)
        self._training, self._ramp = training, self.config.ramp(training.batch_size)
        training.wrap("run_G", self._around, self.order)
        device = next(training.networks["G"].parameters()).device
        self._judge = Judge(networks_of(self.config, training.networks), device, self._shown)
        if self.config.trains:
            lacking = [name for name in self._judge.networks if name not in training.optimizers]
            if lacking:
                raise ValueError(f"mode {self.config.mode} needs the optimizer that trains {lacking[0]}")
            self._judge.learn(training.optimizers, float(getattr(training.loss, "r1_gamma", 0)))

    def _shown(self, images: torch.Tensor) -> torch.Tensor:
        """What the teacher sees of images: with ``augment``, what the pipe makes of them that D's go through."""
        assert self._training is not None and self._training.wraps is not None
        pipe = getattr(self._training.wraps.owner, "augment_pipe", None) if self.config.augment else None
        return images if pipe is None else pipe(images)

    def on_iteration(self, iteration: int) -> None:
        self._iteration = iteration

    def on_round(self, batch: Round) -> Round:
        self._awaited = batch if batch.phase[1:] in MAIN_PHASES else None
        return batch

    def before_step(self, step: Step) -> None:
        is_lacking = not self._has_judged if step.network == "G" else self.config.trains and not self._fakes
        if step.is_main and is_lacking:
            raise RuntimeError(f"a step of {step.network} was trained without the teacher; {_CALLED}")
        if step.network == "G":
            self._has_judged = False

    def after_step(self, step: Step) -> None:
        if step.network == "D" and step.is_main and self.config.trains:
            assert self._judge is not None and self._training is not None and self._reals is not None
            training, fakes, self._fakes = self._training, self._fakes, []
            with kept_random_states(fakes[0][0].device):
                self._judge.step(fakes, self._reals, training.num_ranks, self._iteration, training.rank, training.seed)

    def on_report(self) -> Mapping[str, float]:
        means, self._means = self._means, {}
        told = {f"Teacher/{name}": float(total) / number for name, (total, number) in means.items()}
        if not math.isfinite(told.get("Teacher/loss", 0)):
            raise RuntimeError("the teacher says of images what is not finite, and G would no longer train")
        return told

    def close(self) -> None:
        self._judge, self._training, self._awaited, self._fakes = None, None, None, []

    # ---------------------------------------------------------------- the forward pass

    def _around(self, run_g: Any) -> Any:
        def run_and_judge(*args: Any, **kwargs: Any) -> Any:
            result = run_g(*args, **kwargs)
            batch, self._awaited = self._awaited, None  # later calls of the round are of regularisation
            if batch is not None:
                images = result if isinstance(result, torch.Tensor) else result[0]
                if batch.phase.startswith("G"):
                    self._judged(images, batch.gen_c)
                elif self.config.trains:
                    self._fakes.append((images.detach(), batch.gen_c))
            return result

        return run_and_judge

    def _judged(self, images: torch.Tensor, labels: Optional[torch.Tensor]) -> None:
        """Have the teacher's gradient join D's where these images are differentiated."""
        assert self._judge is not None
        alpha, self._has_judged = self.config.alpha_at(self._iteration, self._ramp), True
        with kept_random_states(images.device):  # which also shows it the augmentation that D will see
            slope, logits = self._judge.slope(images, labels)
        self._note("alpha", alpha)
        self._note("loss", softplus(-logits).mean())
        self._note("sign", logits.sign().mean())

        def joined(gradient: torch.Tensor) -> Optional[torch.Tensor]:
            if is_probing():
                return None
            self._note("cosine", cosine_similarity(gradient.flatten(1), slope.flatten(1)).mean())
            if alpha in (0, 1):
                return None if alpha == 1 else slope
            return alpha * gradient + (1 - alpha) * slope

        images.register_hook(joined)

    def _note(self, name: str, value: Any) -> None:
        """Count a value in a statistic of the tick."""
        total, number = self._means.get(name, (0.0, 0))
        self._means[name] = (total + value, number + 1)

    # ---------------------------------------------------------------- states

    def state_dict(self) -> Dict[str, Any]:
        """Of a teacher that trains, its networks and their optimizers; the same in every process."""
        return {"config": self.config.to_dict(), **({} if self._judge is None else self._judge.state_dict())}

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        config = TeacherConfig.from_dict(state["config"])
        wanted = {"live": {"D"}, "own": {"D", "G"}}.get(config.mode, set())
        if set(state["networks"]) != wanted or set(state["optimizers"]) != wanted:
            raise ValueError(f"its teacher is not of the mode {config.mode}")
        tensors = [tensor for of in state["networks"].values() for tensor in of.values()]
        tensors += [v for of in state["optimizers"].values() for each in of["state"].values() for v in each.values()]
        if not all(bool(torch.as_tensor(tensor).isfinite().all()) for tensor in tensors):
            raise ValueError("its teacher is not finite")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: the state is of other settings, or of a teacher of another file.
            RuntimeError: it is of other networks.
        """
        mine, saved = self.binding(), {**TeacherConfig().to_dict(), **state["config"]}
        if difference(saved, mine):
            raise ValueError(difference(saved, mine))
        assert self._judge is not None
        self._judge.load_state_dict(state)
