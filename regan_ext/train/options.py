"""The options that this package adds to a host's command line: one table, and what it resolves to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import click

from training_hooks.core.schedule import Length
from training_hooks.methods.diffaugment.hook import POLICIES, parse_policy
from training_hooks.methods.regan.config import CHOICES, PRESETS, ReconfigurationConfig

from ..metrics.settings import MetricSettings
from ..support.numbers import HOURS, FiniteFloat, Int
from ..support.paths import UserPath
from . import presets

__all__ = ["OPTIONS", "OURS", "Request", "click_options", "resolve"]


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


class _RatioType(click.ParamType):
    """A share in [0, 1)."""

    name = "float"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        try:
            ratio = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 0 <= ratio < 1:
            self.fail(f"{value!r} is not in [0, 1); 0.3 prunes 30 % of the weights", param, ctx)
        return ratio


class _PolicyType(click.ParamType):
    """Names of differentiable augmentations, with commas between them."""

    name = "list"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Tuple[str, ...]:
        try:
            return value if isinstance(value, tuple) else parse_policy(value)
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

        names = tuple(part.strip().replace(":", ".") for part in value.split(","))
        for name in names:
            try:
                found = look_up(name)
            except (ImportError, AttributeError, TypeError, ValueError) as err:
                self.fail(f"{name!r}: {err}; its module has to be in a folder of PYTHONPATH or of the host", param, ctx)
            if not (isinstance(found, type) and issubclass(found, Hook)):
                self.fail(f"{name} is not a subclass of training_hooks.core.hook.Hook", param, ctx)
        return names


class _PresetType(click.Choice):
    """The name of a preset, or a preset's file."""

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        if not str(value).endswith(".json"):
            return super().convert(value, param, ctx)
        try:
            presets.read_file(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)
        return value


@dataclass(frozen=True)
class Option:
    """One added option: its flag, its click type, its help text, the field of the configuration that it sets, and whether it
    may stand without a value, which then is true."""

    flag: str
    type: Any
    help: str
    field: Optional[str] = None
    bare: bool = False

    @property
    def name(self) -> str:
        """The parameter's name in Python."""
        return self.flag[2:].replace("-", "_").lower()


_Choice = click.Choice
_CHANNELS, _MANY = Int(1, 65536), Int(1, 1_000_000)
OPTIONS: Tuple[Option, ...] = (
    Option(
        "--regan-preset",
        _PresetType(sorted(PRESETS)),
        "Start from these settings, or from those in FILE.json; other --regan options win.  [default: none]",
    ),
    Option(
        "--regan-ratio",
        _RatioType(),
        "Share of G's weights pruned in sparse phases; 0 is off.  [default: 0]",
        "ratio",
    ),
    Option(
        "--regan-interval",
        _LengthType(1),
        "Length of each sparse and dense phase, in iterations or as 5kimg.  [default: 100]",
        "interval",
    ),
    Option("--regan-warmup", _LengthType(0), "Dense training before the first pruning.  [default: 0]", "warmup"),
    Option(
        "--regan-lr-scale",
        FiniteFloat(0, 1000, min_open=True),
        "Factor on the learning rate of dense phases.  [default: 0.1]",
        "lr_scale",
    ),
    Option("--regan-target", _Choice(CHOICES["target"]), "Network to reconfigure.  [default: G]", "target"),
    Option(
        "--regan-scope",
        str,
        "What is pruned: weights (tensors of 2 or more dimensions), reference (biases too), or name patterns such as "
        "'synthesis.*.weight'.  [default: weights]",
        "scope",
    ),
    Option("--regan-exclude", str, "Name patterns to leave dense, or none.  [default: the RGB layers]", "exclude"),
    Option("--regan-rule", _Choice(CHOICES["rule"]), "How the smallest weights are counted.  [default: exact]", "rule"),
    Option("--regan-refresh", _Choice(CHOICES["refresh"]), "How often masks are chosen.  [default: phase]", "refresh"),
    Option("--regan-steps", _Choice(CHOICES["steps"]), "Optimizer steps that masks hold through.  [default: all]", "steps"),
    Option("--regan-moments", _Choice(CHOICES["moments"]), "Adam's moments at regrowth.  [default: keep]", "moments"),
    Option("--regan-ema", _Choice(CHOICES["ema"]), "Does the average follow the masks?  [default: follow]", "ema"),
    Option("--regan-finish", _Choice(CHOICES["finish"]), "Phase that the run ends in.  [default: as-is]", "finish"),
    Option(
        "--regan-granularity",
        _Choice(CHOICES["granularity"]),
        "Prune single weights, or whole channels, which makes sparse phases faster.  [default: weight]",
        "granularity",
    ),
    Option(
        "--regan-channel-multiple",
        _CHANNELS,
        "Round the number of channels that stay up to a multiple of this.  [default: 8]",
        "channel_multiple",
    ),
    Option(
        "--regan-channel-min",
        _CHANNELS,
        "Least number of channels that stay in a layer.  [default: 8]",
        "channel_min",
    ),
    Option(
        "--regan-importance",
        _Choice(CHOICES["importance"]),
        "Norm of which weights makes a channel important.  [default: writers]",
        "importance",
    ),
    Option(
        "--regan-mapping",
        _Choice(CHOICES["mapping"]),
        "With channels, leave the mapping network dense or prune its weights.  [default: dense]",
        "mapping",
    ),
    Option("--device", _Choice(["auto", "cpu", "cuda"]), "Where to train.  [default: auto, CUDA where available]"),
    Option(
        "--batch-gpu",
        Int(1, 65536),
        "Images at once; less needs less memory.  [default: batch / gpus]",
    ),
    Option("--cbase", Int(1, 2**20), "Capacity: channels times resolution.  [default: by --cfg]"),
    Option("--cmax", _CHANNELS, "Capacity: most channels of a layer.  [default: by --cfg]"),
    Option("--tick", _MANY, "Length of a tick, in kimg.  [default: 4]"),
    Option("--max-hours", HOURS, "Stop after this time, with a snapshot.  [default: no limit]"),
    Option("--pairs", _Choice(["last", "all", "none"]), "Keep the sparse and dense member of the last cycle.  [default: last]"),
    Option("--states", bool, "Write a state file beside every snapshot, for --resume.  [default: true]"),
    Option("--keep-states", Int(0, 1_000_000), "How many state files to keep; 0 = all.  [default: 3]"),
    Option("--on-nan", _Choice(["stop", "warn"]), "What to do when weights or losses are not finite.  [default: stop]"),
    Option("--DiffAugment", _PolicyType(), f"Differentiable augmentation: any of {','.join(POLICIES)}.  [default: none]"),
    Option("--apa", bool, "Adaptive pseudo augmentation: fakes among D's reals.  [default: false]", bare=True),
    Option("--apa-target", FiniteFloat(-1, 1), "APA: mean of sign(D(real)) to keep.  [default: 0.6]"),
    Option("--apa-kimg", _MANY, "APA: kimg in which p can move by 1.  [default: 500]"),
    Option("--apa-interval", _MANY, "APA: iterations between two moves of p.  [default: 4]"),
    Option("--stability", bool, "Log how far images of fixed latents move from tick to tick.  [default: false]", bare=True),
    Option("--hook", _HookType(), "Methods of your own, by the dotted names of their classes.  [default: none]"),
    Option("--metricdata", UserPath(), "Zip or folder of images to compare with.  [default: the training images]"),
    Option("--metric-detector", UserPath(), "TorchScript file of the feature network.  [default: the host's Inception]"),
    Option("--metrics-every", _MANY, "At every so many snapshots, and the last.  [default: 1]"),
)
_HOSTS_OWN = MetricSettings()
CHANNEL_FIELDS = ("channel_multiple", "channel_min", "importance", "mapping")
OURS = tuple(option.name for option in OPTIONS)


def click_options() -> List[click.Option]:
    """The table as click options."""
    return [_Ours(option) for option in OPTIONS]


class _Ours(click.Option):
    """An option of the table. Its help has the types that the hosts write, and no bounds: errors name those."""

    def __init__(self, option: Option):
        bare: Dict[str, Any] = {"is_flag": False, "flag_value": "true"} if option.bare else {}
        metavar = f"[{_metavar(option.type)}]" if option.bare else _metavar(option.type)
        super().__init__([option.flag, option.name], type=option.type, help=option.help, metavar=metavar, default=None, **bare)

    def get_help_record(self, ctx: click.Context) -> Tuple[str, str]:
        return f"{self.opts[0]} {self.metavar}", str(self.help)


def _metavar(kind: Any) -> str:
    if isinstance(kind, click.Choice):
        return f"[{'|'.join([*map(str, kind.choices), *(['FILE'] if isinstance(kind, _PresetType) else [])])}]"
    return {bool: "BOOL", str: "PATTERNS"}.get(kind) or str(kind.name).upper()


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Args:
        settings: fields of ``ReconfigurationConfig``, lengths not yet in iterations; None = Re-GAN is off.
        device: "auto", "cpu" or "cuda".
        loop: batch_gpu, cbase, cmax and tick, as far as they were given.
        states: whether state files are written.
        keep_states: how many are kept; 0 = all.
        on_nan: "stop" or "warn" when weights or losses are not finite at the end of a tick.
        max_hours: stop after this time; None = never.
        pairs: which sparse-dense pairs are kept, "last", "all" or "none".
        diffaugment: policies of differentiable augmentation; empty = off.
        apa: what was given of the settings of ``AdaptivePseudoAugmentation``; None = off.
        stability: whether the images' movement from tick to tick is logged.
        own_hooks: dotted names of further hooks, constructed without arguments.
        metrics: what metrics compare with what, and when; without the names of the metrics, which are the host's option.
    """

    settings: Optional[Dict[str, Any]]
    device: str
    loop: Dict[str, int]
    states: bool = True
    keep_states: int = 3
    on_nan: str = "stop"
    max_hours: Optional[float] = None
    pairs: str = "last"
    diffaugment: Tuple[str, ...] = ()
    apa: Optional[Dict[str, Any]] = None
    stability: bool = False
    own_hooks: Tuple[str, ...] = ()
    metrics: MetricSettings = _HOSTS_OWN


def resolve(values: Mapping[str, Any]) -> Request:
    """Turn option values (by name; None = not given) into a request.

    Raises:
        click.UsageError: Re-GAN options without a ratio; options of whole channels where single weights are pruned; options of
            APA without it.
    """
    given = {o.field: values[o.name] for o in OPTIONS if o.field is not None and values.get(o.name) is not None}
    preset = values.get("regan_preset")
    settings: Optional[Dict[str, Any]] = None
    if preset is not None or given:
        if "ratio" not in given and preset is None:
            first = next(o.flag for o in OPTIONS if o.field is not None and o.field in given)
            raise click.UsageError(f"{first} needs --regan-ratio (for example --regan-ratio=0.3) or --regan-preset")
        settings = {**presets.settings(preset), **given}
        for option in OPTIONS:
            if option.field in CHANNEL_FIELDS and option.field in given and settings.get("granularity") != "channel":
                raise click.UsageError(f"{option.flag} needs --regan-granularity=channel")
        if "exclude" in settings:
            patterns = settings["exclude"]
            settings["exclude"] = [] if patterns.lower() == "none" else [p.strip() for p in patterns.split(",") if p.strip()]
    loop = {key: values[key] for key in ("batch_gpu", "cbase", "cmax", "tick") if values.get(key) is not None}
    keep = values.get("keep_states")
    return Request(
        settings,
        values.get("device") or "auto",
        loop,
        states=values.get("states") is not False,
        keep_states=3 if keep is None else keep,
        on_nan=values.get("on_nan") or "stop",
        max_hours=values.get("max_hours"),
        pairs=values.get("pairs") or "last",
        diffaugment=values.get("diffaugment") or (),
        apa=_apa(values),
        stability=bool(values.get("stability")),
        own_hooks=values.get("hook") or (),
        metrics=MetricSettings(
            _absolute(values.get("metricdata")), _absolute(values.get("metric_detector")), values.get("metrics_every") or 1
        ),
    )


def _absolute(path: Optional[str]) -> Optional[str]:
    return None if path is None else os.path.abspath(path)


def _apa(values: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    given = {key: values[f"apa_{key}"] for key in ("target", "kimg", "interval") if values.get(f"apa_{key}") is not None}
    if values.get("apa"):
        return given
    if given:
        raise click.UsageError(f"--apa-{next(iter(given))} needs --apa")
    return None


def configuration(settings: Mapping[str, Any], batch_size: int) -> ReconfigurationConfig:
    """The configuration with lengths in iterations of ``batch_size`` images.

    Raises:
        click.BadParameter: a length that makes less than one iteration, or values that do not go together.
    """
    values = dict(settings)
    for field in ("interval", "warmup"):
        if field in values:
            length: Length = values[field]
            values[field] = length.iterations(batch_size)
            if values[field] == 0 and length.value > 0:
                raise click.BadParameter(
                    f"{length} is less than one iteration of {batch_size} images", param_hint=f"--regan-{field}"
                )
    try:
        return ReconfigurationConfig.from_dict(values)
    except ValueError as err:
        field = str(err).split(" ", 1)[0].replace("_", "-")
        raise click.BadParameter(str(err), param_hint=f"--regan-{field}") from err
