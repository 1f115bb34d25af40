"""A teacher on a checkout, from end to end: what it leaves alone, how it goes on, in one process and in two.

Command: ``python tests/robustness/teacher_on_a_host.py FOLDER [HOST ...]``, such as ``… $REGAN_TEST_HOSTS stylegan3``

FOLDER holds checkouts under the names in ``hosts.py``; none is written to. Each is copied, and trained at 32x32 on the CPU with
smallest networks; the teacher is D of the first run. Prints one JSON line a host, in which a check is true or says what went
wrong; exits with 1 if one of them does.

plain     with all weight on D, a live teacher leaves G, D and G_ema as the run without it has them, bit for bit
live      half of the weight on it leaves other networks; its statistics are numbers, and its weights have moved
fixed     no weight on D: likewise, and the state has no weights of the teacher
resume    the second half of the live run trained once more leaves the same networks, teacher, optimizers and counters
snapshot  opens, and draws images, in a Python that can import neither ``regan_ext`` nor ``training_hooks``
own       a teacher that learns from its own generator: both of its networks have moved
ranks     live in two processes, and its second half once more, with the same of all
refusals  mistakes in one line with exit code 2, and nothing written
checkout  its files are as they were
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Tuple

import click
import torch
from common import Run, write_small_digits
from hosts import HOSTS, Check, newest, on_checkouts, snapshots
from support.networks import assert_equal, comparable_state
from support.parameters import parameters
from tickets_on_a_host import contents, opened

CHECKS = ("plain", "live", "fixed", "resume", "snapshot", "own", "ranks", "refusals", "checkout")
ADAPTING = ("--aug=ada",)


class Taught(Check):
    """Trains one host with a teacher."""

    def __init__(self, name: str, checkout: Path, scratch: Path):
        super().__init__(name, checkout, scratch)
        self.before, self.large = contents(self.folder), scratch / "large.zip"
        write_small_digits(self.large, 32, "RGB", count=160)
        self.first = self.train("--kimg=1", *ADAPTING)
        self.teacher = [f"--teacher={newest(self.first)}", f"--teacher-data={self.large}"]

    @property
    def run(self) -> Run:
        if self.whole is None:
            self.whole = self.train(*self.teacher, "--teacher-alpha=0.9:0.3@2kimg", "--teacher-augment", "--kimg=2", *ADAPTING)
        return self.whole

    def networks(self, run: Run) -> Dict[str, torch.Tensor]:
        return parameters(newest(run), self.folder)

    def moved(self, run: Run) -> List[str]:
        """Networks of the teacher in the last state of a run, all of whose trained weights are others than in its file."""
        begun = self.networks(self.first)
        saved = comparable_state(newest(run))["hooks"]["teacher"]["networks"]
        return [
            kind
            for kind, tensors in saved.items()
            if all(not torch.equal(t, begun[f"{kind}.{key}"]) for key, t in tensors.items() if f"{kind}.{key}" in begun)
        ]

    def same(self, one: Run, other: Run) -> bool:
        first, second = self.networks(one), self.networks(other)
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    def told(self, run: Run) -> Dict[str, float]:
        names = ("loss", "sign", "alpha", "cosine")
        values = {name: run.stats[-1][f"Teacher/{name}"]["mean"] for name in names}
        assert all(map(math.isfinite, values.values())), values
        return values

    # ---------------------------------------------------------------- the checks

    def plain(self) -> None:
        run = self.train(*self.teacher, "--teacher-alpha=1", "--teacher-augment", "--kimg=1", *ADAPTING)
        assert_equal(self.networks(run), self.networks(self.first), "networks")
        assert self.moved(run) == ["D"], "the teacher has not trained"

    def live(self) -> None:
        assert not self.same(self.run, self.first) and self.moved(self.run) == ["D"]
        alpha = self.told(self.run)["alpha"]
        assert 0.3 <= alpha < 0.6, alpha

    def fixed(self) -> None:
        run = self.train(self.teacher[0], "--teacher-alpha=0", "--kimg=1", *ADAPTING)
        assert self.told(run)["alpha"] == 0 and not self.same(run, self.first)
        assert comparable_state(newest(run))["hooks"]["teacher"]["networks"] == {}

    def resume(self, run: "Run | None" = None, *options: str) -> None:
        run = run or self.run
        settings = ("--teacher-alpha=0.9:0.3@2kimg", "--teacher-augment", "--kimg=2", *ADAPTING, *options)
        again = self.train(*self.teacher, *settings, f"--resume={sorted(snapshots(run))[-2]}")
        assert "resume_state" in again.options["progress_fn"], "it did not go on"
        assert_equal(self.networks(again), self.networks(run), "networks")
        assert_equal(*(comparable_state(newest(each)) for each in (again, run)), "state")

    def snapshot(self) -> None:
        assert opened(newest(self.run), self.folder).keys() == opened(newest(self.first), self.folder).keys()

    def own(self) -> None:
        run = self.train(*self.teacher, "--teacher-mode=own", "--kimg=1", *ADAPTING)
        assert self.moved(run) == ["D", "G"], self.moved(run)

    def ranks(self) -> None:
        settings = ("--teacher-alpha=0.9:0.3@2kimg", "--teacher-augment", "--kimg=2", *ADAPTING, "--gpus=2")
        run = self.train(*self.teacher, *settings)  # the hosts compare the processes' weights at each snapshot
        assert self.moved(run) == ["D"]
        self.resume(run, "--gpus=2")

    def refusals(self) -> None:
        mistakes = (["--teacher-alpha=1.5"], ["--teacher-mode=fixed"], [f"--teacher={self.large}"])
        for options in (*([*self.teacher, *each] for each in mistakes), [self.teacher[0], "--teacher-mode=live"]):
            self.refused(f"--host={self.folder}", *self.host.options, *options)

    def checkout(self) -> None:
        assert contents(self.folder) == self.before, "it is not as it was"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", metavar="[HOST]...", nargs=-1, type=click.Choice(list(HOSTS)))
def main(folder: Path, names: Tuple[str, ...]) -> None:
    """Train with a teacher on the checkouts of HOST in FOLDER, by default that of NVIDIA's StyleGAN2-ADA-PyTorch."""

    def work(name: str, checkout: Path, scratch: Path) -> Tuple[Dict[str, Any], bool]:
        found = Taught(name, checkout, scratch).results(CHECKS)
        return found, all(found[check] is True for check in CHECKS)

    on_checkouts(folder, names or ("stylegan2-ada-pytorch",), ADAPTING, work)


if __name__ == "__main__":
    main()
