"""What a sparse phase saves with whole channels: ``python tests/benchmarks/narrow_speed.py``.

Measures dense and narrow side by side, in turn, in one process: the generator's forward pass, its forward and backward pass;
and with ``--iterations`` whole iterations of the real training loop, from the sparse and the dense phases of one run each.
Prints one JSON line; ``limit`` is what the multiply-accumulate counts allow. ``--host`` takes a checkout, for its CUDA
operations. The defaults give every resolution ``--channels`` channels; StyleGAN2's own network at 1024x1024 is ``--channels=512
--cbase=32768``, and that of paper256 ``--channels=512 --cbase=16384``.
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
from training_hooks.methods.regan.plan import plan_channels, sparse_cost
from training_hooks.sparsity.channels import choose_channels
from training_hooks.sparsity.narrowing import NarrowNetwork
from training_hooks.sparsity.selection import parameter_shapes


def load_generator(host: Optional[str], resolution: int, channels: int, base: int, fp16: int, device: str) -> Any:
    """The host's own generator, in training mode; a layer has ``base`` over its resolution channels, at most ``channels``."""
    sys.path.insert(0, host or str(embedded.obtain()))
    compat.prepare_imports()
    importlib.import_module("dnnlib")
    networks = importlib.import_module("training.networks")
    compat.apply(sys.modules)
    torch.manual_seed(0)
    synthesis = {"channel_base": base, "channel_max": channels, "num_fp16_res": fp16, "conv_clamp": 256}
    size = dict(z_dim=512, c_dim=0, w_dim=512, img_resolution=resolution, img_channels=3)
    return networks.Generator(**size, synthesis_kwargs=synthesis).train().to(device)


def seconds(call: Callable[[], Any], device: str) -> float:
    """Of one call."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def passes(generator: Any, config: ReconfigurationConfig, batch: int, repeats: int, device: str) -> Dict[str, Any]:
    """Median seconds of a forward, and of a forward and backward pass, dense and narrow in turn."""
    plan = plan_channels(config, parameter_shapes(generator))
    narrow = NarrowNetwork(generator, plan.layout)
    narrow.keep(choose_channels(dict(generator.named_parameters()), plan.layout, plan.kept))
    ws = torch.randn(batch, generator.num_ws, generator.w_dim, device=device)

    def forward(synthesis: Any) -> None:
        with torch.no_grad():
            synthesis(ws)

    def both(synthesis: Any) -> None:
        synthesis(ws).square().mean().backward()

    found: Dict[str, Any] = {"limit": round(1 / sparse_cost(config, "G", parameter_shapes(generator)), 3)}
    for name, call in (("forward", forward), ("forward_backward", both)):
        times: Dict[str, List[float]] = {"dense": [], "narrow": []}
        for repeat in range(repeats + 1):
            for kind, synthesis in (("dense", generator.synthesis), ("narrow", narrow)):
                elapsed = seconds(lambda c=call, s=synthesis: c(s), device)  # type: ignore[misc]
                if repeat > 0:  # the first of each warms up
                    times[kind].append(elapsed)
        dense, small = statistics.median(times["dense"]), statistics.median(times["narrow"])
        found[name] = {"dense_s": round(dense, 4), "narrow_s": round(small, 4), "speedup": round(dense / small, 3)}
    return found


def iterations(
    options: List[str], ratio: float, phase: int, host: Optional[str], resolution: int, batch: int
) -> Dict[str, Any]:
    """Mean seconds of whole iterations, regularisation included, in the sparse and in the dense phase of one run."""
    kimg = -(-(2 * phase + 1) * batch // 1000)
    regan = [f"--regan-ratio={ratio:g}", f"--regan-interval={phase}", "--regan-granularity=channel"]
    common = [f"--batch={batch}", f"--kimg={kimg}", "--tick=1000",
              "--snap=1000", "--metrics=none", "--workers=1", "--aug=noaug", "--pairs=none", "--states=false"]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "noise.zip"
        write_noise(data, 64, resolution)
        last = train(Path(temporary) / "runs", data, [*common, *regan, *options], host or "embedded")
    dense, sparse = last["ReGAN/sec_dense"], last["ReGAN/sec_sparse"]
    return {"dense_s": round(dense, 4), "sparse_s": round(sparse, 4), "speedup": round(dense / sparse, 3),
            "hook_ms": round(last["ReGAN/hook_ms"], 3)}  # fmt: skip


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--channels", default=256, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--ratios", default="0.1,0.3,0.5", show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--fp16", default=0, show_default=True, help="Number of resolutions in half precision.")
@click.option("--iterations", "phase", default=0, show_default=True, help="Iterations of each phase; 0 = passes only.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--host", help="Folder of a checkout.  [default: the embedded host]")
@click.option("--cbase", type=int, help="Channels times resolution of a layer.  [default: no limit but --channels]")
def main(
    resolution: int,
    channels: int,
    batch: int,
    ratios: str,
    repeats: int,
    fp16: int,
    phase: int,
    device: str,
    host: Optional[str],
    cbase: Optional[int],
) -> None:
    """Print the speed of dense and narrow generators as one JSON line."""
    base = cbase or channels * resolution
    generator = load_generator(host, resolution, channels, base, fp16, device)
    results = {}
    for ratio in map(float, ratios.split(",")):
        config = ReconfigurationConfig(ratio=ratio, granularity="channel")
        results[f"{ratio:g}"] = passes(generator, config, batch, repeats, device)
        if phase:
            options = [f"--device={device}", f"--fp32={fp16 == 0}", f"--cbase={base}", f"--cmax={channels}"]
            results[f"{ratio:g}"]["iteration"] = iterations(options, ratio, phase, host, resolution, batch)
    sizes = {"resolution": resolution, "channels": channels, "cbase": base, "batch": batch, "fp16": fp16, "phase": phase}
    told = {"host": "checkout" if host else "embedded", "ratios": results, **describe(device)}
    result = {"benchmark": "narrow_speed", **sizes, **told}
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
