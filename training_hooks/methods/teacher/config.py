"""The settings of a teacher: which second discriminator judges the generator, how much it counts, and what becomes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

from ...core.schedule import Length
from ..setting import Config, setting

__all__ = ["TeacherConfig"]

_LENGTH = r"\d+(?:\.\d+)?(?:it|kimg)?"


@dataclass(frozen=True)
class TeacherConfig(Config):
    """Settings of a teacher (PrivacyGAN, chapter 5 of Hao Wu's thesis, Warwick 2022).

    Args:
        network: file of the teacher, a snapshot; in a loop of one's own a state of a ``Loop`` with the same networks. ""
            (default) is off.
        alpha: weight of D to 1 - alpha of the teacher, in [0, 1]; "0.9" by default. "0.9:0.5@100kimg" goes evenly from 0.9 to
            0.5 in 100 kimg and stays there.
        mode: "live" trains the teacher against this run's fakes, "own" against those of the generator in its own file, which
            trains too, "fixed" not at all; "auto" (default) is live where the teacher is given images, else fixed.
        data: zip of the images that the teacher trains on; "" (default) is none.
        augment: whether the teacher sees images through the augmentation of D; False by default.
        checksum: of the file of the teacher; 0 (default) = not known. A run that goes on has to have the same.
        data_checksum: of ``data``, likewise.

    Raises:
        ValueError: weights out of range or of another form, or images of a teacher that does not train.
    """

    network: str = setting(
        "", "Snapshot whose discriminator judges G beside D.", kind="path", flag="--teacher", told="none", binds=False,
        holds="networks", more="of the same resolution, channels and classes; the size of its layers is its own",
    )  # fmt: skip
    alpha: str = setting(
        "0.9", "Teacher: weight of D to 1 - ALPHA of the teacher.",
        more="in [0, 1], or a ramp such as `0.9:0.5@100kimg`; 1 is the plain run",
    )  # fmt: skip
    mode: str = setting(
        "auto", "Teacher: what becomes of it.", choices=("auto", "live", "fixed", "own"),
        told="live with --teacher-data, else fixed",
        more="it trains against the fakes of this run, not at all, or against those of the generator in its file, which trains "
        "too",
    )  # fmt: skip
    data: str = setting(
        "", "Teacher: zip of the images that it trains on.", kind="path", told="none", binds=False, holds="images",
        more="of the same resolution and channels, with the same classes",
    )  # fmt: skip
    augment: bool = setting(False, "Teacher: show it images as D is shown them.", more="through ADA and `--DiffAugment`")
    checksum: int = setting(0, "Checksum that the file has to have.", least=0, most=2**32 - 1, is_hidden=True, told="any")
    data_checksum: int = setting(
        0, "Checksum that the images have to have.", least=0, most=2**32 - 1, is_hidden=True, told="any"
    )

    def check(self) -> None:
        self._weights()
        if self.mode == "fixed" and self.data:
            raise ValueError("data is what a teacher trains on, and a fixed one does not train; leave out one of the two")
        for name, of in (("checksum", "network"), ("data_checksum", "data")):
            if getattr(self, name) and not getattr(self, of):
                raise ValueError(f"{name} needs {of}, the file that it is of")

    @property
    def trains(self) -> bool:
        """Whether the teacher goes on training."""
        return self.way != "fixed"

    @property
    def way(self) -> str:
        """The mode, where it is "auto" what that is."""
        return self.mode if self.mode != "auto" else "live" if self.data else "fixed"

    def _weights(self) -> Tuple[float, float, Optional[Length]]:
        """At the beginning, at the end of the ramp, and its length."""
        found = re.fullmatch(rf"([^:@]+)(?::([^:@]+)@({_LENGTH}))?", self.alpha)
        try:
            if found is None:
                raise ValueError(self.alpha)
            first, length = float(found[1]), Length.parse(found[3]) if found[3] else None
            weights = first, float(found[2]) if found[2] else first, length
        except ValueError:
            what = "a number such as 0.9, or a ramp such as 0.9:0.5@100kimg"
            raise ValueError(f"alpha must be {what}, got {self.alpha!r}") from None
        if not all(0 <= weight <= 1 for weight in weights[:2]):
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha!r}")
        return weights

    def ramp(self, batch_size: Optional[int]) -> int:
        """Length of the ramp in iterations; 0 where alpha is constant.

        Args:
            batch_size: images per iteration; None = not known.

        Raises:
            ValueError: it is shorter than an iteration, or needs the batch size.
        """
        length = self._weights()[2]
        if length is None:
            return 0
        try:
            iterations = length.iterations(batch_size)
        except ValueError as err:
            raise ValueError(f"alpha {self.alpha}: {err}") from err
        if iterations < 1:
            raise ValueError(f"alpha {self.alpha}: its ramp is less than one iteration")
        return iterations

    def alpha_at(self, iteration: int, ramp: int) -> float:
        """The weight of D.

        Args:
            iteration: from 0.
            ramp: what ``ramp`` has given.
        """
        first, last, _ = self._weights()
        return first if ramp == 0 else first + (last - first) * min(1.0, iteration / ramp)
