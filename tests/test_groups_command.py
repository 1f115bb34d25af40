"""Groups as runs of runs: what is planned, what a kill leaves, and what the real loop makes of an exchange."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import pytest
import torch
from support.commands import call
from support.networks import load_networks
from support.run_folders import make_run, tick
from support.runs import Run, resumed

from regan_ext.groups import check, exchange
from regan_ext.groups.plan import GroupsFolder, Member
from regan_ext.support.process import Supervisor
from training_hooks.core.random_state import random_states
from training_hooks.methods.groups.config import GroupsConfig
from training_hooks.methods.groups.schedule import Regroupings, partners
from training_hooks.nvidia import state as states

BATCH, TOTAL = 10, 100  # images an iteration, and iterations of a run


class Killed(BaseException):
    """Nothing catches it."""


class Trainer:
    """Stands in for the processes that train, which end where an exchange is due: what a run leaves follows from what it went
    on from, and its seed.

    Args:
        dies: number of the event, of those that it counts, at which everything is killed; None = never.
    """

    def __init__(self, dies: Optional[int] = None):
        self.dies, self.events = dies, 0
        self.commands: List[List[str]] = []
        self.variables: List[Mapping[str, str]] = []
        self.lock = threading.Lock()

    def event(self) -> None:
        self.events += 1
        if self.events - 1 == self.dies:
            raise Killed

    def run(self, command: Sequence[str], log: Path, handles: Any, variables: Any = None) -> None:
        with self.lock:
            self.event()
            self.commands.append(list(command))
            self.variables.append(variables or {})
            told = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
            outdir, seed = Path(told["outdir"]), int(told.get("seed", 0))
            before = max(outdir.glob("0*"), default=None) if "resume" in told else None
            begin, networks, state = (0, *fresh(seed)) if before is None else read(before)
            moments = Regroupings(GroupsConfig(**settings(told))) if "groups-interval" in told else None
            end = TOTAL if moments is None else min(TOTAL, moments.next(begin + 1))
            for kind in ("G", "D"):
                networks[kind].weight.data.mul_(1.1).add_(seed + 1)
                state["optimizers"][kind]["state"][0]["exp_avg"].add_(seed + end)
            state.update(augment_p=state["augment_p"] + 0.01 * (seed + 1), cur_nimg=end * BATCH, batch_idx=end)
            write(outdir, end, networks, state, before)
            self.event()


def settings(told: Mapping[str, str]) -> Dict[str, Any]:
    """Of ``GroupsConfig``, of the options of a run."""
    kinds = {"interval": int, "longest": int, "window": int}
    return {name[7:]: kinds.get(name[7:], float)(value) for name, value in told.items() if name.startswith("groups-")}


def fresh(seed: int) -> "tuple[Dict[str, Any], Dict[str, Any]]":
    torch.manual_seed(seed)
    networks: Dict[str, Any] = {name: torch.nn.Linear(2, 1, bias=False) for name in ("G", "D", "G_ema")}
    networks["augment_pipe"] = f"pipe of {seed}"
    optimizers = {}
    for kind in ("G", "D"):
        optimizer = torch.optim.Adam(networks[kind].parameters())
        networks[kind](torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizers[kind] = optimizer.state_dict()
    rank = {"random": random_states(torch.device("cpu")), "pl_mean": None, "averages": {}, "averages_of_D": {}}
    state = {
        "format": "regan-ext state", "version": 2, "cur_tick": 1, "optimizers": optimizers, "augment_p": 0.1 * (seed + 1),
        "ada_pending": torch.tensor([1.0, seed, 2.0]), "hooks": {"apa": {"p": seed}, "regan": {"masks": seed}}, "ranks": [rank],
        "options": None,
    }  # fmt: skip
    return networks, copy.deepcopy(state)


def read(run: Path) -> "tuple[int, Dict[str, Any], Dict[str, Any]]":
    (snapshot,) = run.glob("*.pkl")
    state = states.load(states.state_path(snapshot), snapshot)
    return state["batch_idx"], pickle.loads(snapshot.read_bytes()), state


def write(outdir: Path, end: int, networks: Dict[str, Any], state: Dict[str, Any], before: Optional[Path]) -> None:
    """A run folder as a run leaves it; one that is killed before its snapshot has none."""
    names = {} if before is None else {"resume_pkl": str(next(before.glob("*.pkl")))}
    number = len(list(outdir.glob("0*")))
    folder = make_run(outdir / f"{number:05d}-a-resumed", [tick(1, end * BATCH / 1000)], kimg=1, **names)
    snapshot = folder / f"network-snapshot-{end * BATCH // 1000:06d}.pkl"
    snapshot.write_bytes(pickle.dumps(networks))
    states.save({**state, "snapshot": states.fingerprint(snapshot)}, states.state_path(snapshot))


def rehearsed(command: Sequence[str]) -> Dict[str, Any]:
    """What ``train -n`` would say of the options."""
    told = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
    hooks = [{"method": "groups", "version": 1, "settings": settings(told)}] if "groups-interval" in told else []
    if "regan-target" in told:
        hooks.append({"method": "regan", "version": 2, "settings": {"ratio": 0.3, "target": told["regan-target"]}})
    progress = {"resume_state": "x"} if "resume" in told else {}
    return {"batch_size": BATCH, "total_kimg": 1, "loss_kwargs": {"hooks": hooks}, "progress_fn": progress}


def installed(monkeypatch: pytest.MonkeyPatch, dies: Optional[int] = None) -> Trainer:
    """Trainings are stood in for, and every file that an exchange writes or moves is an event."""
    trainer = Trainer(dies)
    monkeypatch.setattr(Supervisor, "run", lambda self, *args, **more: trainer.run(*args, **more))
    monkeypatch.setattr(check, "rehearsed", rehearsed)

    class Os:
        path = os.path

        @staticmethod
        def replace(*paths: Any) -> None:
            trainer.event()
            os.replace(*paths)

    def fingerprint(path: Path) -> Dict[str, int]:
        trainer.event()
        return states.fingerprint(path)

    class States:
        load, save, state_path = states.load, states.save, states.state_path

    States.fingerprint = staticmethod(fingerprint)  # type: ignore[attr-defined]
    monkeypatch.setattr(exchange, "os", Os)
    monkeypatch.setattr(exchange, "states", States)
    return trainer


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, host_dir: Path) -> Trainer:
    return installed(monkeypatch)


def groups(out: Path, capsys: Any, *options: str) -> "tuple[int, str]":
    given = ["--host=embedded", "--data=digits.zip", "--trust", "--groups=3", "--interval=30", "--grow=1.5", "--kimg=1"]
    return call(["groups", f"--outdir={out}", *given, *options], capsys)


def ends(out: Path, count: int = 3) -> List[Any]:
    """What is in the last snapshots and states, of all groups."""
    found = []
    for number in range(count):
        _, networks, state = read(max((out / f"group-{number}").glob("0*")))
        values = [networks[kind].weight.tolist() for kind in ("G", "D", "G_ema")]
        moments = [state["optimizers"][kind]["state"][0]["exp_avg"].tolist() for kind in ("G", "D")]
        found.append((values, moments, networks["augment_pipe"], state["augment_p"], state["ada_pending"].tolist()))
    return found


def test_groups_train_to_each_exchange_and_their_seeds_differ(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    code, output = groups(tmp_path, capsys, "--seed=5")
    assert code == 0, output
    assert [line.split("] ")[1].split(":")[0] for line in output.splitlines() if ": finished" in line] == [
        "until iteration 30", "exchange-1.json", "until iteration 75", "exchange-2.json", "to the end",
    ]  # fmt: skip
    told = [[p for p in each if p.startswith(("--seed", "--resume", "--outdir"))] for each in trainer.commands]
    seeds, outdirs = [["--seed=5"], ["--seed=5", "--seed=6"], ["--seed=5", "--seed=7"]], [f"group-{k}" for k in range(3)]
    going_on = [[], ["--resume=latest"], ["--resume=latest"]]
    assert told == [[f"--outdir={tmp_path / o}", *s, *r] for r in going_on for o, s in zip(outdirs, seeds)]
    code, output = call(["groups", f"--outdir={tmp_path}"], capsys)  # all else is known
    assert code == 0 and len(trainer.commands) == 9 and "to the end: finished, group-0 1 kimg" in output


def test_what_goes_with_a_discriminator_goes_and_nothing_else(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert groups(tmp_path, capsys, "--kimg=1")[0] == 0
    before = [fresh(seed) for seed in range(3)]
    for seed, (networks, state) in enumerate(before):
        networks["D"].weight.data += seed
        state["optimizers"]["D"]["state"][0]["exp_avg"] += seed
        state["batch_idx"], state["cur_nimg"] = 30, 300
        shutil.rmtree(tmp_path / f"group-{seed}")
        write(tmp_path / f"group-{seed}", 30, networks, state, None)
    (tmp_path / "exchange-1.json").unlink()
    drawn = partners(3, 1)
    folders = [tmp_path / f"group-{k}" for k in range(3)]
    exchange.make(tmp_path / "exchange-1.json", folders, 30, drawn, "embedded", True)
    for group, partner in enumerate(drawn):
        _, networks, state = read(max(folders[group].glob("0*")))
        (mine, own), (theirs, other) = before[group], before[partner]
        assert torch.equal(networks["D"].weight, theirs["D"].weight) and networks["augment_pipe"] == theirs["augment_pipe"]
        assert all(torch.equal(networks[kind].weight, mine[kind].weight) for kind in ("G", "G_ema"))
        for kind, whose in (("D", other), ("G", own)):
            now, then = (each["optimizers"][kind]["state"][0] for each in (state, whose))
            assert all(torch.equal(now[name], then[name]) for name in then)
        assert state["augment_p"] == other["augment_p"] and torch.equal(state["ada_pending"], other["ada_pending"])
        assert state["hooks"] == {"apa": {"p": partner}, "regan": {"masks": group}}
    assert exchange.check(tmp_path / "exchange-1.json", drawn) is None
    assert "tells of another exchange" in str(exchange.check(tmp_path / "exchange-1.json", drawn[::-1]))


def test_killed_wherever_it_may_be_the_same_command_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_dir: Path, capsys: Any
) -> None:
    options = ("--groups=2", "--interval=60")
    whole = installed(monkeypatch)
    assert groups(tmp_path / "whole", capsys, *options)[0] == 0
    assert whole.events == 2 * 2 * 2 + (2 + 5)  # trainings, and of the exchange files that are written and moved
    expected = ends(tmp_path / "whole", 2)
    for event in range(whole.events):
        out = tmp_path / str(event)
        with monkeypatch.context() as patch:
            installed(patch, dies=event)
            with pytest.raises(Killed):
                groups(out, capsys, *options)
        with monkeypatch.context() as patch:
            installed(patch)
            code, output = groups(out, capsys, *options)
        assert code == 0 and ends(out, 2) == expected, (event, output)
        assert not list(out.glob("*.part"))


def test_groups_train_side_by_side_each_on_devices_of_its_own(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert groups(tmp_path, capsys, "--at-once=2", "--gpus=2", "--interval=200")[0] == 0
    assert {each["CUDA_VISIBLE_DEVICES"] for each in trainer.variables} <= {"0,1", "2,3"}
    code, output = groups(tmp_path, capsys, "--at-once=3", "--gpus=2", "--interval=200")
    assert code == 2 and "--at-once=3: groups of --gpus=2 need 6 GPUs, and there are 4" in output


def test_one_group_is_the_plain_run(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert call(["groups", f"--outdir={tmp_path}", "--groups=1", "--data=a.zip", "--", "--kimg=1", "--seed=3"], capsys)[0] == 0
    (command,) = trainer.commands
    assert command[command.index("train") :] == [
        "train", f"--outdir={tmp_path / 'group-0'}", f"--data={Path('a.zip').absolute()}", "--kimg=1", "--seed=3",
    ]  # fmt: skip


def test_a_dry_run_prints_what_would_be_done(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    code, output = groups(tmp_path / "out", capsys, "-n")
    assert code == 0 and not trainer.commands and not (tmp_path / "out").exists()
    assert [line.split()[0] == "#" for line in output.splitlines()] == [False] * 3 + [True] + [False] * 3 + [True] + [False] * 3


def test_a_run_ahead_of_the_others_and_one_that_is_gone_are_named(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert groups(tmp_path, capsys, "--groups=2", "--interval=60")[0] == 0
    before = len(trainer.commands)
    shutil.rmtree(tmp_path / "group-1")
    code, output = groups(tmp_path, capsys, "--groups=2", "--interval=60")
    assert (
        code == 1
        and "to the end: group-1 holds no run that could go on; bring it back" in output
        and before == len(trainer.commands)
    )
    (tmp_path / "exchange-1.json").unlink()
    code, output = groups(tmp_path, capsys, "--groups=2", "--interval=60")
    assert code == 1 and "group-0 is ahead of the others, at 1 kimg, without the exchange" in output


@pytest.mark.parametrize("options, said", [
    (["--groups=0"], "Invalid value for '--groups'"),
    (["--interval=21"], "interval must be at least 22, or windows of 10 overlap; got 21"),
    (["--grow=0.5"], "Invalid value for '--grow'"),
    (["--longest=20"], "longest must be at least the interval, 30, got 20"),
    (["--at-once=0"], "Invalid value for '--at-once'"),
    (["--seed=4294967294"], "--seed=4294967294 is too large for 3 groups, each of which has the next seed"),
    (["--states=false"], "--states cannot be given to the runs of a group: discriminators are exchanged by them"),
    (["--groups-push=1"], "--groups-push cannot be given to the runs of a group: give --push itself"),
    (["--resume=latest"], "--resume=latest cannot be given to the runs of a group: runs that were interrupted go on anyway"),
    (["--resume=network-snapshot-000001.pkl"], "--resume: groups begin anew; to begin from the networks alone, copy"),
    (["--regan-target=both"], "Re-GAN of D would have to go to another group with each discriminator; give --regan-target=G"),
], ids=lambda value: value[0] if isinstance(value, list) else "")  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line_before_anything_trains(
    options: List[str], said: str, tmp_path: Path, trainer: Trainer, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regan_ext.support.errors import UserError

    def rehearsal(command: Sequence[str]) -> Dict[str, Any]:
        try:
            return rehearsed(command)
        except ValueError as err:
            raise UserError(str(err)) from err

    def checked(command: Sequence[str]) -> Dict[str, Any]:
        found = rehearsal(command)
        for hook in found["loss_kwargs"]["hooks"]:
            if hook["method"] == "groups":
                try:
                    GroupsConfig(**hook["settings"])
                except ValueError as err:
                    raise UserError(str(err)) from err
        return found

    monkeypatch.setattr(check, "rehearsed", checked)
    code, output = groups(tmp_path / "out", capsys, *options)
    assert code == 2 and said in output.splitlines()[-1], output
    assert not trainer.commands and not (tmp_path / "out").exists()


def test_a_damaged_record_is_not_to_be_deleted_and_what_is_told_to_be_written_serves(
    tmp_path: Path, trainer: Trainer, capsys: Any
) -> None:
    assert groups(tmp_path, capsys)[0] == 0
    expected, record = ends(tmp_path, 3), tmp_path / "exchange-1.json"
    record.write_text("{")
    code, output = groups(tmp_path, capsys)
    told = output.splitlines()[-1]
    assert code == 1 and "exchange-1.json is no JSON; bring it back, or write " in told and "do not delete it" in told
    record.write_text(told.split("write ")[1].split(" into it")[0])
    assert groups(tmp_path, capsys)[0] == 0 and ends(tmp_path, 3) == expected
    (tmp_path / "groups.json").write_text("{")
    code, output = call(["groups", f"--outdir={tmp_path}"], capsys)
    assert code == 4 and "groups.json is no JSON; delete it, and give all options" in output


def test_what_is_missing_and_what_differs_is_told(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    code, output = call(["groups", f"--outdir={tmp_path}", "--data=a.zip"], capsys)
    assert code == 2 and "--groups is missing" in output
    code, output = call(["groups", f"--outdir={tmp_path}", "--data=a.zip", "--groups=2"], capsys)
    assert code == 2 and "--interval is missing" in output
    assert groups(tmp_path, capsys)[0] == 0
    code, output = groups(tmp_path, capsys, "--push=0.1")
    assert code == 2 and "was begun with other options (--push: 0.05 -> 0.1)" in output
    assert "the run ends before the first exchange" in groups(tmp_path.with_name("b"), capsys, "--interval=100", "-n")[1]


def test_seeds_are_read_however_they_are_typed() -> None:
    for options, seed in (((), 0), (("--seed", "4"), 4), (("--seed=1", "--seed=7"), 7), (("--seed=+9",), 9)):
        folder = GroupsFolder(Path("x"), ("--groups=2", "--interval=30"), options, "a.zip")
        assert folder.seed == seed
        assert Member(folder, 1).own_options() == ["--groups-interval=30", f"--seed={seed + 1}"]


# ---------------------------------------------------------------- the real loop


EXCHANGES = ["--groups-interval=6", "--groups-window=2"]


@pytest.fixture(scope="module")
def stopped(train_tiny: Any) -> Run:
    """A run of 16 iterations, at its first exchange."""
    run: Run = train_tiny(*EXCHANGES, mode="off")
    return run


def end_of(folder: Path, host: Path) -> "tuple[Path, Dict[str, Any], Dict[str, Any]]":
    """The last snapshot of a run folder, what it holds, and its state."""
    state = states.in_order(folder)[-1]
    snapshot = states.snapshot_path(state)
    return snapshot, load_networks(snapshot, host), states.load(state, snapshot)


def test_a_run_ends_where_an_exchange_is_due(stopped: Run, host_dir: Path) -> None:
    _, _, state = end_of(stopped.folder, host_dir)
    assert state["batch_idx"] == 6 and state["hooks"]["groups"]["factor"] == pytest.approx(1.05**2)
    assert state["optimizers"]["D"]["param_groups"][0]["lr"] == stopped.options["D_opt_kwargs"]["lr"] * 16 / 17
    assert [line["Groups/factor"]["mean"] for line in stopped.stats] == pytest.approx([1, 1.05**2])


def test_the_host_goes_on_with_the_discriminator_of_another(stopped: Run, host_dir: Path, tmp_path: Path) -> None:
    """Two copies of a run, the second with another discriminator."""
    folders = [tmp_path / f"group-{number}" for number in range(2)]
    runs = [shutil.copytree(stopped.folder, folder / stopped.folder.name) for folder in folders]
    first, before, _ = end_of(runs[0], host_dir)
    other, data, state = end_of(runs[1], host_dir)
    for p in data["D"].parameters():
        p.mul_(1.25)
    for entry in state["optimizers"]["D"]["state"].values():
        entry["exp_avg"] *= 0.5
    other.write_bytes(pickle.dumps(data))
    states.save({**state, "snapshot": states.fingerprint(other)}, states.state_path(other))
    exchange.make(tmp_path / "exchange-1.json", folders, 6, (1, 0), "embedded", True)

    _, networks, now = end_of(runs[0], host_dir)
    assert all(map(torch.equal, networks["D"].parameters(), data["D"].parameters()))
    assert all(map(torch.equal, networks["G"].parameters(), before["G"].parameters()))
    moments = now["optimizers"]["D"]["state"]
    assert all(torch.equal(moments[i]["exp_avg"], entry["exp_avg"]) for i, entry in state["optimizers"]["D"]["state"].items())
    run = resumed(stopped, first, tmp_path / "on", EXCHANGES)
    _, end, state = end_of(run.folder, host_dir)
    assert state["batch_idx"] == 13  # the next exchange
    scales = [float(a.norm() / b.norm()) for a, b in zip(end["D"].parameters(), before["D"].parameters()) if b.ndim > 1]
    assert min(scales) > 1.1
