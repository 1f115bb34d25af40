"""Which parameters of a network a method touches."""

from __future__ import annotations

import fnmatch
from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

import torch

from .anatomy import RGB

__all__ = [
    "SCOPES", "SelectionError", "check_rgb", "frozen_shapes", "knows_rgb", "listed", "matching", "parameter_shapes", "select",
    "split_patterns",
]  # fmt: skip

SCOPES = ("weights", "reference")


class SelectionError(ValueError):
    """A selection that matches nothing. The message lists what there was."""


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names for a message, the first ``limit`` of them."""
    shown = ", ".join(names[:limit])
    return shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def _check_patterns(patterns: Iterable[str], names: Sequence[str], what: str) -> None:
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SelectionError(f"{what} pattern {pattern!r} matches no parameter; there are: {listed(names)}")


def matching(names: Sequence[str], patterns: Sequence[str], what: str) -> List[str]:
    """Those of the names that one of the shell patterns matches, in their own order.

    Args:
        names: of parameters.
        patterns: each has to match one.
        what: they are, for the message.

    Raises:
        SelectionError: a pattern matches nothing.
    """
    _check_patterns(patterns, names, what)
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def select(
    shapes: Mapping[str, Sequence[int]], scope: str = "weights", exclude: Sequence[str] = (), strict: bool = True
) -> List[str]:
    """Names of the selected parameters, in the network's own order.

    Args:
        shapes: parameter name → shape, as ``{n: p.shape for n, p in G.named_parameters()}`` gives it.
        scope: "weights" (two or more dimensions), "reference" (every parameter, as the Re-GAN code), or comma-separated
            shell patterns of names such as ``synthesis.*.weight,mapping.fc?.weight`` (one or more dimensions).
        exclude: shell patterns of names to leave out.
        strict: an exclude pattern that matches nothing is an error. Turned off for defaults, which have to fit every
            architecture.

    Raises:
        SelectionError: nothing is selected, or a pattern matches no parameter.
    """
    names = list(shapes)
    if scope == "weights":
        inside = [n for n in names if len(shapes[n]) >= 2]
    elif scope == "reference":
        inside = list(names)
    else:
        patterns = split_patterns(scope)
        inside = [n for n in matching(names, patterns, "scope") if len(shapes[n]) >= 1]
    if strict:
        _check_patterns(exclude, names, "exclude")
    chosen = [n for n in inside if not any(fnmatch.fnmatchcase(n, p) for p in exclude)]
    if not chosen:
        if inside:
            raise SelectionError(
                f"exclude {','.join(exclude)!r} leaves nothing of the {len(inside)} parameters in scope {scope!r}: "
                f"{listed(inside)}"
            )
        raise SelectionError(f"scope {scope!r} selects no parameter; there are: {listed(names)}")
    return chosen


def knows_rgb(network: str, names: Iterable[str]) -> bool:
    """Whether the layers that write (G) or read (D) RGB are told from the others by their usual names.

    Args:
        network: "G" or "D".
        names: of its parameters, frozen ones included.
    """
    names = list(names)
    return any(fnmatch.filter(names, pattern) for pattern in RGB[network])


def check_rgb(network: str, names: Iterable[str]) -> None:
    """Check that RGB layers are known, so that none is pruned unasked, see ``knows_rgb``.

    Raises:
        SelectionError: they are not.
    """
    names = list(names)
    if not knows_rgb(network, names):
        usual = ", ".join(RGB[network])
        raise SelectionError(
            f"exclude has to name the layers of {network} that write or read RGB, because none is called {usual}; "
            f"or none to prune them too. There are: {listed(names)}"
        )


def split_patterns(scope: str) -> List[str]:
    """The comma-separated patterns of a scope."""
    return [p.strip() for p in scope.split(",") if p.strip()]


def parameter_shapes(module: torch.nn.Module) -> Dict[str, Tuple[int, ...]]:
    """Parameter name → shape, in the network's own order."""
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def frozen_shapes(module: torch.nn.Module) -> Dict[str, Tuple[int, ...]]:
    """Name → shape of the weights and biases that a host has frozen: it keeps them as buffers."""
    return {n: tuple(b.shape) for n, b in module.named_buffers() if n.rpartition(".")[2] in ("weight", "bias")}
