"""Damage run folders at random and run the commands that read them: how each ends, and whether any does not.

python tests/robustness/damaged_run_folders.py --count=500 --seed=0 prints one JSON line. Each folder has a seed of its own, so
that --count=1 --seed=N repeats number N. Drawing takes most of a report's time, so one report in five has its charts drawn.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Dict, List
from unittest.mock import patch

from common import describe
from support.damage import COMMANDS, build, damage, outcome

from regan_ext.report import drawing as chart_drawing

_DRAWN = 5


def _described(chart: Any, bars: Any) -> str:
    return chart.describe()


def attack(count: int, seed: int) -> Dict[str, Any]:
    """Damage ``count`` folders; outcomes by command, and what went wrong in full."""
    outcomes: Dict[str, Counter[str]] = {command: Counter() for command in COMMANDS}
    damages: Counter[str] = Counter()
    failures: List[Dict[str, Any]] = []
    longest = 0.0
    for number in range(seed, seed + count):
        chance = random.Random(number)
        with tempfile.TemporaryDirectory() as folder:
            run = build(Path(folder))
            done = [damage(run, chance) for _ in range(chance.randint(1, 4))]
            damages.update(how.split(": ")[1] for how in done)
            for command, counted in outcomes.items():
                begin = time.process_time()
                with nullcontext() if number % _DRAWN == 0 else patch.object(chart_drawing, "draw_svg", _described):
                    how = outcome(command, run)
                longest = max(longest, time.process_time() - begin)
                counted[how if how in ("done", "refused") else how.split(":")[0]] += 1
                if how not in ("done", "refused"):
                    failures.append({"seed": number, "command": command, "damages": done, "outcome": how})
    return {
        "check": "damaged_run_folders", "folders": count, "seed": seed,
        "charts_drawn": len(range(-seed % _DRAWN, count, _DRAWN)), "damages": dict(damages),
        "outcomes": {command: dict(counted) for command, counted in outcomes.items()},
        "longest_cpu_seconds": round(longest, 1), "failures": failures,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # such as of characters that the charts' font lacks
    result = attack(given.count, given.seed)
    print(json.dumps({**result, "command": f"python {' '.join(sys.argv)}", "machine": describe("cpu")["machine"]}))
    sys.exit(bool(result["failures"]))
