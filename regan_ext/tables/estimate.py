"""What the cells of a table will cost, before anybody pays for it. An estimate, and it says from what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

import click

from training_hooks.methods.regan import METHOD
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.cost import describe_cost

from ..train import options
from .model import Cell, Table
from .shapes import Architecture, discriminator_shapes, generator_shapes
from .sheet import Grid, Sheet

__all__ = ["CellCost", "architecture", "cost_of", "estimate", "values_of"]

#: PFLOP/s that one GPU sustains, in the operations counted here. See ``_basis``.
DEFAULT_PFLOPS = 0.015
_V100 = "what NVIDIA measured with one V100 (README of stylegan2-ada-pytorch) is 0.013 at 1024x1024 and 0.017 at 256x256"
# The host's --cfg: layers of the mapping network, and whether D has residual connections.
_CONFIGS = {"stylegan2": (8, True), "cifar": (2, False), "auto": (2, True)}


@dataclass(frozen=True)
class CellCost:
    """Counted operations of a cell.

    Args:
        forward: FLOPs of a dense forward pass of G for one image.
        mean_forward: the same, as the mean over the run's phases.
        run: FLOPs of the whole run, zeros counted too where the hardware cannot leave them out.
        kimg: its length.
    """

    forward: float
    mean_forward: float
    run: float
    kimg: int


def architecture(cell: Cell) -> Architecture:
    """The networks of a cell."""
    given = values_of(cell.options)
    mapping, skips = _CONFIGS[given["cfg"]]
    return Architecture(
        resolution=cell.column.resolution,
        image_channels=cell.column.channels,
        base=int(given.get("cbase", 32768)),
        most=int(given.get("cmax", 512)),
        mapping=mapping,
        skips=skips,
        classes=cell.column.classes if given.get("cond") == "1" else 0,
    )


def cost_of(cell: Cell) -> CellCost:
    """Count the operations of a cell's run."""
    given, net = values_of(cell.options), architecture(cell)
    batch, kimg = int(given["batch"]), int(given["kimg"])
    total = -(-kimg * 1000 // batch)
    settings = options.resolve(given).methods.get(METHOD.name)
    config = ReconfigurationConfig(0.0) if settings is None else options.configuration(METHOD, settings, batch)
    assert isinstance(config, ReconfigurationConfig)
    theory = describe_cost(config, generator_shapes(net), discriminator_shapes(net), batch, total)
    dense, sparse = 2e9 * theory["generator_gmacs"], 2e9 * theory["sparse_generator_gmacs"]
    share = config.schedule(total).sparse_iterations(total) / total
    run = theory["run_pflops" if config.granularity == "channel" else "dense_run_pflops"]
    return CellCost(dense, dense - share * (dense - sparse), 1e15 * run, kimg)


def values_of(arguments: Sequence[str]) -> Dict[str, Any]:
    """The values of a training's options, ours parsed, the host's as they stand."""
    parser = click.Command("train", params=[*options.click_options()], context_settings={"ignore_unknown_options": True})
    parser.allow_extra_args = True
    context = parser.make_context("train", list(arguments))
    theirs = dict(argument[2:].split("=", 1) for argument in context.args if "=" in argument)
    return {**theirs, **{name: value for name, value in context.params.items() if value is not None}}


def estimate(
    table: Table, only: Sequence[str], seeds: Optional[Sequence[int]], sec_per_kimg: Optional[float], pflops: Optional[float]
) -> Sheet:
    """GPU-hours of the cells and of all together."""
    cells, runs = table.cells(only), len(table.seeds if seeds is None else seeds)
    if not cells:
        return Sheet(f"Estimate: {table.title}", ("Nothing of this table can be run.",))
    rows, total = [], 0.0
    for cell in cells:
        cost = cost_of(cell)
        hours = cost.kimg * sec_per_kimg / 3600 if sec_per_kimg else cost.run / 1e15 / (pflops or DEFAULT_PFLOPS) / 3600
        total += hours * runs
        told = (f"{cost.kimg}", f"{cost.forward / 1e9:.2f}", f"{cost.mean_forward / 1e9:.2f}", f"{cost.run / 1e15:.4g}")
        rows.append((cell.row.title, cell.column.title, *told, _hours(hours), f"{runs}", _hours(hours * runs)))
    header = ("method", "data", "kimg", "GFLOPs of G", "mean over phases", "PFLOPs of the run", "GPU-hours, estimated", "seeds",
              "with all seeds")  # fmt: skip
    grid = Grid(
        "One forward pass of G for one image, dense and as the mean over the phases; the whole run:", header, tuple(rows)
    )
    return Sheet(
        f"Estimate: {table.title}", (*_basis(sec_per_kimg, pflops), grid, f"Together: {_hours(total)} GPU-hours, estimated.")
    )


def _basis(sec_per_kimg: Optional[float], pflops: Optional[float]) -> List[str]:
    if sec_per_kimg is not None:
        first = f"Estimated from {sec_per_kimg:g} seconds per kimg, which you measured, times the length of each run."
    else:
        speed = f"{pflops or DEFAULT_PFLOPS:g} PFLOP/s sustained"
        origin = "as you said" if pflops is not None else f"assumed: {_V100}; small networks reach far less"
        first = f"Estimated from counted operations at {speed} by one GPU ({origin}). Nothing was measured."
    return [
        first,
        "Augmentation, metrics, snapshots and start-up are not in it. Pruned single weights cost what others do; only whole "
        "channels are left out.",
    ]


def _hours(hours: float) -> str:
    return f"{hours:.2g}" if hours < 1 else f"{hours:.1f}" if hours < 100 else f"{hours:.0f}"
