"""RG-GAN's regenerative pruning: thresholds grow while quality does, and what they took comes back when it does not.

Source: "RG-GAN: Dynamic Regenerative Pruning for Data-Efficient Generative Adversarial Networks", AAAI 2024: the abstract, and
what the public code does. Our own algorithm where ``card.md`` says so.

In someone's own loop it is one of a ``training_hooks.core.loop.Loop``, whose ``end_tick`` is given the metric.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional

import torch

from ...core.hook import Hook, Step, Training
from ...core.loop import warn
from ...core.ranks import differs
from ...core.state_check import difference
from ...sparsity.selection import check_rgb, knows_rgb, listed, parameter_shapes
from ..target import targets, unheld
from .config import RGConfig
from .network import ParkedNetwork, ParkedTensor
from .quality import chosen_metric, signed, wants_sparse
from .selection import selected
from .thresholds import make

__all__ = ["RegenerativePruning"]


class RegenerativePruning(Hook):
    """Prunes G, D or both below thresholds that grow step by step, and gives back what it has pruned when quality falls.

    In sparse mode pruned weights are 0 and the values that they had are parked; in dense mode all of them are back and train.
    The mode is chosen whenever a metric has been measured: sparse where its newest value is no worse than a weighted mean of
    the last ones, else dense. It changes as the next iteration begins. Nothing is attached to the networks.

    Args:
        config: the settings; None = those that follow.
        settings: fields of ``RGConfig`` by name.

    Raises:
        ValueError: a value out of range, or a selection that matches nothing.
    """

    name = "rg"
    excludes = ("regan",)

    def __init__(self, config: Optional[RGConfig] = None, **settings: Any):
        self.config = config if config is not None else RGConfig.from_dict(settings)
        self._metric = self.config.metric
        self._record: List[float] = []  # the last values, so that smaller is better
        self._sparse, self._wanted, self._switches = True, True, 0
        #: "G", "D" or both → what is pruned of it, once training has started.
        self.networks: Dict[str, ParkedNetwork] = {}
        self._training: Optional[Training] = None
        self._reason = ""  # of the last decision, for the log

    # ---------------------------------------------------------------- events

    def start(self, training: Training) -> None:
        self._training = training
        self._metric = chosen_metric(self._metric, [self._metric]) if self._metric else ""
        rate = self.config.ramp_rate(training.batch_size, training.total_iterations)
        for kind in targets(self.config):
            if kind not in training.optimizers:
                raise ValueError(f"target={self.config.target} needs the optimizer of {kind}")
            self.networks[kind] = self._network(kind, training, rate)

    def _network(self, kind: str, training: Training, rate: float) -> ParkedNetwork:
        config, module, optimizer = self.config, training.networks[kind], training.optimizers[kind]
        shapes = parameter_shapes(module)
        if config.exclude is None and training.loss is not None:  # a host's; loops of one's own are warned
            check_rgb(kind, [*shapes, *(name for name, _ in module.named_buffers())])
        elif config.exclude is None and not knows_rgb(kind, shapes):
            warn(
                f"no layer of {kind} is named as those of an image are, so all in scope are pruned; exclude=() says it is meant"
            )
        names, params = selected(config, kind, shapes), dict(module.named_parameters())
        lacking = unheld(optimizer, names, [params[name] for name in names])
        if lacking:
            raise ValueError(f"the optimizer of {kind} does not hold {listed(lacking)}; leave them dense with exclude")
        average = training.networks.get("G_ema") if kind == "G" and config.ema == "follow" else None
        averaged = {} if average is None else dict(average.named_parameters())
        if averaged and not set(names) <= set(averaged):
            raise ValueError(f"the averaged network has no parameter {next(n for n in names if n not in averaged)}")
        betas = optimizer.param_groups[0].get("betas", (0.9, 0.999))
        made = {name: make(config, rate, params[name], betas) for name in names}
        tensors = [ParkedTensor(name, params[name], averaged.get(name), made[name]) for name in names]
        return ParkedNetwork(tensors, optimizer, config.moments)

    def on_iteration(self, iteration: int) -> None:
        if self._wanted == self._sparse:
            return
        self._sparse = self._wanted
        self._switches += 1
        for network in self.networks.values():
            if self._sparse:
                network.prune()
            else:
                network.grow()
        if self._is_logged():
            does = "below their thresholds are pruned" if self._sparse else "that were pruned are back"
            print(f"RG-GAN: {self._mode()} from iteration {iteration} on{self._reason}: weights {does}", flush=True)

    def _mode(self) -> str:
        return "sparse" if self._sparse else "dense"

    def _is_logged(self) -> bool:
        return self._training is not None and self._training.rank == 0 and self._training.run_dir is not None

    def before_step(self, step: Step) -> None:
        network = self.networks.get(step.network)
        if network is not None and self._sparse:
            if step.is_main:
                network.learn()
            network.zero_gradients()

    def after_step(self, step: Step) -> None:
        network = self.networks.get(step.network)
        if network is not None and self._sparse:
            if step.is_main:
                network.advance()
            else:
                network.hold()

    def on_metrics(self, values: Mapping[str, float], kimg: float) -> None:
        self._metric = self._metric or chosen_metric("", list(values))
        value = values.get(self._metric, math.nan)
        if math.isfinite(value):
            weights = self.config.mean_weights
            self._record = [*self._record, signed(self._metric, float(value))][-len(weights) :]
            wanted = wants_sparse(self._record, weights)
            if wanted is not None:
                self._wanted = wanted
                than = "no worse" if wanted else "worse"
                self._reason = f", {self._metric} {value:.4g} is {than} than the mean of the last {len(weights)}"

    def on_report(self) -> Mapping[str, float]:
        networks = list(self.networks.values())
        returned = sum(int(network.returned) for network in networks)
        for network in networks:
            network.returned.zero_()
        numel = sum(network.numel for network in networks)
        return {
            "RG/mode": float(self._sparse),
            **{f"RG/kept_{kind}": self.networks[kind].kept() if kind in self.networks else 1.0 for kind in ("G", "D")},
            "RG/threshold": sum(network.level() * network.numel for network in networks) / numel,
            "RG/returned": float(returned),
            "RG/restarts": float(sum(int(network.restarts) for network in networks)),
            "RG/switches": float(self._switches),
        }

    def on_tick(self) -> None:
        """Tell where the run stands. Masks come from weights and gradients alone, so ranks that disagree have drifted apart:
        better an error than a hang."""
        assert self._training is not None
        if self._training.num_ranks > 1:
            for kind, network in self.networks.items():
                if differs(network.checksum(), network.device):
                    raise RuntimeError(f"ranks have different masks of {kind}: their weights have diverged")
        if self._is_logged():
            kept = ", ".join(f"{network.kept():.1%} of {kind}" for kind, network in self.networks.items())
            print(f"RG-GAN: {self._mode()}, {kept} kept", flush=True)

    def is_sparse(self) -> bool:
        return self._sparse and bool(self.networks)

    def close(self) -> None:
        for network in self.networks.values():
            network.grow()
        self.networks, self._training = {}, None

    # ---------------------------------------------------------------- states

    def state_dict(self) -> Dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "metric": self._metric,
            "record": list(self._record),
            "sparse": self._sparse,
            "wanted": self._wanted,
            "switches": self._switches,
            "networks": {kind: network.state_dict() for kind, network in self.networks.items()},
        }

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        if not isinstance(state["config"], dict) or not isinstance(state["metric"], str):
            raise ValueError("its settings or its metric are absurd")
        if not all(isinstance(value, float) and math.isfinite(value) for value in state["record"]):
            raise ValueError("its record of the metric is absurd")
        if not all(isinstance(state[mode], bool) for mode in ("sparse", "wanted")) or not 0 <= state["switches"] < math.inf:
            raise ValueError("its mode or its switches are absurd")
        if set(state["networks"]) != set(targets(RGConfig.from_dict(state["config"]))):
            raise ValueError("it is of other networks than its settings say")
        for kind, saved in state["networks"].items():
            ParkedNetwork.check_state(saved, parameter_shapes(networks[kind]))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Settings that the state does not have count as their defaults.

        Raises:
            ValueError: the state is of other settings, another metric or other parameters.
        """
        mine, saved = self.config.to_dict(), {**RGConfig().to_dict(), **state["config"]}
        if difference(saved, mine):
            raise ValueError(difference(saved, mine))
        for kind, network in self.networks.items():
            network.load_state_dict(state["networks"][kind])
        self._metric, self._record = state["metric"], list(state["record"])
        self._sparse, self._wanted, self._switches = state["sparse"], state["wanted"], state["switches"]
