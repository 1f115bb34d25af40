"""Which layers of a discriminator are frozen, and what that means for a run: names and shapes only."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Sequence

from ...sparsity.anatomy import place
from ...sparsity.selection import matching
from ..method import Facts, Plan
from .config import FreezeDConfig

__all__ = ["arguments", "frozen", "outlook", "share"]

_LAST = 4  # resolution of the block that never freezes


def frozen(config: FreezeDConfig, names: Sequence[str]) -> List[str]:
    """Names of the weights and biases that stay as they came.

    Args:
        config: the settings.
        names: of D's weights and biases.

    Raises:
        ValueError: D has no such block, no blocks that are known, or a pattern matches nothing.
    """
    resolution, number = config.depth
    if not resolution and not number:
        return matching(names, config.layers, "layers")
    places = {name: place(name) for name in names}
    of = {name: each.resolution for name, each in places.items() if each is not None and each.part == "D"}
    blocks = sorted(set(of.values()) - {_LAST}, reverse=True)
    if not blocks:
        raise ValueError("layers: only of StyleGAN2's discriminator are blocks known; name patterns freeze layers of any")
    known = f"those that can be frozen are {', '.join(map(str, blocks))}"
    if resolution and resolution not in blocks:
        raise ValueError(f"layers: D has no block of resolution {resolution}; {known}")
    if number > len(blocks):
        raise ValueError(f"layers: D has fewer blocks than {number}; {known}")
    lowest = resolution or blocks[number - 1]
    return [name for name in names if lowest <= of.get(name, 0)]


def share(names: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> float:
    """Share of the weights and biases of these shapes that have one of the names."""
    return sum(math.prod(shapes[name]) for name in names) / sum(map(math.prod, shapes.values()))


def _number(names: Sequence[str]) -> int:
    """Number of layers, as NVIDIA's hosts count them."""
    return len({name.rpartition(".")[0] for name in names})


def arguments(config: FreezeDConfig, shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> Dict[str, Any]:
    """What a host that freezes layers by itself has to be told: their number, counted from the image."""
    return {"frozen_layers": _number(frozen(config, list(shapes["D"])))} if any(config.depth) else {}


def outlook(config: FreezeDConfig, facts: Facts) -> Plan:
    """What a run will do.

    Raises:
        ValueError: the layers would be frozen as they are drawn at random, there are no such layers, or no others.
    """
    names = frozen(config, list(facts.shapes["D"]))
    if not facts.is_resumed:
        raise ValueError("layers: they would be frozen as they were drawn at random; give --resume=PICKLE of a trained network")
    layers, of_all = _number(names), share(names, facts.shapes["D"])
    if len(names) == len(facts.shapes["D"]):
        raise ValueError("layers: they are all that D has, and it would not train; name fewer")
    host = f", as --freezed={layers} does" if any(config.depth) else ""
    note = f"FreezeD leaves {layers} layers of D as they come, {of_all:.1%} of its weights{host}."
    return Plan({"layers": layers, "share": of_all}, (note,), held=tuple(f"D.{name}" for name in names))
