"""The settings of groups."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Config, setting

__all__ = ["GroupsConfig"]


@dataclass(frozen=True)
class GroupsConfig(Config):
    """When groups are regrouped, and how learning rates are pushed around it. Source: chapter 3 of the thesis behind MGGAN,
    which has no values of ``grow``, ``longest``, ``push``, ``limit`` and ``still``.

    Args:
        interval: iterations before the first regrouping; 0 (default) is none.
        grow: factor from one interval to the next, from 1 to 100; 1.2 by default.
        longest: iterations that an interval has at most; 0 (default) is ten times ``interval``.
        window: iterations before and after a regrouping in which rates are pushed, at least 0; 10 by default.
        push: what an iteration in the window adds to the rate, as a share of it, from 0 to 10; 0.05 by default, 0 is nothing.
        limit: factor of the rate at most, from 1 to 100; 2 by default.
        still: change of G's smoothed loss from one iteration to the next, as a share of it, up to which it is pushed, at
            least 0; 0.05 by default.

    Raises:
        ValueError: a value out of its range, windows that overlap, or a longest interval below the first.
    """

    interval: int = setting(
        0, "Groups: iterations until discriminators are exchanged.", kind="length", least=0, told="none",
        more="[`regan-ext groups`](../../../docs/groups.md) gives it",
    )  # fmt: skip
    grow: float = setting(1.2, "Groups: factor from one interval to the next.", least=1, most=100)
    longest: int = setting(0, "Groups: longest interval.", kind="length", least=0, told="ten times the first")
    window: int = setting(10, "Groups: iterations before and after an exchange with pushed rates.", least=0, most=1_000_000)
    push: float = setting(0.05, "Groups: what each of these adds to the rates, as a share.", least=0, most=10)
    limit: float = setting(2.0, "Groups: factor of the rates at most.", least=1, most=100)
    still: float = setting(0.05, "Groups: change of G's loss, as a share, up to which rates are pushed.", least=0, most=1e6)

    def check(self) -> None:
        if self.interval and self.interval <= 2 * self.window + 1:
            least = 2 * self.window + 2
            raise ValueError(f"interval must be at least {least}, or windows of {self.window} overlap; got {self.interval}")
        if self.longest and self.longest < self.interval:
            raise ValueError(f"longest must be at least the interval, {self.interval}, got {self.longest}")
