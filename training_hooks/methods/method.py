"""What a method is: one declaration, from which all else that has to know of it is derived.

A method is a package (or module) with a ``METHOD`` in it: ``training_hooks.methods.<name>``, an observer of
``training_hooks.observers``, or an entry point of the group ``training_hooks.methods`` of anybody's package. Its settings are
the fields of a frozen dataclass, each declared by ``setting``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import math
import pkgutil
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar

from ..core.engine import dotted_name, look_up
from ..core.hook import Hook
from ..core.schedule import Schedule

__all__ = [
    "GROUP", "KINDS", "Config", "Entry", "Facts", "Method", "Plan", "Preset", "Setting", "Statistic", "construct", "entries",
    "entry_of", "find", "methods", "setting",
]  # fmt: skip

#: Entry point group by which packages of other people bring methods; each entry point names a ``Method``.
GROUP = "training_hooks.methods"
#: Kinds of settings, by which they are read from a command line and from JSON.
KINDS = ("float", "int", "bool", "str", "choice", "choices", "patterns", "length")
_PLACES = ("training_hooks.methods", "training_hooks.observers")

_C = TypeVar("_C", bound="Config")


# ---------------------------------------------------------------- settings


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Args:
        name: field of the configuration.
        default: value where none is given.
        kind: one of ``KINDS``. "choices" is several different ones in an order, "patterns" several texts or None, "length" a
            number of iterations that may be given in kimg.
        help: what it sets, a sentence for the reader of ``--help``.
        least: smallest value allowed; None = no bound.
        most: largest value allowed; None = no bound.
        excludes_least: whether ``least`` itself is not allowed.
        excludes_most: whether ``most`` itself is not allowed.
        choices: values that kinds "choice" and "choices" have.
        needs: (setting, value) without which it does nothing and is refused on a command line; None = nothing.
        search: range that a search takes by default: (low, high), the log scale as in ``log``; choices likewise; None = fixed.
        log: whether a search goes evenly through its logarithm.
        binds: whether a run that goes on has to have the value that it began with.
        flag: option's flag, where it is not made of the names of method and setting.
        told: default as a reader is told it; None = as it is.
        more: what the documentation says beyond ``help``.
        is_hidden: whether ``--help`` leaves it out.
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
    needs: Optional[Tuple[str, str]] = None
    search: Optional[Tuple[Any, ...]] = None
    log: bool = False
    binds: bool = True
    flag: Optional[str] = None
    told: Optional[str] = None
    more: str = ""
    is_hidden: bool = False

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
        elif self.kind in ("str", "bool"):
            if type(value) is not type(self.default):
                raise ValueError(f"{self.name} must be of the type of {self.default!r}, got {value!r}")
        else:
            self._check_number(value)
        return value

    def _several(self, value: Any) -> Any:
        if value is None and self.default is None:
            return None
        if isinstance(value, str):
            raise ValueError(f"{self.name} must be a list of texts, got {value!r}; [{value!r}] is one")
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{self.name} must be a list of texts, got {value!r}")
        if self.kind == "choices":
            unknown = [each for each in value if each not in self.choices]
            if unknown:
                raise ValueError(f"{self.name} {unknown[0]!r} is none of {', '.join(self.choices)}")
            if len(set(value)) < len(value):
                raise ValueError(f"{self.name} {','.join(value)!r} names one twice")
        return tuple(value)

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


# ---------------------------------------------------------------- methods


@dataclass(frozen=True)
class Statistic:
    """One statistic that a method reports at each tick.

    Args:
        name: as the host's files have it, such as "ReGAN/sparsity".
        label: title of its chart.
        axis: quantity, as the axis of its chart names it, without the unit.
        unit: unit of the values as they are shown.
        meaning: sentence for the reader of the documentation.
        factor: multiplier from what is reported to what is shown.
        is_drawn: whether a report has a chart of it.
        is_watched: whether ``regan-ext watch`` shows its last value.
        log: whether the chart is logarithmic where it can be.
        steps: whether the value holds between two ticks.
        from_zero: whether the chart begins at 0.
    """

    name: str
    label: str
    axis: str
    unit: str
    meaning: str
    factor: float = 1.0
    is_drawn: bool = True
    is_watched: bool = False
    log: bool = False
    steps: bool = False
    from_zero: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it trains.

    Args:
        batch_size: images per iteration over all processes.
        total: iterations of the run.
        shapes: "G" and "D" → name of a weight or bias → shape.
        trained: the same without those that are frozen.
        optimizers: "G" and "D" → learning rate ("lr") and decays ("betas") as configured, and iterations between two steps of
            lazy regularisation ("reg_interval"; None = there are none).
    """

    batch_size: int
    total: int
    shapes: Mapping[str, Mapping[str, Tuple[int, ...]]]
    trained: Mapping[str, Mapping[str, Tuple[int, ...]]]
    optimizers: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What a method will do in a run.

    Args:
        values: numbers and names, as JSON; kept in the run folder.
        notes: sentences that the user should read before the run begins.
    """

    values: Mapping[str, Any]
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """Settings that belong together.

    Args:
        settings: settings of the method, lengths as ``Length``.
        host: options of the host that it fills where they are left unset, by the names of its arguments.
    """

    settings: Mapping[str, Any]
    host: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        name: identity in files and options, a word of small letters.
        title: name as people know it.
        hook: dotted name of the hook's class, which is constructed with ``config``.
        config: class of the settings.
        help: sentence for ``--help``, where the method has an option that does nothing but switch it on.
        source: paper or observation that it follows.
        switch: setting that turns it on where it is neither 0 nor empty; None = an option of the method's own name.
        order: place among the methods of a run; smaller ones come first.
        version: of the settings' form; greater where ``upgraded`` has something to do.
        observes: whether it only looks on, so that it never stops a run from going on.
        networks: which networks' optimizers it needs, by its settings.
        label: suffix of the run folder, of the settings that were given and the configuration.
        plan: what it will do, of its configuration and the facts of the run; None = nothing to tell.
        describe: configuration as one line for a reader; None = all settings.
        presets: name → preset.
        statistics: what it reports.
        upgraded: settings that an earlier version has written, as this one has them; leaves those of this version alone.
        excludes: names of methods that it cannot be combined with → why.
    """

    name: str
    title: str
    hook: str
    config: Type[Config]
    help: str = ""
    source: str = ""
    switch: Optional[str] = None
    order: int = 100
    version: int = 1
    observes: bool = False
    networks: Callable[[Any], Tuple[str, ...]] = lambda config: ("G",)
    label: Optional[Callable[[Mapping[str, Any], Any], str]] = None
    plan: Optional[Callable[[Any, Facts], Plan]] = None
    describe: Optional[Callable[[Any], str]] = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    statistics: Tuple[Statistic, ...] = ()
    upgraded: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda settings: settings
    excludes: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Tuple[Setting, ...]:
        """The settings in their order."""
        return self.config.settings()

    def flag(self, name: str) -> str:
        """The option's flag of a setting."""
        own = {each.name: each.flag for each in self.settings}[name]
        return own or f"--{self.name}-{name.replace('_', '-')}"

    @property
    def has_phases(self) -> bool:
        """Whether runs with it have sparse and dense phases."""
        return self.config.schedule is not Config.schedule

    @property
    def switch_flag(self) -> str:
        """The option's flag that turns the method on."""
        return f"--{self.name}" if self.switch is None else self.flag(self.switch)

    def suffix(self, given: Mapping[str, Any], config: Config) -> str:
        """What the run folder's name says of the method."""
        if self.observes:
            return ""
        if self.label is not None:
            return self.label(given, config)
        return f"-{self.name}" + "".join(f"-{name}{_short(value)}" for name, value in given.items())

    def entry(self, config: Config) -> Dict[str, Any]:
        """The method in a run's options: what it is known by, as JSON.

        One that only looks on says so, because it may not be installed where the run goes on.
        """
        looks_on = {"observes": True} if self.observes else {}
        return {"method": self.name, "version": self.version, "settings": config.to_dict(), **looks_on}

    def read(self, settings: Mapping[str, Any]) -> Config:
        """The configuration of settings that this version or an earlier one has written.

        Raises:
            ValueError: one is unknown, or of another type or range.
        """
        return self.config.from_dict(self.upgraded(settings))

    def hook_class(self) -> Type[Hook]:
        """The hook's class."""
        found = look_up(self.hook)
        assert isinstance(found, type) and issubclass(found, Hook)
        return found


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


@functools.cache
def methods() -> Tuple[Method, ...]:
    """All methods in the order in which a run has them: this package's, and those of installed packages.

    Raises:
        ValueError: two have the same name.
    """
    found: List[Any] = []
    for place in _PLACES:
        package = importlib.import_module(place)
        for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
            found.append(getattr(importlib.import_module(f"{place}.{module}"), "METHOD", None))
    found += [point.load() for point in _entry_points()]
    declared = [each for each in found if isinstance(each, Method)]
    names = [each.name for each in declared]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two methods are called {twice}")
    return tuple(sorted(declared, key=lambda each: (each.order, each.name)))


def _entry_points() -> Sequence[Any]:
    points: Any = importlib.metadata.entry_points()
    return list(points.select(group=GROUP) if hasattr(points, "select") else points.get(GROUP, ()))  # a dict in Python 3.9


def find(name: str) -> Optional[Method]:
    """The method of a name; None where there is none."""
    return next((each for each in methods() if each.name == name), None)


# ---------------------------------------------------------------- in options and states


@dataclass(frozen=True)
class Entry:
    """A hook in the options of a run.

    Args:
        name: a method's name, or the dotted name of a class.
        settings: as they were written, brought to the form of this version.
        method: the method; None for hooks of anybody's own and for methods that are not installed.
        version: form of the settings.
        observes: whether it says of itself that it only looks on.
    """

    name: str
    settings: Mapping[str, Any]
    method: Optional[Method] = None
    version: int = 1
    observes: bool = False

    def config(self) -> Optional[Config]:
        """The method's configuration; None where there is no method, or where its settings are none of this version's."""
        try:
            return None if self.method is None else self.method.read(self.settings)
        except (TypeError, ValueError):
            return None


def entry_of(hook: Mapping[str, Any]) -> Entry:
    """An element of a run's hooks: of today's form, or keyword arguments of a class as 0.1.0 wrote them."""
    if "method" in hook:
        name, settings = str(hook["method"]), hook.get("settings")
        settings = settings if isinstance(settings, Mapping) else {}
        method = find(name)
    else:
        name = dotted_name(str(hook.get("class_name", "")))
        settings = {key: value for key, value in hook.items() if key not in ("class_name", "plan")}
        method = next((each for each in methods() if each.hook == name), None)
        name = name if method is None else method.name
    version = hook.get("version")
    version = version if isinstance(version, int) else 1
    return Entry(name, settings if method is None else method.upgraded(settings), method, version, hook.get("observes") is True)


def entries(options: Mapping[str, Any]) -> List[Entry]:
    """The hooks in a run's keyword arguments of the training loop; none in those of a plain run, or of absurd ones."""
    loss = options.get("loss_kwargs")
    hooks = loss.get("hooks") if isinstance(loss, Mapping) else None
    return [entry_of(hook) for hook in hooks if isinstance(hook, Mapping)] if isinstance(hooks, (list, tuple)) else []


def construct(method: str, version: int, settings: Mapping[str, Any], observes: bool = False) -> Hook:
    """The hook of an entry of a run's options.

    Args:
        method: name.
        version: form of the settings.
        settings: settings of the method.
        observes: whether the method only looks on.

    Raises:
        ValueError: no such method is installed, or it does not know the settings.
    """
    found = find(method)
    if found is None:
        known = ", ".join(each.name for each in methods())
        raise ValueError(f"no method called {method} is installed; there are: {known}")
    return found.hook_class()(**vars(found.read(settings)))
