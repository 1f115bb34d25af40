"""Dense networks of a host that have as many parameters as a ticket keeps: which capacity they take."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

import torch

from ..support.errors import UserError

__all__ = ["capacity_of", "parameters"]

_BASE = "channel_base"  # the hosts' name for channels times resolution


def parameters(network: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())


def capacity_of(networks: Sequence[torch.nn.Module], wanted: int) -> Tuple[int, int]:
    """The largest capacity at which networks like these have no more parameters than are wanted.

    Args:
        networks: of a host, all of one capacity and of one resolution.
        wanted: number of their parameters together.

    Returns:
        The capacity, as ``--cbase`` has it, and how many parameters the networks have with it.

    Raises:
        UserError: what the networks are made from is not known, or they are all larger.
    """
    known = [base for network in networks for base in _bases(getattr(network, "init_kwargs", {}))]
    if not known:
        raise UserError("small-dense: these networks do not say what capacity (--cbase) they are made with")
    low, high = int(getattr(networks[0], "img_resolution", 1)), max(known)  # one channel at full resolution, and what there is
    if _count(networks, low) > wanted:
        raise UserError(
            f"small-dense: already --cbase={low} has {_count(networks, low)} parameters, and the ticket keeps {wanted}"
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _count(networks, middle) <= wanted else (low, middle - 1)
    return low, _count(networks, low)


def _count(networks: Sequence[Any], base: int) -> int:
    made = (type(each)(*each.init_args, **_with_base(each.init_kwargs, base)) for each in networks)
    return sum(map(parameters, made))


def _bases(kwargs: Mapping[str, Any]) -> List[int]:
    inner = [base for value in kwargs.values() if isinstance(value, Mapping) for base in _bases(value)]
    return [int(kwargs[_BASE]), *inner] if _BASE in kwargs else inner


def _with_base(kwargs: Mapping[str, Any], base: int) -> Any:
    """The same arguments with another capacity, of the type that the host has for them."""
    changed = {key: _with_base(value, base) if isinstance(value, Mapping) else value for key, value in kwargs.items()}
    made = type(kwargs)()  # hosts have a dict with attributes
    made.update({**changed, **({_BASE: base} if _BASE in kwargs else {})})  # type: ignore[attr-defined]
    return made
