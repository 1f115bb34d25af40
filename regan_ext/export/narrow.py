"""A snapshot as a host pickle with narrow networks: without the channels that nothing reads."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

from training_hooks.nvidia.state import state_path
from training_hooks.sparsity.channels import Layout, choose_channels, dead_channels, kept_channels
from training_hooks.sparsity.narrowing import narrowed_copy
from training_hooks.sparsity.operations import layer_operations
from training_hooks.sparsity.selection import parameter_shapes

from ..snapshots.open import Snapshot
from ..support.errors import UserError
from .files import generators, masked, masks_of_state, ticket_run

__all__ = ["write_narrow"]

Networks = Dict[str, Any]


def write_narrow(snapshot: Snapshot, path: Path, ratio: Optional[float], which: Optional[str]) -> List[str]:
    """Write the host's pickle with G and G_ema narrow, both of the same shapes. Returns what to tell the user.

    Dropped are the channels of which all readers are zero. Where there are none and no ``ratio`` is given, those that the
    masks of the state file beside the snapshot prune.

    Args:
        snapshot: is changed.
        path: to write to.
        ratio: also drop this share of each feature map's channels, those with the smallest writers; rounded as in training.
        which: "G" or "G_ema", the network whose weights decide; None: what both can spare, and G_ema with ``ratio``.

    Raises:
        UserError: there is no channel to drop, or the networks are none of StyleGAN2 or differ in their shapes.
    """
    snapshot.network(which or "G_ema")
    whole = generators(snapshot)
    layout = _layout(snapshot, whole)
    decide = {which: whole[which]} if which else whole
    lines = []
    if ratio is None and _live(decide, layout) is None:
        lines.append(_prune_by_state(snapshot, whole, layout))
    live = _live(decide, layout)
    exact = {name: live is None or _can_spare(network, layout, live) for name, network in whole.items()}
    narrow = whole if live is None else {name: narrowed_copy(network, layout, live) for name, network in whole.items()}
    if ratio is not None:
        narrow = _prune_by_magnitude(snapshot, whole, narrow, ratio, which or "G_ema")
        lines.append(f"Pruned by --ratio={ratio:g}, the channels with the smallest weights: this changes the images")
    for name, network in narrow.items():
        same = "" if exact[name] else f"; {which} alone decided, and this changes the images of {name}"
        lines.append(f"{name}: {_compared(whole[name], network)}{same}")
    with open(path, "wb") as file:
        pickle.dump({**snapshot.data, **narrow}, file)
    return lines


def _layout(snapshot: Snapshot, networks: Networks) -> Layout:
    """The one layout of all ``networks``."""
    shapes = [parameter_shapes(network) for network in networks.values()]
    if any(other != shapes[0] for other in shapes[1:]):
        raise UserError(f"{snapshot.path}: {' and '.join(networks)} have different shapes; --to=narrow needs equal ones")
    try:
        return Layout.of(shapes[0])
    except ValueError as err:
        raise UserError(f"{snapshot.path}: {err}") from err


def _live(networks: Networks, layout: Layout) -> Optional[List[torch.Tensor]]:
    """Feature map by feature map, the channels that one of ``networks`` reads (int64 indices); None where that is all."""
    dead = [torch.stack(flags).all(0) for flags in zip(*(dead_channels(_parameters(n), layout) for n in networks.values()))]
    if not any(bool(flags.any()) for flags in dead):
        return None
    for flags in dead:
        flags[0] &= not bool(flags.all())  # the host's layers need a channel, even one that nothing reads
    return [(~flags).nonzero().flatten() for flags in dead]


def _can_spare(network: Any, layout: Layout, live: List[torch.Tensor]) -> bool:
    """Does ``network`` compute the same with the channels ``live`` alone?"""
    dead = dead_channels(_parameters(network), layout)
    return all(bool(flags.index_fill(0, index, True).all()) for flags, index in zip(dead, live))


def _prune_by_state(snapshot: Snapshot, networks: Networks, layout: Layout) -> str:
    """Set to zero what the masks beside the snapshot prune, if those are of whole channels. Returns what to tell the user."""
    state = state_path(snapshot.path)
    with_state = snapshot.kimg is not None and state.is_file()
    keep = masks_of_state(state, snapshot.path, channels=True).get("G") if with_state else None
    if keep is None:
        alone = [name for name, network in networks.items() if _live({name: network}, layout) is not None]
        if alone:
            raise UserError(
                f"{snapshot.path} has pruned channels in {alone[0]} only; add --which={alone[0]} to drop those from both"
            )
        if ticket_run(snapshot.path) is not None:
            raise UserError(
                f"{snapshot.path} has no dead channel: this ticket still reads every one; a ticket that keeps less may have "
                "some, --to=sparse takes this one as it is, and --ratio prunes channels now"
            )
        raise UserError(
            f"{snapshot.path} has no pruned channel of G; take a snapshot of a sparse phase of a run "
            "with --regan-granularity=channel, such as its network-pair-NNNNNN-sparse.pkl, or add --ratio to prune channels now"
        )
    with torch.no_grad():
        for name, network in networks.items():
            for parameter, tensor in masked(network, name, keep, state).items():
                tensor.masked_fill_(~keep[parameter], 0)
    return f"Pruned by the masks of {state.name}, as by --to=sparse: this changes the images"


def _prune_by_magnitude(snapshot: Snapshot, whole: Networks, narrow: Networks, ratio: float, which: str) -> Networks:
    """Copies of ``narrow`` without the less important channels; what is gone already counts as pruned."""
    parameters = _parameters(narrow[which])
    layout = Layout.of(parameter_shapes(narrow[which]))
    features = Layout.of(parameter_shapes(whole[which])).features
    counts = [min(now.channels, kept_channels(f.channels, ratio)) for f, now in zip(features, layout.features)]
    if counts == [f.channels for f in features]:
        raise UserError(
            f"--ratio={ratio:g} prunes no channel of {snapshot.path}: its widest feature map has "
            f"{max(f.channels for f in features)} channels, and those kept are rounded up to a multiple of 8; give a higher one"
        )
    kept = choose_channels(parameters, layout, counts)
    return {name: narrowed_copy(network, layout, kept) for name, network in narrow.items()}


def _compared(whole: Any, narrow: Any) -> str:
    """What is left, in numbers."""
    before, after = parameter_shapes(whole), parameter_shapes(narrow)
    channels = [sum(f.channels for f in Layout.of(shapes).features) for shapes in (after, before)]
    weights = [sum(p.numel() for p in network.parameters()) for network in (narrow, whole)]
    operations = sum(layer_operations(after).values()) / sum(layer_operations(before).values())
    return (
        f"{channels[0]} of {channels[1]} channels and {weights[0]} of {weights[1]} parameters are left; an image takes "
        f"{operations:.0%} of the multiplications"
    )


def _parameters(network: Any) -> Dict[str, torch.Tensor]:
    return dict(network.named_parameters())
