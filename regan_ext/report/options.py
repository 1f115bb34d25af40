"""Which options of several runs differ."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ..runs.folder import Run, hooks_of
from ..support.reading import mapping

__all__ = ["all_options", "differing_options", "method_names"]


def differing_options(runs: Sequence[Run]) -> List[Tuple[str, List[str]]]:
    """Options that are not the same in all runs: dotted name, and the value of each run as text ("" = it has none)."""
    flat = [all_options(run) for run in runs]
    names = sorted({name for options in flat for name in options})
    rows = [(name, [options.get(name, "") for options in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def all_options(run: Run) -> Dict[str, str]:
    """The options of a run: dotted name → value as text."""
    return _flatten(_without_seams(run.options))


def method_names(run: Run) -> List[str]:
    """The methods besides Re-GAN and what watches the run, such as "DiffAugment color,translation"."""
    names = []
    for hook in hooks_of(run.options):
        kind = str(hook.get("class_name", "")).rpartition(".")[2]
        if kind == "DiffAugment":
            policy = hook.get("policy")
            names.append(f"DiffAugment {','.join(map(str, policy)) if isinstance(policy, list) else ''}".strip())
        elif kind == "AdaptivePseudoAugmentation":
            names.append(f"APA, target {hook['target']}" if "target" in hook else "APA")
        elif kind == "Stability":
            names.append("stability measured")
    return names


def _without_seams(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The options as the plain host has them, and those of each hook under its class's name."""
    plain = {name: value for name, value in options.items() if name != "run_dir"}
    loss = mapping(options.get("loss_kwargs"))
    if "inner" in loss:
        plain["loss_kwargs"] = loss["inner"]
    for name in ("G_opt_kwargs", "D_opt_kwargs"):
        optimizer = dict(mapping(options.get(name)))
        if "inner" in optimizer:
            optimizer["class_name"] = optimizer.pop("inner")
            optimizer.pop("network", None)
            optimizer.pop("configured_lr", None)
            plain[name] = optimizer
    hooks = {str(hook.get("class_name", "")): hook for hook in hooks_of(options)}
    for class_name, hook in hooks.items():
        own = {k: v for k, v in hook.items() if k not in ("class_name", "plan") and mapping(v).get("class_name") not in hooks}
        plain[class_name.rpartition(".")[2]] = own  # without what repeats another hook's options
    return plain


def _flatten(value: Any, prefix: str = "") -> Dict[str, str]:
    if isinstance(value, dict):
        inner = [_flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {name: text for part in inner for name, text in part.items()}
    return {prefix: json.dumps(value)}
