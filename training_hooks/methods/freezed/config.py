"""The settings of FreezeD: which layers of the discriminator stay as they came."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from ..setting import Config, setting

__all__ = ["FreezeDConfig"]

_DEPTH = re.compile(r"(?:(?:8|[1-9]\d+)|([1-9]\d*)blocks?)")


@dataclass(frozen=True)
class FreezeDConfig(Config):
    """Settings of FreezeD (Mo, Cho, Shin, 2020).

    Args:
        layers: what of D stays as it came: all blocks down to a resolution, such as ("32",), or so many of them, such as
            ("4blocks",), counted from the image; or shell patterns of parameter names. () (default) is nothing.

    Raises:
        ValueError: a number that is neither.
    """

    layers: Tuple[str, ...] = setting(
        (), "Freeze D's blocks down to this resolution, or so many (4blocks).", kind="patterns", flag="--freeze-d", told="none",
        more="counted from the image; or name patterns of D's parameters, such as 'b32.*,b16.conv0.*'",
    )  # fmt: skip

    def check(self) -> None:
        odd = next(
            (word for word in self.layers if re.fullmatch(r"[-+]?[\d.]+(blocks?)?", word) and not _DEPTH.fullmatch(word)), None
        )
        if odd is None and len(self.layers) > 1:
            odd = next((word for word in self.layers if _DEPTH.fullmatch(word)), None)
        if odd is not None:
            raise ValueError(
                f"layers must be one resolution of D such as 32, one number of blocks such as 4blocks, or patterns of names, "
                f"got {','.join(self.layers)!r}"
            )

    @property
    def depth(self) -> Tuple[int, int]:
        """The resolution, or the number of blocks, that are asked for; 0 of what is not."""
        found = _DEPTH.fullmatch(self.layers[0]) if len(self.layers) == 1 else None
        if found is None:
            return 0, 0
        return (0, int(found[1])) if found[1] else (int(found[0]), 0)
