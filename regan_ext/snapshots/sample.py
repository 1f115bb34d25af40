"""What generators are given, latents and labels, and what they give, as pixels. One rule for all that draw."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np
import torch

from training_hooks.core.drawing import drawn

from ..support.errors import UserError

__all__ = [
    "check_trunc", "codes", "draw", "has_styles", "image_channels", "labels", "latents", "pixels", "sample", "to_uint8",
]  # fmt: skip


def latents(generator: Any, count: int, seeds: Sequence[int]) -> torch.Tensor:
    """Latents as the host's ``generate.py`` draws them, float32 [len(seeds) * count, z_dim].

    Args:
        generator: network of a host.
        count: latents of each seed.
        seeds: at least one.
    """
    drawn = [np.random.RandomState(seed).randn(count, generator.z_dim) for seed in seeds]
    return torch.from_numpy(np.concatenate(drawn)).float()


def labels(generator: Any, count: int, label: Optional[int] = None) -> Optional[torch.Tensor]:
    """Classes as one-hot rows, float32 [count, c_dim]; None for a network without classes.

    Args:
        generator: network of a host.
        count: number of rows.
        label: class of all rows; None takes the classes in turn.
    """
    if not generator.c_dim:
        return None
    classes = torch.arange(count) if label is None else torch.full([count], label)
    return torch.eye(generator.c_dim)[classes % generator.c_dim]


def image_channels(generator: Any) -> int:
    """Channels of a generator's images. R3GAN's does not say that it draws RGB."""
    return int(getattr(generator, "img_channels", 3))


def has_styles(generator: Any) -> bool:
    """Whether a mapping network makes styles of latents, as in StyleGAN's generators; FastGAN's and R3GAN's have none."""
    return bool(getattr(generator, "w_dim", 0))


def check_trunc(generator: Any, trunc: float) -> None:
    """Check that a generator knows truncation.

    Raises:
        UserError: it does not, and ``trunc`` asks for it.
    """
    if trunc != 1 and not has_styles(generator):
        raise UserError("--trunc: this network makes no styles of latents, which truncation draws to their average")


def codes(generator: Any, z: torch.Tensor, c: Optional[torch.Tensor], trunc: float = 1) -> torch.Tensor:
    """What images are drawn from, and can be mixed: styles [N, layers, w_dim], else latents and labels [N, z_dim + c_dim].

    Args:
        generator: network of a host.
        z: latents [N, z_dim].
        c: labels [N, c_dim]; None = none.
        trunc: truncation psi of styles.
    """
    if not has_styles(generator):
        return z if c is None else torch.cat([z, c], 1)
    with torch.no_grad():
        styles: torch.Tensor = generator.mapping(z, c, truncation_psi=trunc)
    return styles


def draw(generator: Any, given: torch.Tensor) -> torch.Tensor:
    """Images [N, channels, H, W] of ``codes``, with fixed noise, in single precision where the network leaves the choice."""
    with torch.no_grad():
        if not has_styles(generator):
            return drawn(generator, *given.split([generator.z_dim, generator.c_dim], 1))
        images: torch.Tensor = generator.synthesis(given, noise_mode="const", force_fp32=True)
    return images


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """A generator's images, whose pixels are in [-1, 1], with pixels from 0 to 255."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def pixels(images: torch.Tensor) -> np.ndarray:
    """A generator's images [N, C, H, W] as Pillow takes each: uint8 [N, H, W], with colours [N, H, W, C]."""
    arrays = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
    return arrays[..., 0] if arrays.shape[-1] == 1 else arrays


def sample(generator: Any, count: int) -> np.ndarray:
    """The first ``count`` images of seed 0 as ``pixels``, with fixed noise, without truncation, classes in turn."""
    return pixels(draw(generator, codes(generator, latents(generator, count, [0]), labels(generator, count))))
