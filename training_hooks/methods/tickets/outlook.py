"""What a run of a ticket will do: its round, the weights that it keeps, and where those that it begins with come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Mapping, Tuple

import torch

from ..method import Facts, Plan
from .config import TicketConfig
from .fit import check_begun, check_init, check_mask, opened_init, opened_mask

__all__ = ["completed", "label", "outlook", "told"]


def completed(config: TicketConfig, facts: Facts) -> TicketConfig:
    """The settings with the checksum of the mask, by which a run that goes on knows it.

    Raises:
        ValueError: the file cannot be used.
    """
    mask = opened_mask(config)
    return config if mask is None else dataclasses.replace(config, mask_checksum=mask.checksum)


def label(given: Any, config: TicketConfig) -> str:
    """Such as "-ticket-r2", what the name of a run folder says."""
    mask = opened_mask(config)
    return f"-ticket-r{0 if mask is None else mask.round}"


def outlook(config: TicketConfig, facts: Facts) -> Plan:
    """What a run will do.

    Raises:
        ValueError: a file cannot be used, or is of other networks or another ticket.
    """
    mask = opened_mask(config)
    init = opened_init(config, mask)
    if mask is not None:
        check_mask(config, mask, facts.trained, facts.shapes)
    if init is not None:
        check_init(config, init, facts.shapes)
        check_begun(config, init, facts.begun, "the snapshot of --resume")
    keeps = {} if mask is None else mask.networks
    values = {
        "round": 0 if mask is None else mask.round,
        "kind": "dense" if mask is None else str(mask.rule.get("kind", "magnitude")),
        "init": None if init is None else init.checksum,
        "selected_weights": {kind: sum(keep.numel() for keep in of.values()) for kind, of in keeps.items()},
        "kept_weights": {kind: sum(int(torch.count_nonzero(k)) for k in of.values()) for kind, of in keeps.items()},
    }
    begins = (
        f"begins with the weights in {Path(config.init).name}" if init is not None else f"writes its weights to {config.init}"
    )
    pruned = [f"{mask.sparsity(kind):.2%} of the masked weights of {kind}" for kind in keeps] if mask is not None else []
    return Plan(values, (f"round {values['round']} {begins}, {' and '.join(pruned) or 'nothing'} pruned.",))


def told(plan: Mapping[str, Any]) -> Tuple[str, str]:
    """What a run is, and how many of the weights in scope it keeps, of the values of its plan.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: these are not such values.
    """
    kept, selected = (sum(map(int, plan[f"{name}_weights"].values())) for name in ("kept", "selected"))
    if not selected:
        return "round 0 of a ticket", "dense"
    kind = {"random": "random ticket", "one-shot": "one-shot ticket"}.get(str(plan.get("kind")), "ticket")
    return f"{kind} of round {int(plan['round'])}", f"{kept / selected:.1%} kept".replace("%", " %")
