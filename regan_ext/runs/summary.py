"""What a training run with methods cost and where it is, in a few lines at its end."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import List, Union

from training_hooks.core.schedule import Phase
from training_hooks.methods.regan.config import IN_TURN

from ..support.errors import UserError
from ..support.text import echo
from .cost import Efficiency, measure
from .folder import read_run

__all__ = ["summary", "tell"]

_ORDER = (Phase.SPARSE, Phase.DENSE, Phase.WARMUP)


def tell(folder: Union[str, Path]) -> None:
    """Print the summary of the run in ``folder``; where it cannot be read, a line that says why."""
    try:
        lines = summary(folder)
    except (UserError, OSError, ValueError) as err:
        message = err.message if isinstance(err, UserError) else str(err)
        lines = [f"What the run cost cannot be told: {message}"]
    echo("\n".join(lines))


def summary(folder: Union[str, Path]) -> List[str]:
    """Lines about the cost of the run in ``folder``, which were measured and which were counted.

    Raises:
        UserError, OSError: it cannot be read.
    """
    run = read_run(folder)
    cost = None if run.config is None else measure(run)
    return [
        *([] if cost is None else [*_measured(cost), *_theory(cost)]),
        *([f"Here {IN_TURN}."] if run.config is not None and run.config.phases_d == "in-turn" else []),
        f"Run folder: {run.folder}",
        f"A page about it: regan-ext report {shlex.quote(str(run.folder))}",
    ]


def _measured(cost: Efficiency) -> List[str]:
    paces = [f"{cost.paces[phase].sec_per_iteration:.3g} s {phase.title}" for phase in _ORDER if cost.paces[phase].ticks]
    if not paces:
        return ["Measured: nothing, the run was too short for it."]
    line = f"Measured per iteration: {', '.join(paces)}"
    if math.isfinite(cost.sparse_over_dense):
        line += f"; sparse / dense = {cost.sparse_over_dense:.3g}"
    hook = f"Measured share of the hook: {cost.hook_percent:.2g} % of the time."
    return [f"{line}.", *([hook] if math.isfinite(cost.hook_percent) else [])]


def _theory(cost: Efficiency) -> List[str]:
    theory = cost.theory
    if not math.isfinite(theory.sparse_over_dense):
        return []
    line = (
        f"Theory: a forward pass of G takes {theory.sparse_gmacs:.3g} GMACs sparse, {theory.dense_gmacs:.3g} dense; "
        f"sparse / dense = {theory.sparse_over_dense:.3g}"
    )
    if theory.d_sparse_over_dense < 1:
        line += (
            f". One of D takes {theory.d_sparse_gmacs:.3g} GMACs sparse, {theory.d_dense_gmacs:.3g} dense; "
            f"sparse / dense = {theory.d_sparse_over_dense:.3g}"
        )
    if math.isfinite(theory.run_over_dense):
        line += (
            f". The planned run: {theory.run_pflops:.3g} PFLOPs, {theory.dense_run_pflops:.3g} if it were dense; "
            f"run / dense = {theory.run_over_dense:.3g}"
        )
    return [f"{line}."]
