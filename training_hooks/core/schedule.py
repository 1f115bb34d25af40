"""When the generator is dense and when it is sparse: pure functions of the iteration number."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import List, Optional, Tuple

__all__ = ["Length", "Phase", "Schedule", "Span", "TooShort"]


class Phase(enum.IntEnum):
    """Phases in the order of a run; the numbers are those of the ``ReGAN/phase`` statistic."""

    WARMUP = 0
    SPARSE = 1
    DENSE = 2

    @property
    def title(self) -> str:
        """As people read it: "warm-up", "sparse" or "dense"."""
        return "warm-up" if self is Phase.WARMUP else self.name.lower()


_FIRST, _LAST = 5, 3  # phases that are told of a long run
_LONGEST = 1e9  # iterations or kimg
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(kimg|it|iterations)?", re.IGNORECASE)


@dataclass(frozen=True)
class Length:
    """A stretch of training.

    Args:
        value: how long.
        unit: "it" (iterations), "kimg" (thousands of real images shown), or "epoch", in loops of one's own.

    Raises:
        ValueError: another unit.
    """

    value: float
    unit: str = "it"

    def __post_init__(self) -> None:
        if self.unit not in ("it", "kimg", "epoch"):
            raise ValueError(f"unit must be it, kimg or epoch, got {self.unit!r}")

    @classmethod
    def parse(cls, text: str) -> "Length":
        """Read ``100``, ``100it`` or ``5kimg``.

        Raises:
            ValueError: anything else, and a number of iterations that is not whole.
        """
        match = _LENGTH.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is neither a number of iterations such as 100 nor a length such as 5kimg")
        value, unit = float(match[1]), (match[2] or "it").lower()
        if value > _LONGEST:
            raise ValueError(f"{text[:20]!r} is longer than any run: at most {_LONGEST:g}")
        unit = "kimg" if unit == "kimg" else "it"
        if unit == "it" and value != int(value):
            raise ValueError(f"{text!r} is not a whole number of iterations")
        return cls(value, unit)

    def iterations(self, batch_size: Optional[int], iterations_per_epoch: Optional[int] = None) -> int:
        """The length in iterations, rounded to the nearest.

        Args:
            batch_size: images per iteration; None = not known.
            iterations_per_epoch: iterations of an epoch; None = not known.

        Raises:
            ValueError: what the unit needs is not known.
        """
        if self.unit == "it":
            return int(self.value)
        if self.unit == "kimg" and batch_size is not None:
            return round(self.value * 1000 / batch_size)
        if self.unit == "epoch" and iterations_per_epoch is not None:
            return round(self.value * iterations_per_epoch)
        raise ValueError(f"a length of {self} needs {'batch_size' if self.unit == 'kimg' else 'iterations_per_epoch'}")

    def __bool__(self) -> bool:
        """Whether it is longer than nothing."""
        return self.value > 0

    def __str__(self) -> str:
        return f"{int(self.value)}" if self.unit == "it" else f"{self.value:g}{self.unit}"


@dataclass(frozen=True)
class Span:
    """One phase of a run: iterations ``start`` to ``stop`` (exclusive; None = open end), and its cycle (0 = warm-up)."""

    phase: Phase
    cycle: int
    start: int
    stop: Optional[int]

    @property
    def number(self) -> int:
        """Which phase of the run it is: 0 is the warm-up, odd ones are sparse."""
        return 2 * self.cycle - (self.phase == Phase.SPARSE)

    @property
    def title(self) -> str:
        """As people read it, such as "warm-up" or "sparse 3"."""
        return self.phase.title + (f" {self.cycle}" if self.cycle else "")


class TooShort(ValueError):
    """A run is too short for the phase that it shall end in; ``needed`` iterations would do."""

    def __init__(self, message: str, needed: int):
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then sparse and dense phases of ``interval`` iterations each, in turn (Re-GAN algorithm 1).

    Args:
        warmup: iterations trained dense before the first pruning, ≥ 0.
        interval: iterations of each sparse and each dense phase, ≥ 1.
        total: iterations of the whole run; None = not known. Needed for any ``finish`` but "as-is".
        finish: "as-is" ends in whatever phase the budget ends in. "dense" makes as many whole sparse–dense pairs as fit
            and lets the last dense phase run to the end; "sparse" likewise with a last sparse phase.
        first_extra: iterations by which the first sparse phase is longer (the reference code's is by one), ≥ 0.

    Raises:
        ValueError: a value out of range, or a budget too short for the asked finish.
    """

    warmup: int
    interval: int
    total: Optional[int] = None
    finish: str = "as-is"
    first_extra: int = 0

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ValueError(f"warmup must be at least 0 iterations, got {self.warmup}")
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1 iteration, got {self.interval}")
        if self.first_extra < 0:
            raise ValueError(f"first_extra must be at least 0 iterations, got {self.first_extra}")
        if self.finish not in ("as-is", "dense", "sparse"):
            raise ValueError(f"finish must be as-is, dense or sparse, got {self.finish!r}")
        if self.finish != "as-is" and self.total is None:
            raise ValueError(f"finish={self.finish} needs the total number of iterations")
        if self._phases is not None and self._phases < (2 if self.finish == "dense" else 1):
            need = self.warmup + self.first_extra + self.interval * (2 if self.finish == "dense" else 1)
            raise TooShort(
                f"finish={self.finish} needs at least {need} iterations "
                f"(warm-up {self.warmup}, interval {self.interval}), but the run has {self.total}",
                need,
            )

    @property
    def _phases(self) -> Optional[int]:
        """Number of phases after the warm-up; None = no end. Odd ones (from 1) are sparse."""
        if self.finish == "as-is" or self.total is None:
            return None
        whole = (self.total - self.warmup - self.first_extra) // self.interval
        wanted = 0 if self.finish == "dense" else 1
        return whole if whole % 2 == wanted else whole - 1

    def span(self, iteration: int) -> Span:
        """The phase that holds ``iteration`` (counted from 0)."""
        if iteration < 0:
            raise ValueError(f"iteration must be at least 0, got {iteration}")
        first = self.warmup + self.first_extra
        if iteration < self.warmup:
            return Span(Phase.WARMUP, 0, 0, self.warmup)
        index = max(0, (iteration - first) // self.interval)
        start = self.warmup if index == 0 else first + index * self.interval
        stop: Optional[int] = first + (index + 1) * self.interval
        if self._phases is not None and index >= self._phases - 1:
            index = self._phases - 1
            start, stop = (self.warmup if index == 0 else first + index * self.interval), None
        return Span(Phase.SPARSE if index % 2 == 0 else Phase.DENSE, index // 2 + 1, start, stop)

    def spans(self, total: Optional[int] = None) -> List[Span]:
        """All phases of a run of ``total`` iterations (default: the schedule's own), the last one cut at its end."""
        total = self.total if total is None else total
        if total is None:
            raise ValueError("the number of iterations of the run is not known")
        spans: List[Span] = []
        iteration = 0
        while iteration < total:
            spans.append(self._cut(iteration, total))
            iteration = spans[-1].stop or total
        return spans

    def sparse_iterations(self, iterations: int) -> int:
        """How many of the first ``iterations`` iterations are sparse."""
        whole, rest, first = 0, iterations - self.warmup, self.first_extra
        if rest <= 0:
            return 0
        if self._phases is None:
            pairs, last = divmod(max(0, rest - first), 2 * self.interval)
            whole = pairs * self.interval + min(last, self.interval)
        else:
            index = min(max(0, rest - first) // self.interval, self._phases - 1)
            inside = max(0, rest - first) - index * self.interval
            whole = (index + 1) // 2 * self.interval + (inside if index % 2 == 0 else 0)
        return whole + min(rest, first)

    def sparse_phases(self, total: int) -> int:
        """How many sparse phases a run of ``total`` iterations has, the last one whole or not."""
        return self.span(total - 1).cycle if total > 0 else 0

    def outline(self, total: int) -> Tuple[List[Span], int, List[Span]]:
        """The phases of a run of ``total`` iterations, at most nine: the first ones, how many are left out, the last ones."""
        number = self.span(max(0, total - 1)).number + (self.warmup > 0)
        if number <= _FIRST + _LAST + 1:
            return self.spans(total), 0, []
        first: List[Span] = []
        last: List[Span] = []
        for _ in range(_FIRST):
            first.append(self._cut((first[-1].stop or 0) if first else 0, total))
        for _ in range(_LAST):
            last.insert(0, self._cut((last[0].start if last else total) - 1, total))
        return first, number - _FIRST - _LAST, last

    def _cut(self, iteration: int, total: int) -> Span:
        """The phase that holds ``iteration``, ending with the run."""
        span = self.span(iteration)
        return Span(span.phase, span.cycle, span.start, total if span.stop is None else min(span.stop, total))
