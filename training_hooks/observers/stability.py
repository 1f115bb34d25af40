"""How much the averaged generator's images change from tick to tick.

Source: figure 7 of Saxena, Cao, Xu, Kulshrestha, "Re-GAN: Data-Efficient GANs Training via Architectural Reconfiguration",
CVPR 2023: mean squared difference between images of the same latents in successive epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional

import torch

from ..core.drawing import drawn
from ..core.hook import Hook, Training
from ..methods.method import Method, Statistic
from ..methods.setting import Config, setting

__all__ = ["METHOD", "Stability", "StabilityConfig"]

_CHUNK = 4  # images at a time


@dataclass(frozen=True)
class StabilityConfig(Config):
    """Settings of the measure.

    Args:
        images: number of latents, at least 1; 16 by default.
        seed: seed of the latents; 0 by default.

    Raises:
        ValueError: less than one image.
    """

    images: int = setting(16, "Number of latents.", least=1, most=65536, is_hidden=True)
    seed: int = setting(0, "Seed of the latents.", least=0, most=2**32 - 1, is_hidden=True)


METHOD = Method(
    name="stability",
    title="Stability",
    hook="training_hooks.observers.stability.Stability",
    config=StabilityConfig,
    help="Log how far images of fixed latents move from tick to tick.",
    source="Saxena, Cao, Xu, Kulshrestha, CVPR 2023, figure 7",
    order=200,
    observes=True,
    describe=lambda config: "logged once per tick",
    statistics=(
        Statistic(
            "Stability/mse", "Change of the averaged generator's images", "squared change per tick", "no unit",
            "mean squared difference between images of the same latents at the end of two ticks in turn",
        ),
    ),
)  # fmt: skip


class Stability(Hook):
    """Reports ``Stability/mse``: how far images of fixed latents and fixed noise have moved since the end of the last tick.

    It is the mean over all pixels of the squared difference, of images clipped to [-1, 1]. The random states of the run are
    left alone. Statistics are due before a tick's last iteration ends, so that iteration's change is not in it, and the
    first tick, which is that iteration alone, has no value.

    Args:
        images: number of latents.
        seed: of the latents.

    Raises:
        ValueError: less than one image.
    """

    name = "stability"
    observes = True
    order = -1  # a run that goes on has to see the networks before they change, as the run before did

    def __init__(self, images: int = 16, seed: int = 0):
        config = StabilityConfig(images, seed)
        self._number, self._seed = config.images, config.seed
        self._training: Optional[Training] = None
        self._before: Optional[torch.Tensor] = None  # on rank 0 alone
        self._due = False

    def start(self, training: Training) -> None:
        self._training = training

    def on_iteration(self, iteration: int) -> None:
        if iteration > 0 and not self._due:
            self.on_tick()  # a run that goes on: these are the networks of its last tick

    def on_tick(self) -> None:
        assert self._training is not None
        self._due = True
        if self._training.rank == 0:
            self._before = self._images()

    def on_report(self) -> Mapping[str, float]:
        if not self._due:
            return {}
        if self._before is None:
            return {"Stability/mse": 0.0}
        return {"Stability/mse": float((self._images() - self._before).square().mean())}

    @torch.no_grad()
    def _images(self) -> torch.Tensor:
        """[number, channels, height, width] in [-1, 1], float32, on the CPU."""
        assert self._training is not None
        networks = self._training.networks
        generator = networks.get("G_ema") or networks["G"]  # a loop of one's own may have no average
        device = next(generator.parameters()).device
        z_dim, c_dim = int(generator.z_dim), int(generator.c_dim)  # type: ignore[arg-type]
        latents = torch.randn(self._number, z_dim, generator=torch.Generator().manual_seed(self._seed))
        labels = torch.zeros(self._number, c_dim)
        if c_dim > 0:
            labels[torch.arange(self._number), torch.arange(self._number) % c_dim] = 1
        images = [
            drawn(generator, z.to(device), c.to(device)).clamp(-1, 1).cpu()
            for z, c in zip(latents.split(_CHUNK), labels.split(_CHUNK))
        ]
        return torch.cat(images)
