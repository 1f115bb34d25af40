"""What is searched: ranges and choices of settings, as Optuna's distributions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Union

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from training_hooks.core.schedule import Length
from training_hooks.methods.regan import METHOD

from ..support.errors import UserError

__all__ = ["Space", "parse"]

Field = Union[CategoricalDistribution, FloatDistribution, IntDistribution]
_PAIRS = 2  # sparse-dense pairs that have to fit into a run
_SETTINGS = {each.name: each for each in METHOD.settings if each.search is not None}


@dataclass(frozen=True)
class Space:
    """All settings that are searched, for runs of ``iterations`` iterations. The warm-up is a share of them."""

    fields: Mapping[str, Field]
    iterations: int

    @property
    def searched(self) -> Dict[str, Field]:
        """What has more than one value."""
        return {name: field for name, field in self.fields.items() if not field.single()}

    @property
    def fixed(self) -> Dict[str, Any]:
        """The values that all trials share."""
        return {name: value for name, value in self.known()[0].items() if name not in self.searched}

    def options(self, values: Mapping[str, Any]) -> List[str]:
        """Values as options of ``train``; what a trial that was cut short at its beginning lacks is as it is tried first."""
        chosen = {name: values.get(name, value) for name, value in self.known()[0].items()}
        warmup = round(chosen["warmup"] * self.iterations)
        written = {**chosen, "ratio": f"{chosen['ratio']:.4g}", "lr_scale": f"{chosen['lr_scale']:.4g}", "warmup": warmup}
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
        return [{name: _nearest(field, values[name]) for name, field in self.fields.items()} for values in wanted]

    def __str__(self) -> str:
        return ",".join(f"{name}={_text(field)}" for name, field in self.fields.items())


def _nearest(field: Field, value: Any) -> Any:
    if isinstance(field, CategoricalDistribution):
        return value if value in field.choices else field.choices[0]
    return min(max(value, field.low), field.high)


def _text(field: Field) -> str:
    if isinstance(field, CategoricalDistribution):
        return ":".join(map(str, field.choices))
    return f"{field.low:g}" if field.single() else f"{field.low:g}:{field.high:g}"


def parse(text: str, iterations: int, batch: int) -> Space:
    """Read ``ratio=0.1:0.5,interval=50:500,granularity=weight``; what is not named has its default range.

    Args:
        text: of ``--space``; may be empty.
        iterations: of a run.
        batch: images per iteration, for lengths in kimg.

    Raises:
        UserError: a name or a value that cannot be, or a run too short for two sparse-dense pairs.
    """
    given: Dict[str, Field] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _SETTINGS:
            raise UserError(f"--space: {part!r} is not NAME=VALUE or NAME=LOW:HIGH, with {', '.join(_SETTINGS)} as names")
        if name in given:
            raise UserError(f"--space: {name} is given twice")
        given[name] = _field(name, [each.strip() for each in value.split(":")], batch)
    most = getattr(given.get("warmup", _declared("warmup")), "high", 0)
    longest = int(iterations * (1 - most) / (2 * _PAIRS) + 1e-9)
    by_length = {"interval": _range("interval", min(50, max(1, longest // 16)), max(1, longest))}
    fields = {name: given.get(name) or by_length.get(name) or _declared(name) for name in _SETTINGS}
    highest = getattr(fields["interval"], "high", 0)
    if highest > longest:
        raise UserError(
            f"--space: a run of {iterations} iterations with a warm-up of up to {100 * most:g} % has room for two "
            f"sparse-dense pairs of interval {longest}, not {highest:g}; train longer, or give a shorter interval"
        )
    return Space(fields, iterations)


def _declared(name: str) -> Field:
    """What is searched of a setting by its declaration."""
    search = _SETTINGS[name].search or ()
    return CategoricalDistribution(search) if _SETTINGS[name].kind == "choice" else _range(name, search[0], search[1])


def _range(name: str, low: float, high: float) -> Field:
    log = _SETTINGS[name].log
    return IntDistribution(int(low), int(high), log) if name == "interval" else FloatDistribution(low, high, log)


def _field(name: str, parts: List[str], batch: int) -> Field:
    setting = _SETTINGS[name]
    if setting.kind == "choice":
        unknown = [part for part in parts if part not in setting.choices]
        if unknown:
            raise UserError(f"--space: {name} is one or several of {':'.join(setting.choices)}, not {unknown[0]!r}")
        return CategoricalDistribution(tuple(dict.fromkeys(parts)))
    numbers = [_number(name, part, batch) for part in parts]
    if len(numbers) > 2 or numbers[0] > numbers[-1]:
        raise UserError(f"--space: {name}={':'.join(parts)} is neither a number nor LOW:HIGH")
    return _range(name, numbers[0], numbers[-1])


def _number(name: str, text: str, batch: int) -> float:
    value: float = -1
    with contextlib.suppress(ValueError):
        value = Length.parse(text).iterations(batch) if name == "interval" else float(text)
    if name == "warmup":  # a share of the run
        if not 0 <= value < 1:
            raise UserError(f"--space: warmup={text}: warmup has to be a share of the run, in [0, 1)")
        return value
    try:
        return float(_SETTINGS[name].checked(value))
    except ValueError as err:
        raise UserError(f"--space: {name}={text}: {err}") from err
