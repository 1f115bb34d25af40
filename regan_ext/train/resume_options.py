"""Whether the options of a run that goes on are those that it was begun with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from training_hooks.core.engine import dotted_name, look_up
from training_hooks.core.hook import Hook
from training_hooks.methods.regan.hook import Reconfiguration

from ..support.errors import UserError
from ..support.text import echo

__all__ = ["check", "check_hooks"]

# Arguments of the loop that may differ between the two parts of a run. Where the images lie is another.
_FREE = {
    "run_dir", "metrics", "total_kimg", "image_snapshot_ticks", "network_snapshot_ticks", "kimg_per_tick",
    "resume_pkl", "data_loader_kwargs", "progress_fn", "abort_fn", "cudnn_benchmark", "allow_tf32", "batch_gpu",
    "slideflow_kwargs",
}  # fmt: skip
_SEAM = ("class_name", "inner", "hooks", "network", "configured_lr")  # what the seams add to the host's own arguments
_LISTED = 6


def check(snapshot: Path, saved: Optional[Mapping[str, Any]], args: Mapping[str, Any]) -> None:
    """Compare the options of a state with those of this run.

    Hooks are compared by their class. A setting that one side lacks has its default there; hooks that only look on may come
    and go.

    Args:
        snapshot: that the run goes on from, for the message.
        saved: keyword arguments of the loop that the state holds; None where it holds none, and nothing is compared.
        args: those of this run.

    Raises:
        UserError: they differ; the message lists how.
    """
    if saved is None:
        return
    differing = [*_hooks_differing(_hooks(saved), _hooks(args)), *_differing(_hosts(saved), _hosts(args))]
    if differing:
        more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        remedy = "to begin a new run from its networks, copy it into another folder and name the copy"
        listed = "; ".join(differing[:_LISTED])
        raise UserError(f"--resume: {snapshot} was trained with other options: {listed}{more}; {remedy}")


def check_hooks(
    state_file: Optional[Path], states: Mapping[str, Any], args: Mapping[str, Any], networks: Mapping[str, Any]
) -> None:
    """Check the states of the hooks that change a run.

    Args:
        state_file: for the message.
        states: class name without its module → state.
        args: keyword arguments of this run's loop.
        networks: its "G" and "D".

    Raises:
        UserError: one is missing or cannot be used.
    """
    for name, settings in _hooks(args, everyone=True).items():
        found, short = _hook_class(name), name.rstrip("'").rpartition(".")[2]
        if found is None or (found.observes and short not in states):
            continue
        try:
            found.check_state(states[short], networks)
            # What another hook calls so is its own business.
            config = states[short]["config"] if issubclass(found, Reconfiguration) else settings
            noted = {**found.defaults(), **config}
            other = [*_differing({key: noted[key] for key in settings}, settings)]
        except Exception as err:  # of any kind, as ``check_state`` says
            what = f"{short}'s part is missing or absurd ({type(err).__name__}: {err})"
            raise UserError(f"--resume: {state_file}: the state cannot be used: {what}") from err
        if other:
            raise UserError(f"--resume: {state_file}: the state cannot be used: its {short} and its options differ: {other[0]}")


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**saved, **now}:
        if saved.get(name) != now.get(name):
            yield f"{name} was {saved.get(name)}, is {now.get(name)}"


# ---------------------------------------------------------------- the host's own arguments


def _hosts(options: Mapping[str, Any]) -> Dict[str, Any]:
    """What both parts of a run have to share of the host's arguments, flat, as they are without the seams."""
    bound = {key: value for key, value in options.items() if key not in _FREE}
    for key in ("loss_kwargs", "G_opt_kwargs", "D_opt_kwargs"):
        if isinstance(bound.get(key), Mapping) and "inner" in bound[key]:
            bound[key] = _without_seam(bound[key])
    return {name: value for name, value in _flat(bound).items() if name != "training_set_kwargs.path"}


def _without_seam(kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    inner = kwargs["inner"] if isinstance(kwargs["inner"], Mapping) else {"class_name": kwargs["inner"]}
    return {**{key: value for key, value in kwargs.items() if key not in _SEAM}, **inner}


def _flat(value: Any, prefix: str = "") -> Dict[str, Any]:
    """Nested dicts and lists as one dict of dotted names."""
    if isinstance(value, Mapping):
        items: Sequence[Tuple[str, Any]] = [(str(k), v) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(i), v) for i, v in enumerate(value)]
    else:
        return {prefix[:-1]: value}
    flat: Dict[str, Any] = {}
    for key, inner in items:
        flat.update(_flat(inner, f"{prefix}{key}."))
    return flat


# ---------------------------------------------------------------- hooks


def _hooks(options: Mapping[str, Any], everyone: bool = False) -> Dict[str, Dict[str, Any]]:
    """Class name → settings, of the hooks that change the run, or of ``everyone``; one that is there twice has a mark after its
    name."""
    loss = options.get("loss_kwargs")
    listed = loss.get("hooks") if isinstance(loss, Mapping) else None
    hooks: Dict[str, Dict[str, Any]] = {}
    for hook in listed or []:
        name = key = dotted_name(str(hook["class_name"]))
        while key in hooks:
            key += "'"
        if everyone or not getattr(_hook_class(name), "observes", False):
            hooks[key] = {setting: value for setting, value in hook.items() if setting not in ("class_name", "plan")}
    return hooks


def _hook_class(name: str) -> Optional[Type[Hook]]:
    """The hook's class; None where there is none by that name any more."""
    try:
        found = look_up(name.rstrip("'"))
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) and issubclass(found, Hook) else None


def _hooks_differing(saved: Mapping[str, Dict[str, Any]], now: Mapping[str, Dict[str, Any]]) -> Iterator[str]:
    for name in {**saved, **now}:
        short = name.rpartition(".")[2]
        if name not in saved or name not in now:
            yield f"{short} was {'on' if name in saved else 'off'}, is {'on' if name in now else 'off'}"
            continue
        found = _hook_class(name)
        defaults = {} if found is None else found.defaults()
        unknown = [setting for setting in saved[name] if setting not in defaults and setting not in now[name]]
        _warn(short, {setting: saved[name][setting] for setting in unknown})
        before = {setting: value for setting, value in saved[name].items() if setting not in unknown}
        yield from _differing(_flat({**defaults, **before}), _flat({**defaults, **now[name]}))


def _warn(hook: str, unknown: Mapping[str, Any]) -> None:
    """Tell of settings that a later version of this package has written."""
    if unknown:
        listed: List[str] = [f"{name}={value}" for name, value in unknown.items()]
        echo(f"--resume: {hook} knows no {', '.join(listed)}: left out", err=True)
