"""Absurd command lines and damaged inputs by the thousand: what the commands answer.

Command: ``python tests/robustness/attack_commands.py --lines=1000 --inputs=500``

Runs every command of ``regan-ext`` in this process, in a folder with a little of everything: ``--lines`` times with one to
three options whose values are absurd or merely strange, and ``--inputs`` times on files of a finished run, a table, a search, a
preset or a data set of which one is damaged. Training is asked for with ``-n``. A fault is a traceback, a command that does not
answer in 20 seconds or takes 4 GiB, a file written before a refusal, a control character on the terminal, code of a planted
pickle that runs, and an impossible value that is taken. Prints every fault and one JSON line; exits with 1 if there was any.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Dict, Tuple

import click
from common import SCHEDULE, SMALL, describe, finished_run, run_fresh_python, train_command, write_small_digits

# Beside the tests, where ``common`` has put the path.
from support.attack import Attack, Outcome, Sandbox, attacks  # isort: skip
from support.damaged_scene import Scene  # isort: skip


class Tally:
    """Counts outcomes, and prints those that must not happen."""

    def __init__(self, name: str):
        self.name = name
        self.kinds: "Counter[str]" = Counter()
        self.faults = 0

    def add(self, attack: Attack, outcome: Outcome, what: str = "") -> None:
        self.kinds[outcome.kind] += 1
        if outcome.fault:
            self.faults += 1
            print(f"{self.name}: {outcome.fault[:200]!r}: {what} {attack.argv}", flush=True)


def attack_lines(folder: Path, count: int, seed: int) -> Tally:
    """Absurd command lines."""
    tally = Tally("lines")
    folder.mkdir()
    sandbox = Sandbox.of_everything(folder)
    for number in range(count):
        attack = attacks(random.Random(f"{seed} line {number}"))
        tally.add(attack, sandbox.run(attack))
    return tally


def attack_inputs(folder: Path, count: int, seed: int) -> Tally:
    """Damaged files."""
    tally = Tally("inputs")
    folder.mkdir()
    options = (*SMALL, *SCHEDULE)
    write_small_digits(folder / "data.zip")
    command = train_command("embedded", folder / "whole", folder / "data.zip", *options, "--kimg=3")
    run = finished_run(folder / "whole", run_fresh_python(command))
    (folder / "template").mkdir()
    scene = Scene(folder / "template", run.folder, folder / "data.zip", [*options, "--kimg=4"])
    for number in range(count):
        attack, what, sandbox = scene.attack(folder / "damaged", random.Random(f"{seed} input {number}"))
        tally.add(attack, sandbox.run(attack), what)
        shutil.rmtree(folder / "damaged")
    return tally


@click.command()
@click.option("--lines", type=click.IntRange(min=0), default=1000, show_default=True, help="Absurd command lines.")
@click.option("--inputs", type=click.IntRange(min=0), default=500, show_default=True, help="Damaged inputs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses them.")
def main(lines: int, inputs: int, seed: int) -> None:
    """Attack every command, and count what comes of it."""
    with tempfile.TemporaryDirectory() as scratch:
        tallies: Tuple[Tally, ...] = (
            attack_lines(Path(scratch) / "lines", lines, seed),
            attack_inputs(Path(scratch) / "inputs", inputs, seed),
        )
    outcomes: Dict[str, Dict[str, int]] = {tally.name: dict(sorted(tally.kinds.items())) for tally in tallies}
    faults = sum(tally.faults for tally in tallies)
    command = f"python tests/robustness/attack_commands.py --lines={lines} --inputs={inputs} --seed={seed}"
    result = {"check": "attack_commands", "command": command, "outcomes": outcomes, "faults": faults}
    print(json.dumps({**result, **describe("cpu")}))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
