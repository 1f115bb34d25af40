"""What a state of Re-GAN has to be, before anything is loaded."""

from __future__ import annotations

import math
from typing import Any, Mapping

import torch

from ...core.schedule import Phase, Span
from ...sparsity.masked_network import MaskedNetwork
from ...sparsity.selection import parameter_shapes
from ..target import targets
from .config import ReconfigurationConfig, upgraded
from .memory import Memory

__all__ = ["check"]

_KNOW_NOTHING = (("magnitude", "zero"), ("saliency", "zero"), ("none", "zero"))  # score and regrowth that need no memory


def check(state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
    """Check a state as it was read from a file.

    Args:
        state: what ``Reconfiguration.state_dict`` has made, of this version or an earlier one.
        networks: "G" and "D" of the run that it is for.

    Raises:
        ValueError: it is of other networks, or what it says cannot be.
    """
    if state["iteration"] < 0 or not set(state["pending"]) <= set(networks) or not isinstance(state["config"], dict):
        raise ValueError("its iteration, pending prunings or settings are absurd")
    known = {each.name for each in ReconfigurationConfig.settings()}
    settings = {name: value for name, value in upgraded(state["config"]).items() if name in known}
    config = ReconfigurationConfig.from_dict(settings)
    kinds = set(targets(config))
    if set(state["networks"]) != kinds or set(state.get("memory", kinds)) != kinds:  # older states have no memory
        raise ValueError(f"its networks are not {' and '.join(sorted(kinds))}, as its settings have it")
    if state["span"] is not None:
        phase, cycle, start = state["span"]
        if Phase(phase) is None or cycle < 0 or start < 0:
            raise ValueError(f"its phase {state['span']} is absurd")
    for kind, rates in state.get("base_lr", {}).items():
        if kind not in networks or not rates or not all(0 <= rate < math.inf for rate in rates):
            raise ValueError(f"its learning rates of {kind} are absurd")
    for kind, masked in state["networks"].items():
        MaskedNetwork.check_state(masked, parameter_shapes(networks[kind]))
        if kind in state.get("memory", {}):
            Memory.check_state(state["memory"][kind], config, masked, networks[kind])
        elif (config.score, config.regrow) not in _KNOW_NOTHING:
            raise ValueError("what its settings need to know of the weights is missing")
        if state["span"] is not None:
            phase, cycle, start = state["span"]
            is_in_sparse = config.phase(kind, Span(Phase(phase), cycle, start, None)) == Phase.SPARSE
            is_pruned = is_in_sparse and kind not in state["pending"] and config.score != "none"
            if masked["sparse"] != is_pruned:
                raise ValueError("its phase and its masks disagree")
