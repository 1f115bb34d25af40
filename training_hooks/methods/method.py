"""What a method is: one declaration, from which all else that has to know of it is derived.

A method is a package (or module) with a ``METHOD`` in it: ``training_hooks.methods.<name>``, an observer of
``training_hooks.observers``, or an entry point of the group ``training_hooks.methods`` of anybody's package. Its settings are
the fields of a frozen dataclass, each declared by ``setting``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type

from ..core.engine import dotted_name, look_up
from ..core.hook import Hook
from .setting import Config, Setting, as_text

__all__ = [
    "GROUP", "Entry", "Facts", "Method", "Plan", "Preset", "Statistic", "construct", "entries", "entry_of", "find", "methods",
]  # fmt: skip

#: Entry point group by which packages of other people bring methods; each entry point names a ``Method``.
GROUP = "training_hooks.methods"
_PLACES = ("training_hooks.methods", "training_hooks.observers")


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
        is_always: whether every run reports it; otherwise those that have something to say.
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
    is_always: bool = True


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
        metrics: names of the metrics that are measured, in their order.
        measured: snapshots that they are measured at; 0 without metrics.
        zeros: "G" and "D" → names of the weights that are all zero when the run begins, as far as that is known.
        is_resumed: whether the networks come from a snapshot.
        begun: "G" and "D" of a snapshot that a new run begins from → name of a parameter → ``core.tensor_files.checksum`` of
            its values, as far as they are known.
    """

    batch_size: int
    total: int
    shapes: Mapping[str, Mapping[str, Tuple[int, ...]]]
    trained: Mapping[str, Mapping[str, Tuple[int, ...]]]
    optimizers: Mapping[str, Mapping[str, Any]]
    metrics: Tuple[str, ...] = ()
    measured: int = 0
    zeros: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    is_resumed: bool = True
    begun: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a method will do in a run.

    Args:
        values: numbers and names, as JSON; kept in the run folder.
        notes: sentences that the user should read before the run begins.
        pruned: weights that it sets to zero at times, such as "D.b16.conv0.weight".
        held: weights and biases that have to stay as they came, named likewise. No other method of the run may prune them.
    """

    values: Mapping[str, Any]
    notes: Tuple[str, ...] = ()
    pruned: Tuple[str, ...] = ()
    held: Tuple[str, ...] = ()


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
        arguments: word → value, what a host that can do it by itself is told, of its configuration and both networks' shapes;
            the words are those of ``Flavour.words``, and where a host has none the hook does it.
        completed: configuration with what only the facts of the run tell, as it is written down; None = as it is.
        plan: what it will do, of its configuration and the facts of the run; None = nothing to tell.
        describe: configuration as one line for a reader; None = all settings.
        told: values of a plan → what a run is, such as "ticket of round 2", and more of it, such as "51.2 % kept"; for methods
            whose configuration says little. None = as ``describe``.
        presets: name → preset.
        statistics: what it reports.
        upgraded: settings that an earlier version has written, as this one has them; leaves those of this version alone.
        excludes: names of methods that it cannot be combined with → why.

    Raises:
        ValueError: a name that is no word, a switch that is no setting, or defaults that the settings refuse.
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
    arguments: Optional[Callable[[Any, Mapping[str, Mapping[str, Any]]], Mapping[str, Any]]] = None
    completed: Optional[Callable[[Any, Facts], Any]] = None
    plan: Optional[Callable[[Any, Facts], Plan]] = None
    describe: Optional[Callable[[Any], str]] = None
    told: Optional[Callable[[Mapping[str, Any]], Tuple[str, str]]] = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    statistics: Tuple[Statistic, ...] = ()
    upgraded: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda settings: settings
    excludes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"a method's name is a word of small letters, not {self.name!r}")
        defaults = self.config().to_dict()
        if self.switch is not None and self.switch not in defaults:
            raise ValueError(f"the method {self.name} has no setting {self.switch} to be switched on by")

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
        return f"-{self.name}" + "".join(f"-{name}{as_text(value, '-')}" for name, value in given.items())

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


@functools.cache
def methods() -> Tuple[Method, ...]:
    """All methods in the order in which a run has them: this package's, and those of installed packages. One of these that
    cannot be used is told on stderr and left out."""
    packages = [importlib.import_module(place) for place in _PLACES]
    names = [f"{package.__name__}.{each.name}" for package in packages for each in pkgutil.iter_modules(package.__path__)]
    found = [getattr(importlib.import_module(name), "METHOD", None) for name in sorted(names)]
    declared = {each.name: each for each in found if isinstance(each, Method)}
    points: Any = importlib.metadata.entry_points()
    for point in points.select(group=GROUP) if hasattr(points, "select") else points.get(GROUP, ()):  # a dict in Python 3.9
        try:
            method = point.load()
            if not isinstance(method, Method):
                raise TypeError(f"it is a {type(method).__name__}, not a Method")
            if method.name in declared:
                raise ValueError(f"there is a method called {method.name} already")
            declared[method.name] = method
        except Exception as err:  # whatever the code of anybody's package raises
            of = getattr(getattr(point, "dist", None), "name", "an installed package")
            what = f"{type(err).__name__}: {err}"
            print(f"The method {point.value} of {of} cannot be used ({what}); it is left out.", file=sys.stderr, flush=True)
    return tuple(sorted(declared.values(), key=lambda each: (each.order, each.name)))


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
            return None if self.method is None else self.method.config.from_dict(self.settings)
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
