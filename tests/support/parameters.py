"""The parameters of a snapshot's networks, opened in a process of its own: ``python parameters.py HOST SNAPSHOT OUT``.

Hosts call different modules by the same names, so that one process can open the snapshots of one host only.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import Dict

import torch

__all__ = ["parameters"]


@functools.cache
def parameters(snapshot: Path, host: Path) -> Dict[str, torch.Tensor]:
    """Such as "G.mapping.fc0.weight" → parameter, of G, D and G_ema."""
    from .processes import run_python

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "parameters.pt")
        result = run_python([__file__, str(host), str(snapshot), str(out)])
        assert result.returncode == 0, result.stdout
        found: Dict[str, torch.Tensor] = torch.load(out, weights_only=True)
    return found


def main(host: str, snapshot: str, out: str) -> None:
    import regan_ext  # noqa: F401  # makes way for what today's packages took from the hosts
    from support.networks import load_networks

    networks = load_networks(Path(snapshot), Path(host))
    named = {f"{kind}.{name}": p for kind in ("G", "D", "G_ema") for name, p in networks[kind].named_parameters()}
    torch.save({name: p.detach() for name, p in named.items()}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
