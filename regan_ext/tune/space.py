"""What is searched: the ranges and choices of the settings, as values that can be compared, written down and sampled from."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Tuple, Union

from training_hooks.core.schedule import Length
from training_hooks.methods.regan import METHOD

from ..support.errors import UserError

if TYPE_CHECKING:
    import optuna

__all__ = ["Choices", "Range", "Space", "parse"]

_PAIRS = 2  # sparse-dense pairs that have to fit into a run
_SETTINGS = {each.name: each for each in METHOD.settings if each.search is not None}
_CHOICES = {name: each.choices for name, each in _SETTINGS.items() if each.kind == "choice"}
_FIELDS = tuple(_SETTINGS)


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; where they are the same, the number is fixed.

    Args:
        log: sampled evenly in its logarithm.
        whole: integers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def nearest(self, value: float) -> float:
        """The number of the range that is nearest to ``value``."""
        number = min(max(value, self.low), self.high)
        return int(number) if self.whole else number

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}:{self.high:g}"


@dataclass(frozen=True)
class Choices:
    """One of several words; a single one is fixed."""

    values: Tuple[str, ...]

    def nearest(self, value: str) -> str:
        """``value`` where it can be chosen, else the first."""
        return value if value in self.values else self.values[0]

    @property
    def is_fixed(self) -> bool:
        return len(self.values) == 1

    def __str__(self) -> str:
        return ":".join(self.values)


@dataclass(frozen=True)
class Space:
    """All settings that are searched, for runs of ``iterations`` iterations. The warm-up is a share of them."""

    fields: Mapping[str, Union[Range, Choices]]
    iterations: int

    def fixed(self) -> Dict[str, Any]:
        """The values that all trials share."""
        fixed = {name: field for name, field in self.fields.items() if field.is_fixed}
        return {name: f.values[0] if isinstance(f, Choices) else int(f.low) if f.whole else f.low for name, f in fixed.items()}

    def suggest(self, trial: "optuna.Trial") -> Dict[str, Any]:
        """Values for a trial. What is fixed is no parameter of it."""
        values = self.fixed()
        for name, field in self.fields.items():
            if field.is_fixed:
                continue
            if isinstance(field, Choices):
                values[name] = trial.suggest_categorical(name, field.values)
            elif field.whole:
                values[name] = trial.suggest_int(name, int(field.low), int(field.high), log=field.log)
            else:
                values[name] = trial.suggest_float(name, field.low, field.high, log=field.log)
        return {name: values[name] for name in self.fields}

    def options(self, values: Mapping[str, Any]) -> List[str]:
        """Values as options of ``train``."""
        warmup = round(values["warmup"] * self.iterations)
        written = {**values, "ratio": f"{values['ratio']:.4g}", "lr_scale": f"{values['lr_scale']:.4g}", "warmup": warmup}
        return [f"{METHOD.flag(name)}={value}" for name, value in written.items()]

    def known(self) -> List[Dict[str, Any]]:
        """What is tried before anything is searched, as near as the space allows.

        The paper's settings, and the shares of a run that the few-shot example of its code has.
        """
        common = {"ratio": 0.3, "lr_scale": 0.1, "granularity": "weight", "moments": "keep"}
        wanted: List[Dict[str, Any]] = [
            {**common, "interval": 100, "warmup": 0.0},
            {**common, "interval": self.iterations // 8, "warmup": 0.25},
        ]
        return [{name: field.nearest(values[name]) for name, field in self.fields.items()} for values in wanted]

    def __str__(self) -> str:
        return ",".join(f"{name}={field}" for name, field in self.fields.items())


def parse(text: str, iterations: int, batch: int) -> Space:
    """Read ``ratio=0.1:0.5,interval=50:500,granularity=weight``; what is not named has its default range.

    Args:
        text: of ``--space``; may be empty.
        iterations: of a run.
        batch: images per iteration, for lengths in kimg.

    Raises:
        UserError: a name or a value that cannot be, or a run too short for two sparse-dense pairs.
    """
    given: Dict[str, Union[Range, Choices]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _FIELDS:
            raise UserError(f"--space: {part!r} is not NAME=VALUE or NAME=LOW:HIGH, with {', '.join(_FIELDS)} as names")
        if name in given:
            raise UserError(f"--space: {name} is given twice")
        given[name] = _field(name, [each.strip() for each in value.split(":")], batch)
    warmup = given.get("warmup", _searched("warmup"))
    assert isinstance(warmup, Range)
    longest = int(iterations * (1 - warmup.high) / (2 * _PAIRS) + 1e-9)
    by_length = {"interval": Range(min(50, max(1, longest // 16)), max(1, longest), log=True, whole=True)}
    fields = {name: given.get(name) or by_length.get(name) or _searched(name) for name in _FIELDS}
    interval = fields["interval"]
    assert isinstance(interval, Range)
    if interval.high > longest:
        raise UserError(
            f"--space: a run of {iterations} iterations with a warm-up of up to {100 * warmup.high:g} % has room for two "
            f"sparse-dense pairs of interval {longest}, not {interval.high:g}; train longer, or give a shorter interval"
        )
    return Space(fields, iterations)


def _searched(name: str) -> Union[Range, Choices]:
    """What is searched of a setting by its declaration."""
    each = _SETTINGS[name]
    assert each.search is not None
    return Choices(each.search) if name in _CHOICES else Range(each.search[0], each.search[1], each.log)


def _field(name: str, parts: List[str], batch: int) -> Union[Range, Choices]:
    if name in _CHOICES:
        unknown = [part for part in parts if part not in _CHOICES[name]]
        if unknown:
            raise UserError(f"--space: {name} is one or several of {':'.join(_CHOICES[name])}, not {unknown[0]!r}")
        return Choices(tuple(dict.fromkeys(parts)))
    numbers = [_number(name, part, batch) for part in parts]
    if len(numbers) > 2 or numbers[0] > numbers[-1]:
        raise UserError(f"--space: {name}={':'.join(parts)} is neither a number nor LOW:HIGH")
    low, high = numbers[0], numbers[-1]
    allowed = {
        "ratio": (low >= 0 and high < 1, "in [0, 1)"),
        "interval": (low >= 1, "at least 1 iteration"),
        "warmup": (low >= 0 and high < 1, "a share of the run, in [0, 1)"),
        "lr_scale": (low > 0 and high <= 1000, "greater than 0 and at most 1000"),
    }
    fits, what = allowed[name]
    if not fits:
        raise UserError(f"--space: {name}={':'.join(parts)}: {name} has to be {what}")
    return Range(low, high, log=_SETTINGS[name].log, whole=name == "interval")


def _number(name: str, text: str, batch: int) -> float:
    value = math.nan
    with contextlib.suppress(ValueError):
        value = float(Length.parse(text).iterations(batch)) if name == "interval" else float(text)
    if not math.isfinite(value):
        raise UserError(f"--space: {text!r} is no value of {name}")
    return value
