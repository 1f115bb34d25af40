"""The events of a training loop, and the base class of a method that listens to them.

One iteration of a StyleGAN2-ADA loop, and when each event fires::

    while training:
        fetch data
        Gmain  ─ first forward ······ on_iteration(i)          masks change here, before anything is computed
               ─ backward, all rounds
               ─ step ·············· before_step / after_step  Step("G", "Gmain", i)
        Greg   ─ every 4th iteration  before_step / after_step  Step("G", "Greg", i)
        Dmain  ─ first forward ······ on_report()              only in the last iteration of a tick
               ─ step ·············· before_step / after_step  Step("D", "Dmain", i), if D's optimizer is hooked
        Dreg   ─ every 16th iteration before_step / after_step  Step("D", "Dreg", i), likewise
        (each round of every phase ·· on_round(batch)          what it is about to compute with)
        G_ema follows G
        tick:  snapshot, metrics, statistics
               ─ metrics measured ·· on_metrics(values, kimg)  on every rank, the same values
               ─ state written
               ─ all done ·········· on_tick()

The first regularisation steps fall into iteration 0. A loop without lazy regularisation has one phase ``Gboth`` instead
of ``Gmain`` and ``Greg``. Several rounds of gradient accumulation still make one iteration. Where D trains first, its main
phase begins the iteration, and ``on_report()`` comes at G's.

Into the forward pass itself there is one way, ``Training.wrap``. Where a loop of one's own fires the same events is said at
``training_hooks.core.loop.Loop``.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Set

import torch

from .schedule import Schedule
from .wraps import Wrap, Wraps

__all__ = ["MAIN_PHASES", "Hook", "Round", "Step", "Training"]

MAIN_PHASES = ("main", "both")


@dataclass(frozen=True)
class Step:
    """One optimizer step: whose ("G" or "D"), in which phase of the loop ("Gmain", "Greg", ...), at which iteration."""

    network: str
    phase: str
    iteration: int

    @property
    def is_main(self) -> bool:
        """True for the step that follows the adversarial loss, False for one of regularisation alone."""
        return self.phase[1:] in MAIN_PHASES


@dataclass(frozen=True)
class Round:
    """What one round of gradient accumulation computes with, each [batch, ...].

    Args:
        phase: of the loop ("Gmain", "Greg", ...).
        index: of the round in its phase, from 0.
        real_img, real_c: images and their labels; None where a loop of one's own gives none.
        gen_z, gen_c: latents and their labels, likewise.
    """

    phase: str
    index: int
    real_img: Any
    real_c: Optional[torch.Tensor]
    gen_z: Any
    gen_c: Optional[torch.Tensor]


@dataclass
class Training:
    """What a hook is given to work on.

    Args:
        networks: "G", "D" and, where there is one, "G_ema", as bare modules (never DDP wrappers).
        optimizers: "G" and, if hooked, "D".
        run_dir: folder of the run; None outside a host.
        batch_size: images per iteration over all processes; None outside a host.
        total_iterations: length of the run; None where it is not known.
        rank: of this process.
        num_ranks: number of processes.
        seed: of the run, for what is drawn at random; the same on every rank.
        configured_lr: "G" and "D" → learning rate as configured, before the loop scaled it for lazy regularisation.
        rates_of_loop: those of "G" and "D" whose learning rate the loop itself sets right before each step.
        iterations_per_epoch: iterations of an epoch; None where it is not known.
        loss: the host's own loss; None outside a host.
        stats: the host's own module ``training_stats``; None outside a host.
        wraps: wrappers around the parts of the forward pass; None = those of the loss, see ``wrap``.
    """

    networks: Dict[str, torch.nn.Module]
    optimizers: Dict[str, torch.optim.Optimizer]
    run_dir: "str | None" = None
    batch_size: "int | None" = None
    total_iterations: "int | None" = None
    rank: int = 0
    num_ranks: int = 1
    seed: int = 0
    configured_lr: Dict[str, float] = field(default_factory=dict)
    rates_of_loop: Set[str] = field(default_factory=set)
    iterations_per_epoch: "int | None" = None
    loss: Any = None
    stats: Any = None
    wraps: "Wraps | None" = field(default=None, repr=False)

    def wrap(self, part: str, wrapper: Callable[[Any], Any], order: int = 0) -> Wrap:
        """Put a wrapper around a part of the forward pass.

        The parts are attributes of the host's loss, which looks each up on itself whenever it computes; a ``Loop`` has the
        same. What a wrapper makes has to do for them what the part does: ``run_G`` gives images of the same shape, alone or
        with more behind them, ``G_synthesis`` and ``D`` are modules.

        Args:
            part: "run_G", "run_D", "augment_pipe", "G_synthesis" or "D".
            wrapper: called with what is further inside, it returns what takes its place. It may be called again, whenever
                something further inside is put on or taken off.
            order: the hook's; of two wrappers of a part that with the smaller number is further inside, of equals the first.

        Returns:
            What it is taken off by: ``remove()``.

        Raises:
            ValueError: there is no such part.
        """
        if self.wraps is None:
            self.wraps = Wraps(self.loss)
        return self.wraps.add(part, wrapper, order)


class Hook:
    """A method that reacts to the events of a training loop. Every event does nothing by default."""

    #: Hooks see each event in the order of this number; equal ones in the order in which they are listed.
    order: int = 0

    #: The sparse and dense phases of the run, once it has started, of a method that has some.
    schedule: Optional[Schedule] = None

    #: What its state is kept by; "" = the name of its class.
    name: str = ""

    #: Names of hooks that cannot work beside it.
    excludes: Sequence[str] = ()

    #: Whether the hook only looks on, so that the run is the host's own but for it.
    observes: bool = False

    @classmethod
    def defaults(cls) -> Dict[str, Any]:
        """Setting → default, of the arguments that it is constructed with, as JSON has them; those that have none are left
        out. A run that was begun before there was a setting goes on with its default."""
        parameters = inspect.signature(cls).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}

    def binding(self) -> Dict[str, Any]:
        """Setting → value, as JSON has them, of those that a run which goes on has to share: those of its ``config`` where it
        has one, else the arguments that it was constructed with, as far as it keeps them by their names and JSON has them."""
        config = getattr(self, "config", None)
        if config is not None:
            return {each.name: config.to_dict()[each.name] for each in config.settings() if each.binds}
        kept = ((name, vars(self).get(name)) for name in inspect.signature(type(self)).parameters if name in vars(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept if _is_plain(value)}

    def start(self, training: Training) -> None:
        """Networks and optimizers exist; nothing has been trained."""

    def on_iteration(self, iteration: int) -> None:
        """Iteration ``iteration`` (from 0) begins; no forward pass of it has run."""

    def on_round(self, batch: Round) -> Round:
        """A round of a phase is about to be computed. What is returned is what it is computed with."""
        return batch

    def before_step(self, step: Step) -> None:
        """Gradients are complete (accumulated, averaged over ranks, free of NaN); the optimizer is about to step."""

    def after_step(self, step: Step) -> None:
        """The optimizer has stepped."""

    def on_report(self) -> Mapping[str, float]:
        """Statistics (name → value) of the tick that ends with this iteration. Called on every rank."""
        return {}

    def on_metrics(self, values: Mapping[str, float], kimg: float) -> None:
        """Metrics of a snapshot have been measured. Called on every rank with the same values, in no other tick.

        The snapshot is written already and the state is about to be: what is decided here is in the state, and becomes of
        effect when the next iteration begins. The networks have to be left alone.

        Args:
            values: name → value, such as "fid50k_full".
            kimg: thousands of images that the snapshot was trained on.
        """

    def on_tick(self) -> None:
        """A tick is over: snapshot, metrics and statistics are written. Called on every rank."""

    def on_member(self, name: str, network: torch.nn.Module) -> None:
        """``network``, a copy of the network ``name`` ("G", "D" or "G_ema"), is about to be written as a member of a pair."""

    def close(self) -> None:
        """The loop goes on without this hook: undo what holds at the moment. Wrappers are taken off by themselves."""

    def is_sparse(self) -> bool:
        """Whether the networks that this hook reconfigures, whichever they are, are sparse at the moment."""
        return False

    def state_dict(self) -> Dict[str, Any]:
        """What has to survive a restart: tensors and plain values only."""
        return {}

    @classmethod
    def check_state(cls, state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
        """Check what ``state_dict`` has made, before anything begins.

        Args:
            state: as it was read from a file.
            networks: "G" and "D" of the run that it is for.

        Raises:
            Exception: ``load_state_dict`` could not use it; of any kind, because values of another type fail in many ways.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``, called after ``start``."""


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
