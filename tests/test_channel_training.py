"""Whole channels in the real training loop, on one process and on two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from support.networks import assert_same, load_networks
from support.processes import free_port, spawn
from support.runs import Run

from training_hooks.core.engine import Engine
from training_hooks.core.hook import Training
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.sparsity.channels import Layout, dead_channels
from training_hooks.sparsity.selection import parameter_shapes

CHANNELS = ["--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=1", "--regan-ratio=0.3"]

# 63 iterations of 32 images: warm-up 0-22, sparse 23-37, dense 38-52, sparse 53-62. A tick ends with iteration 32.
OPTIONS = [*CHANNELS, "--regan-target=both", "--regan-interval=15", "--regan-warmup=23", "--regan-moments=restore",
           "--regan-mapping=weight", "--batch=32", "--kimg=2"]  # fmt: skip


@pytest.fixture(scope="module")
def channel_run(train: Any) -> Run:
    return train(*OPTIONS)


def dead(snapshot: Path, host: Path, which: str = "G_ema") -> List[int]:
    """How many channels of each feature map nothing reads."""
    network = load_networks(snapshot, host)[which]
    layout = Layout.of(parameter_shapes(network))
    return [int(flags.sum()) for flags in dead_channels(dict(network.named_parameters()), layout)]


def test_growing_preserves_the_function_in_the_real_loop(channel_run: Run) -> None:
    grown = {r["iteration"]: r["grown"] for r in channel_run.records if "grown" in r}
    assert list(grown) == [38]
    assert all(difference <= 1e-5 for difference in grown.values())


def test_nothing_reads_pruned_channels_of_a_sparse_phase(channel_run: Run, host_dir: Path) -> None:
    sparse = [r["G"] for r in channel_run.records if r["event"] == "on_iteration" and r["G"]["sparse"]]
    assert len(sparse) == 15 + 10 and all(values["leaks"] == 0 and values["ema_leaks"] == 0 for values in sparse)
    assert not [r for r in channel_run.records if r["event"] == "after_step" and r.get("leaks")]
    pruned = [4, 4, 4, 4, 4, 4]  # floor(0.3 · 16) in b4.const, b4.conv1, ..., b16.conv1
    for which in ("G", "G_ema", "D"):
        of_this = [4, 4, 4, 4, 4, 4] if which == "D" else pruned
        assert dead(channel_run.snapshot(2), host_dir, which) == of_this
        assert dead(channel_run.snapshot(1), host_dir, which) == of_this


def test_statistics_speak_of_channels(channel_run: Run) -> None:
    last = {name: value["mean"] for name, value in channel_run.stats[-1].items() if isinstance(value, dict)}
    plan = channel_run.plan
    assert 0.24 < last["ReGAN/sparsity"] < 0.31
    assert {"ReGAN/sec_sparse", "ReGAN/sec_dense"} <= set(last)
    assert last["ReGAN/flops_ratio"] < 1 - 0.3 * 25 / 63 and plan["selected_tensors"] > 8


def test_resumed_inside_a_sparse_phase_equals_uninterrupted(train: Any, channel_run: Run, host_dir: Path) -> None:
    again = train(*OPTIONS, f"--resume={channel_run.snapshot(1)}")
    assert_same(channel_run, again, 2, host_dir)


def test_two_ranks_of_the_real_loop_stay_equal(train: Any, host_dir: Path) -> None:
    """The host compares all parameters and buffers of its ranks before every snapshot, bit for bit."""
    run = train(*CHANNELS, "--regan-target=both", "--regan-interval=4", "--batch=32", "--gpus=2", "--kimg=1", mode="off")
    assert dead(run.snapshot(0), host_dir) == [4, 4, 4, 4, 4, 4]
    assert run.snapshot(1).is_file()


# ---------------------------------------------------------------- ranks against one process


def begin_rank(rank: int, num_ranks: int, port: int, host: str) -> None:
    """Make this process a rank that can import the host."""
    sys.path.insert(0, host)
    __import__("dnnlib")
    torch.set_num_threads(1)
    if num_ranks > 1:
        init = f"tcp://127.0.0.1:{port}"
        torch.distributed.init_process_group("gloo", init_method=init, rank=rank, world_size=num_ranks)


def train_ranks(rank: int, num_ranks: int, port: int, host: str, out: str) -> None:
    """20 iterations on this rank's share of a common batch, with the host's networks and loss in the host's wrappers."""
    begin_rank(rank, num_ranks, port, host)
    from training.loss import StyleGAN2Loss  # type: ignore[import-not-found]
    from training.networks import Discriminator, Generator  # type: ignore[import-not-found]

    torch.manual_seed(0)
    # Noise is drawn by each rank for itself, and the deviation within a batch is that of a rank's share: neither is here.
    image = dict(c_dim=2, img_resolution=8, img_channels=1)
    synthesis = {"channel_base": 128, "channel_max": 12, "use_noise": False}
    G = Generator(z_dim=8, w_dim=8, **image, synthesis_kwargs=synthesis)
    D = Discriminator(**image, channel_base=96, channel_max=12, epilogue_kwargs={"mbstd_num_channels": 0})
    modules: Dict[str, Any] = {"G_mapping": G.mapping, "G_synthesis": G.synthesis, "D": D}
    if num_ranks > 1:
        for name in modules:
            modules[name] = torch.nn.parallel.DistributedDataParallel(modules[name], broadcast_buffers=False)
    loss = StyleGAN2Loss(device=torch.device("cpu"), **modules, style_mixing_prob=0)
    hook = Reconfiguration(
        ratio=0.4, interval=6, warmup=3, target="both", granularity="channel", channel_multiple=1, channel_min=1
    )
    networks = {"G": G, "D": D}
    optimizers = {name: torch.optim.Adam(network.parameters(), 0.01, (0.0, 0.99)) for name, network in networks.items()}
    training = Training(networks, {}, batch_size=4, total_iterations=250, rank=rank, num_ranks=num_ranks, loss=loss)
    engine = Engine([hook], training, lambda name, value: None)
    for name, optimizer in optimizers.items():
        engine.add_optimizer(name, optimizer, 0.01)
    share = 4 // num_ranks
    for iteration in range(20):
        drawn = torch.Generator().manual_seed(iteration)
        batch = torch.randn(4, 8, generator=drawn), torch.eye(2)[[0, 1, 1, 0]], torch.randn(4, 1, 8, 8, generator=drawn)
        z, c, real = (each[rank * share : (rank + 1) * share] for each in batch)
        for phase in ("Gmain", "Dmain", "Dreg") if iteration % 4 == 0 else ("Gmain", "Dmain"):
            for name, network in networks.items():
                network.requires_grad_(name == phase[0])
            optimizers[phase[0]].zero_grad(set_to_none=True)
            engine.enter_phase(phase)
            loss.accumulate_gradients(phase, real, c, z, c, sync=True, gain=1)
            optimizers[phase[0]].step()
    params = {f"{kind}.{name}": p for kind, network in networks.items() for name, p in network.named_parameters()}
    kept = [index for network in hook._networks.values() for index in network.kept]
    torch.save({"params": params, "kept": kept}, f"{out}/{num_ranks}-{rank}.pt")
    if num_ranks > 1:
        torch.distributed.destroy_process_group()


def test_two_ranks_equal_one_with_the_same_total_batch(host_dir: Path, tmp_path: Path) -> None:
    for num_ranks in (1, 2):
        arguments = (num_ranks, free_port(), str(host_dir), str(tmp_path))
        spawn(train_ranks, arguments, nprocs=num_ranks)
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=False) for name in ("1-0", "2-0", "2-1"))
    for name, p in one["params"].items():
        assert torch.equal(first["params"][name], second["params"][name]), name
        torch.testing.assert_close(first["params"][name], p, rtol=1e-5, atol=1e-5, msg=name)
    assert all(torch.equal(a, b) for a, b in zip(one["kept"], first["kept"]))


def train_own_loop(rank: int, num_ranks: int, port: int, host: str, out: str) -> None:
    """Iterations of a loop of one's own, each rank on latents of its own: warm-up, sparse, dense, sparse."""
    begin_rank(rank, num_ranks, port, host)
    from training.networks import Generator

    torch.manual_seed(0)
    G = Generator(
        z_dim=8, c_dim=0, w_dim=8, img_resolution=8, img_channels=1, synthesis_kwargs={"channel_base": 128, "channel_max": 12}
    )
    config = ReconfigurationConfig(ratio=0.4, interval=3, warmup=2, granularity="channel", channel_multiple=1, channel_min=1)
    optimizer = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.0, 0.99))
    hook = Reconfiguration(G, config).attach(optimizer)
    torch.manual_seed(rank)
    params = []
    for _ in range(10):
        optimizer.zero_grad()
        (hook.synthesis(G.mapping(torch.randn(2, 8), None)) - 0.3).square().mean().backward()
        optimizer.step()
        params.append([p.detach().clone() for p in G.parameters()])
    torch.save(params, f"{out}/{rank}.pt")

    drifting = torch.nn.Linear(8, 8)  # its weights are another's on each rank
    with pytest.raises(RuntimeError, match="ranks chose different masks at iteration 0"):
        Reconfiguration(drifting, ReconfigurationConfig(exclude=())).attach(torch.optim.Adam(drifting.parameters()))
    torch.distributed.destroy_process_group()


def test_two_ranks_of_ones_own_loop_stay_equal(host_dir: Path, tmp_path: Path) -> None:
    spawn(train_own_loop, (2, free_port(), str(host_dir), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for iteration, (ours, theirs) in enumerate(zip(first, second)):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs)), iteration
