"""The settings of adaptive pseudo augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Config, setting

__all__ = ["APAConfig"]


@dataclass(frozen=True)
class APAConfig(Config):
    """Settings of adaptive pseudo augmentation (Jiang et al., NeurIPS 2021; defaults of the authors' code).

    Args:
        target: mean of sign(D(real)) that is kept, in [-1, 1]; 0.6 by default.
        kimg: thousands of images in which p can move by 1, above 0; 500 by default.
        interval: iterations between two moves of p, at least 1; 4 by default.

    Raises:
        ValueError: a value out of its range.
    """

    target: float = setting(0.6, "APA: mean of sign(D(real)) to keep.", least=-1, most=1)
    kimg: float = setting(
        500, "APA: kimg in which p can move by 1.", kind="float", least=0, excludes_least=True, most=1_000_000
    )
    interval: int = setting(4, "APA: iterations between two moves of p.", least=1, most=1_000_000)
