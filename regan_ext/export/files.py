"""A snapshot as a dense or sparse host pickle, as a state dict, and as safetensors."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch

from training_hooks.core.engine import of_hook
from training_hooks.methods.method import methods
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.plan import select_parameters
from training_hooks.nvidia import state as states
from training_hooks.sparsity import masks
from training_hooks.sparsity.selection import parameter_shapes

from ..runs.folder import Run, read_run
from ..runs.tickets import is_masked, mask_of
from ..snapshots.open import Snapshot
from ..snapshots.sample import image_channels
from ..support.errors import UserError
from ..support.reading import mapping

__all__ = [
    "generators", "masked", "masks_of_state", "ticket_run", "write_dense", "write_safetensors", "write_sparse",
    "write_state_dict",
]  # fmt: skip

DEFAULT_RATIO = 0.3
Tensors = Dict[str, torch.Tensor]


def masks_of_state(path: Path, snapshot: Path, channels: bool = False) -> Dict[str, Tensors]:
    """Network → parameter name → mask (True: kept) of a run's state file; empty where it holds none.

    Args:
        path: of the state file.
        snapshot: the network pickle that the state has to be of.
        channels: only masks that prune whole channels.

    Raises:
        UserError: the file cannot be read or is of another snapshot, or its masks do not fit the shapes that it names.
    """
    remedy = "give --ratio to prune by magnitude instead"
    try:
        hooks = states.load(path, snapshot)["hooks"]
        of_methods = [mapping(of_hook(hooks, method.hook_class())) for method in methods()]
        found: Mapping[str, Any] = next((state["networks"] for state in of_methods if "networks" in state), {})
        return {
            network: {
                name: masks.unpack_bits(bits, torch.Size(shape))
                for name, shape, bits in zip(entry["names"], entry["shapes"], entry["keep"])
            }
            for network, entry in found.items()
            if entry.get("keep") and (entry.get("kept") or not channels)
        }
    except states.StateError as err:
        raise UserError(f"{err}; {remedy}") from err
    except Exception as err:  # whole as a file, with fields that are none of ours, which fail in many ways
        raise UserError(f"{path} cannot be read as a state file ({type(err).__name__}); {remedy}") from err


def _zeros(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], which: str) -> Tuple[float, str]:
    """Measured share of zeros in some of a network's tensors, as a number and as text: "... in the N tensors" ``which``."""
    total, whole = (sum(t.numel() for t in those) for those in (tensors.values(), network.parameters()))
    zeros = total - sum(int(torch.count_nonzero(t)) for t in tensors.values())
    of_these = f"{zeros / total:.2%} of the {total} weights in the {len(tensors)} tensors {which}"
    return zeros / total, f"{zeros} weights are exactly zero: {of_these}, {zeros / whole:.2%} of all {whole} parameters"


def _selected(network: torch.nn.Module, ratio: float) -> Tensors:
    """The parameters that Re-GAN prunes by default, by name."""
    try:
        names = select_parameters(ReconfigurationConfig(ratio=ratio), "G", parameter_shapes(network))
    except ValueError as err:
        raise UserError(f"--ratio: {err}") from err
    parameters = dict(network.named_parameters())
    return {name: parameters[name] for name in names}


def generators(snapshot: Snapshot) -> Dict[str, Any]:
    """The generators of a snapshot by name. Some pickles that people share hold G_ema alone.

    Raises:
        UserError: one of them is none.
    """
    return {which: snapshot.network(which) for which in ("G", "G_ema") if snapshot.data.get(which) is not None}


def write_dense(snapshot: Snapshot, path: Path) -> List[str]:
    """Copy the snapshot as it is. Returns what to tell the user."""
    lines = []
    for which, network in generators(snapshot).items():
        share, said = _zeros(network, _selected(network, 0), "that Re-GAN prunes by default")
        lines.append(f"{which}: {said}" + (", as in a sparse phase; zeros stay" if share >= 0.01 else ""))
    shutil.copyfile(snapshot.path, path)
    return lines


def masked(network: torch.nn.Module, which: str, keep: Tensors, state: Path) -> Tensors:
    """The parameters that the masks are for, by name.

    Raises:
        UserError: the network has none of that name and shape.
    """
    parameters = dict(network.named_parameters())
    for name, mask in keep.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            there = "no such parameter" if name not in parameters else f"one of shape {list(parameters[name].shape)}"
            raise UserError(f"{state} has a mask of shape {list(mask.shape)} for {name}, but {which} has {there}")
    return {name: parameters[name] for name in keep}


def write_sparse(snapshot: Snapshot, path: Path, ratio: Optional[float]) -> List[str]:
    """Write the host's pickle with the pruned weights of G and G_ema at zero. Returns what to tell the user.

    Args:
        snapshot: is changed.
        path: to write to.
        ratio: prune each network by its own magnitudes; None: by the masks of the state file beside the snapshot, else by
            magnitude at ``DEFAULT_RATIO``. A snapshot of a ticket has its zeros already, and stays as it is without one.

    Raises:
        UserError: the state file cannot be used, or its masks are of D alone.
    """
    if ratio is None:
        ticket = ticket_run(snapshot.path)
        if ticket is not None:
            return _write_ticket(snapshot, path, ticket)
    state, lines = states.state_path(snapshot.path), []
    with_state = ratio is None and snapshot.kimg is not None and state.is_file()
    of_networks = masks_of_state(state, snapshot.path) if with_state else {}
    of_state = of_networks.get("G", {})
    if of_networks and not of_state:
        whose = " and ".join(of_networks)
        raise UserError(f"{state} has masks of {whose} alone, so the run has pruned nothing of G; add --ratio to prune it now")
    for which, network in generators(snapshot).items():
        if of_state:
            keep, tensors = of_state, masked(network, which, of_state, state)
            how = f"by the masks of {state.name}"
        else:
            chosen = DEFAULT_RATIO if ratio is None else ratio
            tensors = _selected(network, chosen)
            keep = {name: masks.keep_smallest_out(t, chosen) for name, t in tensors.items()}
            how = f"the smallest {chosen:g} of each tensor by magnitude"
            how += ", no masks beside the snapshot" if ratio is None else ""
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.masked_fill_(~keep[name], 0)
        pruned = sum(int((~mask).sum()) for mask in keep.values())
        lines.append(f"{which}: {_zeros(network, tensors, 'that are pruned')[1]}; {pruned} pruned, {how}")
    with open(path, "wb") as file:
        pickle.dump(snapshot.data, file)
    return lines


def ticket_run(path: Path) -> Optional[Run]:
    """The run that a snapshot lies in the folder of, where it is one of a ticket with masks."""
    try:
        run = read_run(path.parent)
    except UserError:
        return None
    return run if is_masked(run) else None


def _write_ticket(snapshot: Snapshot, path: Path, run: Run) -> List[str]:
    """Copy the snapshot of a ticket, which has its zeros. Returns what to tell the user."""
    mask = mask_of(run)
    if mask is None or "G" not in mask.networks:
        return write_dense(snapshot, path)
    shutil.copyfile(snapshot.path, path)
    which = f"that round {mask.round} of a ticket masks"
    of = ((name, masked(network, name, dict(mask.networks["G"]), run.folder)) for name, network in generators(snapshot).items())
    return [f"{name}: {_zeros(snapshot.network(name), tensors, which)[1]}, as in the snapshot" for name, tensors in of]


def _tensors(snapshot: Snapshot, which: str) -> Tensors:
    """Parameters and buffers by name, none sharing memory with another."""
    return {name: t.detach().clone().contiguous() for name, t in snapshot.network(which).state_dict().items()}


def _not_finite(tensors: Tensors) -> List[str]:
    names = [name for name, t in tensors.items() if not bool(t.isfinite().all())]
    return [f"As in the snapshot, not finite: {', '.join(names)}"] if names else []


def write_state_dict(snapshot: Snapshot, path: Path, which: str) -> List[str]:
    """Write the network's tensors with ``torch.save``. Returns what to tell the user."""
    tensors = _tensors(snapshot, which)
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    path.write_bytes(buffer.getvalue())  # torch.save would tell of a full disk in a RuntimeError
    return [f"{which}: {len(tensors)} tensors; torch.load(..., weights_only=True) opens it", *_not_finite(tensors)]


def write_safetensors(snapshot: Snapshot, path: Path, which: str) -> List[str]:
    """Write the network's tensors and what is needed to build the network. Returns what to tell the user."""
    from safetensors.torch import save

    network, tensors = snapshot.network(which), _tensors(snapshot, which)
    sizes = {name: getattr(network, name) for name in ("c_dim", "z_dim", "w_dim", "img_resolution") if hasattr(network, name)}
    metadata = {name: str(size) for name, size in {**sizes, "img_channels": image_channels(network)}.items()}
    metadata["which"] = which
    if snapshot.kimg is not None:
        metadata["kimg"] = str(snapshot.kimg)
    path.write_bytes(save(tensors, metadata=metadata))  # its save_file would make a file that only its owner can read
    said = ", ".join(f"{k}={v}" for k, v in metadata.items())
    return [f"{which}: {len(tensors)} tensors; metadata {said}", *_not_finite(tensors)]
