"""The methods of a request as hooks of a host's loop, and what they plan to do."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import click

from training_hooks.core.engine import construct_hook
from training_hooks.core.schedule import TooShort
from training_hooks.methods.method import Facts, Method, Plan, find
from training_hooks.methods.setting import Config
from training_hooks.nvidia import host_loop as loop

from ..hosts.flavour import Flavour
from ..support.errors import UserError
from ..support.text import echo
from . import options

__all__ = ["add", "configured", "tell"]

_Shapes = Mapping[str, Mapping[str, Tuple[int, ...]]]  # network → name of a weight or bias → shape
_UNKNOWN: Mapping[str, Mapping[str, int]] = {}
_OBSERVERS = "training_hooks.observers"


def configured(request: options.Request, batch_size: int) -> List[Tuple[Method, Config]]:
    """The methods that are on, with their settings, in the methods' order.

    Raises:
        click.BadParameter: a length that makes less than one iteration, or values that do not go together.
    """
    found = []
    for name, settings in request.methods.items():
        method = find(name)
        assert method is not None
        found.append((method, options.configuration(method, settings, batch_size, request)))
    return found


def tell(args: Any, request: options.Request, flavour: Flavour, shapes: _Shapes) -> bool:
    """Tell the host what it can do by itself for a method.

    Args:
        args: keyword arguments of the loop, edited in place.
        request: what was asked for.
        flavour: family of hosts.
        shapes: "G" and "D" → name of a weight or bias → shape.

    Returns:
        Whether anything was told, so that the networks are others now.

    Raises:
        click.BadParameter: it cannot be done, or the host's own option for it is given too.
    """
    told = False
    for method, config in configured(request, args["batch_size"]):
        with _told_by_option(method, request):
            words = {} if method.arguments is None else method.arguments(config, shapes)
        for word, value in words.items():
            given = flavour.tell(args, word, value)
            if given is not None:
                what = f"the host's own option for it says {given}, and this one {value}; leave out one of the two"
                raise click.BadParameter(what, param_hint=method.switch_flag)
            told = told or word in flavour.words
    return told


def add(
    args: Any,
    request: options.Request,
    hooks: List[Dict[str, Any]],
    flavour: Flavour,
    shapes: _Shapes,
    trained: _Shapes,
    zeros: Mapping[str, Tuple[str, ...]],
    is_resumed: bool = False,
    begun: Mapping[str, Mapping[str, int]] = _UNKNOWN,
) -> Tuple[str, Any]:
    """Put the hooks of the methods, what goes with them, and the seams that they need into a loop's keyword arguments.

    Args:
        args: keyword arguments of the loop, edited in place.
        request: what was asked for.
        hooks: further hooks.
        flavour: family of hosts.
        shapes: "G" and "D" → name of a weight or bias → shape.
        trained: the same without those that are frozen.
        zeros: "G" and "D" → names of the weights that are all zero when the run begins, as far as that is known.
        is_resumed: whether the networks come from a snapshot.
        begun: see ``Facts``.

    Returns:
        The suffix of the run's description, and the plan: iterations, batch size, and "methods", what each plans, as JSON.

    Raises:
        click.BadParameter: a method cannot do what it was asked for.
    """
    facts = Facts(
        args["batch_size"],
        loop.total_iterations(args),
        shapes,
        trained,
        {k: flavour.optimizer(args, k) for k in ("G", "D")},
        tuple(args["metrics"] or ()),
        _measured(args, request.metrics.every),
        zeros,
        is_resumed,
        begun,
    )
    asked = configured(request, facts.batch_size)
    for method, config in asked:
        _check_host(method, config, flavour, args)
    on = [(method, _completed(method, config, facts, request)) for method, config in asked]
    for method, config in on:
        _check_hook(method, config)
        _check_length(method, config, facts, request, args["total_kimg"])
    planned = {method.name: (method, _plan(method, config, facts, request)) for method, config in on}
    _check_held(list(planned.values()))
    plans = {name: plan.values for name, (_, plan) in planned.items()}
    suffix = "".join(method.suffix(request.methods[method.name], config) for method, config in on)
    listed = [*(method.entry(config) for method, config in on), *hooks]
    sparse = (m for m, config in on if config.schedule(facts.total) is not None and plans[m.name].get("is_pruned", True))
    if request.pairs != "none" and any(sparse):
        listed.append({"class_name": f"{_OBSERVERS}.pairs.Pairs", "every": request.pairs == "all"})
    listed += [{"class_name": name} for name in request.own_hooks]
    if listed or args["num_gpus"] > 1:
        listed.append({"class_name": f"{_OBSERVERS}.progress.Progress"})
        needed = ("G", *(network for method, config in on for network in method.networks(config)))
        _install_seams(args, listed, tuple(dict.fromkeys(needed)), bool(flavour.scheduled))
    return suffix, {"iterations": facts.total, "batch_size": facts.batch_size, "methods": plans}


def _measured(args: Mapping[str, Any], every: int) -> int:
    """Snapshots of the whole run at which metrics are measured."""
    return math.ceil((loop.snapshots(args) - 1) / every) + 1 if args["metrics"] and loop.snapshots(args) else 0


@contextlib.contextmanager
def _told_by_option(method: Method, request: options.Request) -> Iterator[None]:
    """Errors of a method's settings are told of its options."""
    try:
        yield
    except ValueError as err:
        raise options.of_setting(method, err, request) from err


def _check_host(method: Method, config: Config, flavour: Flavour, args: Mapping[str, Any]) -> None:
    """Check that the method and its choices fit the host.

    Raises:
        click.BadParameter: they do not.
    """
    features = {method.name: method.switch_flag}
    for each in method.settings:
        feature = f"{method.name}.{each.name}={getattr(config, each.name)}"
        of_networks = (f"{feature} of {network}" for network in method.networks(config))
        features.update(dict.fromkeys((feature, *of_networks), method.flag(each.name)))
    for feature, flag in features.items():
        why = flavour.refusal(feature, args)
        if why is not None:
            raise click.BadParameter(f"does not fit {flavour.name}: {why}", param_hint=flag)


def _completed(method: Method, config: Config, facts: Facts, request: options.Request) -> Config:
    if method.completed is None:
        return config
    with _told_by_option(method, request):
        completed: Config = method.completed(config, facts)
    return completed


def _check_hook(method: Method, config: Config) -> None:
    """Check that the run will be able to make the hook.

    Raises:
        UserError: it will not.
    """
    try:
        hook = construct_hook(**method.entry(config))
    except Exception as err:  # whatever the code of anybody's package raises
        what = f"the hook {method.hook} cannot be made ({type(err).__name__}: {err})"
        raise UserError(f"{method.switch_flag}: {what}") from err
    if hook.name != method.name:
        raise UserError(f"{method.switch_flag}: the name of the hook {method.hook} is {hook.name!r}, not {method.name!r}")


def _check_length(method: Method, config: Config, facts: Facts, request: options.Request, total_kimg: float) -> None:
    """Check that the run is long enough for the phases, in the unit that its length is given in."""
    try:
        config.schedule(facts.total)
    except ValueError as err:
        if not isinstance(err, TooShort):
            raise options.of_setting(method, err, request) from err
        least = math.ceil(err.needed * facts.batch_size / 1000)
        lengths = " or ".join(method.flag(each.name) for each in method.settings if each.kind == "length")
        kimg = f"that is {least} kimg, and the run has {total_kimg:g}"
        remedy = f"give --kimg={least} or more" + (f", or a shorter {lengths}" if lengths else "")
        raise options.of_setting(method, ValueError(f"{err}; {kimg}; {remedy}"), request) from err


def _plan(method: Method, config: Config, facts: Facts, request: options.Request) -> Plan:
    if method.plan is None:
        return Plan({})
    with _told_by_option(method, request):
        plan = method.plan(config, facts)
    for note in plan.notes:
        echo(f"Note: {note}", err=True)
    return plan


def _check_held(planned: Sequence[Tuple[Method, Plan]]) -> None:
    """Check that no method prunes what another one holds.

    Raises:
        click.BadParameter: one does.
    """
    for holder, holds in planned:
        for method, plan in planned:
            both = sorted(set(holds.held) & set(plan.pruned))
            if both:
                what = f"{both[0]} would have to stay as it came, and {method.switch_flag} prunes it"
                more = f" ({len(both)} such in all)" if len(both) > 1 else ""
                raise click.BadParameter(f"{what}{more}; leave them out of one of the two", param_hint=holder.switch_flag)


def _install_seams(args: Any, hooks: List[Dict[str, Any]], needed: Sequence[str], is_rate_set: bool) -> None:
    """Put our classes' names where the host reads class names; the host's own go to ``inner``."""
    easy = type(args["loss_kwargs"])
    args["loss_kwargs"] = easy(
        class_name="training_hooks.nvidia.seams.HookedLoss", inner=dict(args["loss_kwargs"]), hooks=hooks
    )
    for network in needed:
        kwargs = args[f"{network}_opt_kwargs"]
        kwargs["inner"], kwargs["class_name"] = kwargs["class_name"], "training_hooks.nvidia.seams.hooked_optimizer"
        kwargs["network"] = network
        kwargs.update({"is_rate_set": True} if is_rate_set else {"configured_lr": kwargs["lr"]})
