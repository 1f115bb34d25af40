"""Images of a generator, whatever its host calls its arguments."""

from __future__ import annotations

import inspect

import torch

__all__ = ["drawn"]


def drawn(generator: torch.nn.Module, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Images [batch, channels, height, width] in float32, with the same noise every time where the generator adds any.

    Args:
        generator: called with latents and labels by their places; networks without noise know no ``noise_mode``.
        z: latents [batch, z_dim].
        c: labels [batch, c_dim].
    """
    parameters = inspect.signature(generator.forward).parameters.values()
    knows = any(p.name == "noise_mode" or p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters)
    images: torch.Tensor = generator(z, c, noise_mode="const") if knows else generator(z, c)
    return images.float()
