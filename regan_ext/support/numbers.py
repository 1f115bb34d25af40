"""Types of options that are numbers: finite, and within bounds that somebody has thought about."""

from __future__ import annotations

import math
from typing import Any, List, Optional, Tuple

import click

__all__ = ["COUNT", "HOURS", "SEED", "FiniteFloat", "Int", "SeedList"]

_LAST_SEED = 2**32 - 1  # of NumPy, which the hosts give theirs to


class FiniteFloat(click.FloatRange):
    """``click.FloatRange`` without nan, which no comparison excludes, and without infinity."""

    name = "float"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return float(super().convert(number, param, ctx))


class Int(click.IntRange):
    """``click.IntRange`` by the name that the hosts have for it."""

    name = "int"


class SeedList(click.ParamType):
    """``0,1,2`` or ``0-2``, in that order.

    Args:
        most: how many there may be.
    """

    name = "list"

    def __init__(self, most: int):
        self.most = most

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: List[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            ends = [first, last] if dash else [first, first]
            if not all(end.isdecimal() and end.isascii() and len(end) <= 10 for end in ends) or int(ends[0]) > int(ends[1]):
                self.fail(f"{value!r} is no list of seeds such as 0,1,2 or 0-2", param, ctx)
            if int(ends[1]) > _LAST_SEED:
                self.fail(f"{part.strip()!r} goes beyond {_LAST_SEED}", param, ctx)
            if len(seeds) + int(ends[1]) - int(ends[0]) >= self.most:
                self.fail(f"{value!r} has more than {self.most} seeds", param, ctx)
            seeds += range(int(ends[0]), int(ends[1]) + 1)
        return tuple(seeds)


SEED = Int(0, _LAST_SEED)
COUNT = Int(1, 10**9)
HOURS = FiniteFloat(0, 10_000, min_open=True)  # a year has 8766
