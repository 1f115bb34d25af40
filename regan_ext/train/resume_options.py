"""Whether the options of a run that goes on are those that it was begun with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Type

from training_hooks.core.engine import look_up, of_hook
from training_hooks.core.hook import Hook
from training_hooks.methods.method import Entry, entries
from training_hooks.nvidia.seams import without_seams

from ..support.errors import UserError
from ..support.text import echo

__all__ = ["check", "check_hooks"]

# Arguments of the loop that may differ between the two parts of a run. Where the images lie is another.
_FREE = {
    "run_dir", "metrics", "total_kimg", "image_snapshot_ticks", "network_snapshot_ticks", "kimg_per_tick",
    "resume_pkl", "data_loader_kwargs", "progress_fn", "abort_fn", "cudnn_benchmark", "allow_tf32", "batch_gpu",
    "slideflow_kwargs", "metric_dataset_kwargs", "snap_res",
}  # fmt: skip
_LISTED = 6


def check(snapshot: Path, saved: Optional[Mapping[str, Any]], args: Mapping[str, Any]) -> None:
    """Compare the options of a state with those of this run.

    Methods are compared by their names, hooks of anybody's own by their classes. A setting that one side lacks has its default
    there; what only looks on may come and go.

    Args:
        snapshot: that the run goes on from, for the message.
        saved: keyword arguments of the loop that the state holds; None where it holds none, and nothing is compared.
        args: those of this run.

    Raises:
        UserError: they differ; the message lists how.
    """
    if saved is None:
        return
    differing = [*_hooks_differing(_binding(saved), _binding(args)), *_differing(_hosts(saved), _hosts(args))]
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
        states: method's name, or class name without its module → state.
        args: keyword arguments of this run's loop.
        networks: its "G" and "D".

    Raises:
        UserError: one is missing or cannot be used.
    """
    for entry in entries(args):
        found, other = _hook_class(entry), []
        if found is None or found.observes:
            continue
        try:
            saved = of_hook(states, found)
            if saved is None:
                raise KeyError(entry.name)
            found.check_state(saved, networks)
            # What a hook of anybody's own calls so is its own business.
            if entry.method is not None and saved.get("config") is not None:
                noted = replace(entry, settings=entry.method.upgraded(saved["config"]))
                other = [*_hooks_differing({"": noted}, {"": entry})]
        except Exception as err:  # of any kind, as ``check_state`` says
            what = f"{_title(entry)}'s part is missing or absurd ({type(err).__name__}: {err})"
            raise UserError(f"--resume: {state_file}: the state cannot be used: {what}") from err
        if other:
            what = f"its {_title(entry)} and its options differ: {other[0]}"
            raise UserError(f"--resume: {state_file}: the state cannot be used: {what}")


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**saved, **now}:
        if saved.get(name) != now.get(name):
            yield f"{name} was {saved.get(name)}, is {now.get(name)}"


def _hosts(options: Mapping[str, Any]) -> Dict[str, Any]:
    """What both parts of a run have to share of the host's arguments, flat, as they are without the seams."""
    bound = {key: value for key, value in without_seams(options).items() if key not in _FREE}
    return {name: value for name, value in _flat(bound).items() if name != "training_set_kwargs.path"}


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


def _binding(options: Mapping[str, Any]) -> Dict[str, Entry]:
    """Name → hook, of those that change a run; one that is there twice has a mark after its name."""
    found: Dict[str, Entry] = {}
    for entry in entries(options):
        kind, key = _hook_class(entry), entry.name
        while key in found:
            key += "'"
        if not (entry.observes if kind is None else kind.observes):
            found[key] = entry
    return found


def _hook_class(entry: Entry) -> Optional[Type[Hook]]:
    """The hook's class; None where there is none by that name any more."""
    if entry.method is not None:
        return entry.method.hook_class()
    try:
        found = look_up(entry.name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) and issubclass(found, Hook) else None


def _title(entry: Entry) -> str:
    return entry.name.rpartition(".")[2] if entry.method is None else entry.method.title


def _hooks_differing(saved: Mapping[str, Entry], now: Mapping[str, Entry]) -> Iterator[str]:
    for name in {**saved, **now}:
        entry = now.get(name) or saved[name]
        if name not in saved or name not in now:
            yield f"{_title(entry)} was {'on' if name in saved else 'off'}, is {'on' if name in now else 'off'}"
            continue
        if saved[name].version > now[name].version:
            yield f"{_title(entry)}'s settings are of version {saved[name].version}, which this regan-ext does not know"
            continue
        defaults, free = _defaults(entry)
        before, after = ({k: v for k, v in each[name].settings.items() if k not in free} for each in (saved, now))
        unknown = [setting for setting in before if setting not in defaults and setting not in after]
        _warn(_title(entry), {setting: before.pop(setting) for setting in unknown})
        flags = {} if entry.method is None else {each.name: entry.method.flag(each.name) for each in entry.method.settings}
        told = [{flags.get(k, k): v for k, v in {**defaults, **each}.items()} for each in (before, after)]
        for line in _differing(*told):
            yield line if entry.method is not None else f"{_title(entry)}'s {line}"


def _defaults(entry: Entry) -> Tuple[Dict[str, Any], Set[str]]:
    """The settings' defaults as JSON has them, and the names of those that may change."""
    if entry.method is None:
        kind = _hook_class(entry)
        return ({} if kind is None else kind.defaults()), set()
    free = {each.name for each in entry.method.settings if not each.binds}
    return {name: value for name, value in entry.method.config().to_dict().items() if name not in free}, free


def _warn(hook: str, unknown: Mapping[str, Any]) -> None:
    """Tell of settings that a later version of this package has written."""
    if unknown:
        listed: List[str] = [f"{name}={value}" for name, value in unknown.items()]
        echo(f"--resume: {hook} knows no {', '.join(listed)}: left out", err=True)
