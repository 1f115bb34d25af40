"""How the costs of the hook grow with the generator: ``python tests/benchmarks/growth.py``.

For generators of 1 to 30 million parameters of the embedded host: what a sparse iteration costs at weights granularity (masked
gradients and weights), what a mask update costs, and what the same costs when masks are quantiles that are computed anew and
applied by boolean indexing in every sparse iteration, as the published code of the paper works. Prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Callable, Dict, List

import click
import torch

from regan_ext.hosts.embedded_train import host_module
from regan_ext.support.machine import describe
from training_hooks.sparsity.masked_network import MaskedNetwork
from training_hooks.sparsity.scores import Rule
from training_hooks.sparsity.selection import parameter_shapes

# Millions of parameters: resolution, channel base, most channels, width of z and w.
SIZES = {1: (64, 4096, 96, 128), 5: (128, 16384, 192, 256), 10: (128, 16384, 256, 512), 30: (1024, 32768, 512, 512)}


def median(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call, the first left out."""
    times: List[float] = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


@torch.no_grad()
def quantile_work(tensors: List[torch.Tensor], averages: List[torch.Tensor], ratio: float) -> None:
    """One sparse iteration with quantile masks: weights, their gradients and their averages by boolean index."""
    for p, average in zip(tensors, averages):
        magnitude = p.abs()
        pruned = magnitude < torch.quantile(magnitude.flatten(), ratio)
        p[pruned] = 0
        assert p.grad is not None
        p.grad[pruned] = 0
        average[pruned] = 0


@click.command()
@click.option("--ratio", default=0.3, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--millions", default="1,5,10,30", show_default=True, help="Sizes of generators, of: 1, 5, 10, 30.")
def main(ratio: float, repeats: int, millions: str) -> None:
    """Print what each size costs as one JSON line."""
    host_module("dnnlib")
    networks = host_module("training.networks")
    sizes: Dict[str, Any] = {}
    for key in map(int, millions.split(",")):
        resolution, base, most, width = SIZES[key]
        torch.manual_seed(0)
        synthesis = {"channel_base": base, "channel_max": most}
        generator = networks.Generator(
            z_dim=width, c_dim=0, w_dim=width, img_resolution=resolution, img_channels=3, synthesis_kwargs=synthesis
        )
        names = [n for n, s in parameter_shapes(generator).items() if len(s) >= 2 and "torgb" not in n]
        network = MaskedNetwork(names, generator)
        for p in network.params:
            p.grad = torch.randn_like(p)

        def update(network: MaskedNetwork = network) -> None:
            before = network.keep
            network.choose(Rule(ratio))
            network.note_change(before)
            network.zero_weights()

        def hold(network: MaskedNetwork = network) -> None:
            network.zero_gradients()
            network.hold_weights()

        averages = [p.detach().clone() for p in network.params]
        mask_update, iteration = median(update, repeats), median(hold, repeats)
        quantile = median(lambda n=network, a=averages: quantile_work(n.params, a, ratio), repeats)  # type: ignore[misc]
        sizes[str(key)] = {
            "parameters": sum(p.numel() for p in generator.parameters()),
            "iteration_ms": round(1000 * iteration, 3),
            "mask_update_ms": round(1000 * mask_update, 2),
            "quantile_iteration_ms": round(1000 * quantile, 2),
            "quantile_over_iteration": round(quantile / iteration, 1),
        }
    click.echo(json.dumps({"benchmark": "growth", "ratio": ratio, "sizes": sizes, **describe("cpu")}))


if __name__ == "__main__":
    main()
