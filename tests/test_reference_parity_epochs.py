"""The quirks of a loop of one's own against the wrapper of the published SNGAN, ProGAN and AutoGAN code, bit for bit.

``Reference`` restates in our own words what that code does, and uses nothing of ``training_hooks``:

- warm-up and phases count epochs of D's batches; G steps at every fifth batch, or at each (ProGAN);
- every parameter has a mask: biases, batch norm and the layer that writes the image too;
- at the beginning of each sparse epoch, not only of the first one, what is strictly below the quantile of its tensor's absolute
  values is marked. What is 0 stays lowest, so that only tensors which were all 0 in the epoch before get another mask;
- after G's backward pass and right before its step, marked weights, their gradients and (AutoGAN) their averages become 0;
- the rate is the full one from the first sparse epoch on, and a tenth of it from the first dense one on;
- Adam has beta1 = 0.
"""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
import torch
from torch import nn
from torch.nn.functional import relu
from torch.nn.utils import spectral_norm

from training_hooks import Length, Loop, Reconfiguration

pytestmark = pytest.mark.usefixtures("one_thread")

RATIO, PHASE, EPOCHS, BATCHES = 0.3, 2, 7, 10
QUIRKS = ["quantile", "late", "epochs"]


class Bench:
    """What both loops train: the same networks, by the same losses of the same random numbers."""

    def __init__(self, steps_of_d: int):
        torch.manual_seed(3)
        self.steps_of_d = steps_of_d
        self.G = nn.Sequential(
            nn.Linear(6, 32), nn.Unflatten(1, (8, 2, 2)), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Tanh(),
        )  # fmt: skip
        self.D = nn.Sequential(nn.Flatten(), spectral_norm(nn.Linear(12, 16)), nn.ReLU(), spectral_norm(nn.Linear(16, 1)))
        self.average = [p.detach().clone() for p in self.G.parameters()]
        self.optimizers = {n: torch.optim.Adam(getattr(self, n).parameters(), 0.02, (0.0, 0.9)) for n in ("G", "D")}
        self.rates: List[float] = []  # of G's steps

    def batch(self, number: int, index: int) -> None:
        torch.manual_seed(number)
        self.optimizers["D"].zero_grad()
        fakes = self.G(torch.randn(4, 6)).detach()
        (relu(1 - self.D(torch.rand(4, 3, 2, 2))).mean() + relu(1 + self.D(fakes)).mean()).backward()
        self.optimizers["D"].step()
        if index % self.steps_of_d == 0:
            self.optimizers["G"].zero_grad()
            (-self.D(self.G(torch.randn(4, 6))).mean()).backward()
            self.before_step()
            self.optimizers["G"].step()
            self.rates.append(self.optimizers["G"].param_groups[0]["lr"])
            for average, p in zip(self.average, self.G.parameters()):
                average.mul_(0.9).add_(p.detach(), alpha=0.1)

    def before_step(self) -> None:
        pass

    def everything(self) -> List[torch.Tensor]:
        moments = [v for p in self.G.parameters() for v in self.optimizers["G"].state[p].values()]
        return [v.detach().clone() for v in (*self.G.state_dict().values(), *self.average, *moments)]


class Reference(Bench):
    def __init__(self, steps_of_d: int, has_average: bool, warmup: int):
        super().__init__(steps_of_d)
        self.has_average, self.warmup, self.marked, self.masks_of_epochs = has_average, warmup, None, []

    marked: Any
    masks_of_epochs: List[Any]

    def epoch(self, epoch: int) -> None:
        self.marked = None
        if epoch >= self.warmup:
            inside = (epoch - self.warmup) % (2 * PHASE)
            self.optimizers["G"].param_groups[0]["lr"] = 0.02 if inside < PHASE else 0.02 * 0.1
            if inside < PHASE:
                sizes = [p.detach().abs() for p in self.G.parameters()]
                self.marked = [size < torch.quantile(size, RATIO) for size in sizes]
                self.masks_of_epochs.append(self.marked)
        for index in range(BATCHES):
            self.batch(epoch * BATCHES + index, index)

    def before_step(self) -> None:
        if self.marked is not None:
            for p, average, marked in zip(self.G.parameters(), self.average, self.marked):
                assert p.grad is not None
                p.data[marked] = 0
                p.grad[marked] = 0
                if self.has_average:
                    average[marked] = 0


class Ours(Bench):
    def __init__(self, steps_of_d: int, has_average: bool, warmup: int, **settings: Any):
        super().__init__(steps_of_d)
        values: Dict[str, Any] = {"scope": "reference", "exclude": (), "quirks": QUIRKS, **settings}
        lengths: Dict[str, Any] = {"warmup": Length(warmup, "epoch"), "interval": Length(PHASE, "epoch")}
        networks: Dict[str, Any] = {"G": self.G, "D": self.D, **({"G_ema": self.average} if has_average else {})}
        self.hook = Reconfiguration(ratio=RATIO, **lengths, **values)
        per_epoch = BATCHES // steps_of_d
        self.loop = Loop(networks, self.optimizers, [self.hook], iterations_per_epoch=per_epoch)

    def epoch(self, epoch: int) -> None:
        for index in range(BATCHES):
            with self.loop.iteration():
                self.batch(epoch * BATCHES + index, index)


KINDS = {"SNGAN": (5, False, 0), "ProGAN": (1, False, 2), "AutoGAN": (5, True, 0)}


@pytest.mark.parametrize("steps_of_d, has_average, warmup", KINDS.values(), ids=KINDS)
def test_masks_weights_and_averages_are_those_of_the_published_wrapper(steps_of_d: int, has_average: bool, warmup: int) -> None:
    theirs, ours = Reference(steps_of_d, has_average, warmup), Ours(steps_of_d, has_average, warmup)
    for epoch in range(EPOCHS):
        theirs.epoch(epoch)
        ours.epoch(epoch)
        different = [i for i, (a, b) in enumerate(zip(theirs.everything(), ours.everything())) if not torch.equal(a, b)]
        assert different == [] and theirs.rates == ours.rates, f"after epoch {epoch}"
    renewed = any(not torch.equal(a, b) for a, b in zip(*theirs.masks_of_epochs[:2]))
    assert renewed == (warmup == 0)  # biases begin with 0


@pytest.mark.parametrize("missing", [*QUIRKS, "scope", "average"])
def test_each_quirk_counts(missing: str) -> None:
    theirs = Reference(5, True, 0)
    ours = Ours(5, missing != "average", 0, **{
        **({"quirks": [quirk for quirk in QUIRKS if quirk != missing]} if missing in QUIRKS else {}),
        **({"scope": "weights"} if missing == "scope" else {}),
    })  # fmt: skip
    for epoch in range(EPOCHS):
        theirs.epoch(epoch)
        ours.epoch(epoch)
    assert any(not torch.equal(a, b) for a, b in zip(theirs.everything(), ours.everything()))


def test_epochs_need_a_loop_that_knows_them() -> None:
    G = nn.Linear(4, 4)
    hook = Reconfiguration(ratio=0.3, quirks=["epochs"], exclude=())
    with pytest.raises(ValueError, match="the quirk epochs needs a loop of one's own that is given its iterations_per_epoch"):
        Loop({"G": G}, {"G": torch.optim.Adam(G.parameters())}, [hook])
