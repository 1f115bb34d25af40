"""What a method's preset sets: of the method, by name or from a file, and of the host's own options that are left unset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, MutableMapping, Optional, Tuple

from training_hooks.core.schedule import Length
from training_hooks.methods.method import Method, Preset, methods
from training_hooks.methods.setting import Setting, as_text

from ..support.paths import expanded
from ..support.reading import Damaged, read_json
from ..support.text import echo, printable

__all__ = ["Chosen", "fill", "parameter_name", "read_file", "say", "words"]


@dataclass(frozen=True)
class Chosen:
    """The preset that was asked for.

    Args:
        name: as it was typed, a name or a file.
        preset: what it sets.
    """

    name: str
    preset: Preset


def parameter_name(flag: str) -> str:
    """The name in Python of the parameter of an option, such as "regan_ratio" of "--regan-ratio"."""
    return flag[2:].replace("-", "_").lower()


def words(setting: Setting, text: str) -> Tuple[str, ...]:
    """The words of a text with commas between them, as the value of a setting of several; none of "none".

    Raises:
        ValueError: there is nothing in it.
    """
    if text.strip().lower() == "none":
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    if not any(parts):
        raise ValueError(f"{setting.name} is empty; none is how to name nothing")
    return tuple(filter(None, parts)) if setting.kind == "patterns" else parts


def fill(preset: Optional[Preset], values: MutableMapping[str, Any]) -> List[str]:
    """Set in place the host's options that have no value, and return them as they would be given.

    Args:
        preset: preset of a method; None sets nothing.
        values: host's options by the names of its callback's arguments; None = not given.
    """
    wanted = {} if preset is None else preset.host
    missing = {name: value for name, value in wanted.items() if name in values and values[name] is None}
    values.update(missing)
    return [f"--{name}={as_text(value)}" for name, value in missing.items()]


def say(values: MutableMapping[str, Any], ours: Mapping[str, Any]) -> None:
    """The same for the presets of all methods, with a line on stderr about all that a preset sets.

    Args:
        values: host's options.
        ours: this package's options, by the names of their parameters; None = not given.
    """
    for method in methods():
        chosen: Optional[Chosen] = ours.get(f"{method.name}_preset")
        if chosen is None:
            continue
        filled = fill(chosen.preset, values)
        flags = {each.name: method.flag(each.name) for each in method.settings}
        given = {name for name, flag in flags.items() if ours.get(parameter_name(flag)) is not None}
        told = [f"{flags[name]}={as_text(value)}" for name, value in chosen.preset.settings.items() if name not in given]
        if told or filled:
            echo(f"Preset {chosen.name}: {' '.join([*told, *filled])}", err=True)


def read_file(method: Method, path: str) -> Dict[str, Any]:
    """The settings in a preset's file, as ``regan-ext tune`` writes it.

    Raises:
        ValueError: there is no such file, it is no preset, or there is more in it than is read.
    """
    file = Path(expanded(path))
    try:
        content = read_json(file)
    except Damaged as err:
        raise ValueError(f"{path} {err}" + (f" ({err.__cause__})" if isinstance(err.__cause__, ValueError) else "")) from err
    values = content.get(method.name) if isinstance(content, dict) else None
    if not isinstance(values, dict) or method.switch not in (None, *values):
        inside = "" if method.switch is None else f' with a "{method.switch}" in it'
        raise ValueError(f'{path} is no preset: it has no "{method.name}"{inside}')
    unknown = [f'"{printable(name)}"' for name in content if name not in (method.name, "study")]
    if unknown:
        known = f'a preset has "{method.name}", and "study" for a reader'
        raise ValueError(f"{path} has {', '.join(unknown)}, which nothing reads; {known}")
    try:
        return _checked(method, method.upgraded(values))
    except (TypeError, ValueError) as err:
        raise ValueError(f"{path}: {err}") from err


def _checked(method: Method, values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values with lengths as lengths, lists as tuples; each has to be one that a configuration can have."""
    lengths = {each.name: int(each.least or 0) for each in method.settings if each.kind == "length"}
    lists = {each.name: each for each in method.settings if each.kind in ("patterns", "choices")}
    checked: Dict[str, Any] = {name: Length.parse(str(value)) if name in lengths else value for name, value in values.items()}
    for name in [name for name in lists if isinstance(checked.get(name), str)]:
        checked[name] = words(lists[name], checked[name])
    # Lengths in kimg have no number of iterations before the batch size is known.
    method.config.from_dict({name: max(1, lengths[name]) if name in lengths else value for name, value in checked.items()})
    for name, least in lengths.items():
        if name in checked and checked[name].value == 0 and least > 0:
            raise ValueError(f"{name} must be at least {least} iteration, got 0")
    return checked
