"""Differentiable augmentation: every image that the discriminator sees, real or generated, is changed at random, and gradients
pass through the change.

Source: Zhao, Liu, Lin, Zhu, Han, "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020.

In someone's own loop::

    policy = parse_policy("color,translation,cutout")
    fake_logits = D(augment(G(z), policy))  # where G trains and where D trains
    real_logits = D(augment(reals, policy))

Every function takes images [batch, channels, height, width] of any floating type and any range (a host's is [-1, 1]), gives
the same shape and type, and can be differentiated twice, as R1 regularisation needs.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import torch

from ...core.hook import Hook, Step, Training
from .config import DiffAugmentConfig

__all__ = [
    "POLICIES", "DiffAugment", "augment", "brightness", "contrast", "cutout", "parse_policy", "saturation", "translation",
]  # fmt: skip

Generator = Optional[torch.Generator]


# ---------------------------------------------------------------- what is done to an image


def brightness(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Add ``shift`` [batch] to every value of an image."""
    return images + _per_image(shift, images)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Scale the distance of every pixel from the mean of its channels by ``factor`` [batch]. Grey images stay as they are."""
    mean = images.mean(dim=1, keepdim=True)
    return (images - mean) * _per_image(factor, images) + mean


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Scale the distance of every value from the mean of its image by ``factor`` [batch]."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * _per_image(factor, images) + mean


def translation(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Move every image by whole pixels, int64 [batch], at most an eighth of its side; zeros come in from outside."""
    height, width = images.shape[2:]
    reach_y, reach_x = height // 8, width // 8
    padded = torch.nn.functional.pad(images, (reach_x, reach_x, reach_y, reach_y))
    rows = torch.arange(height, device=images.device) + reach_y - down[:, None]
    columns = torch.arange(width, device=images.device) + reach_x - right[:, None]
    padded = padded.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, padded.shape[3]))
    return padded.gather(3, columns[:, None, None, :].expand(-1, images.shape[1], height, -1))


def cutout(images: torch.Tensor, top: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Set a rectangle of half of each side to 0. It begins at row ``top`` and column ``left``, int64 [batch]; what of it lies
    outside the image is lost."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - top[:, None]
    columns = torch.arange(width, device=images.device) - left[:, None]
    inside_y, inside_x = (rows >= 0) & (rows < _half(height)), (columns >= 0) & (columns < _half(width))
    hidden = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return images * (~hidden).to(images.dtype)


def _half(side: int) -> int:
    return (side + 1) // 2


def _per_image(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return values.to(images.dtype).view(-1, 1, 1, 1)


# ---------------------------------------------------------------- what is drawn


def _uniform(images: torch.Tensor, low: float, high: float, generator: Generator) -> torch.Tensor:
    return torch.rand(images.shape[0], generator=generator, device=images.device) * (high - low) + low


def _whole(images: torch.Tensor, low: int, high: int, generator: Generator) -> torch.Tensor:
    """Whole numbers from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, (images.shape[0],), generator=generator, device=images.device)


def _color(images: torch.Tensor, generator: Generator) -> torch.Tensor:
    images = brightness(images, _uniform(images, -0.5, 0.5, generator))
    images = saturation(images, _uniform(images, 0, 2, generator))
    return contrast(images, _uniform(images, 0.5, 1.5, generator))


def _translation(images: torch.Tensor, generator: Generator) -> torch.Tensor:
    down, right = (_whole(images, -(side // 8), side // 8, generator) for side in images.shape[2:])
    return translation(images, down, right)


def _cutout(images: torch.Tensor, generator: Generator) -> torch.Tensor:
    # The middle of the rectangle is anywhere in the image.
    top, left = (
        _whole(images, -(_half(side) // 2), side - _half(side) % 2 - _half(side) // 2, generator) for side in images.shape[2:]
    )
    return cutout(images, top, left)


#: Name of a policy → what it does to images, with random numbers of the generator.
POLICIES: Dict[str, Callable[[torch.Tensor, Generator], torch.Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


def parse_policy(text: str) -> Tuple[str, ...]:
    """The policies of a list such as "color,translation,cutout", in the order in which they are applied.

    Raises:
        ValueError: one is unknown, or named twice.
    """
    return _checked([name.strip() for name in text.split(",")])


def _checked(policy: Sequence[str]) -> Tuple[str, ...]:
    return DiffAugmentConfig(policy if isinstance(policy, str) else tuple(policy)).policy  # type: ignore[arg-type]


def augment(images: torch.Tensor, policy: Sequence[str], generator: Generator = None) -> torch.Tensor:
    """Change every image of a batch at random and on its own.

    Args:
        images: floating, [batch, channels, height, width].
        policy: names of ``POLICIES``, applied in this order. "color" is brightness shifted by U(-0.5, 0.5), saturation times
            U(0, 2), contrast times U(0.5, 1.5); "translation" moves by up to an eighth of either side; "cutout" sets a
            rectangle of half the sides to 0, with its middle anywhere.
        generator: random numbers, on the images' device; None = that device's own.

    Raises:
        ValueError: an unknown policy.
    """
    for name in _checked(policy):
        images = POLICIES[name](images, generator)
    return images


# ---------------------------------------------------------------- in a host


class AugmentedPipe:
    """Stands in for a loss's ``augment_pipe``: the host's own augmentation where there is one, then a policy.

    The loss alone holds it. What the loop adjusts and pickles stays the host's own.

    Args:
        pipe: the host's own; None where it has none.
        policy: names of ``POLICIES``.
    """

    def __init__(self, pipe: Any, policy: Sequence[str]):
        self.pipe, self.policy, self.used = pipe, policy, False

    def __call__(self, images: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.used = True
        if self.pipe is not None:
            images = self.pipe(images, *args, **kwargs)
        return augment(images, self.policy)

    def __getattr__(self, name: str) -> Any:
        if name == "pipe":  # not constructed yet
            raise AttributeError(name)
        return getattr(self.pipe, name)


class DiffAugment(Hook):
    """Augments, differentiably, whatever a host's discriminator sees: reals and fakes, where G trains and where D trains.

    Args:
        policy: names of ``POLICIES``, applied in this order after the host's own augmentation.

    Raises:
        ValueError: an unknown policy.
    """

    name = "diffaugment"

    def __init__(self, policy: Sequence[str]):
        self.policy = _checked(policy)
        self._pipe: Optional[AugmentedPipe] = None

    def start(self, training: Training) -> None:
        """Come after the loss's ``augment_pipe``.

        Raises:
            ValueError: the loss has no such attribute.
        """
        training.wrap("augment_pipe", self._augmented, self.order)

    def _augmented(self, pipe: Any) -> AugmentedPipe:
        self._pipe = AugmentedPipe(pipe, self.policy)
        return self._pipe

    def before_step(self, step: Step) -> None:
        if self._pipe is not None and not self._pipe.used:
            raise RuntimeError(
                "a step was trained without augment_pipe, so DiffAugment would do nothing; a loop of one's own calls D as "
                "loop.run_D(images)"
            )
