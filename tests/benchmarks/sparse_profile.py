"""Where the time of a sparse iteration with whole channels goes: ``python tests/benchmarks/sparse_profile.py``.

In one process, with the host's own networks and loss, dense and narrow in turn: seconds of the four training phases, and of
an iteration, which has path length in every fourth and R1 in every sixteenth. Beside them what does not become smaller with
the networks, in sparse iterations: taking the kept channels out of the parameters for every call and putting their
gradients back (a part of the phases), the optimizers' passes over whole tensors, the look for numbers that are not finite,
and the average of G. Prints one JSON line; ``share`` is of the narrow iteration. ``--host`` takes a checkout, for its CUDA
operations.
"""

from __future__ import annotations

import copy
import importlib
import json
import statistics
from typing import Any, Callable, Dict, List

import click
import torch
from narrow_speed import load_networks, narrow, seconds

from regan_ext.support.machine import describe
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.sparsity.narrowing import NarrowNetwork

#: Phase of the loop → how often an iteration has it.
PHASES = {"Gmain": 1.0, "Greg": 1 / 4, "Dmain": 1.0, "Dreg": 1 / 16}
#: Network → how often an iteration calls it to train it, and how often without.
CALLS = {"G": (PHASES["Gmain"] + PHASES["Greg"], PHASES["Dmain"]), "D": (2 * PHASES["Dmain"] + PHASES["Dreg"], PHASES["Gmain"])}
#: Network → how often an iteration steps its optimizer.
STEPS = {"G": PHASES["Gmain"] + PHASES["Greg"], "D": PHASES["Dmain"] + PHASES["Dreg"]}


def median(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Seconds of one call, the first of which does not count."""
    return statistics.median([seconds(call, device) for _ in range(repeats + 1)][1:])


def phase_seconds(networks: Dict[str, Any], small: Dict[str, NarrowNetwork], batch: int, repeats: int, device: str) -> Any:
    """ "dense" and "narrow" → phase → median seconds of its losses, forward and backward."""
    G, D = networks["G"], networks["D"]
    loss = importlib.import_module("training.loss").StyleGAN2Loss(torch.device(device), G.mapping, G.synthesis, D, r1_gamma=1)
    side = G.img_resolution
    given = {"real_img": torch.randn(batch, 3, side, side, device=device), "real_c": torch.zeros(batch, 0, device=device),
             "gen_z": torch.randn(batch, G.z_dim, device=device), "gen_c": torch.zeros(batch, 0, device=device)}  # fmt: skip
    widths = {"dense": (G.synthesis, D), "narrow": (small["G"], small["D"])}
    times: Dict[str, Dict[str, List[float]]] = {width: {name: [] for name in PHASES} for width in widths}
    for repeat in range(repeats + 1):
        for width, (loss.G_synthesis, loss.D) in widths.items():
            for name in PHASES:
                module = networks[name[0]].requires_grad_(True)
                elapsed = seconds(lambda p=name: loss.accumulate_gradients(phase=p, sync=True, gain=1, **given), device)  # type: ignore[misc]
                module.requires_grad_(False)
                if repeat > 0:  # the first of each warms up
                    times[width][name].append(elapsed)
    return {width: {name: statistics.median(found) for name, found in each.items()} for width, each in times.items()}


def gather_seconds(small: NarrowNetwork, network: Any, repeats: int, device: str) -> "tuple[float, float]":
    """Of the parts of all parameters for one call, with putting their gradients back, and without."""

    def taken() -> List[torch.Tensor]:
        return [part for part in small.parts().values() if part.requires_grad]

    network.requires_grad_(True)
    ones = [torch.ones_like(part) for part in taken()]
    both = median(lambda: torch.autograd.backward(taken(), ones), repeats, device)
    network.requires_grad_(False)
    return both, median(small.parts, repeats, device)


def rest_seconds(networks: Dict[str, Any], repeats: int, device: str) -> Dict[str, float]:
    """Of what an iteration does with whole tensors, each as often as it does it."""
    found = {"optimizers": 0.0, "finite": 0.0}
    for kind, network in networks.items():
        params = list(network.parameters())
        for p in params:
            p.grad = torch.randn_like(p)
        adam = torch.optim.Adam(params, lr=0.0, betas=(0.0, 0.99))

        def finite(grads: List[Any] = [p.grad for p in params]) -> None:  # noqa: B006
            for grad in grads:
                torch.nan_to_num(grad, nan=0, posinf=1e5, neginf=-1e5, out=grad)

        found["optimizers"] += STEPS[kind] * median(adam.step, repeats, device)
        found["finite"] += STEPS[kind] * median(finite, repeats, device)
    average = copy.deepcopy(networks["G"])

    @torch.no_grad()
    def follow() -> None:
        for mean, p in zip(average.parameters(), networks["G"].parameters()):
            mean.copy_(p.lerp(mean, 0.999))

    return {**found, "average": median(follow, repeats, device)}


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=256, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--ratio", default=0.3, show_default=True)
@click.option("--repeats", default=7, show_default=True)
@click.option("--fp16", default=0, show_default=True, help="Number of resolutions in half precision.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
def main(resolution: int, channels: int, batch: int, ratio: float, repeats: int, fp16: int, device: str, host: str) -> None:
    """Print the parts of a sparse iteration as one JSON line."""
    networks = load_networks(host, resolution, channels, channels * resolution, fp16, device)
    for network in networks.values():
        network.requires_grad_(False)
    config = ReconfigurationConfig(ratio=ratio, granularity="channel", target="both")
    small = {kind: narrow(kind, network, config) for kind, network in networks.items()}
    phases = phase_seconds(networks, small, batch, repeats, device)
    gathers = {kind: gather_seconds(small[kind], networks[kind], repeats, device) for kind in networks}
    rest = rest_seconds(networks, repeats, device)
    rest["gather"] = sum(n * each for kind in networks for n, each in zip(CALLS[kind], gathers[kind]))
    beside = sum(rest[name] for name in ("optimizers", "finite", "average"))
    whole = {width: beside + sum(PHASES[name] * each for name, each in found.items()) for width, found in phases.items()}
    told = {name: round(each, 5) for name, each in rest.items()}
    result = {
        "benchmark": "sparse_profile",
        **{"resolution": resolution, "channels": channels, "batch": batch, "ratio": ratio, "fp16": fp16},
        "host": "embedded" if host == "embedded" else "checkout",
        "phase_s": {width: {name: round(each, 4) for name, each in found.items()} for width, found in phases.items()},
        "iteration_s": {width: round(each, 4) for width, each in whole.items()},
        "rest_s": told,
        "share": {name: round(each / whole["narrow"], 4) for name, each in rest.items()},
        **describe(device),
    }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
