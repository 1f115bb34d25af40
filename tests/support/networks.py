"""What snapshots and states hold, and how two of them differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List

import torch

from training_hooks.nvidia import state as states

from .runs import Run

__all__ = [
    "assert_equal", "assert_same", "comparable_state", "differing", "host_module", "load_networks", "selected",
    "write_networks",
]  # fmt: skip


def host_module(host: Path, name: str) -> Any:
    """A module of a host, in this process."""
    import importlib

    if str(host) not in sys.path:
        sys.path.insert(0, str(host))
    importlib.import_module("dnnlib")  # the embedded host's modules import each other in a circle; this is the way in
    return importlib.import_module(name)


def load_networks(snapshot: Path, host: Path) -> Dict[str, Any]:
    """A snapshot's content, in this process."""
    import pickle

    host_module(host, "dnnlib")
    with open(snapshot, "rb") as file:
        return pickle.load(file)


def write_networks(path: Path, host: Path, classes: int = 0) -> Path:
    """A pickle of networks like those of ``runs.SMALL`` on the small digits, as they are drawn at random."""
    import copy
    import pickle

    networks = host_module(host, "training.networks")
    torch.manual_seed(0)
    size, image = dict(channel_base=256, channel_max=16), dict(c_dim=classes, img_resolution=16, img_channels=1)
    G = networks.Generator(z_dim=512, w_dim=512, mapping_kwargs=dict(num_layers=2), synthesis_kwargs=size, **image)
    D = networks.Discriminator(**size, **image)
    path.write_bytes(pickle.dumps({"G": G, "D": D, "G_ema": copy.deepcopy(G).eval()}))
    return path


def selected(network: torch.nn.Module) -> Dict[str, torch.Tensor]:
    return {n: p for n, p in network.named_parameters() if p.ndim >= 2 and "torgb" not in n}


def differing(a: Dict[str, Any], b: Dict[str, Any]) -> List[str]:
    return [
        f"{kind}.{name}"
        for kind in ("G", "D", "G_ema")
        for (name, p), q in zip(a[kind].named_parameters(), b[kind].parameters())
        if not torch.equal(p, q)
    ]


def assert_same(a: Run, b: Run, kimg: int, host: Path) -> None:
    """Parameters and buffers but w_avg's twin runs, optimizers, masks, augmentation, counters and random states agree."""
    first, second = load_networks(a.snapshot(kimg), host), load_networks(b.snapshot(kimg), host)
    assert differing(first, second) == []
    pipes = [networks["augment_pipe"] for networks in (first, second)]
    assert pipes == [None, None] or (torch.equal(pipes[0].p, pipes[1].p) and float(pipes[0].p) > 0)
    assert_equal(comparable_state(a.snapshot(kimg)), comparable_state(b.snapshot(kimg)), "state")


def comparable_state(snapshot: Path) -> Dict[str, Any]:
    """The state beside a snapshot, without what differs between two runs of one kind."""
    state = states.load(states.state_path(snapshot))
    state.pop("options"), state.pop("snapshot")
    for rank in state["ranks"]:
        rank.pop("averages")  # the host feeds uninitialised memory into w_avg when it prints its summary
    return state


def assert_equal(a: Any, b: Any, where: str) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b)):
            assert_equal(x, y, f"{where}[{index}]")
    else:
        assert a == b, where
