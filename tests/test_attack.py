"""Whatever a command is given, it answers: with its result, or with one line that says what is wrong."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.attack import Sandbox, attacks
from support.damaged_scene import Scene
from support.rehearsals import fork_rehearsals
from support.runs import SCHEDULE, SMALL

SEEDS = st.integers(0, 2**32)
BOUNDED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, host_dir: Path) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        fork_rehearsals(patch)
        yield Sandbox.of_everything(tmp_path_factory.mktemp("sandbox"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, whole: Any, tiny_zip: Path) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"), whole.folder, tiny_zip, [*SMALL, *SCHEDULE, "--kimg=4"])


@settings(BOUNDED, max_examples=80)  # tests/robustness/attack_commands.py has as many as one likes
@given(seed=SEEDS)
def test_no_command_line_ends_in_a_traceback_or_writes_before_it_refuses(sandbox: Sandbox, seed: int) -> None:
    attack = attacks(random.Random(seed))
    outcome = sandbox.run(attack)
    assert not outcome.fault, (attack.argv, outcome.output[-2000:])


def test_no_damaged_file_ends_in_a_traceback_or_runs_code(scene: Scene, tmp_path: Path) -> None:
    numbers = itertools.count()

    @settings(BOUNDED, max_examples=60)
    @given(seed=SEEDS)
    def damaged(seed: int) -> None:
        folder = tmp_path / str(next(numbers))
        attack, what, sandbox = scene.attack(folder, random.Random(seed))
        outcome = sandbox.run(attack)
        assert not outcome.fault, (what, attack.argv, outcome.output[-2000:])
        shutil.rmtree(folder)  # all of them take gigabytes

    damaged()
