"""The options that this package adds to a host's command line: those of the methods, and a table of the others."""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import dataclass, field
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Tuple

import click

from training_hooks.core.schedule import Length
from training_hooks.methods.method import Method, Preset, methods
from training_hooks.methods.setting import Config, Setting, as_text

from ..metrics.settings import MetricSettings
from ..support.numbers import HOURS, FiniteFloat, Int
from ..support.paths import UserPath
from ..support.text import echo
from . import presets
from .presets import parameter_name

__all__ = ["Option", "Request", "added_to", "click_options", "configuration", "of_setting", "resolve"]


class _LengthType(click.ParamType):
    """``100`` or ``100it`` (iterations), or ``5kimg``."""

    name = "length"

    def __init__(self, least: int):
        self.least = least

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Length:
        if isinstance(value, Length):
            return value
        try:
            length = Length.parse(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)
        if length.value < self.least and (length.unit == "it" or length.value == 0):
            self.fail(f"{value!r} must be at least {self.least} iteration", param, ctx)
        return length


class _ListType(click.ParamType):
    """Several words with commas between them, as a setting takes them; ``none`` is none of them."""

    def __init__(self, setting: Setting):
        self.setting, self.name = setting, "patterns" if setting.kind == "patterns" else "list"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Tuple[str, ...]:
        try:
            words = presets.words(self.setting, value) if isinstance(value, str) else value
            checked: Tuple[str, ...] = self.setting.checked(words)
        except ValueError as err:
            self.fail(str(err).removeprefix(f"{self.setting.name} "), param, ctx)
        return checked


class _RatesType(click.ParamType):
    """A factor of dense phases, or those of sparse and dense ones, as a setting takes them."""

    name = "float"

    def __init__(self, setting: Setting):
        self.setting = setting

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        try:
            return self.setting.checked(value if isinstance(value, float) else str(value))
        except ValueError as err:
            self.fail(str(err), param, ctx)


class _HookType(click.ParamType):
    """Dotted names of hook classes, of modules that can be imported."""

    name = "class"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        from training_hooks.core.engine import look_up
        from training_hooks.core.hook import Hook

        names = () if value.strip().lower() == "none" else tuple(part.strip().replace(":", ".") for part in value.split(","))
        if names and not any(names):
            self.fail("it is empty; none is how to name nothing", param, ctx)
        for name in names:
            try:
                found = look_up(name)
            except (ImportError, AttributeError, TypeError, ValueError) as err:
                self.fail(f"{name!r}: {err}; its module has to be in a folder of PYTHONPATH or of the host", param, ctx)
            if not (isinstance(found, type) and issubclass(found, Hook)):
                self.fail(f"{name} is not a subclass of training_hooks.core.hook.Hook", param, ctx)
            try:
                inspect.signature(found).bind()
            except TypeError as err:
                self.fail(f"{name} has to be constructed without arguments: {err}", param, ctx)
        return names


class _FileType(UserPath):
    """A file, as a setting takes it: by its absolute path, because a run goes on in any folder; ``none`` is none."""

    name = "path"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        if str(value).lower() == "none":
            return ""
        return os.path.abspath(super().convert(value, param, ctx))


class _BoolType(click.types.BoolParamType):
    """True or false, and no empty value, which click takes for false."""

    name = "bool"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        if value == "":
            self.fail("it is empty; true and false are the values", param, ctx)
        return super().convert(value, param, ctx)


class _PresetType(click.Choice):
    """The name of a method's preset, or a preset's file."""

    def __init__(self, method: Method):
        super().__init__(sorted(method.presets))
        self.method = method

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        if isinstance(value, presets.Chosen) or str(value).lower() == "none":
            return value if isinstance(value, presets.Chosen) else None
        if not str(value).endswith(".json"):
            name = super().convert(value, param, ctx)
            return presets.Chosen(name, self.method.presets[name])
        try:
            return presets.Chosen(value, Preset(presets.read_file(self.method, value)))
        except ValueError as err:
            self.fail(str(err), param, ctx)


class Option(click.Option):
    """An added option. Its help has the types that the hosts write, and no bounds: errors name those.

    Args:
        flag: flag as it is typed.
        kind: click type of its value.
        help: help text, with the default.
        method: method that it belongs to; None = it runs the training.
        is_bare: whether it may stand without a value, which then is true.
        is_hidden: whether ``--help`` leaves it out.
    """

    def __init__(
        self, flag: str, kind: Any, help: str, method: Optional[Method] = None, is_bare: bool = False, is_hidden: bool = False
    ):
        self.method = method
        metavar = f"[{_metavar(kind)}]" if is_bare else _metavar(kind)
        bare: Dict[str, Any] = {"is_flag": False, "flag_value": "true"} if is_bare else {}
        names = [flag, parameter_name(flag)]
        super().__init__(names, type=kind, help=help, metavar=metavar, default=None, hidden=is_hidden, **bare)

    def get_help_record(self, ctx: click.Context) -> Optional[Tuple[str, str]]:
        return None if self.hidden else (f"{self.opts[0]} {self.metavar}", str(self.help))


def _metavar(kind: Any) -> str:
    if isinstance(kind, click.Choice):
        return f"[{'|'.join([*map(str, kind.choices), *(['FILE'] if isinstance(kind, _PresetType) else [])])}]"
    return "STR" if kind is str else str(kind.name).upper()


def _of_method(method: Method) -> Iterator[Option]:
    """The options of a method: its preset or its switch, and its settings."""
    if method.presets:
        what = f"Start from these settings, or from those in FILE.json; other --{method.name} options win."
        preset = Option(f"--{method.name}-preset", _PresetType(method), f"{what}  [default: none]", method)
        preset.is_eager, preset.callback = True, _offer
        yield preset
    if method.switch is None:
        yield Option(method.switch_flag, _BoolType(), f"{method.help}  [default: false]", method, is_bare=True)
    for each in method.settings:
        help_text = f"{each.help}  [default: {each.told or as_text(each.default)}]"
        yield Option(method.flag(each.name), _type_of(each), help_text, method, each.kind == "bool", each.is_hidden)


def _offer(ctx: click.Context, param: click.Parameter, value: Optional[presets.Chosen]) -> Optional[presets.Chosen]:
    """Let what a preset has stand in for options that the host requires, before click misses them."""
    if value is not None:
        required = {each.name for each in ctx.command.params if each.required}
        offered = {name: each for name, each in value.preset.host.items() if name in required}
        ctx.default_map = {**(ctx.default_map or {}), **offered}
    return value


def _type_of(each: Setting) -> Any:
    if each.kind == "choice":
        return click.Choice(each.choices)
    if each.kind == "length":
        return _LengthType(int(each.least or 0))
    if each.kind in ("int", "float"):
        kind: Any = Int if each.kind == "int" else FiniteFloat
        return kind(each.least, each.most, min_open=each.excludes_least, max_open=each.excludes_most)
    if each.kind == "rates":
        return _RatesType(each)
    return {"bool": _BoolType(), "str": str, "path": _FileType()}.get(each.kind) or _ListType(each)


_CHANNELS, _MANY = Int(1, 65536), Int(1, 1_000_000)
_RUN: Tuple[Option, ...] = (
    Option("--device", click.Choice(["auto", "cpu", "cuda"]), "Where to train.  [default: auto, CUDA where available]"),
    Option("--batch-gpu", Int(1, 65536), "Images at once; less needs less memory.  [default: batch / gpus]"),
    Option("--cbase", Int(1, 2**20), "Capacity: channels times resolution.  [default: by --cfg]"),
    Option("--cmax", _CHANNELS, "Capacity: most channels of a layer.  [default: by --cfg]"),
    Option("--tick", _MANY, "Length of a tick, in kimg.  [default: 4]"),
    Option("--max-hours", HOURS, "Stop after this time, with a snapshot.  [default: no limit]"),
    Option(
        "--pairs", click.Choice(["last", "all", "none"]), "Keep the sparse and dense member of the last cycle.  [default: last]"
    ),
    Option("--states", _BoolType(), "Write a state file beside every snapshot, for --resume.  [default: true]"),
    Option("--keep-states", Int(0, 1_000_000), "How many state files to keep; 0 = all.  [default: 3]"),
    Option("--on-nan", click.Choice(["stop", "warn"]), "What to do when weights or losses are not finite.  [default: stop]"),
    Option("--hook", _HookType(), "Methods of your own, by the dotted names of their classes.  [default: none]"),
    Option("--metricdata", UserPath(), "Zip or folder of images to compare with.  [default: the training images]"),
    Option("--metric-detector", UserPath(), "TorchScript file of the feature network.  [default: the host's Inception]"),
    Option("--metrics-every", _MANY, "At every so many snapshots, and the last.  [default: 1]"),
)
_HOSTS_OWN = MetricSettings()


def click_options() -> List[Option]:
    """All added options: those of the methods in the methods' order, and those that run the training."""
    return [*(option for method in methods() for option in _of_method(method)), *_RUN]


class _Removed(click.Option):
    """An option that there is not, which says what there is in its place."""

    def __init__(self, flag: str, quirk: str):
        def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
            if value is not None:
                instead = f"the published code's behaviour is --regan-preset=reference, this part alone --regan-quirks={quirk}"
                raise click.UsageError(f"No such option any more: {flag}; {instead}", ctx)

        super().__init__([flag], hidden=True, expose_value=False, callback=refuse, is_eager=True)


_REMOVED = {"--regan-rule": "quantile", "--regan-refresh": "refresh", "--regan-steps": "main-steps"}


def added_to(theirs: Collection[str], lacks: Collection[str] = ()) -> List[click.Option]:
    """The options that a host's command gets: of ours those that it has not itself. A method with an option that already means
    something else is told on stderr and left out.

    Args:
        theirs: names of the parameters that the host's command has.
        lacks: names of ours that mean nothing to the host.
    """
    taken = {str(option.name): "regan-ext" for option in _RUN}
    taken.update(dict.fromkeys(theirs, "the host"))
    ours: List[click.Option] = []
    for method in methods():
        options = list(_of_method(method))
        twice = next((option for option in options if option.name in taken), None)
        if twice is None:
            ours += options
            taken.update((str(option.name), f"the method {method.name}") for option in options)
        else:
            why = f"{taken[str(twice.name)]} has an option {twice.opts[0]} already"
            echo(f"The method {method.name} ({method.title}) is left out: {why}.", err=True)
    ours += [option for option in _RUN if option.name not in theirs and option.name not in lacks]
    return [*ours, *(_Removed(flag, quirk) for flag, quirk in _REMOVED.items())]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Args:
        methods: name of each method that is on → the settings that were given or that its preset has, lengths as ``Length``.
        unasked: name of a method → those of its settings that nobody has given, and the name of the preset that has them.
        device: "auto", "cpu" or "cuda".
        loop: batch_gpu, cbase, cmax and tick, as far as they were given.
        states: whether state files are written.
        keep_states: number of state files that are kept; 0 = all.
        on_nan: "stop" or "warn" when weights or losses are not finite at the end of a tick.
        max_hours: hours after which the run stops; None = never.
        pairs: sparse-dense pairs that are kept, "last", "all" or "none".
        own_hooks: dotted names of further hooks, constructed without arguments.
        metrics: what metrics compare with what, and when; without the names of the metrics, which are the host's option.
    """

    methods: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    unasked: Dict[str, Tuple[Dict[str, Any], str]] = field(default_factory=dict)
    device: str = "auto"
    loop: Dict[str, int] = field(default_factory=dict)
    states: bool = True
    keep_states: int = 3
    on_nan: str = "stop"
    max_hours: Optional[float] = None
    pairs: str = "last"
    own_hooks: Tuple[str, ...] = ()
    metrics: MetricSettings = _HOSTS_OWN


def resolve(values: Mapping[str, Any]) -> Request:
    """Turn option values (by name; None = not given) into a request.

    Raises:
        click.UsageError: settings of a method that is off, settings that do nothing beside others, or methods that cannot be
            combined.
    """
    asked = {method.name: _asked(method, values) for method in methods()}
    on = {name: settings for name, settings in asked.items() if settings is not None}
    for method in methods():
        other = next((name for name in method.excludes if name in on), None)
        if method.name in on and other is not None:
            theirs = next(each.switch_flag for each in methods() if each.name == other)
            what = f"{method.switch_flag} cannot be combined with {theirs}: {method.excludes[other]}; leave out one of the two"
            raise click.UsageError(what)
    given = {name: value for name, value in values.items() if value is not None}
    data, detector = (os.path.abspath(given[name]) if name in given else None for name in ("metricdata", "metric_detector"))
    return Request(
        on,
        {method.name: _unasked(method, values) for method in methods() if values.get(f"{method.name}_preset") is not None},
        loop={name: given[name] for name in ("batch_gpu", "cbase", "cmax", "tick") if name in given},
        own_hooks=given.get("hook", ()),
        metrics=MetricSettings(data, detector, given.get("metrics_every", 1)),
        **{name: given[name] for name in ("device", "states", "keep_states", "on_nan", "max_hours", "pairs") if name in given},
    )


def _asked(method: Method, values: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The settings of a method that is on; None of one that is off."""
    named = {each.name: parameter_name(method.flag(each.name)) for each in method.settings}
    given = {name: values[parameter] for name, parameter in named.items() if values.get(parameter) is not None}
    chosen: Optional[presets.Chosen] = values.get(f"{method.name}_preset")
    settings = {**(chosen.preset.settings if chosen is not None else {}), **given}
    switch = values.get(parameter_name(method.switch_flag))
    is_on = method.switch in settings if method.switch is not None else chosen is not None if switch is None else switch
    if given and not is_on:
        raise click.UsageError(f"{method.flag(next(iter(given)))} needs {_ways_on(method)}")
    idle = [method.flag(name) for name in given if name != method.switch]
    if idle and method.switch is not None and not settings[method.switch]:
        off = f"{method.switch_flag}={as_text(settings[method.switch]) or 'none'}"
        if not isinstance(settings[method.switch], (int, float)):
            raise click.UsageError(f"{idle[0]} does nothing beside {off}, which is off; leave out one of the two")
        echo(f"Note: {off} is off, so {', '.join(idle)} does nothing.", err=True)
    for each in method.settings:
        if each.name in given and each.needs is not None:
            name, *fitting = each.needs
            if settings.get(name) not in fitting:
                raise click.UsageError(f"{method.flag(each.name)} needs {method.flag(name)}={' or '.join(fitting)}")
    return settings if is_on and (method.switch is None or settings[method.switch]) else None


def _unasked(method: Method, values: Mapping[str, Any]) -> Tuple[Dict[str, Any], str]:
    """The settings that a method has of its preset, and the preset's name."""
    chosen: presets.Chosen = values[f"{method.name}_preset"]
    named = {each.name: parameter_name(method.flag(each.name)) for each in method.settings}
    unasked = {name: value for name, value in chosen.preset.settings.items() if values.get(named[name]) is None}
    return unasked, chosen.name


def _ways_on(method: Method) -> str:
    """How a method is switched on, such as "--regan-ratio (for example --regan-ratio=0.3) or --regan-preset"."""
    default = getattr(method.config(), method.switch) if method.switch is not None else None
    example = f" (for example {method.switch_flag}={default:g})" if isinstance(default, float) else ""
    return f"{method.switch_flag}{example}" + (f" or --{method.name}-preset" if method.presets else "")


def configuration(method: Method, settings: Mapping[str, Any], batch_size: int, request: Optional[Request] = None) -> Config:
    """The configuration of a method with lengths in iterations of ``batch_size`` images.

    Args:
        method: method that the settings are of.
        settings: name → value, lengths as ``Length``.
        batch_size: images per iteration.
        request: that they come from, for the message of an error; None = no request.

    Raises:
        click.BadParameter: a length that makes less than one iteration, or values that do not go together.
    """
    values = dict(settings)
    for name, length in settings.items():
        if isinstance(length, Length):
            values[name] = length.iterations(batch_size)
            if values[name] == 0 and length.value > 0:
                what = f"{length} is less than one iteration of {batch_size} images"
                raise click.BadParameter(what, param_hint=method.flag(name))
    try:
        return method.config.from_dict(values)
    except ValueError as err:
        raise of_setting(method, err, request) from err


def _by_options(method: Method, message: str) -> str:
    """The message of an error without names of settings that no option has, such as ``place_d`` of --advaug-d."""
    flags = {each.name: method.flag(each.name) for each in method.settings}
    first = re.match(r"(\w+)(?:: | (?='|must ))", message)  # which the error is told of anyway
    if first is not None and first[1] in flags and first[1] not in flags[first[1]]:
        message = message[first.end() :]
    return re.sub(r"[a-z]+(?:_[a-z]+)+", lambda found: flags.get(found[0], found[0]), message)


def of_setting(method: Method, err: ValueError, request: Optional[Request] = None) -> click.BadParameter:
    """An error of a configuration as one of the option of the setting that its message begins with, else of the switch. It
    tells which of the settings in the message are the preset's.

    Args:
        method: method that the setting is of.
        err: error of the method's configuration.
        request: what was asked for; None = not by a request.
    """
    message = str(err)
    named = re.findall(r"\w+", message)
    first = next(iter(named), "")
    name = first if first in {each.name for each in method.settings} else method.switch or ""
    unasked, preset = ({}, "") if request is None else request.unasked.get(method.name, ({}, ""))
    theirs = [method.flag(each) for each in unasked if each in named]
    message = _by_options(method, message)
    message += f"; the preset {preset} sets {', '.join(theirs)}" if theirs else ""
    return click.BadParameter(message, param_hint=method.flag(name) if name else method.switch_flag)
