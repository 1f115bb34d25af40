"""What AdvAug costs a main phase: ``python tests/benchmarks/advaug_cost.py``.

Computes the gradients of Gmain and Dmain by the host's own loss: without AdvAug, with its defaults, and with D's feature at
``b4.fc``, whose rest is not linear; in turn, in one process. Prints one JSON line: median seconds of each, and the median of
the ratios of neighbours. An iteration also has data, regularisation and optimizers, which cost the same with AdvAug.
"""

from __future__ import annotations

import importlib
import json
import statistics
from typing import Any, Dict, List

import click
import torch
from narrow_speed import load_generator, seconds

from regan_ext.support.machine import describe
from training_hooks import AdvAug
from training_hooks.core.hook import Round, Training

KINDS: Dict[str, Dict[str, Any]] = {"plain": {"step": 0.0}, "head": {}, "b4.fc": {"place_d": "b4.fc"}}


class Phases:
    """Main phases of the host's own loss with a hook; networks and data are those that it is given."""

    def __init__(self, G: Any, D: Any, settings: Dict[str, Any], batch: int, resolution: int, device: str):
        module = importlib.import_module("training.loss")
        self.networks = {"G": G, "D": D}
        loss = module.StyleGAN2Loss(torch.device(device), G_mapping=G.mapping, G_synthesis=G.synthesis, D=D)
        self.hook = AdvAug(halves=("g", "d"), **settings)
        self.hook.start(Training(self.networks, {}, loss=loss))  # without statistics, of which there is one module for all
        self.loss, self.z = loss, torch.randn(batch, 512, device=device)
        self.reals, self.c = torch.randn(batch, 3, resolution, resolution, device=device), torch.zeros(batch, 0, device=device)

    def run(self, name: str) -> None:
        """One round of the main phase of a network."""
        for each, network in self.networks.items():
            network.requires_grad_(each == name)
            network.zero_grad(set_to_none=True)
        self.hook.on_round(Round(f"{name}main", 0, self.reals, self.c, self.z, self.c))
        self.loss.accumulate_gradients(f"{name}main", self.reals, self.c, self.z, self.c, True, 1)


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=128, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--repeats", default=9, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
def main(resolution: int, channels: int, batch: int, repeats: int, device: str, host: str) -> None:
    """Print what AdvAug costs as one JSON line."""
    G = load_generator(host, resolution, channels, channels * resolution, 0, device)
    size = dict(channel_base=channels * resolution, channel_max=channels)
    D = (
        importlib.import_module("training.networks")
        .Discriminator(c_dim=0, img_resolution=resolution, img_channels=3, **size)
        .to(device)
    )
    runs = {kind: Phases(G, D, settings, batch, resolution, device) for kind, settings in KINDS.items()}
    found: Dict[str, Any] = {}
    for name in ("G", "D"):
        times: Dict[str, List[float]] = {kind: [] for kind in runs}
        for repeat in range(repeats + 1):
            for kind, phases in runs.items():
                elapsed = seconds(lambda p=phases, n=name: p.run(n), device)  # type: ignore[misc]
                if repeat > 0:  # the first of each warms up
                    times[kind].append(elapsed)
        of_phase: Dict[str, Any] = {f"{kind}_s": round(statistics.median(each), 4) for kind, each in times.items()}
        for kind in ("head", "b4.fc"):
            ratios = [mine / plain for mine, plain in zip(times[kind], times["plain"])]
            of_phase[f"{kind}_ratio"] = round(statistics.median(ratios), 3)
        found[f"{name}main"] = of_phase
    what = {"benchmark": "advaug_cost", "resolution": resolution, "channels": channels, "batch": batch, "repeats": repeats}
    print(json.dumps({**what, "host": host, **found, **describe(device)}))


if __name__ == "__main__":
    main()
