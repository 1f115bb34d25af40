"""One run of a GAN ticket: it begins with the weights of round 0, and masks hold from its first iteration to its last.

Source: Chen, Cheng, Gan, Liu, Wang, "Data-Efficient GAN Training Beyond (Just) Augmentations: A Lottery Ticket Perspective",
NeurIPS 2021. Where its code does otherwise, ``card.md`` says so.

Masks of the next round are made from what a run leaves, see ``prune``, and not by the run.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import torch

from ...core.hook import Hook, Step, Training
from ...core.ranks import differs, gather
from ...core.state_check import difference
from ...core.tensor_files import checksum
from ...nvidia.host_loop import HostLoop
from ...sparsity.masked_network import MaskedNetwork
from ...sparsity.selection import listed
from ..target import unheld
from .config import TicketConfig
from .files import Init, Mask, init_of, read_init, tensors_of, write_init
from .fit import check_begun, check_init, check_mask, opened_init, opened_mask

__all__ = ["Tickets"]


class Tickets(Hook):
    """Rewinds G, D and G_ema to the weights of round 0 when the first iteration begins, and holds a mask on them.

    Where the file of these weights is not there, the networks are left as they are and the first process writes it. Pruned
    weights are 0 in G, D and G_ema at all times. A run that goes on is not rewound. Nothing is attached to the networks.

    Args:
        config: the settings; None = those that follow.
        settings: fields of ``TicketConfig`` by name.

    Raises:
        ValueError: settings that do not go together; when training starts, a file that cannot be used or does not fit.
        OSError: the file of the weights cannot be written.
    """

    name = "ticket"
    excludes = ("regan", "rg")

    def __init__(self, config: Optional[TicketConfig] = None, **settings: Any):
        self.config = config if config is not None else TicketConfig.from_dict(settings)
        #: "G", "D" or both → its masks, once training has started.
        self.networks: Dict[str, MaskedNetwork] = {}
        self._mask: Optional[Mask] = None
        self._init: Optional[int] = None  # checksum, once it is known
        self._holds = False  # have the masks been put on?
        self._training: Optional[Training] = None

    # ---------------------------------------------------------------- events

    def start(self, training: Training) -> None:
        self._training, self._mask = training, opened_mask(self.config)
        if self._mask is None:
            return
        modules = {kind: module for kind, module in training.networks.items() if kind in ("G", "D")}
        trained = {kind: _shapes(dict(module.named_parameters())) for kind, module in modules.items()}
        check_mask(self.config, self._mask, trained, {kind: _shapes(tensors_of(module)) for kind, module in modules.items()})
        for kind, keeps in self._mask.networks.items():
            if kind not in training.optimizers:
                raise ValueError(f"mask {self.config.mask} is of {kind}, whose optimizer the loop does not name")
            network = MaskedNetwork(list(keeps), modules[kind], training.networks.get("G_ema") if kind == "G" else None)
            lacking = unheld(training.optimizers[kind], network.names, network.params)
            if lacking:
                raise ValueError(f"the optimizer of {kind} does not hold {listed(lacking)}, which the mask prunes")
            network.keep = [keep.to(param.device) for keep, param in zip(keeps.values(), network.params)]
            self.networks[kind] = network
        if training.num_ranks > 1 and differs(self._mask.checksum, _device(training)):
            raise RuntimeError(f"the processes have read different masks in {self.config.mask}")

    def on_iteration(self, iteration: int) -> None:
        if iteration == 0:
            self._rewind()
        if not self._holds:
            self._holds = True
            for network in self.networks.values():
                network.zero_weights()
                network.zero_ema()

    @torch.no_grad()
    def _rewind(self) -> None:
        """Put the networks to θ₀, which the first process writes where there is none yet."""
        assert self._training is not None
        training, init = self._training, None
        networks = {name: module for name, module in training.networks.items() if name in ("G", "D", "G_ema")}
        if training.rank == 0:
            init = opened_init(self.config, self._mask)
            if init is None:
                init = init_of(networks)
                write_init(init, self.config.init)
        # The others wait for the file.
        (checksum, *_) = gather(None if init is None else init.checksum, _device(training), training.num_ranks)
        init = read_init(self.config.init) if init is None else init
        if init.checksum != checksum:
            raise RuntimeError(f"the processes have read different weights in {self.config.init}")
        check_init(self.config, init, {name: _shapes(tensors_of(module)) for name, module in networks.items()})
        self._check_begun(init)
        for name, module in networks.items():
            tensors = init.networks.get(name) or init.networks["G"]
            for key, tensor in tensors_of(module).items():
                tensor.copy_(tensors[key])
        self._init = init.checksum

    def _check_begun(self, init: Init) -> None:
        """The same that is checked before a host's run, of a snapshot that was not opened then."""
        assert self._training is not None
        loop = None if self._training.loss is None else HostLoop.find()
        if loop is None or loop.resumed_from is None:
            return
        begun = {kind: self._training.networks[kind].named_parameters() for kind in ("G", "D")}
        sums = {kind: {name: checksum(p) for name, p in parameters} for kind, parameters in begun.items()}
        check_begun(self.config, init, sums, str(loop.resumed_from))

    def before_step(self, step: Step) -> None:
        if step.network in self.networks:
            self.networks[step.network].zero_gradients()

    def after_step(self, step: Step) -> None:
        if step.network in self.networks:
            self.networks[step.network].hold_weights()

    def on_report(self) -> Mapping[str, float]:
        measured = {kind: network.zeros() / network.numel for kind, network in self.networks.items()}
        return {
            "Ticket/round": float(self._round),
            **{f"Ticket/sparsity_{kind}": measured.get(kind, 0.0) for kind in ("G", "D")},
        }

    @property
    def _round(self) -> int:
        return 0 if self._mask is None else self._mask.round

    def is_sparse(self) -> bool:
        return self._mask is not None and any(self._mask.sparsity(kind) > 0 for kind in self.networks)

    def close(self) -> None:
        self.networks, self._mask, self._training = {}, None, None

    # ---------------------------------------------------------------- states

    def state_dict(self) -> Dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "round": self._round,
            "init": self._init,
            "mask": None if self._mask is None else self._mask.checksum,
        }

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        TicketConfig.from_dict(state["config"])
        if type(state["round"]) is not int or state["round"] < 0:
            raise ValueError("its round is absurd")
        if not all(state[name] is None or type(state[name]) is int for name in ("init", "mask")):
            raise ValueError("its checksums are absurd")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: the state is of other settings, or of another mask.
        """
        mine, saved = self.binding(), {**TicketConfig().to_dict(), **state["config"]}
        if difference(saved, mine):
            raise ValueError(difference(saved, mine))
        now = None if self._mask is None else self._mask.checksum
        if state["mask"] != now:
            raise ValueError(
                f"the state is of a mask with checksum {state['mask']} (round {state['round']}), this run's has {now}"
            )
        self._init = state["init"]


def _device(training: Training) -> torch.device:
    return next(training.networks["G"].parameters()).device


def _shapes(tensors: Mapping[str, torch.Tensor]) -> "Dict[str, tuple[int, ...]]":
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
