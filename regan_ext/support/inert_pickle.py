"""Reading a pickle without running anything of it: every class and function that it names becomes an empty stand-in."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import IO, Any, Dict, Tuple

__all__ = ["Inert", "read_inert"]


class Inert(Dict[Any, Any]):
    """Stands in for an object of a pickle. What the pickle puts into it by key is in the dict.

    Attributes:
        origin: dotted name of the class or function that would have made it.
        args: what that would have been called with.
        state: what the object would have been given afterwards; None for nothing.
    """

    origin = ""
    args: Tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        self = super().__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Nothing: items of foreign lists and sets are not looked at."""

    add = extend = append

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return type("Inert", (Inert,), {"origin": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return Inert(pid)


def read_inert(file: IO[bytes]) -> Any:
    """Content of a pickle, built of plain values and ``Inert`` objects.

    Raises:
        Exception: it is none, or a damaged one, which fails in nearly any way.
    """
    return _Unpickler(file).load()
