"""What ``-n`` says of a run before the host prints its options: phases, cost, and the settings of the methods."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

from training_hooks.core.schedule import Schedule, Span
from training_hooks.methods.method import Method
from training_hooks.methods.regan.outlook import as_share
from training_hooks.methods.setting import Config, as_text

from ..support.text import counted

__all__ = ["describe"]

_NETWORKS = {"G": "generator", "D": "discriminator"}
_FEW = 4  # settings, of a method that tells all of them


def describe(plan: Mapping[str, Any], methods: Sequence[Tuple[Method, Config]]) -> List[str]:
    """Lines about a run with methods; none about the host's own.

    Args:
        plan: iterations, batch size, and what each method plans, see ``methods.add``.
        methods: methods that are on, with their settings.
    """
    if not methods:
        return []
    total, batch = plan["iterations"], plan["batch_size"]
    lines = ["", f"Plan: {total} iterations of {batch} images, {total * batch / 1000:g} kimg"]
    for method, config in methods:
        schedule = config.schedule(total)
        if schedule is not None:
            lines += _of_phases(schedule, plan["methods"][method.name], total, batch)
        lines.append(f"{method.title}: {_settings(method, config)}")
    return lines


def _settings(method: Method, config: Config) -> str:
    """The settings that were chosen, and of methods with few settings all."""
    if method.observes or not method.settings:
        return "on" if method.describe is None else method.describe(config)
    values, default = config.to_dict(), method.config().to_dict()
    told = {each.name for each in method.settings if each.search is not None or (not each.is_hidden and len(values) <= _FEW)}
    shown = {name: value for name, value in values.items() if name in told or value != default[name]}
    rest = "" if len(shown) == len(values) else "; the rest as by default"
    return ", ".join(f"{name.replace('_', ' ')} {as_text(value, ' ')}" for name, value in shown.items()) + rest


def _of_phases(schedule: Schedule, plan: Mapping[str, Any], total: int, batch: int) -> List[str]:
    first, left_out, last = schedule.outline(total)
    rows = [("phase", "iterations", "kimg", "share of the run"), *(_row(span, total, batch) for span in first)]
    rows += [(f"... {left_out} more", "", "", "")] if left_out else []
    rows += [_row(span, total, batch) for span in last]
    lines = ["", *_aligned(rows), ""]
    if "selected_weights" in plan:
        sparse, phases = plan["sparse_iterations"] / total, counted(plan["sparse_phases"], "phase")
        weights = f"{_ratios(plan)} of the {plan['selected_weights']} weights in {plan['selected_tensors']} tensors"
        share = f"{sparse:.1%} of the run in {phases}"
        if "sparse_iterations_d" in plan:
            share = f"G {share}, D {plan['sparse_iterations_d'] / total:.1%}"
        told = f"{share}, {weights}"
        lines.append(f"Sparse: {told if plan['is_pruned'] else 'never, the phases differ in the learning rate alone'}")
    lines += _cost(plan.get("theory") or {})
    if plan.get("exploration"):
        changes = ", ".join(f"{role} {as_share(change)}" for role, change in plan["exploration"]["mask_change"].items())
        lines.append(f"Masks: what a pruning takes that the one before did not, by an estimate: {changes}")
    return lines


def _ratios(plan: Mapping[str, Any]) -> str:
    """The share that is pruned; of each network where they differ, and from which to which where it changes."""
    ends = plan.get("ratios") or {"": [plan["ratio"]]}
    told = {kind: " to ".join(dict.fromkeys(f"{end:.3g}" for end in those)) for kind, those in ends.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return " and ".join(f"{share} of {kind}'s" for kind, share in told.items()) + ","


def _row(span: Span, total: int, batch: int) -> "tuple[str, str, str, str]":
    assert span.stop is not None
    kimg = f"{span.start * batch / 1000:.5g}-{span.stop * batch / 1000:.5g}"
    return span.title, f"{span.start}-{span.stop - 1}", kimg, f"{(span.stop - span.start) / total:.1%}"


def _aligned(rows: List["tuple[str, str, str, str]"]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


def _cost(theory: Mapping[str, Any]) -> List[str]:
    if not theory:
        return []
    passes = {kind: (theory[f"sparse_{name}_gmacs"], theory[f"{name}_gmacs"]) for kind, name in _NETWORKS.items()}
    told = [f"{kind} {now:g} GMACs sparse, {all_:g} dense" for kind, (now, all_) in passes.items() if kind == "G" or now < all_]
    run, dense_run = theory["run_pflops"], theory["dense_run_pflops"]
    time = "" if "channels" in theory else "; single weights save no time, zeros are counted as left out"
    return [
        f"Cost by theory: a forward pass of {', of '.join(told)};",
        f"  the run {run:g} PFLOPs, {dense_run:g} if it were dense{time}",
    ]
