"""Rounds of tickets as runs of runs: what is planned, what a kill leaves, and what comes out of the real loop."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest
import torch
from support.commands import call
from support.networks import load_networks, write_networks
from support.rehearsals import fork_rehearsals, forked
from support.run_folders import add_metric, make_run, tick

from regan_ext.runs.plan import write_plan
from regan_ext.steps.training import difference
from regan_ext.support.errors import UserError
from regan_ext.support.process import Supervisor
from regan_ext.tickets import check, masks
from regan_ext.tickets.capacity import capacity_of, parameters
from training_hooks.methods.method import Facts
from training_hooks.methods.tickets import prune
from training_hooks.methods.tickets.config import TicketConfig
from training_hooks.methods.tickets.files import Mask, init_of, read_init, read_mask, write_init, write_mask
from training_hooks.methods.tickets.outlook import outlook
from training_hooks.sparsity.selection import parameter_shapes


class Net(torch.nn.Module):
    """A layer that is pruned and one that is not, of a capacity that the constructor is told as a host's is."""

    def __init__(self, channel_base: int = 64, outer: Any = None) -> None:
        super().__init__()
        self.init_args: Sequence[Any] = ()
        self.init_kwargs = {"channel_base": channel_base}
        self.img_resolution = 8
        self.conv = torch.nn.Conv2d(3, channel_base // 8, 3, bias=False)
        self.fc = torch.nn.Linear(5, 2)


class Killed(BaseException):
    """Nothing catches it."""


class Trainer:
    """Stands in for the processes that train: what a run leaves follows from θ₀, masks and options alone.

    Args:
        dies: number of the event, of those that it counts, at which everything is killed; None = never.
    """

    def __init__(self, dies: Optional[int] = None):
        self.dies, self.events = dies, 0
        self.commands: List[List[str]] = []

    def event(self) -> None:
        self.events += 1
        if self.events - 1 == self.dies:
            raise Killed

    def run(self, command: Sequence[str], log: Path, handles: Sequence[int] = ()) -> None:
        self.event()
        self.commands.append(list(command))
        told = dict(part[2:].partition("=")[::2] for part in command if part.startswith("--"))
        outdir, name = Path(told["outdir"]), f"{len(list(Path(told['outdir']).glob('0*'))):05d}-a"
        torch.manual_seed(len(self.commands))
        networks: Dict[str, Any] = {"G": Net(int(told.get("cbase", 64))), "D": Net(int(told.get("cbase", 64)))}
        networks["G_ema"] = copy.deepcopy(networks["G"])
        keeps: Any = {}
        if "ticket-init" in told:
            init = Path(told["ticket-init"])
            if not init.exists():
                write_init(init_of(networks), init)
            begun = read_init(init).networks
            for kind, network in networks.items():
                network.load_state_dict(begun["G" if kind == "G_ema" else kind])
        if "ticket-mask" in told:
            keeps = read_mask(told["ticket-mask"]).networks
        self.event()
        for kind, network in networks.items():
            draw = torch.Generator().manual_seed(sum(map(ord, kind)))
            for key, p in network.named_parameters():
                p.data += torch.rand(p.shape, generator=draw) * 0.1 * (1 + len(keeps))
                p.data *= keeps.get("G" if kind == "G_ema" else kind, {}).get(key, 1)
        folder = make_run(outdir / name, [tick(1, 1.0)], kimg=1, **of_ticket(told.get("ticket-mask", "")))
        write_plan(folder, {"methods": {"ticket": planned(networks, told)}})
        (folder / "network-snapshot-000001.pkl").write_bytes(pickle.dumps(networks))
        self.event()


def planned(networks: Dict[str, Any], told: Dict[str, str]) -> Any:
    """What the plan of a run says of its ticket; of one without, nothing."""
    if "ticket-init" not in told:
        return {}
    shapes = {kind: parameter_shapes(networks[kind]) for kind in ("G", "D")}
    config = TicketConfig(told["ticket-init"], told.get("ticket-mask", ""), "ticket-transfer" in told)
    return outlook(config, Facts(10, 100, shapes, shapes, {})).values


def of_ticket(mask: str) -> Dict[str, Any]:
    """What the options of a run say of its ticket."""
    checksum = read_mask(mask).checksum if mask else 0
    entry = {"method": "ticket", "version": 1, "settings": {"init": "init.pt", "mask": mask, "mask_checksum": checksum}}
    return {"loss_kwargs": {"class_name": "training_hooks.nvidia.seams.HookedLoss", "inner": {}, "hooks": [entry]}}


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, host_dir: Path) -> Trainer:
    return installed(monkeypatch)


def installed(monkeypatch: pytest.MonkeyPatch, dies: Optional[int] = None) -> Trainer:
    trainer = Trainer(dies)
    monkeypatch.setattr(Supervisor, "run", lambda self, *args, **more: trainer.run(*args))
    write = masks.__dict__["write_mask"]

    def write_mask(mask: Mask, path: Path) -> None:
        trainer.event()
        write(mask, path)
        trainer.event()

    monkeypatch.setattr(masks, "write_mask", write_mask)
    monkeypatch.setattr(check, "rehearsed", rehearsed)
    monkeypatch.setattr(check, "networks_of", lambda *args: {"G": Net(), "D": Net()})
    return trainer


def rehearsed(command: Sequence[str]) -> Dict[str, Any]:
    """What ``train -n`` would say of the options."""
    told = dict(part.partition("=")[::2] for part in command)
    if "--gama" in told:
        raise UserError("No such option '--gama'.")
    layers = told.get("--freeze-d", "").split(",")
    hooks = [{"method": "freezed", "version": 1, "settings": {"layers": layers}}] if "--freeze-d" in told else []
    return {"metrics": told.get("--metrics", "none").replace("none", "").split(), "loss_kwargs": {"hooks": hooks}}


def find(out: Path, capsys: Any, *options: str, command: str = "find") -> "tuple[int, str]":
    rounds = ["--rounds=2"] if command == "find" and not any(o.startswith("--rounds") for o in options) else []
    given = ["--host=embedded", "--data=digits.zip", "--kimg=1"]
    return call(["tickets", command, f"--outdir={out}", "--trust", *given, *rounds, *options], capsys)


def done(trainer: Trainer) -> List[str]:
    """The folders of the runs that were begun."""
    return [Path(part[len("--outdir=") :]).name for each in trainer.commands for part in each if part.startswith("--outdir=")]


# ---------------------------------------------------------------- planning


def test_rounds_begin_alike_and_hand_masks_on(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    code, output = find(tmp_path, capsys, "--share=0.3")
    assert code == 0, output
    assert done(trainer) == ["round-0", "round-1", "round-2"]
    init = f"--ticket-init={tmp_path / 'ticket-init.pt'}"
    assert all(init in each and "--kimg=1" in each for each in trainer.commands)
    assert [[o for o in each if "mask" in o] for each in trainer.commands] == [
        [], *([f"--ticket-mask={tmp_path / f'ticket-mask-{r}.pt'}"] for r in (1, 2)),
    ]  # fmt: skip
    first, second = (read_mask(tmp_path / f"ticket-mask-{r}.pt") for r in (1, 2))
    numel = 8 * 3 * 9
    for kind in ("G", "D"):
        kept = [prune.counts(mask.networks[kind])["conv.weight"] for mask in (first, second)]
        assert kept == [prune.kept_after(numel, 0.3, r) for r in (1, 2)]
        assert not (second.networks[kind]["conv.weight"] & ~first.networks[kind]["conv.weight"]).any()
    assert second.before == first.checksum and first.init == second.init == read_init(tmp_path / "ticket-init.pt").checksum
    assert first.rule == {"kind": "magnitude", "scope": "convolutions", "share": 0.3, "score": "scaled", "from": "live"}


def test_a_mask_is_of_the_smallest_weights_that_the_run_left(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    for source, key in (("live", "G"), ("ema", "G_ema")):
        out = tmp_path / source
        assert find(out, capsys, "--rounds=1", "--networks=G", "--score=raw", f"--from={source}")[0] == 0
        (snapshot,) = (out / "round-0").glob("*/network-snapshot-000001.pkl")
        size = pickle.loads(snapshot.read_bytes())[key].conv.weight.detach().abs()
        mask = read_mask(out / "ticket-mask-1.pt")
        keep = mask.networks["G"]["conv.weight"]
        assert set(mask.networks) == {"G"} and size[keep].min() > size[~keep].max()
    assert not torch.equal(
        *(read_mask(tmp_path / s / "ticket-mask-1.pt").networks["G"]["conv.weight"] for s in ("live", "ema"))
    )


def test_the_best_snapshot_of_a_round_may_end_it(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    code, output = find(tmp_path, capsys, "--rounds=1", "--from=best", "--score=raw", "--metrics=fid5k_full")
    assert code == 1 and "--from=best: " in output and "a run with --metrics keeps them" in output
    (run,) = (tmp_path / "round-0").glob("0*")
    networks = pickle.loads((run / "network-snapshot-000001.pkl").read_bytes())
    (run / "network-best-fid5k_full-dense.json").write_text(json.dumps({"value": 8.0, "kimg": 1.0}))
    networks["G"].conv.weight.data = networks["G"].conv.weight.data.flip(0)
    (run / "network-best-fid5k_full-dense.pkl").write_bytes(pickle.dumps(networks))
    code, output = find(tmp_path, capsys, "--rounds=1", "--from=best", "--score=raw", "--metrics=fid5k_full")
    size, keep = networks["G"].conv.weight.detach().abs(), read_mask(tmp_path / "ticket-mask-1.pt").networks["G"]["conv.weight"]
    assert code == 0 and size[keep].min() > size[~keep].max(), output


def test_the_public_codes_way_is_a_preset(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1", "--preset=reference", "--share=0.5")[0] == 0
    mask = read_mask(tmp_path / "ticket-mask-1.pt")
    assert (
        set(mask.networks) == {"G"} and mask.rule["score"] == "raw" and mask.rule["from"] == "ema" and mask.rule["share"] == 0.5
    )


def test_a_dry_run_prints_what_would_be_done_and_how_long_it_takes(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    out = tmp_path / "out"
    code, output = find(out, capsys, "-n")
    assert code == 0 and not trainer.commands and not out.exists() and "to go" not in output
    assert [line.split(" is made ")[0] if line[0] == "#" else line.split()[-1] for line in output.splitlines()] == [
        f"--ticket-init={out}/ticket-init.pt", f"# {out}/ticket-mask-1.pt", f"--ticket-mask={out}/ticket-mask-1.pt",
        f"# {out}/ticket-mask-2.pt", f"--ticket-mask={out}/ticket-mask-2.pt",
    ]  # fmt: skip
    assert find(out, capsys, "--rounds=1")[0] == 0
    code, output = find(out, capsys, "--rounds=4", "-n")
    assert code == 0 and "3 runs to go, about 30 s at 10 s each" in output and "round-1: finished, 1 kimg" in output


# ---------------------------------------------------------------- going on


def test_killed_wherever_it_may_be_the_same_command_ends_with_the_same_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_dir: Path, capsys: Any
) -> None:
    whole = installed(monkeypatch)
    assert find(tmp_path / "whole", capsys)[0] == 0
    assert whole.events == 3 * 3 + 2 * 2
    expected = [read_mask(tmp_path / "whole" / f"ticket-mask-{r}.pt") for r in (1, 2)]
    for event in range(whole.events):
        out = tmp_path / str(event)
        with monkeypatch.context() as patch:
            installed(patch, dies=event)
            with pytest.raises(Killed):
                find(out, capsys)
        finished = len(list(out.glob("round-*/*/network-snapshot-000001.pkl")))
        with monkeypatch.context() as patch:
            again = installed(patch)
            code, output = find(out, capsys)
        assert code == 0 and len(again.commands) == 3 - finished, output
        for mask, other in zip(expected, (read_mask(out / f"ticket-mask-{r}.pt") for r in (1, 2))):
            assert mask.checksum == other.checksum and mask.before == other.before and mask.init == other.init


def test_what_is_finished_is_left_alone_and_more_rounds_go_on(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    trainer.commands.clear()
    code, output = call(["tickets", "find", f"--outdir={tmp_path}", "--rounds=1"], capsys)  # all else is known
    assert code == 0 and not trainer.commands and "ticket-mask-1.pt: finished" in output
    assert call(["tickets", "find", f"--outdir={tmp_path}", "--rounds=2", "--trust"], capsys)[0] == 0
    assert done(trainer) == ["round-2"] and "--kimg=1" in trainer.commands[0]


def test_a_run_that_fails_stops_the_rounds_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(Supervisor, "run", lambda *args, **more: "exit code 2: no")
    code, output = find(tmp_path, capsys, "--rounds=1")
    assert code == 1 and "round-0: exit code 2: no" in output
    assert "ticket-mask-1.pt: waits for round-0" in output and "round-1: waits for ticket-mask-1.pt" in output


def test_weights_that_are_not_finite_are_told_and_give_no_mask(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    find(tmp_path, capsys, "--rounds=1")
    (snapshot,) = (tmp_path / "round-0").glob("*/network-snapshot-000001.pkl")
    networks = pickle.loads(snapshot.read_bytes())
    networks["D"].conv.weight.data[0] = float("nan")
    snapshot.write_bytes(pickle.dumps(networks))
    (tmp_path / "ticket-mask-1.pt").unlink()
    code, output = find(tmp_path, capsys, "--rounds=1")
    assert code == 1 and "ticket-mask-1.pt: " in output and "the run has diverged" in output
    assert not (tmp_path / "ticket-mask-1.pt").exists()


@pytest.mark.parametrize("damage, told", [(lambda whole: whole[:-100], " "), (lambda whole: b"", " is empty")])
def test_a_damaged_end_of_a_round_is_named_and_gives_no_mask(
    damage: Any, told: str, tmp_path: Path, trainer: Trainer, capsys: Any
) -> None:
    find(tmp_path, capsys, "--rounds=1")
    (snapshot,) = (tmp_path / "round-0").glob("*/network-snapshot-000001.pkl")
    whole, mask = snapshot.read_bytes(), tmp_path / "ticket-mask-1.pt"
    snapshot.write_bytes(damage(whole))
    expected = read_mask(mask).checksum
    mask.unlink()
    code, output = find(tmp_path, capsys, "--rounds=1")
    assert code == 1 and f"ticket-mask-1.pt: {snapshot}{told}" in output and not mask.exists(), output
    snapshot.write_bytes(whole)
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0 and read_mask(mask).checksum == expected


def test_other_options_than_before_are_an_error_with_the_difference(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    for option, told in (
        ("--share=0.3", "(--share: 0.2 -> 0.3)"),
        ("--gamma=2", "(--gamma: not given -> 2)"),
        ("--data=faces.zip", "(--data: digits.zip -> faces.zip)"),
    ):
        code, output = find(tmp_path, capsys, option)
        assert code == 2 and f"{tmp_path} was begun with other options {told}: give the same or none at all" in output, output
    spaced = ["--host", "embedded", "--data=digits.zip", "--rounds=1", "--kimg", "1"]
    assert call(["tickets", "find", f"--outdir={tmp_path}", *spaced], capsys)[0] == 0
    assert find(tmp_path, capsys, "--data=/elsewhere/digits.zip", "--rounds=1", "--gpus=2")[0] == 0


@pytest.mark.parametrize("before, now, told", [
    (["--a=1", "--b", "2"], ["--b=2", "--a=1"], None),
    (["--a=1"], ["--a=2", "--a=1"], None),
    (["--a=1", "--b=2", "--c"], ["--b", "-3", "--c", "--d=4"], "--a: 1 -> not given, --b: 2 -> -3, --d: not given -> 4"),
    ([], ["--rg"], "--rg: not given -> given"),
    (None, ["--a=1"], None),
])  # fmt: skip
def test_only_what_differs_is_told(before: Optional[List[str]], now: List[str], told: Optional[str]) -> None:
    assert difference(before, now) == told


@pytest.mark.parametrize("command, options, told", [
    ("find", ["--gama=2"], "train: No such option '--gama'."),
    ("find", ["--scope=nothing.*"], "--scope: of G: scope pattern 'nothing.*' matches no parameter"),
    ("find", ["--rounds=99"], "--rounds=99: 4 of the 216 weights of G in scope would be left, and its 8 output channels "
     "keep one each; at most --rounds=16 can be had"),
    ("random", ["--sparsity=0.99"], "at most --sparsity=0.9629 can be had"),
    ("one-shot", ["--round=40"], "at most --round=16 can be had"),
    ("small-dense", ["--sparsity=0.9999", "--scope=conv.weight,fc.weight"], "small-dense: already --cbase=8 has 78 parameters"),
    ("find", ["--freeze-d=conv.*"], "--freeze-d: D.conv.weight would not train, and cannot make up for what is pruned of it"),
    ("find", ["--from=best"], "--from=best takes the best snapshot of a run with one of --metrics, and --metrics=none"),
])  # fmt: skip
def test_what_cannot_be_is_told_before_anything_trains(
    command: str, options: List[str], told: str, tmp_path: Path, trainer: Trainer, capsys: Any
) -> None:
    for more in ([], ["-n"]):
        code, output = find(tmp_path / "out", capsys, *options, *more, command=command)
        assert code == 2 and told in output and output.count("\n") == 1, output
    assert not trainer.commands and not (tmp_path / "out").exists()


def test_the_most_rounds_that_are_told_can_be_had(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=16")[0] == 0


def test_a_folder_inside_that_of_another_ticket_is_refused(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    for inner in ("round-0", "further/ticket"):
        code, output = find(tmp_path / inner, capsys, "-n")
        assert code == 2 and f"lies in {tmp_path}, which is the folder of another ticket" in output


def test_damaged_initial_weights_are_one_line_with_the_remedy(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    init = tmp_path / "ticket-init.pt"
    init.write_bytes(b"PK")
    code, output = find(tmp_path, capsys)
    assert code == 4 and output.startswith(f"Error: {init}: not a ticket") and output.endswith("; delete it\n")
    init.unlink()
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    (tmp_path / "ticket-mask-1.pt").unlink()
    whole = init.read_bytes()
    for change in (lambda: init.write_bytes(whole[:-9]), init.unlink):
        change()
        for more in ([], ["-n"]):
            code, output = find(tmp_path, capsys, *more)
            assert code == 4 and output.startswith(f"Error: {init}: ") and "bring back a copy of it" in output
        code, output = call(["tickets", "show", str(tmp_path)], capsys)
        assert code == 4 and "round-0" in output and output.splitlines()[-1].startswith(f"Error: {init}: ")
    trainer.commands.clear()
    init.write_bytes(whole)
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0 and not trainer.commands  # the mask alone was made
    (tmp_path / "ticket.json").write_text("{")
    code, output = call(["tickets", "find", f"--outdir={tmp_path}"], capsys)
    assert code == 4 and output.startswith(f"Error: {tmp_path / 'ticket.json'} is no JSON") and output.count("\n") == 1


def test_weights_of_another_ticket_are_told_before_anything_trains(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    networks = {"G": Net(), "D": Net()}
    write_init(init_of(networks), tmp_path / "ticket-init.pt")
    code, output = find(tmp_path, capsys, "--rounds=2", "-n")
    assert code == 2 and f"ticket-mask-1.pt was found with other weights than {tmp_path / 'ticket-init.pt'} holds" in output


def test_what_was_mistyped_before_anything_has_trained_binds_nobody(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    (tmp_path / "round-0").mkdir()
    (tmp_path / "ticket.json").write_text(json.dumps({"arguments": ["--networks=both", "--gamma=abc"]}))
    code, output = find(tmp_path, capsys)
    assert code == 0, output
    assert "--gamma=abc" not in (tmp_path / "ticket.json").read_text()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    (tmp_path / "file").touch()
    for inside, more in itertools.product(("", "further/ticket"), ([], ["-n"])):
        code, output = find(tmp_path / "file" / inside, capsys, *more)
        assert code == 2 and output.startswith("Error: --outdir: ") and output.count("\n") == 1, output
        assert f"cannot be made: {tmp_path / 'file'} is no folder" in output


def test_a_damaged_mask_and_one_of_another_ticket_are_named(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    folder = tmp_path / "one"
    assert find(folder, capsys)[0] == 0
    first, second = folder / "ticket-mask-1.pt", folder / "ticket-mask-2.pt"
    kept = second.read_bytes()
    second.write_bytes(kept[:-100])
    code, output = find(folder, capsys, "--rounds=3")
    assert code == 4 and output.startswith(f"Error: {second}: ") and output.endswith("; delete it to have it made anew\n")
    second.write_bytes(kept)
    assert find(tmp_path / "other", capsys, "--score=raw", "--share=0.4")[0] == 0
    shutil.copy(tmp_path / "other" / "ticket-mask-1.pt", first)
    code, output = find(folder, capsys)
    assert code == 2 and f"{first} was found by kind magnitude" in output and "share 0.4" in output
    first.unlink()
    assert find(folder, capsys)[0] == 0  # the same as before, so that the second still follows from it
    mask = read_mask(first)
    turned = {kind: {name: keep.flip(0) for name, keep in keeps.items()} for kind, keeps in mask.networks.items()}
    write_mask(Mask(turned, 1, mask.rule, mask.init, mask.before), first)
    code, output = find(folder, capsys)
    assert code == 2 and f"{second} was pruned from another mask than {first} holds" in output


@pytest.mark.parametrize("arguments, told", [
    (["find", "--share=1"], "--share"),
    (["find", "--rounds=0"], "--rounds"),
    (["find", "--ticket-mask=x.pt"], "--ticket-mask cannot be given to the runs of a ticket"),
    (["find", "--resume=latest"], "--resume=latest cannot be given"),
    (["find"], "--data is missing"),
    (["random", "--data=x.zip"], "give either --round or --sparsity"),
    (["one-shot", "--data=x.zip", "--round=1", "--sparsity=0.5"], "give either --round or --sparsity"),
    (["random", "--data=x.zip", "--sparsity=0.5", "--like=counts"], "--like=counts takes the numbers of a round's ticket"),
    (["train", __file__, "--data=x.zip"], "--init: there is no "),
])  # fmt: skip
def test_mistakes_are_one_line(arguments: List[str], told: str, tmp_path: Path, capsys: Any) -> None:
    code, output = call(["tickets", *arguments, f"--outdir={tmp_path / 'out'}"], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and told in line and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what tickets are compared with


def test_random_and_one_shot_tickets_keep_as_many_weights(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys)[0] == 0
    trainer.commands.clear()
    wanted = {kind: prune.counts(keeps) for kind, keeps in read_mask(tmp_path / "ticket-mask-2.pt").networks.items()}
    for name, command, *more in (
        ("one-shot-2", "one-shot", "--round=2"),
        ("random-2-seed0", "random", "--round=2"),
        ("random-2-counts-seed5", "random", "--round=2", "--like=counts", "--mask-seed=5"),
        ("random-0.5-seed0", "random", "--sparsity=0.5"),
    ):
        code, output = find(tmp_path, capsys, *more, command=command)
        mask = read_mask(tmp_path / f"ticket-mask-{name}.pt")
        assert code == 0 and done(trainer)[-1] == name, output
        counts = {kind: prune.counts(keeps) for kind, keeps in mask.networks.items()}
        assert counts == ({kind: {"conv.weight": 108} for kind in "GD"} if "0.5" in name else wanted)
    assert len(trainer.commands) == 4  # round 0 is everybody's


def test_small_dense_networks_have_the_parameters_that_a_ticket_keeps(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys, "--rounds=1")[0] == 0
    code, output = find(tmp_path, capsys, "--round=2", command="small-dense")
    assert code == 0, output
    base = json.loads((tmp_path / "small-dense-2.json").read_text())
    kept = 2 * (prune.kept_after(216, 0.2, 2) + 12)
    assert base["wanted"] == kept and base["cbase"] == 47 and base["parameters"] == 2 * (5 * 27 + 12) <= kept
    assert trainer.commands[-1][-1] == "--cbase=47" and not any("ticket-init" in part for part in trainer.commands[-1])
    assert "--cbase=8" in find(tmp_path, capsys, "--sparsity=0.999", command="small-dense")[1]
    (tmp_path / "small-dense-2.json").write_text('{"cbase": 4')
    code, output = find(tmp_path, capsys, "--round=2", command="small-dense")
    assert code == 4 and f"{tmp_path / 'small-dense-2.json'} " in output and "delete it to have it made anew" in output


def test_the_largest_capacity_that_is_not_too_large() -> None:
    for wanted in (parameters(Net(8)), parameters(Net(32)), parameters(Net(32)) + 5, 10**6):
        base, count = capacity_of([Net(64)], wanted)
        assert count == parameters(Net(base)) <= wanted and (base == 64 or parameters(Net(base + 1)) > wanted)


def test_a_mask_is_trained_elsewhere_with_its_weights_or_moved_to_others(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path / "a", capsys, "--rounds=1")[0] == 0
    mask = tmp_path / "a" / "ticket-mask-1.pt"
    code, output = call(
        ["tickets", "train", str(mask), f"--outdir={tmp_path / 'b'}", "--data=x.zip", "--kimg=1", "--apa"], capsys
    )
    assert code == 0 and done(trainer)[-1] == "ticket-mask-1", output
    assert {f"--ticket-init={mask.with_name('ticket-init.pt')}", f"--ticket-mask={mask}", "--apa"} <= set(trainer.commands[-1])
    line = json.loads(call(["tickets", "show", str(tmp_path / "b"), "--json"], capsys)[1])
    assert line["name"] == "ticket-mask-1" and line["sparsity"]["G"] == read_mask(mask).sparsity("G")
    arguments = [f"--outdir={tmp_path / 'c'}", "--data=y.zip", "--kimg=1", "--resume=faces.pkl", "--transfer"]
    assert call(["tickets", "train", str(mask), *arguments], capsys)[0] == 0
    assert {f"--ticket-init={tmp_path / 'c' / 'ticket-init.pt'}", "--ticket-transfer=true", "--resume=faces.pkl"} <= set(
        trainer.commands[-1]
    )


# ---------------------------------------------------------------- what is shown


def test_what_is_known_of_the_rounds_is_shown(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path, capsys)[0] == 0 and find(tmp_path, capsys, "--round=2", command="random")[0] == 0
    add_metric(next((tmp_path / "round-1").glob("0*")), "fid1k_full", {1: 80.0})
    code, output = call(["tickets", "show", str(tmp_path), "--json"], capsys)
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0 and [line["name"] for line in lines] == ["round-0", "round-1", "round-2", "random-2-seed0"]
    masks_ = [read_mask(tmp_path / f"ticket-mask-{name}.pt") for name in ("1", "2", "random-2-seed0")]
    for line, mask in zip(lines[1:], masks_):
        assert line["sparsity"] == {kind: mask.sparsity(kind) for kind in ("G", "D")}
        assert line["layers"] == {f"{kind}.conv.weight": line["sparsity"][kind] for kind in ("G", "D")}
    assert lines[1]["metrics"] == {"fid1k_full": 80.0}
    assert lines[2]["overlap"]["G"] == prune.overlap(masks_[1].networks["G"], masks_[0].networks["G"])
    assert lines[3]["overlap"]["G"] == prune.overlap(masks_[2].networks["G"], masks_[1].networks["G"])
    (tmp_path / "ticket-mask-2.pt").write_bytes(b"PK")
    code, output = call(["tickets", "show", str(tmp_path), "--layers"], capsys)
    assert code == 4 and "G.conv.weight" in output and "damaged" in output and "80" in output
    assert output.splitlines()[-1].startswith(f"Error: {tmp_path / 'ticket-mask-2.pt'}: ") and "made anew" in output


def test_a_report_has_the_masks_of_all_rounds_and_what_they_share(tmp_path: Path, trainer: Trainer, capsys: Any) -> None:
    assert find(tmp_path / "a", capsys)[0] == 0
    moved = (tmp_path / "a").rename(tmp_path / "b")  # the masks went with the runs
    code, output = call(["report", *map(str, sorted(moved.glob("round-*/0*"))), f"--out={tmp_path / 'page.html'}"], capsys)
    page = re.sub(r"<[^>]*>", " ", (tmp_path / "page.html").read_text("utf-8"))
    first, second = (read_mask(moved / f"ticket-mask-{r}.pt") for r in (1, 2))
    pruned = [f"{mask.sparsity('D'):.2%}" for mask in (first, second)]
    shared = f"{prune.overlap(first.networks['D'], second.networks['D']):.2%}"
    assert code == 0 and "Masks of tickets" in page, output
    assert re.search(rf"D\.conv\.weight\s+{pruned[0]}\s+{pruned[1]}\s", page)
    one, two = "D of run B, ticket of round 1", "D of run C, ticket of round 2"
    assert re.search(rf"{one}\s+–\s+{shared}\s+{two}\s+{shared}\s+–\s", page)
    said = ["round 0 of a ticket, dense", "ticket of round 1, 80.1 % kept", "ticket of round 2, 64.4 % kept"]
    assert re.search(r"method\s+" + r"\s+".join(said), page)
    (moved / "ticket-mask-1.pt").unlink()
    code, output = call(["report", str(next(moved.glob("round-1/0*"))), f"--out={tmp_path / 'one.html'}"], capsys)
    assert code == 0 and "Masks of tickets" not in (tmp_path / "one.html").read_text("utf-8")


def test_a_snapshot_of_a_ticket_is_its_sparse_pickle(tmp_path: Path, host_dir: Path, capsys: Any) -> None:
    for name, options in (("ticket", of_ticket("")), ("masked", {}), ("plain", {})):
        run = make_run(tmp_path / f"00000-{name}", [tick(1, 1.0)], **options)
        snapshot = write_networks(run / "network-snapshot-000001.pkl", host_dir)
        if name == "masked":
            networks = load_networks(snapshot, host_dir)
            G = networks["G"]
            keep = {"synthesis.b16.conv1.weight": torch.rand_like(G.synthesis.b16.conv1.weight) > 0.9}
            for network in (G, networks["G_ema"]):
                network.synthesis.b16.conv1.weight.data *= keep["synthesis.b16.conv1.weight"]
            snapshot.write_bytes(pickle.dumps(networks))
            write_mask(Mask({"G": keep}, 1, {}, 0), tmp_path / "mask.pt")
            written = json.loads((run / "training_options.json").read_text())
            (run / "training_options.json").write_text(json.dumps({**written, **of_ticket(str(tmp_path / "mask.pt"))}))
        code, output = call(["export", str(run), "--to=sparse", "--trust", "--host=embedded"], capsys)
        same = (run / "network-snapshot-000001-sparse.pkl").read_bytes() == snapshot.read_bytes()
        assert code == 0 and same == (name == "masked"), output
        assert ("that round 1 of a ticket masks" in output) == same


# ---------------------------------------------------------------- the real loop


def test_a_chain_of_the_real_loop(
    tmp_path: Path, host_dir: Path, data_zip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Round 0, its masks, and round 1, through the real commands: the pickle has its zeros exactly, and all else moves."""

    def run(supervisor: Supervisor, command: Sequence[str], log: Path, *args: Any, **more: Any) -> Optional[str]:
        ended = forked(command)
        return ended.stdout.decode()[-2000:] if ended.returncode else None

    monkeypatch.setattr(Supervisor, "run", run)
    fork_rehearsals(monkeypatch)
    small = [
        "--device=cpu",
        "--cfg=cifar",
        "--cbase=64",
        "--cmax=8",
        "--batch=64",
        "--kimg=1",
        "--tick=1",
        "--snap=1",
        "--metrics=none",
    ]
    arguments = ["tickets", "find", f"--outdir={tmp_path}", "--host=embedded", f"--data={data_zip}", "--rounds=1", *small]
    code, output = call([*arguments, "--scope=b*"], capsys)
    assert code == 2 and "Error: --scope: of G: scope pattern 'b*'" in output and not list(tmp_path.iterdir()), output
    code, output = call(arguments, capsys)
    assert code == 0, output
    init, mask = read_init(tmp_path / "ticket-init.pt"), read_mask(tmp_path / "ticket-mask-1.pt")
    (snapshot,) = (tmp_path / "round-1").glob("*/network-snapshot-000001.pkl")
    networks = load_networks(snapshot, host_dir)
    for kind, of in (("G", "G"), ("G_ema", "G"), ("D", "D")):
        parameters_ = dict(networks[kind].named_parameters())
        for name, keep in mask.networks[of].items():
            assert torch.equal(parameters_[name] != 0, keep), f"{kind}.{name}"
            assert not torch.equal(parameters_[name][keep], init.networks[of][name][keep])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, output = call(arguments, capsys)
    assert code == 0 and output.count("finished, ") == 3
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
