"""The random states of a process: those that training, its metrics and its data draw from."""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import Any, Dict, Iterator, Mapping

import torch

__all__ = ["generator_of", "kept_random_states", "random_states", "set_random_states"]


def random_states(device: torch.device) -> Dict[str, Any]:
    """Those of PyTorch, NumPy, Python and, where ``device`` is one, of the GPU: tensors and plain values."""
    import numpy

    kind, keys, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
    states: Dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(numpy.asarray(keys).astype("int64")), int(position), int(has_gauss), float(gauss)],
        "python": random.getstate(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Inverse of ``random_states``."""
    import numpy

    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    numpy.random.set_state((kind, keys.numpy().astype("uint32"), position, has_gauss, gauss))
    version, internal, following = states["python"]
    random.setstate((version, tuple(internal), following))
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextlib.contextmanager
def kept_random_states(device: torch.device) -> Iterator[None]:
    """Leave the random states as they were before the block."""
    states = random_states(device)
    try:
        yield
    finally:
        set_random_states(states, device)


def generator_of(*key: object) -> torch.Generator:
    """A generator on the CPU for one draw, named by numbers and texts: the same for every rank and after a restart, and without
    a trace in the random states of the process."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
