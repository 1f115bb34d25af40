"""What a teacher does to a small generator of digits: ``python tests/benchmarks/teacher_digits.py``.

Perceptrons of 8x8 pixels in a loop of one's own. G and D have 100 of the 1797 digits of scikit-learn; the teacher has been
trained as long with a generator of its own on the 1697 others, which a teacher that goes on training is given too. Prints one
JSON line a run: the Fréchet distance of 2000 images to the 1697 and to the 100, in 32 features of a classifier of all digits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import click
import numpy as np
import torch
from digit_distance import distance
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from regan_ext.support.machine import describe
from training_hooks import Loop, Teacher

BATCH, LOCAL, SAMPLES = 64, 100, 2000
CELLS = (("none", 1.0), *((mode, alpha) for mode in ("fixed", "own", "live") for alpha in (0.7, 0.4, 0.1)))


class Generator(nn.Sequential):
    z_dim = 16

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh())


class Discriminator(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))


def digits() -> Tuple[torch.Tensor, torch.Tensor]:
    """Images [1797, 64] in [-1, 1] and classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 8 - 1, torch.tensor(found.target)


def classifier(images: torch.Tensor, classes: torch.Tensor) -> nn.Module:
    """Gives 32 features of images [number, 64]."""
    torch.manual_seed(0)
    features, head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)), nn.Sequential(nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam([*features.parameters(), *head.parameters()], 1e-3)
    for _ in range(600):
        chosen = torch.randint(len(images), (128,))
        optimizer.zero_grad()
        cross_entropy(head(features(images[chosen])), classes[chosen]).backward()
        optimizer.step()
    return features


def train(images: torch.Tensor, steps: int, seed: int, teacher: Optional[Teacher] = None) -> Tuple[nn.Module, Dict[str, Any]]:
    """The generator of a run, and the state of its loop."""
    torch.manual_seed(seed)
    networks: Dict[str, Any] = {"G": Generator(), "D": Discriminator()}
    optimizers = {name: torch.optim.Adam(each.parameters(), 1e-3, betas=(0.0, 0.99)) for name, each in networks.items()}
    loop = Loop(networks, optimizers, [] if teacher is None else [teacher], batch_size=BATCH, seed=seed)
    for _ in range(steps):
        with loop.iteration():
            batch = loop.round("Gmain", gen_z=torch.randn(BATCH, 16))
            loss = softplus(-loop.run_D(loop.run_G(batch.gen_z))).mean()
            optimizers["G"].zero_grad()
            loss.backward()
            optimizers["G"].step()
            batch = loop.round("Dmain", real_img=images[torch.randint(len(images), (BATCH,))])
            fakes = loop.run_G(torch.randn(BATCH, 16)).detach()
            loss = softplus(loop.run_D(fakes)).mean() + softplus(-loop.run_D(batch.real_img)).mean()
            optimizers["D"].zero_grad()
            loss.backward()
            optimizers["D"].step()
    return networks["G"], loop.state_dict()


def runs(steps: int, seeds: int) -> Iterator[Dict[str, Any]]:
    images, classes = digits()
    features = classifier(images, classes)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    local, others = images[order[:LOCAL]], images[order[LOCAL:]]

    def draw(number: int, generator: torch.Generator) -> Tuple[torch.Tensor, None]:
        return others[torch.randint(len(others), (number,), generator=generator)], None

    @torch.no_grad()
    def of(shown: torch.Tensor) -> np.ndarray:
        return features(shown).double().numpy()

    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            file = Path(folder, f"{seed}.pt")
            torch.save(train(others, steps, 1000 + seed)[1], file)
            for mode, alpha in CELLS:
                given = {"network": str(file), "alpha": str(alpha), "mode": mode}
                teacher = None if mode == "none" else Teacher(**given, reals=None if mode == "fixed" else draw)
                begin = time.monotonic()
                G, _ = train(local, steps, seed, teacher)
                torch.manual_seed(seed)
                with torch.no_grad():
                    made = of(G(torch.randn(SAMPLES, 16)))
                distances = {"to_others": distance(made, of(others)), "to_local": distance(made, of(local))}
                seconds = round(time.monotonic() - begin, 1)
                yield {"teacher": mode, "alpha": alpha, "seed": seed, **distances, "seconds": seconds}


@click.command()
@click.option("--steps", default=1500, show_default=True)
@click.option("--seeds", default=2, show_default=True)
def main(steps: int, seeds: int) -> None:
    """Train all cells with each seed."""
    torch.set_num_threads(1)
    command = " ".join(["python", "tests/benchmarks/teacher_digits.py", *sys.argv[1:]])
    for run in runs(steps, seeds):
        click.echo(json.dumps({"benchmark": "teacher_digits", "steps": steps, **run, "command": command, **describe("cpu")}))


if __name__ == "__main__":
    main()
