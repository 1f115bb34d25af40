"""What a setting of a method is: a field of a frozen dataclass that says all that is to be known of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple, Type, TypeVar

from ..core.schedule import Schedule

__all__ = ["KINDS", "Config", "Setting", "as_text", "setting"]

#: Kinds of settings, by which they are read from a command line and from JSON.
KINDS = ("float", "int", "bool", "str", "path", "choice", "choices", "patterns", "length", "rates")

_C = TypeVar("_C", bound="Config")


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Args:
        name: field of the configuration.
        default: value where none is given.
        kind: one of ``KINDS``. "path" is a file by its absolute path, "" none; "choices" is several different ones in an order,
            "patterns" several texts or None, "length" a number of iterations that may be given in kimg, "rates" a factor of
            dense phases, or the text of a factor of sparse and one of dense phases such as "1:0.1".
        help: what it sets, a sentence for the reader of ``--help``.
        least: smallest value allowed; None = no bound.
        most: largest value allowed; None = no bound.
        excludes_least: whether ``least`` itself is not allowed.
        excludes_most: whether ``most`` itself is not allowed.
        choices: values that kinds "choice" and "choices" have.
        needs: (setting, value, ...) without one of which values it does nothing and is refused on a command line; None =
            nothing.
        search: range that a search takes by default: (low, high), the log scale as in ``log``; choices likewise; None = fixed.
        log: whether a search goes evenly through its logarithm.
        binds: whether a run that goes on has to have the value that it began with.
        flag: option's flag, where it is not made of the names of method and setting.
        told: default as a reader is told it; None = as it is.
        more: what the documentation says beyond ``help``.
        is_hidden: whether ``--help`` leaves it out.
        holds: what a file has to hold, as it is checked before a run: "networks" of a snapshot, or "images" in a zip, of the
            size, channels and classes of the run's own; "" = the method looks itself.
    """

    name: str
    default: Any
    kind: str
    help: str
    least: Optional[float] = None
    most: Optional[float] = None
    excludes_least: bool = False
    excludes_most: bool = False
    choices: Tuple[str, ...] = ()
    needs: Optional[Tuple[str, ...]] = None
    search: Optional[Tuple[Any, ...]] = None
    log: bool = False
    binds: bool = True
    flag: Optional[str] = None
    told: Optional[str] = None
    more: str = ""
    is_hidden: bool = False
    holds: str = ""

    def checked(self, value: Any) -> Any:
        """``value``, of JSON or of Python, as the configuration holds it.

        Raises:
            ValueError: it is of another type or out of range; the message begins with the setting's name.
        """
        if self.kind == "choice":
            if value not in self.choices:
                raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}")
        elif self.kind in ("choices", "patterns"):
            return self._several(value)
        elif self.kind == "rates" and isinstance(value, str):
            return self._rates(value)
        elif self.kind in ("str", "bool", "path"):
            if type(value) is not type(self.default):
                raise ValueError(f"{self.name} must be of the type of {self.default!r}, got {value!r}")
        else:
            self._check_number(value)
        return value

    def _several(self, value: Any) -> Any:
        if value is None and self.default is None:
            return None
        if isinstance(value, str):
            raise ValueError(f"{self.name} must be a list of texts, got {value!r}; {value.split(',')} is one")
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{self.name} must be a list of texts, got {value!r}")
        if self.kind == "choices":
            unknown = [each for each in value if each not in self.choices]
            if unknown:
                raise ValueError(f"{self.name} {unknown[0]!r} is none of {', '.join(self.choices)}")
            if len(set(value)) < len(value):
                raise ValueError(f"{self.name} {','.join(value)!r} names one twice")
        return tuple(value)

    def _rates(self, text: str) -> Any:
        try:
            factors = [float(part) for part in text.split(":")]
        except ValueError:
            factors = []
        if len(factors) not in (1, 2):
            raise ValueError(f"{self.name} must be a number such as 0.1, or SPARSE:DENSE such as 1:0.1, got {text!r}")
        for factor in factors:
            self._check_number(factor)
        return factors[-1] if factors[0] == 1 or len(factors) == 1 else ":".join(f"{factor:.12g}" for factor in factors)

    def _check_number(self, value: Any) -> None:
        whole = self.kind in ("int", "length")
        if type(value) is not int and (whole or type(value) is not float):
            raise ValueError(f"{self.name} must be a {'whole ' if whole else ''}number, got {value!r}")
        low, high = -math.inf if self.least is None else self.least, math.inf if self.most is None else self.most
        fits = math.isfinite(value) and low <= value <= high
        if not fits or (self.excludes_least and value == low) or (self.excludes_most and value == high):
            raise ValueError(f"{self.name} must be {self.range}, got {value:g}")

    @property
    def range(self) -> str:
        """The allowed numbers in words, such as "in [0, 1)" or "at least 1"."""
        if self.least is None and self.most is None:
            return "finite"
        if self.most is None:
            return f"greater than {self.least:g} and finite" if self.excludes_least else f"at least {self.least:g}"
        low = "(-inf" if self.least is None else f"{'(' if self.excludes_least else '['}{self.least:g}"
        return f"in {low}, {self.most:g}{')' if self.excludes_most else ']'}"


def as_text(value: Any, between: str = ",") -> str:
    """A value of a setting as it is typed, such as "0.3", "true" or "color,cutout"; "none" for several that are none.

    Args:
        value: of JSON or of Python.
        between: what stands between several.
    """
    if isinstance(value, (list, tuple)):
        return between.join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting(default: Any, help: str, *, kind: Optional[str] = None, **more: Any) -> Any:
    """A field of a ``Config``: its default, what it sets, and the other arguments of ``Setting`` by name.

    Args:
        default: value where none is given; where no kind is named, its type says the kind.
        help: what it sets, a sentence.
        kind: see ``Setting``.
        more: further arguments of ``Setting``.
    """
    if kind is None:
        kind = ("choice" if isinstance(default, str) else "choices") if "choices" in more else type(default).__name__
    if kind not in KINDS:
        raise TypeError(f"a setting cannot be of kind {kind!r}")
    declared = functools.partial(Setting, default=default, kind=kind, help=help, **more)
    return field(default=default, metadata={"setting": declared})


@dataclass(frozen=True)
class Config:
    """Base of a method's settings. Every value is checked when it is constructed."""

    def __post_init__(self) -> None:
        for each in self.settings():
            object.__setattr__(self, each.name, each.checked(getattr(self, each.name)))
        self.check()

    def check(self) -> None:
        """Check what one setting alone does not tell.

        Raises:
            ValueError: settings that do not go together; the message begins with the name of one.
        """

    def schedule(self, total: Optional[int] = None) -> Optional[Schedule]:
        """The sparse and dense phases of a run of ``total`` iterations; None for a method without phases."""
        return None

    @classmethod
    def settings(cls) -> Tuple[Setting, ...]:
        """The settings in the order in which they are declared."""
        declared = [(each.name, each.metadata.get("setting")) for each in dataclasses.fields(cls)]
        return tuple(make(name=name) for name, make in declared if make is not None)

    def to_dict(self) -> Dict[str, Any]:
        """Plain JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: Type[_C], values: Mapping[str, Any]) -> _C:
        """Inverse of ``to_dict``; what is absent has its default.

        Raises:
            ValueError: an unknown setting, a value of another type, or one out of range.
        """
        known = {each.name for each in cls.settings()}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown fields {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
        return cls(**values)
