"""Prove a method on a trainer of somebody else's package: ``python tests/foreign/prove.py PACKAGE [--steps=100]``.

Needs the package, torchvision and scikit-learn, and no GPU. Prints one JSON line, such as those of
``docs/results/foreign-loops.jsonl``: whether the checkpoints that the trainer writes have exact masks, whether a run that is
stopped goes on bit for bit, and whether a loop without methods changes nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy
import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from trainers import TRAINERS, Trainer  # noqa: E402

from regan_ext.support.machine import describe  # noqa: E402
from training_hooks import Loop, Reconfiguration  # noqa: E402

RATIO = 0.3


def seed(number: int) -> None:
    """What the trainers draw with."""
    random.seed(number)
    numpy.random.seed(number)
    torch.manual_seed(number)


def begun(name: str, folder: Path, steps: int, methods: Optional[str], state: Any = None, done: int = 0) -> Any:
    """A trainer and the loop that follows it; without methods, or (None) without a loop."""
    seed(0)
    trainer: Trainer = TRAINERS[name](folder)
    if methods is None:
        return trainer, None
    hook = Reconfiguration(ratio=RATIO, interval=steps, warmup=steps, exclude=trainer.exclude or None)
    loop = Loop(trainer.networks, trainer.optimizers, [hook] if methods else [], scheduled=trainer.scheduled, batch_size=8)
    if state is not None:
        seed(77)
        loop.load_state_dict(state)
        trainer.go_on(done)
    loop.follow()
    return trainer, loop


def zeros_in(trainer: Trainer, checkpoint: Path, names: List[str]) -> Dict[str, Any]:
    """How many zeros the trainer's own file has among the tensors that are pruned, and whether each has exactly its share."""
    saved = trainer.saved(checkpoint)
    found = [int((saved[name] == 0).sum()) for name in names]
    wanted = [int(RATIO * saved[name].numel()) for name in names]
    told = {"zeros": sum(found), "of": sum(saved[name].numel() for name in names), "exact": found == wanted}
    if f"ema.{names[0]}" in saved:
        told["average_exact"] = all(torch.equal(saved[name] == 0, saved[f"ema.{name}"] == 0) for name in names)
    return told


def prove(name: str, steps: int, folder: Path) -> Dict[str, Any]:
    started = time.perf_counter()
    trainer, loop = begun(name, folder / "whole", steps, "regan")
    trainer.train(steps)
    names = loop.state_dict()["methods"]["regan"]["networks"]["G"]["names"]
    told: Dict[str, Any] = {"tensors": len(names)}
    told["dense"] = zeros_in(trainer, trainer.save(), names)
    trainer.train(steps // 2)
    state = folder / "state.pt"
    torch.save(loop.state_dict(), state)
    told["sparse"] = zeros_in(trainer, trainer.save(), names)
    trainer.train(steps // 2)
    trainer.train(steps // 2)
    told["regrown"] = zeros_in(trainer, trainer.save(), names)
    whole = trainer.saved(trainer.save())

    again, _ = begun(name, folder / "again", steps, "regan", torch.load(state, weights_only=True), steps + steps // 2)
    again.train(steps // 2)
    told["resumed_sparse"] = zeros_in(again, again.save(), names)
    again.train(steps // 2)
    resumed = again.saved(again.save())
    told["resume"] = all(torch.equal(whole[each], resumed[each]) for each in whole)

    plain, _ = begun(name, folder / "plain", steps, None)
    off, _ = begun(name, folder / "off", steps, "")
    for each in (plain, off):
        seed(1)
        each.train(steps // 4)
    a, b = plain.saved(plain.save()), off.saved(off.save())
    told["off"] = all(torch.equal(a[each], b[each]) for each in a)
    return {**told, "seconds": round(time.perf_counter() - started)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=sorted(TRAINERS))
    parser.add_argument("--steps", type=int, default=100, help="of the warm-up and of each phase")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with tempfile.TemporaryDirectory() as folder:
        told = prove(given.package, given.steps, Path(folder))
    version = importlib.metadata.version(given.package)
    ran = f"python tests/foreign/prove.py {given.package} --steps={given.steps}"
    network = TRAINERS[given.package].__doc__.split("\n")[0] if TRAINERS[given.package].__doc__ else ""
    head = {"check": "foreign-loops", "package": given.package, "version": version, "network": network, "steps": given.steps}
    print(json.dumps({**head, **told, "command": ran, **describe("cpu")}))


if __name__ == "__main__":
    main()
