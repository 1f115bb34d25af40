"""What methods have in common that have a setting ``target``: "G", "D" or "both"."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import torch

from ..sparsity.selection import SCOPES

__all__ = ["check_patterns", "check_trained", "targets", "unheld"]


def targets(config: Any) -> Tuple[str, ...]:
    """The networks that ``config`` works on."""
    return ("G", "D") if config.target == "both" else (config.target,)


def check_patterns(config: Any) -> None:
    """Check that no patterns of names (``scope``, ``exclude``) are for two networks: one set cannot speak of the names of both.

    Raises:
        ValueError: they are.
    """
    if config.target == "both":
        if config.scope not in SCOPES:
            raise ValueError(f"scope must be {' or '.join(SCOPES)} with target=both, got {config.scope!r}")
        if config.exclude:
            raise ValueError(f"exclude must be none or left out with target=both, got {','.join(config.exclude)}")


def check_trained(kind: str, module: torch.nn.Module, names: Sequence[str], params: Sequence[torch.Tensor]) -> None:
    """Check that nothing is pruned that could not grow back. Loops turn whole networks off and on, which says nothing.

    Raises:
        ValueError: some of the parameters need no gradient, where others of the network do.
    """
    fixed = [name for name, p in zip(names, params) if not p.requires_grad]
    if fixed and any(p.requires_grad for p in module.parameters()):
        raise ValueError(
            f"{len(fixed)} of the {len(names)} parameters of {kind} that would be pruned do not train ({fixed[0]} first has "
            "requires_grad=False), so they would stay 0; leave them dense with exclude"
        )


def unheld(optimizer: torch.optim.Optimizer, names: Sequence[str], params: Sequence[torch.Tensor]) -> List[str]:
    """Names of those of the parameters that an optimizer does not hold."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [name for name, p in zip(names, params) if id(p) not in held]
