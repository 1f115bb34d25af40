"""FreezeD: the discriminator's layers near the image stay as they came from a trained network.

Source: Mo, Cho, Shin, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs", 2020.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import torch

from ...core.hook import Hook, Step, Training
from ...core.state_check import difference
from ..target import unheld
from .config import FreezeDConfig
from .layers import frozen, share

__all__ = ["FreezeD"]


class FreezeD(Hook):
    """Leaves layers of D as they are when training starts.

    Frozen parameters have no gradients when D's optimizer steps, so neither they nor their moments move. Layers that a host
    has frozen by itself are buffers, and only watched: where one changes, training ends with an error.

    Args:
        config: the settings; None = those that follow.
        settings: fields of ``FreezeDConfig`` by name.

    Raises:
        ValueError: a value that is none, or a selection that D does not have.
    """

    name = "freezed"

    def __init__(self, config: Optional[FreezeDConfig] = None, **settings: Any):
        self.config = config if config is not None else FreezeDConfig.from_dict(settings)
        self._frozen: Dict[str, torch.Tensor] = {}
        self._held: List[torch.nn.Parameter] = []
        self._came: Dict[str, torch.Tensor] = {}  # copies, from the first step of D on
        self._share = 0.0

    def start(self, training: Training) -> None:
        if "D" not in training.networks:
            raise ValueError("FreezeD needs D among the networks")
        D = training.networks["D"]
        params = dict(D.named_parameters())
        buffers = {n: b for n, b in D.named_buffers() if n.rpartition(".")[2] in ("weight", "bias")}
        tensors: Dict[str, torch.Tensor] = {**params, **buffers}
        names = frozen(self.config, list(tensors))
        self._frozen = {name: tensors[name] for name in names}
        self._held = [params[name] for name in names if name in params]
        self._share = share(names, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        if self._held and ("D" not in training.optimizers or unheld(training.optimizers["D"], [names[0]], [self._held[0]])):
            raise ValueError("FreezeD needs the optimizer that trains D")

    def before_step(self, step: Step) -> None:
        if step.network != "D":
            return
        if not self._came:
            self._came = {name: tensor.detach().clone() for name, tensor in self._frozen.items()}
        for parameter in self._held:
            parameter.grad = None

    def on_report(self) -> Mapping[str, float]:
        moved = [name for name, tensor in self._came.items() if not torch.equal(tensor, self._frozen[name])]
        if moved:
            raise RuntimeError(f"{len(moved)} frozen tensors of D have changed ({moved[0]} first): something else moves them")
        return {"FreezeD/share": self._share}

    def close(self) -> None:
        self._frozen, self._held, self._came = {}, [], {}

    def state_dict(self) -> Dict[str, Any]:
        return {"config": self.config.to_dict(), "frozen": list(self._frozen)}

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        FreezeDConfig.from_dict(state["config"])
        unknown = set(state["frozen"]) - set(networks["D"].state_dict())
        if unknown:
            raise ValueError(f"it has frozen {sorted(unknown)[0]}, which D has not")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: the state is of other settings.
        """
        mine, saved = self.config.to_dict(), {**FreezeDConfig().to_dict(), **state["config"]}
        if difference(saved, mine):
            raise ValueError(difference(saved, mine))
