"""Re-GAN's architectural reconfiguration: prune, train sparse, grow, train dense, repeat.

Source: Saxena, Cao, Xu, Kulshrestha, "Re-GAN: Data-Efficient GANs Training via Architectural Reconfiguration",
CVPR 2023, section 3 and algorithm 1.

In someone's own loop, alone and of G::

    hook = Reconfiguration(G, ReconfigurationConfig(ratio=0.3, interval=100))
    hook.attach(optimizer, ema=G_ema)
    ...
    optimizer.step()

With other methods, or of D, it is one of a ``training_hooks.core.loop.Loop``.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import torch

from ...core.hook import Hook, Step, Training
from ...core.learning_rates import LearningRates
from ...core.loop import warn
from ...core.ranks import differs
from ...core.schedule import Length, Phase, Span
from ...core.state_check import difference
from ...sparsity.masked_network import MaskedNetwork, by_role
from ...sparsity.masks import keep_by_quantile, keep_smallest_out
from ...sparsity.moments import check_second_moments
from ...sparsity.narrowing import NetworkSwitch
from ...sparsity.selection import frozen_shapes, parameter_shapes
from ..target import check_trained, targets, unheld
from .channel_network import ChannelNetwork
from .config import ReconfigurationConfig, upgraded
from .cost import run_cost
from .memory import Memory
from .own_loop import OwnLoop
from .phase_clock import HookClock, PhaseClock
from .phase_lines import PhaseLines, facts
from .plan import check_rgb, doubts, plan_channels, select_parameters
from .state import check

__all__ = ["Reconfiguration"]


class Reconfiguration(OwnLoop, Hook):
    """Alternates sparse and dense training of G (or D, or both) on a schedule of iterations.

    In a sparse phase the masks hold: gradients of pruned weights are zeroed before, the weights after every optimizer
    step, and the averaged generator's entries follow. In a dense phase all weights train at ``lr_scale`` times the learning
    rate, those that were pruned from what ``regrow`` says. With ``granularity="channel"`` the sparse networks also compute
    with fewer channels (``training_hooks.sparsity.narrowing``). Learning rates are set from the optimizer's own base rates at
    every iteration, so nothing accumulates. Nothing is attached to the networks.

    Args:
        generator: the network to reconfigure, for ``attach``; None where ``start`` gives the networks, and the settings may
            come in its place.
        config: the settings; None = those that follow.
        settings: fields of ``ReconfigurationConfig`` by name. Its lengths may be a ``Length`` in kimg or epochs, of a loop
            that knows how many iterations they are.

    Raises:
        ValueError: a selection that matches nothing, or a finish that needs a longer run.
    """

    name = "regan"

    def __init__(
        self,
        generator: Union[torch.nn.Module, ReconfigurationConfig, None] = None,
        config: Optional[ReconfigurationConfig] = None,
        **settings: Any,
    ):
        if isinstance(generator, ReconfigurationConfig):
            generator, config = None, generator
        self._lengths = {name: value for name, value in settings.items() if isinstance(value, Length)}
        known = {name: value for name, value in settings.items() if name not in self._lengths}
        self.config = config if config is not None else ReconfigurationConfig.from_dict(known)
        self.schedule = self.config.schedule(None) if self.config.finish == "as-is" and not self._lengths else None
        self._generator = generator
        self._networks: Dict[str, MaskedNetwork] = {}
        self._optimizers: Dict[str, torch.optim.Optimizer] = {}
        self._rates: Dict[str, LearningRates] = {}
        self._memory: Dict[str, Memory] = {}
        self._training: Optional[Training] = None
        self._span: Optional[Span] = None
        self._pending: "set[str]" = set()  # networks whose pruning waits for the first step of the phase
        self._switches: Dict[str, NetworkSwitch] = {}  # with whole channels
        self._shapes: Tuple[Any, Any] = ({}, {})  # of the networks' parameters, and of what a host has frozen
        self._clock = PhaseClock()
        self._lines: Optional[PhaseLines] = None  # on the rank that prints
        self._hook_clock = HookClock(torch.device("cpu"))

    @property
    def selected_weights(self) -> int:
        """Number of weights that are reconfigured, once training has started."""
        return sum(network.numel for network in self._networks.values())

    # ---------------------------------------------------------------- events

    def start(self, training: Training) -> None:
        each = training.batch_size, training.iterations_per_epoch
        lengths: Dict[str, Any] = {name: length.iterations(*each) for name, length in self._lengths.items()}
        config = self.config = dataclasses.replace(self.config, **lengths)
        self._training = training
        if config.ratio_changes and not training.total_iterations:
            raise ValueError(f"ratio_d {config.ratio_d} needs a run of known length; give its total_iterations")
        if "epochs" in config.quirks and not training.iterations_per_epoch:
            raise ValueError("the quirk epochs needs a loop of one's own that is given its iterations_per_epoch")
        self.schedule = config.schedule(training.total_iterations)
        if training.rank == 0 and training.run_dir is not None and training.batch_size and training.total_iterations:
            self._lines = PhaseLines(training.batch_size, training.total_iterations)
        for kind in targets(config):
            if kind not in training.optimizers:
                raise ValueError(f"target={config.target} needs the optimizer of {kind}")
            module, optimizer = training.networks[kind], training.optimizers[kind]
            if training.loss is None:  # one's own loop
                for doubt in doubts(config, kind, parameter_shapes(module)):
                    warn(doubt)
            else:
                check_rgb(config, kind, [name for name, _ in (*module.named_parameters(), *module.named_buffers())])
            ema = training.networks.get("G_ema") if kind == "G" and config.ema == "follow" else None
            self._networks[kind] = self._network(kind, module, ema)
            _check_optimizer(kind, self._networks[kind], optimizer)
            if training.loss is None:
                check_trained(kind, module, self._networks[kind].names, self._networks[kind].params)
            if config.score == "saliency" or config.turnover or config.moments == "restore":
                check_second_moments(optimizer)
            self._memory[kind] = Memory(config, self._networks[kind], training.seed)
            self._optimizers[kind] = optimizer
            self._rates[kind] = LearningRates(kind, optimizer, kind in training.rates_of_loop)
        modules = {kind: training.networks[kind] for kind in targets(config)}
        trained, frozen = ({k: of(module) for k, module in modules.items()} for of in (parameter_shapes, frozen_shapes))
        self._shapes = trained, frozen
        device = self._networks[targets(config)[0]].params[0].device
        self._hook_clock = HookClock(device)
        if device.type == "cuda":
            self._clock = PhaseClock(functools.partial(torch.cuda.synchronize, device))

    @property
    def synthesis(self) -> Any:
        """With whole channels of G, what computes images at the moment: latents w [batch, num_ws, w_dim] → images. For loops
        of one's own; a host's loss is given it.

        Raises:
            RuntimeError: the hook works on single weights or not on G, or training has not started.
        """
        if "G" not in self._switches:
            raise RuntimeError("only a hook with granularity=channel of G that has started has a synthesis network of its own")
        return self._switches["G"].computing

    def on_iteration(self, iteration: int) -> None:
        assert self.schedule is not None
        self._clock.begin(self.schedule.span(iteration).phase)
        self._hook_clock.begin_iteration()
        with self._hook_clock.running():
            self._begin(iteration)

    def before_step(self, step: Step) -> None:
        network = self._networks.get(step.network)
        if network is None:
            return
        self._rates[step.network].begin_step()
        with self._hook_clock.running():
            if step.network in self._pending or self._refreshes(step):
                self._prune(step.network)
            elif network.sparse and step.is_main and "main-steps" in self.config.quirks:
                network.zero_ema()  # weights that moved at an extra step have leaked into it
            switch = self._switches.get(step.network)
            if switch is not None:
                switch.check_gradients(step.phase)
                switch.average_gradients()
            if network.sparse and self._holds_through(step):
                network.zero_gradients()

    def after_step(self, step: Step) -> None:
        network = self._networks.get(step.network)
        if network is None:
            return
        self._rates[step.network].end_step()
        if network.sparse and self._holds_through(step):
            with self._hook_clock.running():
                network.hold_weights()

    def on_tick(self) -> None:
        self._clock.pause()
        if self._lines is not None and self._span is not None:
            self._lines.tick(self._iteration, self._span)

    def on_report(self) -> Mapping[str, float]:
        networks, span = list(self._networks.values()), self._span
        assert span is not None and self.schedule is not None
        numel = sum(n.numel for n in networks)
        done = self._iteration + 1
        roles = by_role(networks)
        values = {
            "ReGAN/phase": float(span.phase),
            "ReGAN/cycle": float(span.cycle),
            "ReGAN/sparsity": sum(n.zeros() for n in networks) / numel,
            "ReGAN/lr": next(iter(self._rates.values())).current,
            "ReGAN/mask_change": self._mean("changed"),
            "ReGAN/explored": self._mean("explored"),
            "ReGAN/hook_ms": self._hook_clock.read(),
            "ReGAN/flops_ratio": run_cost(self.config, *self._shapes, done, self._total),
            **{f"ReGAN/mask_change/{role}": changed for role, (changed, _) in roles.items()},
            **{f"ReGAN/explored/{role}": explored for role, (_, explored) in roles.items()},
            **{f"ReGAN/sec_{phase.name.lower()}": seconds for phase, seconds in self._clock.read().items()},
        }
        return values

    def on_member(self, name: str, network: torch.nn.Module) -> None:
        masked = self._networks.get(name[0])
        # With the quirk "main-steps" the extra steps since the last main one have moved pruned weights.
        if masked is not None and masked.sparse and "main-steps" in self.config.quirks and (name != "G_ema" or masked.ema):
            masked.zero_copy(network)

    def is_sparse(self) -> bool:
        return next((network.sparse for network in self._networks.values()), False)  # G's, where it is one of them

    def close(self) -> None:
        for kind, rates in self._rates.items():
            self._grow(kind, with_values=False)
            rates.reset()
        self._networks, self._optimizers, self._rates, self._memory, self._switches = {}, {}, {}, {}, {}
        self._training = self._span = None
        self._pending, self._iteration = set(), -1

    def state_dict(self) -> Dict[str, Any]:
        span = self._span
        return {
            "config": self.config.to_dict(),
            "iteration": self._iteration,
            "span": None if span is None else [int(span.phase), span.cycle, span.start],
            "pending": sorted(self._pending),
            "base_lr": {kind: list(rates.base) for kind, rates in self._rates.items()},
            "networks": {kind: network.state_dict() for kind, network in self._networks.items()},
            "memory": {kind: memory.state_dict() for kind, memory in self._memory.items()},
        }

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        check(state, networks)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Settings that the state does not have count as their defaults; those that are
        unknown here are named in a warning.

        Raises:
            ValueError: the state is of other settings or of other parameters. The length of the run may differ.
        """
        mine, saved = self.config.to_dict(), {**ReconfigurationConfig().to_dict(), **upgraded(state["config"])}
        if difference(saved, mine):
            raise ValueError(difference(saved, mine))
        unknown = [f"{name}={saved[name]}" for name in saved if name not in mine]
        if unknown:
            warnings.warn(f"the state has settings that are unknown here and do nothing: {', '.join(unknown)}", stacklevel=2)
        for kind, network in self._networks.items():
            network.load_state_dict(state["networks"][kind])
            if "memory" in state:  # older states have none, and settings that need none
                self._memory[kind].load_state_dict(state["memory"][kind])
            self._set_forward(kind)
        self._iteration, self._pending = state["iteration"], set(state["pending"])
        for kind, rates in self._rates.items():
            rates.restore(state.get("base_lr", {}).get(kind))  # older states leave them as the optimizer has them
        if state["span"] is not None:
            phase, cycle, start = state["span"]
            self._span = Span(Phase(phase), cycle, start, None)
            self._set_learning_rates(self._span)

    # ---------------------------------------------------------------- what happens at a switch

    def _holds_through(self, step: Step) -> bool:
        return step.is_main or "main-steps" not in self.config.quirks

    def _refreshes(self, step: Step) -> bool:
        assert self._training is not None and self._span is not None
        if not (self._networks[step.network].sparse and step.is_main):
            return False
        into = step.iteration - self._span.start
        per_epoch = self._training.iterations_per_epoch if "epochs" in self.config.quirks else None
        return "refresh" in self.config.quirks or (per_epoch is not None and into > 0 and step.iteration % per_epoch == 0)

    def _begin(self, iteration: int) -> None:
        assert self.schedule is not None
        span = self.schedule.span(iteration)
        self._iteration = iteration
        before, self._span = self._span, span
        # A resumed run may be longer, which moves the end of the phase that it goes on with, but not its beginning.
        if before is None or (before.phase, before.start) != (span.phase, span.start):
            for kind in self._networks:
                if self.config.phase(kind, span) != Phase.SPARSE:
                    self._grow(kind)
                    continue
                self._pending.add(kind)
                if "late" not in self.config.quirks:
                    self._prune(kind)
            self._tell(span)
        self._set_learning_rates(span)

    def _done(self, span: Span) -> float:
        """Share of the run after which a phase begins; 0 where its length is not known."""
        return span.start / self._total if self._total else 0.0

    @property
    def _total(self) -> Optional[int]:
        return None if self._training is None else self._training.total_iterations

    def _tell(self, span: Span) -> None:
        if self._lines is not None:
            told = span.cycle > 1 and not self._pending
            changed = functools.partial(self._mean, "changed") if told else lambda _: None
            self._lines.switch(span, facts(span, self.config, changed, self._done(span)))

    def _mean(self, share: str, kinds: Optional[Sequence[str]] = None) -> float:
        """Of a share that the masks of networks (None = all) have, over all selected weights."""
        networks = [self._networks[kind] for kind in kinds or self._networks]
        return sum(getattr(n, share) * n.numel for n in networks) / sum(n.numel for n in networks)

    def _prune(self, kind: str) -> None:
        """Choose the masks of ``kind`` and zero its pruned weights, and those of its average."""
        network, first, memory = self._networks[kind], kind in self._pending, self._memory[kind]
        if self.config.score == "none":
            self._pending.discard(kind)
            return
        assert self._span is not None
        before, shape = network.keep, keep_by_quantile if "quantile" in self.config.quirks else keep_smallest_out
        ratio = self.config.of(kind, self._done(self._span)).ratio
        network.choose(memory.rule(shape, self._optimizers[kind], self._span.cycle, ratio))
        if first:
            self._pending.discard(kind)
            checksum = network.note_change(before)
            if self.config.moments == "restore":
                network.save_moments(self._optimizers[kind])
            self._check_ranks(network, checksum)
        network.sparse = True
        if isinstance(network, ChannelNetwork):
            network.rest(self._optimizers[kind])
        memory.prune()
        network.zero_weights()
        network.zero_ema()
        self._set_forward(kind)

    def _grow(self, kind: str, with_values: bool = True) -> None:
        """Let the pruned weights of ``kind`` train again, from what the settings say, or from 0."""
        network, optimizer = self._networks[kind], self._optimizers[kind]
        if not network.sparse:
            return
        network.sparse = False
        if with_values:
            assert self._span is not None
            self._memory[kind].grow(self._span.cycle)
        self._set_forward(kind)
        if self.config.moments == "restore":
            network.restore_moments(optimizer)
        elif self.config.moments == "reset":
            network.reset_moments(optimizer)

    def _network(self, kind: str, module: torch.nn.Module, ema: Optional[torch.nn.Module]) -> MaskedNetwork:
        """The masks of ``module``."""
        assert self._training is not None
        config, shapes = self.config, parameter_shapes(module)
        if config.granularity == "weight":
            return MaskedNetwork(select_parameters(config, kind, shapes), module, ema)
        ChannelNetwork.check(self._training.optimizers[kind])
        plan = plan_channels(config, kind, shapes, frozen_shapes(module))
        self._switches[kind] = NetworkSwitch(kind, module, plan.layout, self._training, self.order)
        return ChannelNetwork(plan, module, ema, config.importance)

    def _set_forward(self, kind: str) -> None:
        """Whole channels: compute with the ones that are kept, or with all of them."""
        network, switch = self._networks[kind], self._switches.get(kind)
        if switch is not None and isinstance(network, ChannelNetwork):
            if network.sparse:
                switch.narrow(network.kept)
            else:
                switch.widen()

    def _set_learning_rates(self, span: Span) -> None:
        assert self._training is not None
        config = self.config
        # The reference code first sets its rate in the second sparse iteration: its counter starts one too low.
        forgotten = "forget-lazy" in config.quirks and self._iteration >= config.warmup + config.first_extra
        for kind, rates in self._rates.items():
            rates.set(config.scale(config.phase(kind, span)), self._training.configured_lr.get(kind) if forgotten else None)

    def _check_ranks(self, network: MaskedNetwork, checksum: int) -> None:
        """Masks come from the weights alone, so ranks that disagree have drifted apart: better an error than a hang."""
        if self._training is None or self._training.num_ranks == 1:
            return
        if differs(checksum, network.params[0].device):
            raise RuntimeError(f"ranks chose different masks at iteration {self._iteration}: their weights have diverged")


def _check_optimizer(kind: str, network: MaskedNetwork, optimizer: torch.optim.Optimizer) -> None:
    """Check that what is pruned can grow back: the optimizer holds all of it."""
    lacking = unheld(optimizer, network.names, network.params)
    if lacking:
        raise ValueError(
            f"the optimizer does not hold {len(lacking)} of the {len(network.names)} parameters of {kind} that would be pruned "
            f"({lacking[0]} first), so they would stay 0; give the one that trains {kind}, or leave them dense with exclude"
        )
