"""The images of a process and round that are refused are those with which the host's own loss fails."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from regan_ext.hosts.stylegan2_ada import FLAVOUR
from regan_ext.train.arguments import check_batch

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def host(host_dir: Path) -> Any:
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    return importlib.import_module


def trains(host: Any, batch: int, epilogue: Any, pl_weight: float) -> bool:
    """Whether the host's loss gets through an iteration with all of its phases."""
    networks = host("training.networks")
    sizes = dict(c_dim=0, img_resolution=8, img_channels=1)
    G = networks.Generator(z_dim=4, w_dim=4, synthesis_kwargs={"channel_base": 32, "channel_max": 4}, **sizes)
    D = networks.Discriminator(channel_base=32, channel_max=4, epilogue_kwargs=epilogue, **sizes)
    loss = host("training.loss").StyleGAN2Loss(torch.device("cpu"), G.mapping, G.synthesis, D, pl_weight=pl_weight)
    images, z, c = torch.zeros(batch, 1, 8, 8), torch.zeros(batch, 4), torch.zeros(batch, 0)
    try:
        for phase in ("Gmain", "Greg", "Dmain", "Dreg"):
            loss.accumulate_gradients(phase, images, c, z, c, sync=True, gain=1)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("epilogue", [{"mbstd_group_size": 4}, {"mbstd_group_size": 3}, {"mbstd_num_channels": 0}, {}], ids=str)
@pytest.mark.parametrize("pl_weight", [2, 0])
def test_what_is_refused_is_what_fails(host: Any, epilogue: Any, pl_weight: float) -> None:
    for batch in (1, 2, 3, 4, 5, 6, 8):
        args = {
            "batch_size": 2 * batch,
            "num_gpus": 2,
            "batch_gpu": batch,
            "D_kwargs": {"epilogue_kwargs": epilogue},
            "loss_kwargs": {"pl_weight": pl_weight},
        }
        try:
            check_batch(args, FLAVOUR, "--batch")
            accepted = True
        except click.BadParameter:
            accepted = False
        assert accepted == trains(host, batch, epilogue, pl_weight), batch


@pytest.mark.parametrize(
    "batch, gpus, batch_gpu, told",
    [
        (6, 1, 6, "6 images per process and round .* group of 4; --batch-gpu=2 or 3 would do"),
        (1, 1, 1, "at least 2 images per process and round, not 1; --batch=2 would do"),
        (2, 2, 1, "at least 2 images per process and round, not 1; --batch=4 would do"),
        (5, 1, 5, "minibatch group of 4; --batch=8 would do"),
        (16, 1, 5, r"5 does not divide the 16 images .*; --batch-gpu=2 or 4 or 8 or 16 would do"),
    ],
)
def test_the_remedy_would_do(batch: int, gpus: int, batch_gpu: int, told: str) -> None:
    args = {
        "batch_size": batch,
        "num_gpus": gpus,
        "batch_gpu": batch_gpu,
        "D_kwargs": {"epilogue_kwargs": {"mbstd_group_size": 4}},
        "loss_kwargs": {},
    }
    with pytest.raises(click.BadParameter, match=told):
        check_batch(args, FLAVOUR, "--batch")
