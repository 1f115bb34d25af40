"""The masks of one network, and what is done with them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from . import masks, moments
from .anatomy import role
from .scores import Rule

__all__ = ["MaskedNetwork", "by_role"]


class MaskedNetwork:
    """Selected parameters of one network and of its average, the masks on them, and statistics of the masks.

    Args:
        names: of the parameters, in the network's own order.
        module: the network.
        ema: its averaged copy, or None.

    Raises:
        ValueError: the average lacks one of the parameters.
    """

    def __init__(self, names: Sequence[str], module: torch.nn.Module, ema: Optional[torch.nn.Module] = None):
        params = dict(module.named_parameters())
        averaged = {} if ema is None else dict(ema.named_parameters())
        lacking = [name for name in names if name not in averaged]
        if ema is not None and lacking:
            raise ValueError(f"the averaged network has no parameter {lacking[0]}; it has {', '.join(list(averaged)[:3])}, ...")
        self.names = list(names)
        self.params: List[torch.Tensor] = [params[n] for n in names]
        self.ema: List[torch.Tensor] = [averaged[n] for n in names] if averaged else []
        self.keep: List[torch.Tensor] = []
        self.sparse = False  # do the masks hold at the moment?
        self.saved_moments: List[moments.Saved] = []  # of what stopped training at the start of the phase
        self.saved_masks: List[torch.Tensor] = []  # the masks that these were saved with
        self.seen: List[torch.Tensor] = []  # packed bits: kept in at least one sparse phase
        self.explored = 0.0  # share of the weights that were
        self.changed = 0.0  # share of the pruned weights that the mask before did not prune
        self.fresh: List[int] = []  # for each parameter, how many these are
        self.numel = sum(p.numel() for p in self.params)

    @torch.no_grad()
    def choose(self, rule: Rule) -> None:
        """Choose new masks from the weights as they are."""
        before: Sequence[Optional[torch.Tensor]] = self.keep or [None] * len(self.params)
        self.keep = [rule.mask(name, p, last) for name, p, last in zip(self.names, self.params, before)]

    def scored(self) -> Dict[str, torch.Tensor]:
        """Name → parameter, of what is scored where masks are chosen."""
        return dict(zip(self.names, self.params))

    def note_change(self, before: List[torch.Tensor]) -> int:
        """Update the statistics of a new choice of masks, ``before`` being the last phase's (empty: none).

        Returns:
            A checksum of the masks.
        """
        kept = [int(torch.count_nonzero(k)) for k in self.keep]
        both = [int(torch.count_nonzero(a & b)) for a, b in zip(before, self.keep)] or kept
        was_kept = [int(torch.count_nonzero(k)) for k in before] or [p.numel() for p in self.params]
        self.fresh = [was - still for was, still in zip(was_kept, both)]
        self.changed = sum(self.fresh) / (self.numel - sum(kept)) if sum(kept) < self.numel else 0.0
        packed = [masks.pack_bits(k) for k in self.keep]
        self.seen = [a | b for a, b in zip(self.seen, packed)] if self.seen else packed
        self.explored = sum(map(masks.count_bits, self.seen)) / self.numel
        return masks.checksum(packed)

    def resting(self) -> "List[Tuple[torch.Tensor, torch.Tensor]]":
        """(parameter, mask) for every parameter with entries that do not train in sparse phases; the mask keeps the others."""
        return list(zip(self.params, self.keep))

    def save_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the second moments of the entries that stop training."""
        pairs = self.resting()
        self.saved_masks = [k for _, k in pairs]
        self.saved_moments = [moments.save_second_moments(optimizer, p, k) for p, k in pairs]

    def restore_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Put back what ``save_moments`` noted."""
        for (p, _), k, saved in zip(self.resting(), self.saved_masks, self.saved_moments):
            moments.restore_second_moments(optimizer, p, k, saved)
        self.saved_masks, self.saved_moments = [], []

    def reset_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Set every moment of the entries that did not train to zero."""
        for p, k in self.resting():
            moments.reset_moments(optimizer, p, k)

    def zero_weights(self) -> None:
        """Set the pruned weights to zero."""
        masks.zero_pruned(self.params, self.keep)

    def held(self) -> "List[Tuple[torch.Tensor, torch.Tensor]]":
        """(parameter, mask) of what an optimizer step would move although it is pruned."""
        return list(zip(self.params, self.keep))

    def hold_weights(self) -> None:
        """Keep the pruned weights at zero after an optimizer step."""
        held = self.held()
        masks.zero_pruned([p for p, _ in held], [k for _, k in held])

    def zero_ema(self) -> None:
        """Set the pruned weights of the average to zero, where there is one."""
        masks.zero_pruned(self.ema, self.keep)

    def zero_copy(self, module: torch.nn.Module) -> None:
        """Set the pruned weights of a copy of the network, or of its average, to zero."""
        params = dict(module.named_parameters())
        copies = [params[name] for name in self.names]
        masks.zero_pruned(copies, [keep.to(copy.device) for copy, keep in zip(copies, self.keep)])

    def zero_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, where there are any."""
        held = [(p.grad, k) for p, k in self.held() if p.grad is not None]
        masks.zero_pruned([g for g, _ in held], [k for _, k in held])

    def state_dict(self) -> Dict[str, Any]:
        """Masks at one bit a weight, and what goes with them: tensors and plain values."""
        return {
            "names": list(self.names),
            "shapes": [list(p.shape) for p in self.params],
            "keep": [masks.pack_bits(k) for k in self.keep],
            "sparse": self.sparse,
            "saved_moments": [[masks.pack_bits(k), saved] for k, saved in zip(self.saved_masks, self.saved_moments)],
            "seen": list(self.seen),
            "explored": self.explored,
            "changed": self.changed,
            "fresh": list(self.fresh),
        }

    @staticmethod
    def check_state(state: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
        """Check a state before there is a network with masks.

        Args:
            state: as ``state_dict`` makes it.
            shapes: parameter name → shape, of the network that it is for.

        Raises:
            Exception: ``load_state_dict`` could not use it; of any kind, because values of another type fail in many ways.
        """
        names, own = state["names"], [torch.Size(shape) for shape in state["shapes"]]
        if len(own) != len(names) or any(tuple(shapes[name]) != shape for name, shape in zip(names, own)):
            raise ValueError("its masks are of other parameters")
        for packed in (state["keep"], state["seen"]):
            if packed and len(packed) != len(names):
                raise ValueError("its masks are not as many as the parameters")
            for bits, shape in zip(packed, own):
                masks.unpack_bits(bits, shape)
        if not isinstance(state["sparse"], bool) or (state["sparse"] and not state["keep"]):
            raise ValueError("it is sparse and has no masks")
        for packed_moments, saved in state["saved_moments"]:
            if packed_moments.dtype != torch.uint8 or not all(value.isfinite().all() for value in saved.values()):
                raise ValueError("its saved moments are absurd")
        if not all(0 <= float(state[name]) <= 1 for name in ("explored", "changed")):
            raise ValueError("its shares are absurd")
        fresh = state.get("fresh", ())
        counts_fit = all(type(count) is int and 0 <= count <= shape.numel() for count, shape in zip(fresh, own))
        if not counts_fit or len(fresh) not in (0, len(names)):
            raise ValueError("its counts are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``.

        Raises:
            ValueError: the state is of other parameters.
        """
        shapes = [list(p.shape) for p in self.params]
        if state["names"] != self.names or state["shapes"] != shapes:
            raise ValueError("the state's masks are of other parameters than this run selects")
        self.keep = self._unpacked(state["keep"], self.params)
        resting = [p for p, _ in self.resting()]
        self.saved_masks = self._unpacked([k for k, _ in state["saved_moments"]], resting)
        self.saved_moments = [
            {name: value.to(p.device) for name, value in saved.items()}
            for p, (_, saved) in zip(resting, state["saved_moments"])
        ]
        self.sparse, self.seen = state["sparse"], list(state["seen"])
        self.explored, self.changed = state["explored"], state["changed"]
        self.fresh = list(state.get("fresh", ()))  # older states do not have them

    @staticmethod
    def _unpacked(packed: Sequence[torch.Tensor], params: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        return [masks.unpack_bits(bits, p.shape).to(p.device) for bits, p in zip(packed, params)]

    def zeros(self) -> int:
        """Number of selected weights that are zero."""
        return sum(p.numel() - int(torch.count_nonzero(p.detach())) for p in self.params)


def by_role(networks: Sequence[MaskedNetwork]) -> Dict[str, Tuple[float, float]]:
    """Role of parameters (see ``anatomy.role``) → ``changed`` and ``explored`` of these alone; nothing before masks have been
    chosen, and none of parameters whose names say nothing."""
    counts: Dict[str, List[int]] = {}
    for network in networks:
        for name, keep, fresh, seen in zip(network.names, network.keep, network.fresh, network.seen):
            of_role = counts.setdefault(role(name), [0, 0, 0, 0])
            pruned = keep.numel() - int(torch.count_nonzero(keep))
            for index, count in enumerate((fresh, pruned, masks.count_bits(seen), keep.numel())):
                of_role[index] += count
    return {name: (new / max(gone, 1), ever / numel) for name, (new, gone, ever, numel) in counts.items() if name}
