"""What a sparse phase saves with whole channels: ``python tests/benchmarks/narrow_speed.py``.

Measures dense and narrow side by side, in turn, in one process: the generator's forward pass, its forward and backward pass;
with ``--target=both`` the same of the discriminator, and with ``--iterations`` whole iterations of the real training loop, from
the sparse and the dense phases of one run each. Prints one JSON line; ``limit`` is what the multiply-accumulate counts allow.
``--host`` takes a checkout, for its CUDA operations. The defaults give every resolution ``--channels`` channels; those of
StyleGAN2 at 1024x1024 are ``--channels=512 --cbase=32768``, and that of paper256 ``--channels=512 --cbase=16384``.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import click
import torch
from hook_overhead import train, write_noise

from regan_ext.hosts import embedded
from regan_ext.hosts.compat import fixes as compat
from regan_ext.support.machine import describe
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.cost import describe_cost, sparse_cost
from training_hooks.methods.regan.plan import plan_channels
from training_hooks.sparsity.channels import choose_channels
from training_hooks.sparsity.narrowing import NarrowNetwork
from training_hooks.sparsity.selection import parameter_shapes


def load_networks(host: str, resolution: int, channels: int, base: int, fp16: int, device: str) -> Dict[str, Any]:
    """The host's own "G" and "D", in training mode; a layer has ``base`` over its resolution channels, at most ``channels``."""
    sys.path.insert(0, str(embedded.obtain()) if host == "embedded" else host)
    compat.prepare_imports()
    importlib.import_module("dnnlib")
    networks = importlib.import_module("training.networks")
    compat.apply(sys.modules)
    torch.manual_seed(0)
    width = {"channel_base": base, "channel_max": channels, "num_fp16_res": fp16, "conv_clamp": 256}
    image = dict(c_dim=0, img_resolution=resolution, img_channels=3)
    G = networks.Generator(z_dim=512, w_dim=512, **image, synthesis_kwargs=width)
    return {"G": G.train().to(device), "D": networks.Discriminator(**image, **width).train().to(device)}


def load_generator(host: str, resolution: int, channels: int, base: int, fp16: int, device: str) -> Any:
    """The generator alone."""
    return load_networks(host, resolution, channels, base, fp16, device)["G"]


def seconds(call: Callable[[], Any], device: str) -> float:
    """Of one call."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def narrow(kind: str, network: Any, config: ReconfigurationConfig) -> NarrowNetwork:
    """The network with the channels that a sparse phase would keep."""
    plan = plan_channels(config, kind, parameter_shapes(network))
    small = NarrowNetwork(network, plan.layout)
    small.keep(choose_channels(dict(network.named_parameters()), plan.layout, plan.kept))
    return small


def passes(kind: str, network: Any, config: ReconfigurationConfig, batch: int, repeats: int, device: str) -> Dict[str, Any]:
    """Median seconds of a forward, and of a forward and backward pass, dense and narrow in turn."""
    small = narrow(kind, network, config)
    if kind == "G":
        given = (torch.randn(batch, network.num_ws, network.w_dim, device=device),)
    else:
        side = network.img_resolution
        given = (torch.randn(batch, network.img_channels, side, side, device=device), None)  # type: ignore[assignment]

    def forward(computing: Any) -> None:
        with torch.no_grad():
            computing(*given)

    def both(computing: Any) -> None:
        computing(*given).square().mean().backward()

    found: Dict[str, Any] = {"limit": round(1 / sparse_cost(config, {kind: parameter_shapes(network)}), 3)}
    for name, call in (("forward", forward), ("forward_backward", both)):
        times: Dict[str, List[float]] = {"dense": [], "narrow": []}
        for repeat in range(repeats + 1):
            for width, computing in (("dense", small.whole), ("narrow", small)):
                elapsed = seconds(lambda c=call, n=computing: c(n), device)  # type: ignore[misc]
                if repeat > 0:  # the first of each warms up
                    times[width].append(elapsed)
        whole, part = statistics.median(times["dense"]), statistics.median(times["narrow"])
        found[name] = {"dense_s": round(whole, 4), "narrow_s": round(part, 4), "speedup": round(whole / part, 3)}
    return found


def iterations(
    options: List[str], config: ReconfigurationConfig, phase: int, host: str, resolution: int, batch: int
) -> Dict[str, Any]:
    """Mean seconds of whole iterations, regularisation included, in the sparse and in the dense phase of one run."""
    kimg = -(-(2 * phase + 1) * batch // 1000)
    regan = [f"--regan-ratio={config.ratio:g}", f"--regan-interval={phase}", "--regan-granularity=channel",
             f"--regan-target={config.target}"]  # fmt: skip
    common = [f"--batch={batch}", f"--kimg={kimg}", "--tick=1000",
              "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug", "--pairs=none", "--states=false"]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "noise.zip"
        write_noise(data, 64, resolution)
        last = train(Path(temporary) / "runs", data, [*common, *regan, *options], host)
    dense, sparse = last["ReGAN/sec_dense"], last["ReGAN/sec_sparse"]
    return {"dense_s": round(dense, 4), "sparse_s": round(sparse, 4), "speedup": round(dense / sparse, 3),
            "hook_ms": round(last["ReGAN/hook_ms"], 3)}  # fmt: skip


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=256, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--ratios", default="0.1,0.3,0.5", show_default=True)
@click.option("--target", type=click.Choice(["G", "both"]), default="G", show_default=True, help="What becomes narrow.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--fp16", default=0, show_default=True, help="Number of resolutions in half precision.")
@click.option("--iterations", "phase", default=0, show_default=True, help="Iterations of each phase; 0 = passes only.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", default="embedded", help="Folder of a checkout.  [default: the embedded host]")
@click.option("--cbase", type=int, help="Channels times resolution of a layer.  [default: no limit but --channels]")
def main(
    resolution: int,
    channels: int,
    batch: int,
    ratios: str,
    target: str,
    repeats: int,
    fp16: int,
    phase: int,
    device: str,
    host: str,
    cbase: Optional[int],
) -> None:
    """Print the speed of dense and narrow networks as one JSON line."""
    base = cbase or channels * resolution
    networks = load_networks(host, resolution, channels, base, fp16, device)
    results = {}
    for ratio in map(float, ratios.split(",")):
        config = ReconfigurationConfig(ratio=ratio, granularity="channel", target=target)
        found = results[f"{ratio:g}"] = passes("G", networks["G"], config, batch, repeats, device)
        if target == "both":
            found["D"] = passes("D", networks["D"], config, batch, repeats, device)
        if phase:
            options = [f"--device={device}", f"--fp32={fp16 == 0}", f"--cbase={base}", f"--cmax={channels}"]
            found["iteration"] = iterations(options, config, phase, host, resolution, batch)
            shapes = (parameter_shapes(networks[kind]) for kind in "GD")
            theory = describe_cost(config, *shapes, batch, 10**6)
            sparse, dense = (theory["run_pflops"], theory["dense_run_pflops"])  # half of a long run is sparse
            found["iteration"]["limit"] = round(1 / (2 * sparse / dense - 1), 3)
    sizes = {
        "resolution": resolution,
        "channels": channels,
        "cbase": base,
        "batch": batch,
        "fp16": fp16,
        "phase": phase,
        "target": target,
    }
    told = {"host": "embedded" if host == "embedded" else "checkout", "ratios": results, **describe(device)}
    result = {"benchmark": "narrow_speed", **sizes, **told}
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
