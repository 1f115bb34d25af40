"""What ``-n`` says of a run before the host prints its options: phases, cost, and the settings of the methods."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from training_hooks.core.schedule import Span
from training_hooks.methods.apa.hook import AdaptivePseudoAugmentation
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.nvidia import host_loop as loop

from ..support.text import counted
from .options import Request

__all__ = ["describe"]

_ALWAYS = ("ratio", "interval", "warmup", "lr_scale", "target", "finish", "granularity")  # settings, whatever they are


def describe(args: Mapping[str, Any], request: Request) -> List[str]:
    """Lines about a run with a method; none about the host's own.

    Args:
        args: keyword arguments of the loop, edited.
        request: what was asked for.
    """
    hooks: List[Dict[str, Any]] = args["loss_kwargs"].get("hooks", [])
    hook = next((hook for hook in hooks if "plan" in hook), None)
    methods = _others(request)
    if hook is None and not methods:
        return []
    total, batch = loop.total_iterations(args), args["batch_size"]
    head = f"Plan: {total} iterations of {batch} images, {total * batch / 1000:g} kimg"
    return ["", head, *([] if hook is None else _reconfiguration(hook, total, batch)), *methods]


def _reconfiguration(hook: Mapping[str, Any], total: int, batch: int) -> List[str]:
    plan = hook["plan"]
    config = ReconfigurationConfig.from_dict({k: v for k, v in hook.items() if k not in ("class_name", "plan")})
    schedule = config.schedule(total)
    first, left_out, last = schedule.outline(total)
    rows = [("phase", "iterations", "kimg", "share of the run"), *(_row(span, total, batch) for span in first)]
    rows += [(f"... {left_out} more", "", "", "")] if left_out else []
    rows += [_row(span, total, batch) for span in last]
    sparse = schedule.sparse_iterations(total) / total
    phases = counted(plan["sparse_phases"], "phase")
    weights = f"{plan['selected_weights']} weights in {plan['selected_tensors']} tensors"
    default = ReconfigurationConfig().to_dict()
    told = {name: v for name, v in config.to_dict().items() if name in _ALWAYS or v != default[name]}
    return [
        "",
        *_aligned(rows),
        "",
        f"Sparse: {sparse:.1%} of the run in {phases}, {config.ratio:.3g} of the {weights}",
        *_cost(plan["theory"], config.granularity == "channel"),
        *([f"Masks: {plan['exploration']}"] if "exploration" in plan else []),
        f"Re-GAN: {_listed(told)}; the rest as by default",
    ]


def _row(span: Span, total: int, batch: int) -> "tuple[str, str, str, str]":
    assert span.stop is not None
    kimg = f"{span.start * batch / 1000:.5g}-{span.stop * batch / 1000:.5g}"
    return span.title, f"{span.start}-{span.stop - 1}", kimg, f"{(span.stop - span.start) / total:.1%}"


def _aligned(rows: List["tuple[str, str, str, str]"]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


def _cost(theory: Mapping[str, Any], saves: bool) -> List[str]:
    if not theory:
        return []
    dense, sparse = theory["generator_gmacs"], theory["sparse_generator_gmacs"]
    run, dense_run = theory["run_pflops"], theory["dense_run_pflops"]
    time = "" if saves else "; single weights save no time, zeros are counted as left out"
    return [
        f"Cost by theory: a forward pass of G {sparse:g} GMACs sparse, {dense:g} dense;",
        f"  the run {run:g} PFLOPs, {dense_run:g} if it were dense{time}",
    ]


def _others(request: Request) -> List[str]:
    """The methods beside Re-GAN, with all their settings."""
    lines = [f"DiffAugment: {','.join(request.diffaugment)}"] if request.diffaugment else []
    if request.apa is not None:
        lines.append("APA: " + _listed({**AdaptivePseudoAugmentation.defaults(), **request.apa}))
    if request.stability:
        lines.append("Stability: logged once per tick")
    return lines


def _listed(settings: Mapping[str, Optional[Any]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in settings.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
