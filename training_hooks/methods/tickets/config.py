"""The settings of a ticket's run: which weights it begins with, and which of them are masked."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Config, setting

__all__ = ["TicketConfig"]


@dataclass(frozen=True)
class TicketConfig(Config):
    """Settings of one run of a GAN ticket (NeurIPS 2021).

    Args:
        init: file of the weights and buffers that every round begins with; where it is not there, the run begins with its own
            and writes them there. "" (default) is off.
        mask: file of the masks of the round; "" (default) is round 0, dense.
        transfer: whether the mask may have been found with other initial weights than those of ``init``; False by default.
        mask_checksum: of ``mask``; 0 (default) = not known. A run that goes on has to have the same.

    Raises:
        ValueError: a mask without a file of initial weights, or what speaks of a mask without one.
    """

    init: str = setting(
        "", "File of the weights that every round begins with.", kind="path", told="none", binds=False,
        more="where there is none, the run begins with its own weights and writes them there",
    )  # fmt: skip
    mask: str = setting(
        "", "File of the round's masks.", kind="path", told="none, dense", binds=False,
        more="`regan-ext tickets` makes such files; masks hold in G, its average and D",
    )  # fmt: skip
    transfer: bool = setting(
        False, "The mask may come from other initial weights.",
        more="such as a mask that was found on another data set, for a network that was trained before",
    )  # fmt: skip
    mask_checksum: int = setting(0, "Checksum that the mask has to have.", least=0, most=2**32 - 1, is_hidden=True, told="any")

    def check(self) -> None:
        if self.mask and not self.init:
            raise ValueError(f"mask {self.mask} needs init, the file of the weights that every round begins with")
        for name in ("transfer", "mask_checksum"):
            if getattr(self, name) and not self.mask:
                raise ValueError(f"{name} needs mask, the file of the round's masks")
