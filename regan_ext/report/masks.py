"""What a page says of the masks of tickets: how sparse each layer is, and what the masks of two runs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from ..runs.folder import Run
from ..runs.tickets import mask_of

if TYPE_CHECKING:
    from training_hooks.methods.tickets.files import Mask

__all__ = ["layers", "masks_of", "overlaps"]

_Masks = List[Tuple[str, "Mask"]]  # name of the run, its masks
_Table = Tuple[List[str], List[Tuple[str, List[str]]]]  # head; a name, and a cell for each column


def masks_of(runs: Sequence[Run], names: Sequence[str]) -> "_Masks":
    """Name and masks of each run that has some."""
    return [(name, mask) for run, name in zip(runs, names) for mask in [mask_of(run)] if mask is not None]


def layers(found: "_Masks") -> Optional[_Table]:
    """Head and rows of the pruned share of each tensor; None where no run has masks."""
    columns: List[Tuple[str, Dict[str, str]]] = []
    for run, mask in found:
        from training_hooks.methods.tickets.prune import sparsity  # which imports torch

        column = {f"all of {kind}": f"{mask.sparsity(kind):.2%}" for kind in mask.networks}
        for kind, keeps in mask.networks.items():
            column.update({f"{kind}.{name}": f"{share:.2%}" for name, share in sparsity(keeps).items()})
        columns.append((run, column))
    every = dict.fromkeys(name for _, column in columns for name in column)
    names = sorted(every, key=lambda name: not name.startswith("all "))  # the networks first
    head = ["pruned of", *(run for run, _ in columns)]
    return (head, [(name, [column.get(name, "–") for _, column in columns]) for name in names]) if columns else None


def overlaps(found: "_Masks") -> Optional[_Table]:
    """Head and rows of the Jaccard index of the masks of any two runs; None where no two have masks of the same parameters."""
    if len(found) < 2:
        return None
    from training_hooks.methods.tickets.prune import overlap

    rows = []
    for kind in ("G", "D"):
        of_kind = [(run, mask.networks[kind]) for run, mask in found if kind in mask.networks]
        for run, keeps in of_kind:
            shapes = {name: keep.shape for name, keep in keeps.items()}
            alike = {o: other for o, other in of_kind if {name: keep.shape for name, keep in other.items()} == shapes}
            cells = [f"{overlap(keeps, alike[o]):.2%}" if o in alike and o != run else "–" for o, _ in found]
            rows.append((f"{kind} of {run}", cells))
    return ["kept by both, of kept by one", *(run for run, _ in found)], rows
