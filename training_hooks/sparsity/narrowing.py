"""Runs a network on some of its channels only, with the host's own forward and without touching its parameters."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import torch

from ..core.hook import Training
from ..core.ranks import average_gradients
from .channels import Layout, entries_of

__all__ = ["NarrowNetwork", "NetworkSwitch", "narrowed_copy"]

# Network → the part of a forward pass that it computes with whole channels, and what a loop of one's own calls instead of it.
_PARTS = {"G": ("G_synthesis", "hook.synthesis(G.mapping(z, c)) instead, or loop.run_G(z, c) of a Loop"),
          "D": ("D", "loop.run_D(images, c) of a Loop instead")}  # fmt: skip


def _narrow_tensor(
    tensor: torch.Tensor, axes: Sequence[Optional[int]], layout: Layout, kept: Sequence[Optional[torch.Tensor]]
) -> torch.Tensor:
    """The part of a parameter that belongs to the channels ``kept`` of each feature map, in the same memory format; its first
    dimensions run over the feature maps ``axes``. Gradients reach the whole parameter, zero elsewhere."""
    part = tensor
    for dimension, feature in enumerate(axes):
        index = None if feature is None else kept[feature]
        if feature is not None and index is not None:
            run = tensor.shape[dimension] // layout.features[feature].channels
            part = part.index_select(dimension, entries_of(index, run))
    if tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        part = part.contiguous(memory_format=torch.channels_last)  # index_select does not keep it
    return part


def _stating(network: torch.nn.Module, layout: Layout) -> List[Tuple[Any, int]]:
    """The modules that state how many channels they are given, blocks and in some hosts layers, with the feature map."""
    names = dict(layout.inputs)
    names.update({name.rpartition(".")[0]: into for name, (_, into) in layout.axes.items() if into is not None})
    found = [(network.get_submodule(name), feature) for name, feature in names.items()]
    return [(module, feature) for module, feature in found if hasattr(module, "in_channels")]


class NarrowNetwork(torch.nn.Module):
    """Stands in for a synthesis network or a discriminator where a loss calls it, and computes with the kept channels alone.

    What it computes equals the whole network with the weights that read the other channels set to zero.

    Args:
        network: the host's, bare (no DDP wrapper): a discriminator, or a generator with ``synthesis`` inside.
        layout: of that network.
    """

    def __init__(self, network: torch.nn.Module, layout: Layout):
        super().__init__()
        self.whole: torch.nn.Module = network.get_submodule(layout.root)
        self.layout = layout
        self.kept: List[Optional[torch.Tensor]] = [None] * len(layout.features)
        self.params = {name: p for name, p in network.named_parameters() if name in layout.axes}
        self._stating = _stating(network, layout)

    def keep(self, kept: Sequence[torch.Tensor]) -> None:
        """Compute with these channels of each feature map (int64 indices, ascending) from now on."""
        features = self.layout.features
        self.kept = [None if k.numel() == f.channels else k for f, k in zip(features, kept)]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the host's: latents [batch, num_ws, w_dim] to images [batch, channels, height, width], or images to logits."""
        outside = len(f"{self.layout.root}.") if self.layout.root else 0
        narrow = {name[outside:]: part for name, part in self.parts().items()}
        with self._inputs_stated():
            return torch.func.functional_call(self.whole, narrow, args, kwargs)

    def parts(self) -> Dict[str, torch.Tensor]:
        """Name → the part of each parameter that belongs to the kept channels, of those that have others."""
        parts = {n: _narrow_tensor(p, self.layout.axes[n], self.layout, self.kept) for n, p in self.params.items()}
        return {name: part for name, part in parts.items() if part is not self.params[name]}

    def is_bypassed(self) -> bool:
        """Whether the gradients are those of the whole network: weights that read channels which are not kept have some."""
        return any(
            grad is not None and bool(grad.index_fill(1, entries_of(index, grad.shape[1] // feature.channels), 0).any())
            for feature, index in zip(self.layout.features, self.kept)
            if index is not None
            for grad in (self.params[name].grad for name in feature.readers)
        )

    @contextlib.contextmanager
    def _inputs_stated(self) -> Iterator[None]:
        """The host's modules assert the number of channels that they are given: state the narrow one for the call."""
        before = [module.in_channels for module, _ in self._stating]
        try:
            for module, feature in self._stating:
                index = self.kept[feature]
                if index is not None:
                    module.in_channels = index.numel()
            yield
        finally:
            for (module, _), channels in zip(self._stating, before):
                module.in_channels = channels


@torch.no_grad()
def narrowed_copy(network: torch.nn.Module, layout: Layout, kept: Sequence[torch.Tensor]) -> torch.nn.Module:
    """A copy of a network that has the kept channels only. It is of the host's own class.

    Args:
        network: a discriminator, or a generator with ``synthesis`` inside.
        layout: of that network.
        kept: for each feature map the indices of the kept channels, int64.
    """
    narrow = copy.deepcopy(network)
    for name, param in list(narrow.named_parameters()):
        if name in layout.axes:
            owner, _, attribute = name.rpartition(".")
            part = _narrow_tensor(param.detach(), layout.axes[name], layout, kept).clone()
            setattr(narrow.get_submodule(owner), attribute, torch.nn.Parameter(part, requires_grad=param.requires_grad))
    for module, feature in _stating(narrow, layout):
        module.in_channels = kept[feature].numel()
    return narrow


class NetworkSwitch:
    """Computes with some of a network's channels in sparse phases, and with the network itself in dense ones.

    Args:
        kind: "G" or "D".
        network: bare.
        layout: of that network.
        training: whose forward pass goes through ``G_synthesis``, or through ``D``.
        order: of the hook.

    Raises:
        ValueError: the forward pass goes through no synthesis network of its own.
    """

    def __init__(self, kind: str, network: torch.nn.Module, layout: Layout, training: Training, order: int = 0):
        self._narrow, self._is_narrow = NarrowNetwork(network, layout), False
        self._is_own, self._num_ranks = training.loss is None, training.num_ranks
        # A host calls G's mapping network through its wrapper in narrow calls too; a loop of one's own may have none at all.
        self._averaged = list((network if self._is_own else self._narrow.whole).parameters())
        self._unchecked: Set[str] = set()  # phases of the loop whose first step in this sparse phase is still to come
        self._kind, (part, self._remedy) = kind, _PARTS[kind]
        #: What computes at the moment: latents [batch, num_ws, w_dim] → images, or images → logits.
        self.computing: Any = None
        self._wrap = training.wrap(part, self._chosen, order)

    def _chosen(self, whole: Any) -> Any:
        self.computing = self._narrow if self._is_narrow else whole
        return self.computing

    def narrow(self, kept: Sequence[torch.Tensor]) -> None:
        """Compute with these channels of each feature map from now on."""
        self._narrow.keep(kept)
        self._is_narrow = True
        self._wrap.renew()
        self._unchecked = {f"{self._kind}main", f"{self._kind}reg"} if self._is_own else set()

    def widen(self) -> None:
        """Compute with the whole network from now on."""
        self._is_narrow = False
        self._wrap.renew()
        self._unchecked = set()

    def check_gradients(self, phase: str) -> None:
        """Look whether a loop of one's own calls what is narrow, once in a sparse phase: at the first step of ``phase``.

        Raises:
            RuntimeError: it calls the network itself, which would move weights that are pruned.
        """
        if phase not in self._unchecked:
            return
        self._unchecked.discard(phase)
        if self._narrow.is_bypassed():
            name = "generator" if self._kind == "G" else "discriminator"
            raise RuntimeError(
                f"weights that read pruned channels have gradients, so the loop calls the {name} itself in a sparse phase; "
                f"call {self._remedy}"
            )

    def average_gradients(self) -> None:
        """Average the gradients of all ranks where no wrapper has: of a host's narrow calls, and of a loop of one's own."""
        if self._num_ranks > 1 and (self._is_own or self._is_narrow):
            average_gradients(self._averaged, self._num_ranks)
