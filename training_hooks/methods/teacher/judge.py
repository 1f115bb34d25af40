"""A teacher's networks: what they say of images, how that changes with the images, and how they go on training."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch.nn.functional import softplus

from ...core.random_state import generator_of
from ...core.ranks import average_gradients

__all__ = ["Judge", "Labelled"]

Labelled = Tuple[torch.Tensor, Optional[torch.Tensor]]  # images [batch, ...] and their labels [batch, ...], or None
_REGULARISED = 16  # every so many steps with R1, as in StyleGAN2


class Judge:
    """D of a teacher and, where it learns from fakes of its own, G. Both rest but while they train.

    Args:
        networks: "D" and, for fakes of its own, "G".
        device: of the images.
        shown: gives what D sees of images.
    """

    def __init__(self, networks: Mapping[str, Any], device: torch.device, shown: Callable[[Any], Any] = lambda images: images):
        self.networks = {name: each.eval().requires_grad_(False).to(device) for name, each in networks.items()}
        if device.type == "cpu":  # where a run has single precision, whatever the teacher was trained with
            for module in (each for network in self.networks.values() for each in network.modules()):
                if getattr(module, "use_fp16", False):
                    module.use_fp16 = False
        self.optimizers: Dict[str, torch.optim.Adam] = {}
        self._device, self._shown = device, shown
        self._r1 = 0.0

    def logits(self, images: torch.Tensor, labels: Optional[torch.Tensor]) -> torch.Tensor:
        """What D says of images [batch, ...] with their labels; as many values an image as it gives."""
        given = (self._shown(images),) if labels is None else (self._shown(images), labels)
        said: torch.Tensor = self.networks["D"](*given)
        return said

    def slope(self, images: torch.Tensor, labels: Optional[torch.Tensor]) -> Tuple[torch.Tensor, torch.Tensor]:
        """Gradient of the mean of softplus(-D) by the images, of their shape, and D's logits.

        The sum is differentiated, because the gradient of the mean would vanish in half precision.
        """
        seen = images.detach().requires_grad_()
        said = self.logits(seen, labels)
        (gradient,) = torch.autograd.grad(softplus(-said).sum(), seen)
        return gradient / said.numel(), said.detach()

    def learn(self, optimizers: Mapping[str, torch.optim.Optimizer], r1: float) -> None:
        """Have the networks trained by Adam with the rates that those of the run have now.

        Args:
            optimizers: "D" and, for a G, "G", that are taken as models.
            r1: weight of the R1 penalty.
        """
        self._r1 = r1
        for name, network in self.networks.items():
            group = optimizers[name].param_groups[0]
            settings = {key: group[key] for key in ("lr", "betas", "eps") if key in group}
            self.optimizers[name] = torch.optim.Adam(network.parameters(), **settings)

    def step(
        self, fakes: Sequence[Labelled], reals: Callable[[int, torch.Generator], Labelled], ranks: int, *key: object
    ) -> None:
        """One step of D and, where there is one, first of G.

        Args:
            fakes: of the run, of each round; with a G, only their number and labels count.
            reals: draws so many images.
            ranks: processes, whose gradients are averaged.
            key: the number of the step, and what else names the draws of this process in it.
        """
        if "G" in self.networks:
            fakes = self._own_fakes(fakes, ranks, *key)
        with _Training(self, "D", ranks):
            for index, (images, labels) in enumerate(fakes):
                true, true_labels = reals(len(images), generator_of("teacher", "reals", index, *key))
                loss = softplus(self.logits(images, labels)).mean() + softplus(-self.logits(true, true_labels)).mean()
                if self._r1 and key[0] % _REGULARISED == 0:  # type: ignore[operator]
                    loss = loss + _REGULARISED * self._r1 / 2 * self._penalty(true, true_labels)
                loss.backward()

    def _penalty(self, images: torch.Tensor, labels: Optional[torch.Tensor]) -> torch.Tensor:
        seen = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.logits(seen, labels).sum(), seen, create_graph=True)
        return slope.square().flatten(1).sum(1).mean()

    def _own_fakes(self, like: Sequence[Labelled], ranks: int, *key: object) -> List[Labelled]:
        made: List[Labelled] = []
        G = self.networks["G"]
        with _Training(self, "G", ranks):
            for index, (images, labels) in enumerate(like):
                z = torch.randn(len(images), G.z_dim, generator=generator_of("teacher", "z", index, *key)).to(self._device)
                result = G(z) if labels is None else G(z, labels)
                fakes = result if isinstance(result, torch.Tensor) else result[0]
                softplus(-self.logits(fakes, labels)).mean().backward()
                made.append((fakes.detach(), labels))
        return made

    def state_dict(self) -> Dict[str, Dict[str, Any]]:
        """Of all that trains."""
        return {
            "networks": {name: self.networks[name].state_dict() for name in self.optimizers},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``.

        Raises:
            RuntimeError, ValueError: it is of other networks.
        """
        for name, optimizer in self.optimizers.items():
            self.networks[name].load_state_dict(state["networks"][name])
            optimizer.load_state_dict(state["optimizers"][name])


class _Training:
    """While the block runs, a network of a judge gathers gradients; then it makes its step.

    Args:
        judge: whose network it is.
        name: of the network.
        ranks: processes, whose gradients are averaged.
    """

    def __init__(self, judge: Judge, name: str, ranks: int):
        self._network, self._optimizer, self._ranks = judge.networks[name], judge.optimizers[name], ranks

    def __enter__(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._network.requires_grad_(True)

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._network.requires_grad_(False)
        if kind is None:
            if self._ranks > 1:
                average_gradients(list(self._network.parameters()), self._ranks)
            self._optimizer.step()
