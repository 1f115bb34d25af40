"""Time of a mask update over the 1024x1024 generator: ``python tests/benchmarks/mask_update.py``.

Constructs the embedded host's generator of configuration stylegan2 (30 370 060 parameters) and times what happens at the
beginning of a sparse phase: masks chosen, statistics of their change, weights of the generator and of its average zeroed; and,
as ``growth``, what happens at the beginning of a dense one. Prints one JSON line; the budget of an update is 0.25 seconds on
2 CPU cores with the paper's settings.
"""

from __future__ import annotations

import copy
import json
import time

import click
import torch

from regan_ext.hosts.embedded_train import host_module
from regan_ext.support.machine import describe
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.hook import Reconfiguration


@click.command()
@click.option("--resolution", default=1024, show_default=True)
@click.option("--ratio", default=0.3, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--score", default="magnitude", show_default=True)
@click.option("--regrow", default="zero", show_default=True)
@click.option("--turnover", default=0.0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(resolution: int, ratio: float, repeats: int, score: str, regrow: str, turnover: float, device: str) -> None:
    """Print the time of a mask update as one JSON line."""
    host_module("dnnlib")
    networks = host_module("training.networks")
    torch.manual_seed(0)
    generator = networks.Generator(
        z_dim=512, c_dim=0, w_dim=512, img_resolution=resolution, img_channels=3, mapping_kwargs={"num_layers": 8}
    ).to(device)
    averaged = copy.deepcopy(generator)
    settings = {"score": score, "regrow": regrow, "turnover": turnover}
    hook = Reconfiguration(generator, ReconfigurationConfig(ratio=ratio, interval=1, warmup=1, **settings))
    optimizer = torch.optim.Adam(generator.parameters())
    hook.attach(optimizer, ema=averaged, manual=True)
    for p in generator.parameters():
        p.grad = torch.randn_like(p)
    hook.begin_iteration()  # warm-up, after which there are second moments
    optimizer.step()
    updates, growths = [], []
    for _ in range(repeats):
        with torch.no_grad():
            for p in generator.parameters():
                p.add_(torch.randn_like(p), alpha=0.1)  # so that the next mask differs
        synchronize(device)
        begin = time.perf_counter()
        hook.begin_iteration()  # sparse
        synchronize(device)
        updates.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        hook.begin_iteration()  # dense
        synchronize(device)
        growths.append(time.perf_counter() - begin)
    result = {
        "benchmark": "mask_update",
        "resolution": resolution,
        "parameters": sum(p.numel() for p in generator.parameters()),
        "selected_weights": hook.selected_weights,
        "ratio": ratio,
        "seconds_median": round(sorted(updates)[len(updates) // 2], 4),
        "seconds_max": round(max(updates), 4),
        "growth_seconds_median": round(sorted(growths)[len(growths) // 2], 4),
        **settings,
        "budget_seconds": 0.25,
        **describe(device),
    }
    click.echo(json.dumps(result))


def synchronize(device: str) -> None:
    """Wait for the device, so that the clock sees its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
