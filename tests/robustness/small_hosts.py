"""Copies of checkouts whose networks have no option to be small, or need weights that cannot be had, made fit to be tried."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

__all__ = ["make_projected_gan_small", "make_r3gan_small", "make_stylegan3_small"]

# It has what the host's has: a part that stays as it is, and normalisation that every forward pass changes.
_DISCRIMINATOR = '''"""Stands in for the discriminator whose features are pretrained."""

import torch
from torch.nn.utils import spectral_norm


class Discriminator(torch.nn.Module):
    def __init__(self, **given):
        super().__init__()
        self.feature_network = torch.nn.Conv2d(3, 8, 4, 4)
        self.discriminator = torch.nn.Sequential(
            spectral_norm(torch.nn.Conv2d(8, 8, 3, 1, 1)), torch.nn.BatchNorm2d(8), torch.nn.LeakyReLU(0.2),
            torch.nn.AdaptiveAvgPool2d(4), spectral_norm(torch.nn.Conv2d(8, 1, 4)),
        )

    def forward(self, x, c):
        return self.discriminator(self.feature_network(x)).flatten(1)
'''


def make_projected_gan_small(folder: Path) -> None:
    """Give the copy a discriminator without timm's weights, and pickle for dill where that is missing."""
    (folder / "pg_modules" / "stand_in.py").write_text(_DISCRIMINATOR, encoding="utf-8")
    _replace(folder / "train.py", r"pg_modules\.discriminator\.\w+", "pg_modules.stand_in.Discriminator")
    if importlib.util.find_spec("dill") is None:
        (folder / "dill.py").write_text("from pickle import *\n", encoding="utf-8")
    _draw_few(folder)


def make_r3gan_small(folder: Path, width: int = 16, drawn: int = 4) -> None:
    """Let all presets have stages of ``width`` channels with a block each, in single precision."""
    train = folder / "train.py"
    _replace(train, r"WidthPerStage = \[\d.*\[(.*)\]\]", rf"WidthPerStage = [{width} for x in [\1]]")
    _replace(train, r"BlocksPerStage = \[2.*\[(.*)\]\]", r"BlocksPerStage = [1 for x in [\1]]")
    _replace(train, r"CardinalityPerStage = \[3.*\[(.*)\]\]", r"CardinalityPerStage = [4 for x in [\1]]")
    _replace(train, r"FP16Stages = \[-1.*\]", "FP16Stages = []")
    _draw_few(folder, drawn)


def make_stylegan3_small(folder: Path, drawn: int = 4) -> None:
    """Let the generators of -t and -r have 6 layers in place of 14, and 4 pixels around the image in place of 10."""
    networks = folder / "training" / "networks_stylegan3.py"
    _replace(networks, r"num_layers( +)= 14,", r"num_layers\1= 6,")
    _replace(networks, r"margin_size( +)= 10,", r"margin_size\1= 4,")
    _draw_few(folder, drawn)


def _draw_few(folder: Path, side: int = 4) -> None:
    """Let grids of samples have ``side`` times ``side`` images; there are so many otherwise that a CPU is slow to draw them."""
    _replace(folder / "training" / "training_loop.py", r"(g[wh]) = np\.clip\(.*\)", rf"\1 = {side}")


def _replace(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text(encoding="utf-8"))
    if count == 0:
        raise ValueError(f"{path} has no {pattern}: it is of another commit")
    path.write_text(text, encoding="utf-8")
