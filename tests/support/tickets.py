"""The files of a ticket: θ₀ of networks, and a mask of its first round."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

import torch

from training_hooks.methods.tickets.files import Init, Mask, init_of, write_init, write_mask
from training_hooks.methods.tickets.prune import dense_mask, following, random_mask

__all__ = ["write_random_mask", "write_ticket"]


def write_ticket(folder: Path, networks: Mapping[str, Any], scopes: Mapping[str, str], share: float = 0.2) -> Tuple[Init, Mask]:
    """Write ``ticket-init.pt`` and ``ticket-mask-1.pt``, by the magnitudes of θ₀ itself.

    Args:
        folder: where to.
        networks: "G", "D" and "G_ema".
        scopes: network that is pruned → what of it.
        share: that goes.
    """
    init = init_of(networks)
    keeps = {kind: dense_mask(init, {kind: networks[kind]}, scope).networks[kind] for kind, scope in scopes.items()}
    mask = following(Mask(keeps, 0, {}, init.checksum), init, networks, share)
    write_init(init, folder / "ticket-init.pt"), write_mask(mask, folder / "ticket-mask-1.pt")
    return init, mask


def write_random_mask(path: Path, shapes: Mapping[str, Mapping[str, Sequence[int]]], share: float) -> Path:
    """Write a random mask that keeps a share of every tensor, of no θ₀."""
    keeps: Dict[str, Dict[str, torch.Tensor]] = {
        kind: random_mask(of, {name: int(share * torch.Size(shape).numel()) for name, shape in of.items()}, 0)
        for kind, of in shapes.items()
    }
    write_mask(Mask(keeps, 1, {"kind": "random"}, 0), path)
    return path
