"""Tells the reader of a run's log where Re-GAN stands: a line where a phase begins, and one after each tick."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

from ...core.schedule import Phase, Span
from ..target import targets
from .config import ReconfigurationConfig

__all__ = ["PhaseLines", "fact", "facts"]

_FROM = {"zero": "", "value": " as it was", "random": " at random", "initial": " as it began"}
_MOST = 3  # switches that are told between two ticks; phases can be as short as an iteration


class PhaseLines:
    """Prints where a run stands.

    Args:
        batch_size: images per iteration.
        total: iterations of the run.
    """

    def __init__(self, batch_size: int, total: int):
        self._batch_size, self._total = batch_size, total
        self._switches = 0  # since the last tick

    def switch(self, span: Span, meaning: str) -> None:
        """The phase ``span`` begins, which means ``meaning``."""
        self._switches += 1
        if self._switches <= _MOST:
            where = f"iteration {span.start} ({self._kimg(span.start)} kimg) on, until {self._kimg(self._stop(span))} kimg"
            print(f"Re-GAN: {span.title} from {where}: {meaning}", flush=True)

    def tick(self, iteration: int, span: Span) -> None:
        """A tick has ended with ``iteration``, which is of the phase ``span``."""
        length = self._stop(span) - span.start
        more = f"; {self._switches} phases began in this tick" if self._switches > _MOST else ""
        self._switches = 0
        print(f"Re-GAN: {span.title}, {(iteration + 1 - span.start) / length:.0%} of the phase done{more}", flush=True)

    def _stop(self, span: Span) -> int:
        return self._total if span.stop is None else min(span.stop, self._total)

    def _kimg(self, iteration: int) -> str:
        return f"{iteration * self._batch_size / 1000:.5g}"


def facts(
    span: Span, config: ReconfigurationConfig, changed: Callable[[Sequence[str]], Optional[float]], done: float = 0.0
) -> str:
    """What a phase of the schedule that begins means for each network, see ``fact``.

    Args:
        span: the phase.
        config: settings of the run.
        changed: of networks, "G" and "D", makes the ``changed`` of ``fact``.
        done: share of the run after which it begins.
    """
    together: Dict[Phase, List[str]] = {}
    for kind in targets(config):
        together.setdefault(config.phase(kind, span), []).append(kind)
    told = {kinds[0]: fact(phase, config, changed(kinds), done, kinds) for phase, kinds in together.items()}
    return "; ".join(each if len(told) == 1 else f"{kind}: {each}" for kind, each in told.items())


def fact(
    phase: Phase,
    config: ReconfigurationConfig,
    changed: Optional[float],
    done: float = 0.0,
    kinds: Optional[Sequence[str]] = None,
) -> str:
    """What a phase that begins means.

    Args:
        phase: its kind.
        config: settings of the run.
        changed: share of what is pruned that the mask before did not prune; None where there was none, or where it is not known
            yet.
        done: share of the run after which it begins.
        kinds: the networks, "G" and "D", that it is of; None = all that are reconfigured.
    """
    if phase == Phase.WARMUP:
        return "everything trains"
    if phase == Phase.DENSE:
        grows = "everything trains" if config.score == "none" else f"what was pruned grows back{_FROM[config.regrow]}"
        return f"{grows}, learning rate x {config.scale(phase):g}"
    scale = config.scale(phase)
    rate = "" if scale == 1 else f", learning rate x {scale:g}"
    if config.score == "none":
        return f"nothing is pruned, the score is none{rate}"
    what = "channels" if config.granularity == "channel" else "weights"
    others = "" if changed is None else f", {changed:.2%} of them others than before"
    ratios = {kind: config.of(kind, done).ratio for kind in kinds or targets(config)}
    if len(set(ratios.values())) == 1:
        return f"{next(iter(ratios.values())):.3g} of the {what} are pruned{others}{rate}"
    return f"{' and '.join(f'{ratio:.3g} of the {what} of {kind}' for kind, ratio in ratios.items())} are pruned{others}{rate}"
