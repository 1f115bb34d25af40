"""Is an iteration of blocks, and of data parallelism, as long as the cost model says?

``python tests/benchmarks/blocks_link.py``, a minute and a half. Four processes with the classes themselves and real messages.
Their computing and their link are slept, so that a busy machine changes little: whoever receives waits for as long as a link of
that speed would take, and so does a ring of all-reduce. What is held against the model is who waits for whom, and how much
crosses. Prints a JSON line a speed of the link: seconds of an iteration, counted and measured.
"""

from __future__ import annotations

import json
import socket
import statistics
import time
from typing import Any, Callable, Dict, List

import torch
import torch.distributed as dist
from torch import nn

from regan_ext.support.machine import describe
from training_hooks import DiscriminatorBlock, GeneratorBlock
from training_hooks.core.ranks import average_gradients
from training_hooks.methods.blocks.cost import Work, blocks, ring_all_reduce

PROCESSES, PAIR, SIDE, ITERATIONS = 4, 16, 32, 6
SPEEDS = (1e6, 4e6, 1e8)  # bytes a second
SECONDS = {"g_seconds": 0.01, "d_seconds": 0.015, "answer_seconds": 0.0075}  # an image


def networks() -> "tuple[nn.Module, nn.Module]":
    """A generator of 1.6 MB and a discriminator of 1.2 MB."""
    G = nn.Sequential(nn.Linear(128, 3 * SIDE**2), nn.Unflatten(1, (3, SIDE, SIDE)))
    return G, nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 100), nn.Linear(100, 1))


def size(network: nn.Module) -> int:
    return 4 * sum(p.numel() for p in network.parameters())


def work(speed: float) -> Work:
    G, D = networks()
    return Work(PROCESSES, PAIR * PROCESSES // 2, 3 * SIDE**2 * 4, size(G), size(D), **SECONDS, speed=speed)


def slow_down(speed: float) -> None:
    """Make the link slow, from here on."""
    receive, reduce = dist.recv, dist.all_reduce

    def slow_receive(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        got = receive(tensor, *args, **kwargs)
        time.sleep(tensor.numel() * tensor.element_size() / speed)
        return got

    def slow_reduce(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        n = dist.get_world_size(kwargs.get("group"))
        done = reduce(tensor, *args, **kwargs)
        time.sleep(2 * (n - 1) / n * tensor.numel() * tensor.element_size() / speed)
        return done

    dist.recv, dist.all_reduce = slow_receive, slow_reduce


def iteration_of_blocks(rank: int) -> Callable[[], None]:
    G, D = networks()
    if rank < PROCESSES // 2:
        d_block = DiscriminatorBlock(D, torch.optim.SGD(D.parameters(), 1e-3))

        def iterate() -> None:
            fakes = d_block.receive()
            time.sleep(PAIR * SECONDS["answer_seconds"])
            d_block.answer(D(fakes).mean())
            time.sleep(PAIR * SECONDS["d_seconds"])
            d_block.step(D(fakes.detach()).mean())
    else:
        g_block = GeneratorBlock(G, torch.optim.SGD(G.parameters(), 1e-3))

        def iterate() -> None:
            fakes = G(torch.randn(PAIR, 128))
            time.sleep(PAIR * SECONDS["g_seconds"])
            g_block.step(fakes)

    return iterate


def iteration_of_data_parallelism(rank: int) -> Callable[[], None]:
    params = [p for network in networks() for p in network.parameters()]

    def iterate() -> None:
        time.sleep(PAIR / 2 * sum(SECONDS.values()))
        for p in params:
            p.grad = torch.ones_like(p)
        average_gradients(params, PROCESSES)

    return iterate


def run_rank(rank: int, port: int, speed: float, results: Any) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=PROCESSES)
    ways = {"blocks": iteration_of_blocks(rank), "ring_all_reduce": iteration_of_data_parallelism(rank)}
    slow_down(speed)
    found = {}
    for name, iterate in ways.items():
        times: List[float] = []
        for _ in range(ITERATIONS):
            begin = time.perf_counter()
            iterate()
            times.append(time.perf_counter() - begin)
        found[name] = statistics.median(times[1:])
        dist.barrier()
    if rank == 0:
        results.put(found)
    dist.destroy_process_group()


def measured(speed: float) -> Dict[str, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    torch.multiprocessing.start_processes(run_rank, (port, speed, results), nprocs=PROCESSES, start_method="fork")
    return dict(results.get())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for speed in SPEEDS:
        counted = {"blocks": blocks(work(speed)).seconds, "ring_all_reduce": ring_all_reduce(work(speed)).seconds}
        values = {"bytes_a_second": speed, "counted": counted, "measured": measured(speed)}
        print(json.dumps({"benchmark": "blocks_link", **values, **describe("cpu")}), flush=True)
