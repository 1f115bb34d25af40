"""How the mask of a ticket's next round is found, and those that it is compared with: pure functions of tensors.

A mask is name of a parameter → bool tensor, True where kept. All functions leave at least one entry of every output channel,
see ``training_hooks.sparsity.masks.prune_smallest``.
"""

from __future__ import annotations

import math
from typing import Dict, List, Mapping, Sequence, Union

import torch

from ...sparsity.anatomy import DENSE, RGB, place
from ...sparsity.masks import prune_smallest, pruned_count
from ...sparsity.scores import at_random
from ...sparsity.selection import SelectionError, listed, parameter_shapes, select
from .files import Init, Mask

__all__ = [
    "SCOPES", "SCORES", "counts", "dense", "dense_mask", "following", "kept_after", "least", "overlap", "prune", "prune_to",
    "random_mask", "scores", "selected", "sparsity",
]  # fmt: skip

#: What the magnitude of a weight is measured in, see ``scores``.
SCORES = ("scaled", "raw", "effective")
#: Scopes that have a name, see ``selected``.
SCOPES = ("convolutions", "weights")

Keeps = Mapping[str, torch.Tensor]


# ---------------------------------------------------------------- which parameters


def selected(network: str, shapes: Mapping[str, Sequence[int]], scope: str = "convolutions") -> List[str]:
    """Names of the parameters that are pruned, in the network's own order.

    Args:
        network: "G" or "D".
        shapes: parameter name → shape; of frozen layers, which are none, there is nothing to prune.
        scope: "convolutions" (parameters of four dimensions, but for the layers that write or read RGB), "weights" (two or
            more dimensions, but for these and the one that gives StyleGAN2's D its logit), or comma-separated shell patterns of
            names such as ``synthesis.*.weight``.

    Raises:
        SelectionError: there are none, or a pattern matches nothing.
    """
    if scope != "convolutions":
        return select(shapes, scope, DENSE[network] if scope == "weights" else (), strict=False)
    four = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    if not four:
        raise SelectionError(f"scope 'convolutions' selects no parameter of {network}; there are: {listed(list(shapes))}")
    return select(four, "weights", RGB[network], strict=False)


# ---------------------------------------------------------------- scores


def scores(
    network: torch.nn.Module, names: Sequence[str], init: Mapping[str, torch.Tensor], score: str = "scaled"
) -> Dict[str, torch.Tensor]:
    """How large weights are, so that the smallest can go.

    Args:
        network: trained one, or its average.
        names: of its parameters, those that are pruned.
        init: name → tensor, θ₀ of it; "raw" and "effective" do not look at it.
        score: "scaled" is |w| in standard deviations of θ₀ of its tensor (of a tensor without any, |w|); "raw" is |w|;
            "effective" is |w| times what StyleGAN's layers multiply it by: their ``weight_gain``, in modulated convolutions
            1/√fan-in.

    Returns:
        Name → tensor of the parameter's shape, at least 0, on the CPU.

    Raises:
        ValueError: another score, or a weight that is not finite.
    """
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    parameters = dict(network.named_parameters())
    sizes = {name: parameters[name].detach().cpu().abs() for name in names}
    for name, size in sizes.items():
        if not size.isfinite().all():
            raise ValueError(f"{name} holds NaN or an infinity: the run has diverged")
        if score == "scaled":
            spread = float(init[name].std(correction=0))
            size.div_(spread if spread > 0 else 1.0)
        elif score == "effective":
            size.mul_(_gain(network, name, size))
    return sizes


def _gain(network: torch.nn.Module, name: str, size: torch.Tensor) -> float:
    found, layer = place(name), network.get_submodule(name.rpartition(".")[0])
    if size.ndim < 2 or (found is not None and found.kind == "const"):
        return 1.0
    return float(getattr(layer, "weight_gain", 1 / math.sqrt(size[0].numel())))


# ---------------------------------------------------------------- masks


def dense(shapes: Mapping[str, Sequence[int]]) -> Dict[str, torch.Tensor]:
    """The mask that keeps everything, of name → shape."""
    return {name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in shapes.items()}


def counts(keeps: Keeps) -> Dict[str, int]:
    """Name → number of entries kept."""
    return {name: int(torch.count_nonzero(keep)) for name, keep in keeps.items()}


def sparsity(keeps: Keeps) -> Dict[str, float]:
    """Name → share of its entries that are pruned."""
    return {name: 1 - kept / keeps[name].numel() for name, kept in counts(keeps).items()}


def kept_after(numel: int, share: float, rounds: int) -> int:
    """Number of entries kept of ``numel`` after so many rounds, each of which takes floor(share · n) of the n that are left."""
    for _ in range(rounds):
        numel -= pruned_count(numel, share)
    return numel


def least(shapes: Mapping[str, Sequence[int]]) -> int:
    """Fewest entries that a mask of these shapes keeps: one of every output channel."""
    return sum(shape[0] for shape in shapes.values() if len(shape) >= 2)


def prune_to(keeps: Keeps, sizes: Keeps, kept: int) -> Dict[str, torch.Tensor]:
    """The mask inside ``keeps`` that keeps exactly ``kept`` entries: the smallest of all tensors together go, of equal ones
    those that come first.

    Args:
        keeps: mask before; every entry that it prunes stays pruned.
        sizes: name → tensor, at least 0 and finite, see ``scores``.
        kept: number of entries, over all tensors.

    Raises:
        ValueError: more than are kept, or too few for every output channel to keep one.
    """
    before = sum(counts(keeps).values())
    if kept > before:
        raise ValueError(f"{kept} weights cannot be kept of {before}")
    return dict(zip(keeps, prune_smallest([sizes[name] for name in keeps], list(keeps.values()), before - kept)))


def prune(keeps: Keeps, sizes: Keeps, share: float) -> Dict[str, torch.Tensor]:
    """The mask of the next round: of the n entries kept exactly floor(share · n) go, see ``prune_to``. From a dense mask it is
    the one-shot ticket of that sparsity.

    Args:
        keeps: mask before.
        sizes: name → tensor, at least 0 and finite, see ``scores``.
        share: in [0, 1).

    Raises:
        ValueError: ``share`` out of range, or so large that an output channel would have to go.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    before = sum(counts(keeps).values())
    return prune_to(keeps, sizes, before - pruned_count(before, share))


def random_mask(shapes: Mapping[str, Sequence[int]], kept: Union[int, Mapping[str, int]], seed: int) -> Dict[str, torch.Tensor]:
    """A random ticket: which entries go is drawn, and depends on seed, names and shapes alone.

    Args:
        shapes: name → shape.
        kept: number of entries that are kept, over all tensors; or of each, by name, such as the ``counts`` of a ticket.
        seed: any whole number.

    Raises:
        ValueError: more than there are, or too few for every output channel to keep one.
    """
    draw, everything = at_random("ticket", seed), dense(shapes)
    drawn = {name: draw(name, keep.float()) for name, keep in everything.items()}
    if isinstance(kept, int):
        return prune_to(everything, drawn, kept)
    return {name: prune_to({name: keep}, drawn, kept[name])[name] for name, keep in everything.items()}


def overlap(one: Keeps, other: Keeps) -> float:
    """Jaccard index of two masks of the same parameters: entries that both keep, per entry that one of them keeps.

    Raises:
        ValueError: they are of other parameters.
    """
    if {name: keep.shape for name, keep in one.items()} != {name: keep.shape for name, keep in other.items()}:
        raise ValueError("the two masks are of other parameters")
    both = sum(int(torch.count_nonzero(keep & other[name])) for name, keep in one.items())
    either = sum(int(torch.count_nonzero(keep | other[name])) for name, keep in one.items())
    return both / either if either else 1.0


# ---------------------------------------------------------------- rounds


def dense_mask(init: Init, networks: Mapping[str, torch.nn.Module], scope: str = "convolutions") -> Mask:
    """The mask of round 0.

    Args:
        init: θ₀ of the ticket.
        networks: those that are to be pruned, "G", "D" or both.
        scope: see ``selected``.

    Raises:
        SelectionError: nothing of a network is in scope.
    """
    keeps = {}
    for kind, network in networks.items():
        shapes = parameter_shapes(network)
        keeps[kind] = dense({name: shapes[name] for name in selected(kind, shapes, scope)})
    return Mask(keeps, 0, {"scope": scope}, init.checksum)


def following(before: Mask, init: Init, networks: Mapping[str, torch.nn.Module], share: float, score: str = "scaled") -> Mask:
    """The mask of the next round, found from the networks at the end of the round that had ``before``.

    Args:
        before: mask that they were trained with, ``dense_mask`` after round 0.
        init: θ₀ of the ticket, with which it was found.
        networks: "G" and "D", those that are pruned; for G its average also does.
        share: share of the entries kept that go, in [0, 1), of each network.
        score: see ``scores``.

    Raises:
        ValueError: a weight is not finite, share or score are none, or an output channel would have to go.
    """
    keeps = {}
    for kind, kept in before.networks.items():
        sizes = scores(networks[kind], list(kept), init.networks[kind], score)
        try:
            keeps[kind] = prune(kept, sizes, share)
        except ValueError as err:
            raise ValueError(f"{kind}: {err}") from err
    rule = {**before.rule, "kind": "magnitude", "score": score, "share": share}
    return Mask(keeps, before.round + 1, rule, before.init, before.checksum)
