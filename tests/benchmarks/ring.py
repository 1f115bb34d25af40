"""Does exchanging discriminators give a generator more modes of a ring of Gaussians than groups without exchange have?

``python tests/benchmarks/ring.py > docs/results/groups-ring.jsonl``, a few minutes on one core. Eight Gaussians, networks with
two hidden layers of 64, 2000 iterations, two sets of six seeds. A line a setting: mean modes of a generator, mean modes of all
generators of a seed together, and of each seed the modes of its generators.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, Optional

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.ring import modes, new_groups, train

SEEDS, ITERATIONS = 6, 2000


def measured(groups: int, interval: Optional[int], start: int) -> Dict[str, Any]:
    """A line of the result."""
    found = modes(train(new_groups(groups, SEEDS, interval, start), ITERATIONS))
    return {
        "groups": groups,
        "interval": interval,
        "set": start,
        "modes": round(sum(sum(each) for each, _ in found) / (groups * SEEDS), 3),
        "union": round(sum(union for _, union in found) / SEEDS, 3),
        "seeds": [each for each, _ in found],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for arguments in ((1, None, 0), *((2, interval, start) for start in (0, 1) for interval in (None, 100, 25))):
        print(json.dumps(measured(*arguments)), flush=True)
