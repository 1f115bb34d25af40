"""Training in processes that a launcher has started: what its environment says, and what the processes tell each other.

``tests/robustness/several_machines.py`` starts ``torchrun`` itself.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import click
import pytest
import torch
from support.processes import TESTS
from torch.distributed.run import parse_args

from regan_ext.hosts import device, embedded_train
from regan_ext.support.errors import UserError
from regan_ext.train import world
from regan_ext.train.options import click_options
from regan_ext.train.world import World
from training_hooks.nvidia import stop
from training_hooks.nvidia.board import Files, Store

SECOND = {
    "RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
}  # fmt: skip


def without(*names: str, **others: str) -> Dict[str, str]:
    return {**{name: value for name, value in SECOND.items() if name not in names}, **others}


def test_what_torchrun_says() -> None:
    assert world.around(SECOND) == World(rank=2, size=4, local_rank=0, local_size=2)
    one = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert world.around(one) == World(0, 1, 0, 1)


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "8"}, {"MASTER_ADDR": "node0"}])
def test_without_a_launcher_the_host_launches(environment: Dict[str, str]) -> None:
    """Clusters give jobs of one process a world of one, whose --gpus the host spawns."""
    assert world.around(environment) is None


@pytest.mark.parametrize(
    "environment, told",
    [
        (without("MASTER_ADDR"), "MASTER_ADDR is not set, but LOCAL_RANK is: start the processes with torchrun, or unset"),
        (without("MASTER_PORT"), "MASTER_PORT is not set"),
        (without("LOCAL_RANK"), "LOCAL_RANK is not set, but WORLD_SIZE is"),
        (without("RANK"), "RANK is not set, but LOCAL_RANK is"),
        (without("WORLD_SIZE"), "WORLD_SIZE is not set"),
        (without(MASTER_ADDR=""), "MASTER_ADDR is not set"),
        (without(WORLD_SIZE="two"), "WORLD_SIZE='two' is not a whole number from 1 on"),
        (without(WORLD_SIZE="0"), "WORLD_SIZE='0' is not a whole number from 1 on"),
        (without(RANK="-1"), "RANK='-1' is not a whole number from 0 on"),
        (without(MASTER_PORT="http"), "MASTER_PORT='http' is not"),
        (without(RANK="4"), "RANK=4 is not less than WORLD_SIZE=4"),
        (without(LOCAL_RANK="2"), "LOCAL_RANK=2 is not less than LOCAL_WORLD_SIZE=2"),
    ],
)
def test_half_an_environment_is_told(environment: Dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match="^" + told.replace("(", r"\(")) as error:
        world.around(environment)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


def test_gpus_are_those_of_the_world() -> None:
    here = world.around(SECOND)
    world.check_gpus(4, here)
    world.check_gpus(7, None)
    for gpus in (1, None, 8):
        with pytest.raises(click.BadParameter, match="the launcher has started 4 in all"):
            world.check_gpus(gpus, here)


@pytest.mark.parametrize("required", [True, False])
def test_gpus_may_be_left_out(required: bool) -> None:
    given: List[int] = []

    def train(gpus: int) -> None:
        given.append(gpus)

    command = click.Command("train", callback=train, params=[click.Option(["--gpus"], type=int, required=required)])
    world.under(World(0, 1, 0, 1), command, lambda: None, 3)
    command.main([], standalone_mode=False)
    assert given == [1]


# ---------------------------------------------------------------- what the processes tell each other


PORTS = itertools.count(20000)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """That of all processes of a launcher, in this one."""
    shared = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda url, **kwargs: iter([(shared, 0, 2)]))
    monkeypatch.setattr(multiprocessing, "set_start_method", lambda method, force: None)
    monkeypatch.setenv("MASTER_ADDR", "node0")
    monkeypatch.setenv("MASTER_PORT", str(next(PORTS)))
    return shared


def commands(train: Callable[[World], None]) -> Tuple[click.Command, click.Command]:
    """A host's command in the processes of rank 0 and 1."""
    made = []
    for rank in (0, 1):
        here = World(rank, 2, rank, 2)
        command = click.Command("train", callback=functools.partial(train, here))
        world.under(here, command, lambda: None, 3)
        made.append(command)
    return made[0], made[1]


def code_of(command: click.Command, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command.main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("end, code", [(None, 0), (UserError("--data: no"), 2), (click.exceptions.Exit(6), 6)], ids=str)
def test_the_others_end_as_the_first_one_where_it_does_not_train(
    store: Any, capsys: Any, end: Optional[Exception], code: int
) -> None:
    def train(here: World) -> None:
        if end is not None:
            raise end

    first, other = commands(train)
    assert code_of(first) == code
    capsys.readouterr()
    assert code_of(other, "--bogus", "-n") == code
    assert capsys.readouterr() == ("", "")


def trained(rank: int, args: Dict[str, Any], folder: str) -> None:
    """Stands for the entry of a process."""
    Path(args["run_dir"], str(rank)).write_text(folder)


@pytest.mark.parametrize("lacks", ["", "run_dir", "path", "resume_state"])
def test_every_process_gets_what_the_host_would_spawn_if_all_have_the_files(
    store: Any, capsys: Any, tmp_path: Path, lacks: str
) -> None:
    places = {name: str(tmp_path if name != lacks else tmp_path / "elsewhere") for name in ("run_dir", "path", "resume_state")}
    args = {
        "run_dir": places["run_dir"],
        "training_set_kwargs": {"path": places["path"]},
        "progress_fn": {"resume_state": places["resume_state"]},
    }

    def train(here: World) -> None:
        with world.hand_over(here):
            torch.multiprocessing.spawn(trained, (args, "a folder of rank 0's"), 2)

    first, other = commands(train)
    with ThreadPoolExecutor() as threads:
        codes = [process.result() for process in [threads.submit(code_of, each) for each in (other, first)]]
    assert codes == ([2, 2] if lacks else [0, 0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if lacks else ["0", "1"])
    told = capsys.readouterr().err
    assert (told == "") if not lacks else (told.count("\n") == 1 and "elsewhere is not on the machine of rank 1" in told)


def test_a_group_is_made_of_the_launchers_processes(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: List[Dict[str, Any]] = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **given: calls.append(given))
    with world.own_group(World(3, 4, 1, 2)):
        torch.distributed.init_process_group("nccl", init_method="file:///of/one/machine", rank=3, world_size=4)
    torch.distributed.init_process_group("nccl", rank=0)
    assert [(given["rank"], given.get("world_size"), "store" in given) for given in calls] == [(3, 4, True), (0, None, False)]
    assert not any("init_method" in given for given in calls)


@pytest.mark.parametrize("kind", ["files", "store"])
def test_notes_reach_all(kind: str, tmp_path: Path) -> None:
    shared = torch.distributed.HashStore()
    one, other = (Files(tmp_path / "stop") if kind == "files" else Store(shared, "stop") for _ in range(2))
    assert other.get("agreed") is None
    one.put("agreed", "12")
    one.put("request")
    assert (other.get("agreed"), other.get("request"), other.get("diverged")) == ("12", "", None)


def test_the_gpu_is_that_of_the_machine_and_not_of_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: List[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    host: Dict[str, Any] = {"torch": torch}
    device.use_gpu([host], 3, 1)
    assert chosen == [1] and host["torch"].device("cuda", 3) == torch.device("cuda:1")
    assert host["torch"].device("cpu") == torch.device("cpu") and host["torch"].zeros is torch.zeros
    alone: Dict[str, Any] = {"torch": torch}
    device.use_gpu([alone], 1, 1)
    assert alone["torch"] is torch  # rank and number agree on the first machine: nothing is touched
    with pytest.raises(UserError, match=r"^LOCAL_RANK=2, but 2 GPUs are visible to it"):
        device.use_gpu([host], 6, 2)


def test_the_slurm_script_says_what_torchrun_and_train_take(tmp_path: Path) -> None:
    (tmp_path / "stylegan2-ada-pytorch").mkdir()
    for name, does in (
        ("srun", 'shift; exec "$@"'),
        ("scontrol", "printf 'node7\nnode8\n'"),
        ("torchrun", 'printf "%s\\n" "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    given = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "12"}
    environment = {**given, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SHARED": str(tmp_path), "HOME": str(tmp_path)}
    script = TESTS.parent / "docs" / "train.slurm"
    said = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=True).stdout
    parsed = parse_args(said.splitlines())
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.rdzv_endpoint) == ("2", "4", "node7:29500")
    assert (parsed.module, parsed.training_script, parsed.training_script_args[0]) == (True, "regan_ext", "train")
    options = {word.partition("=")[0] for word in parsed.training_script_args[1:]}
    known = {name for param in [*embedded_train.main.params, *click_options()] for name in param.opts}
    assert "--host" in options and options - known <= {"--host"}  # which is the launcher's own


def test_all_stop_after_the_iteration_that_rank_0_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    board = Store(torch.distributed.HashStore(), "stop")

    def training_loop(batch_idx: int, rank: int) -> bool:
        kimg_per_tick = 4
        stop.at_iteration()
        return kimg_per_tick == 0  # the tick ends with this iteration

    try:
        stop.install(board)
        assert not training_loop(4, 0) and not stop.requested()
        board.put("request")  # as any other process does
        assert not training_loop(5, 1) and not training_loop(5, 0) and board.get("agreed") == "7"
        assert [training_loop(iteration, rank) for iteration in (6, 7) for rank in (0, 1)] == [False, False, True, True]
        assert stop.requested()
    finally:
        stop.install(None)


def test_a_signal_that_an_agent_passes_on_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """scancel sends SIGTERM to agents and processes, and each agent then sends it to its processes."""
    clock = iter([0.0, 3.0, 60.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    heard = stop.Requests(same=10)
    assert [heard.is_urgent(signal.SIGTERM) for _ in range(3)] == [False, False, True]
