"""What cannot be gone on from is refused in one line, before anything is written, and a dry run runs nothing of a pickle."""

from __future__ import annotations

import copy
import math
import os
import pickle
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import call, outcome
from support.networks import load_networks
from support.runs import SCHEDULE, SMALL, Run

from regan_ext.support.errors import UserError
from regan_ext.train import resume_options
from training_hooks.core.state_check import check_fields, check_fit
from training_hooks.methods.regan.config import ReconfigurationConfig
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.nvidia import state as states

# ---------------------------------------------------------------- pickles


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> "Tuple[Any, ...]":
        return (Path.touch, (self.path,))


class Exit:
    def __reduce__(self) -> "Tuple[Any, ...]":
        return (exit, (0,))


def refused(whole: Run, folder: Path, capsys: Any, value: str, *more: str) -> str:
    """The one line of a refusal, of a real run, which leaves no folder."""
    data = whole.options["training_set_kwargs"]["path"]
    common = ["train", "--host=embedded", f"--outdir={folder / 'runs'}", f"--data={data}", *SMALL, *SCHEDULE, "--kimg=3"]
    code, output = call([*common, f"--resume={value}", *more], capsys)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert code == 2 and line.startswith("Error: --resume: ") and "Traceback" not in output, output
    assert "delete" not in line and not (folder / "runs").exists()
    return line


DAMAGED: Dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"hello",
    "cut short": lambda content: content[: len(content) // 2],
    "cut short but for its end": lambda content: content[: len(content) // 2] + b".",
    "zeros in the middle": lambda content: content[:3000] + bytes(2000) + content[5000:],
    "no networks": lambda content: pickle.dumps({"G": 1, "D": 2}),
    "a list": lambda content: pickle.dumps([1, 2]),
    "a number": lambda content: pickle.dumps(5),
    "nothing": lambda content: pickle.dumps({}),
    "a tuple of three": lambda content: pickle.dumps((1, 2, 3)),
    "unknown classes": lambda content: b"\x80\x04cno_such_module\nThing\n.",
    "an exit": lambda content: pickle.dumps(Exit()),
    "a state": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("dry", [False, True], ids=["run", "dry run"])
def test_what_is_no_network_pickle(whole: Run, tmp_path: Path, capsys: Any, how: str, dry: bool) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(DAMAGED[how](whole.snapshot(2).read_bytes()))
    if how == "zeros in the middle" and dry:
        return  # may lie within a tensor's numbers, which are not looked at then
    line = refused(whole, tmp_path, capsys, str(path), *(["-n"] if dry else []))
    assert "x.pkl" in line


def test_a_dry_run_runs_nothing_of_a_pickle(whole: Run, tmp_path: Path, capsys: Any, host_dir: Path) -> None:
    content = load_networks(whole.snapshot(2), host_dir)
    content["bomb"] = Bomb(tmp_path / "exploded")
    path = tmp_path / "network-snapshot-000002.pkl"
    path.write_bytes(pickle.dumps(content))
    code, output = outcome(whole, tmp_path, capsys)
    assert code == 0 and not (tmp_path / "exploded").exists()
    assert f"Dry run: nothing of {path} was run" in output and "going on from its networks, 2 kimg" in output
    pickle.loads(path.read_bytes())
    assert (tmp_path / "exploded").exists()


def test_a_pickle_of_tensorflow_is_not_looked_into(whole: Run, tmp_path: Path, capsys: Any) -> None:
    network = b"cdnnlib.tflib.network\nNetwork\n)\x81}b"
    (tmp_path / "stylegan2.pkl").write_bytes(b"\x80\x02(" + 3 * network + b"t.")
    code, output = outcome(whole, tmp_path, capsys, value=str(tmp_path / "stylegan2.pkl"))
    assert code == 0 and "networks of TensorFlow can be converted" in output
    line = refused(whole, tmp_path, capsys, str(tmp_path / "stylegan2.pkl"))
    assert "stylegan2.pkl cannot be opened as a network pickle" in line


def test_weights_that_are_not_finite(whole: Run, tmp_path: Path, capsys: Any, host_dir: Path) -> None:
    content = load_networks(whole.snapshot(2), host_dir)
    content["D"].b4.fc.weight.data[0, 0] = math.nan
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    assert "D.b4.fc.weight holds NaN" in refused(whole, tmp_path, capsys, str(tmp_path / "x.pkl"))


def test_an_address_that_cannot_be_reached(whole: Run, tmp_path: Path, capsys: Any) -> None:
    line = refused(whole, tmp_path, capsys, "http://127.0.0.1:9/ffhq.pkl")
    assert "http://127.0.0.1:9/ffhq.pkl cannot be downloaded" in line
    code, output = outcome(whole, tmp_path, capsys, value="http://127.0.0.1:9/ffhq.pkl")
    assert code == 0 and "http://127.0.0.1:9/ffhq.pkl was not downloaded" in output


def test_a_state_and_a_folder_are_no_snapshots(whole: Run, tmp_path: Path, capsys: Any) -> None:
    line = refused(whole, tmp_path, capsys, str(whole.folder / "regan-state-000002.pt"))
    assert f"name the snapshot that it is of, {whole.snapshot(2)}" in line
    torch.save({}, tmp_path / "x.pt")
    assert "x.pt is not a network pickle but a zip archive" in refused(whole, tmp_path, capsys, str(tmp_path / "x.pt"))
    (tmp_path / "network-snapshot-000002.onnx").write_bytes(b"no pickle")
    (tmp_path / "regan-state-000002.pt").write_bytes((whole.folder / "regan-state-000002.pt").read_bytes())
    line = refused(whole, tmp_path, capsys, str(tmp_path / "network-snapshot-000002.onnx"))
    assert "network-snapshot-000002.onnx is not a network pickle" in line
    os.mkfifo(tmp_path / "fifo.pkl")
    assert "fifo.pkl is no file" in refused(whole, tmp_path, capsys, str(tmp_path / "fifo.pkl"))


def test_what_else_lies_beside_a_snapshot_is_left_alone(whole: Run, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "model.pkl").write_bytes(whole.snapshot(2).read_bytes())
    torch.save({"somebody's": torch.zeros(2)}, tmp_path / "model.pt")
    code, output = outcome(whole, tmp_path, capsys, value=str(tmp_path / "model.pkl"))
    assert code == 0 and "-resumecustom" in output and "model.pt" not in output


# ---------------------------------------------------------------- states

Where = Tuple[Any, ...]


def leaves(value: Any, where: Where = ()) -> Iterator[Where]:
    """Places of everything in a state but its options and random numbers, containers too."""
    if where:
        yield where
    if where[-1:] not in (("options",), ("torch",), ("numpy",), ("python",)) and isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*where, key))


def changed(state: Any, where: Where, value: Any) -> Any:
    """A copy of a state with another value at a place; ``...`` takes it away."""
    state = copy.deepcopy(state)
    inner = state
    for key in where[:-1]:
        inner = inner[key]
    if value is ... and isinstance(inner, dict):
        del inner[where[-1]]
    else:
        inner[where[-1]] = None if value is ... else value
    return state


@pytest.mark.parametrize("where, value", [
    (("cur_nimg",), ...), (("cur_nimg",), -5), (("cur_nimg",), "many"), (("cur_nimg",), 10**30), (("batch_idx",), 1),
    (("cur_tick",), -1), (("augment_p",), math.nan), (("augment_p",), -1.0), (("augment_p",), ...),
    (("ada_pending",), torch.ones(2)), (("optimizers", "G", "param_groups", 0, "differentiable"), True),
    (("optimizers", "G"), ...), (("optimizers", "D", "state", 0, "exp_avg"), torch.zeros(3)),
    (("optimizers", "D", "state", 0, "exp_avg_sq"), ...), (("optimizers", "G", "param_groups", 0, "lr"), math.inf),
    (("optimizers", "G", "param_groups"), []), (("ranks",), []), (("ranks", 0, "pl_mean"), torch.tensor(math.nan)),
    (("ranks", 0, "random", "torch"), torch.zeros(3)), (("ranks", 0, "random"), {}), (("ranks", 0, "averages"), {}),
    (("hooks",), 3), (("hooks", "regan"), ...), (("hooks", "regan", "span"), [9, 1, 0]),
    (("hooks", "regan", "networks", "G", "keep", 0), torch.zeros(1, dtype=torch.uint8)),
    (("hooks", "regan", "networks", "G", "names", 0), "synthesis.nothing"), (("snapshot",), None), (("options",), 7),
])  # fmt: skip
def test_a_state_that_no_run_can_go_on_from(
    whole: Run,
    copied: Path,
    capsys: Any,
    where: Where,
    value: Any,
) -> None:
    """Its checksums are valid. Where a folder is named, the state before it is taken."""
    path = copied / "regan-state-000002.pt"
    torch.save(changed(states.load(path), where, value), path)
    line = refused(whole, copied, capsys, str(copied / "network-snapshot-000002.pkl"))
    assert "regan-state-000002.pt: the state cannot be used" in line


def test_a_loop_may_have_begun_at_a_later_image(whole: Run) -> None:
    """As hosts do that are told where to begin, or that take their count from a pickle."""
    state = states.load(whole.folder / "regan-state-000002.pt")
    assert state["first_image"] == 0
    later = {**state, "first_image": 1000, "cur_nimg": state["cur_nimg"] + 1000}
    check_fields(later)
    check_fields({name: value for name, value in state.items() if name != "first_image"})  # as 0.1.0 wrote it
    for one in ({**state, "first_image": 1000}, {**later, "first_image": 0}, {**later, "first_image": -1}):
        with pytest.raises(ValueError, match="is missing or absurd"):
            check_fields(one)


REPLACEMENTS: List[Any] = [
    ...,
    None,
    -1,
    3,
    math.nan,
    math.inf,
    "text",
    [],
    {},
    torch.zeros(0),
    torch.full([3], math.nan),
    True,
    10**40,
]


@pytest.mark.parametrize("config", [{"depth": 3}, {"rate": 0.5}, "fast", None])
def test_what_a_hook_of_ones_own_keeps_is_its_own_business(config: Any) -> None:
    args = {"loss_kwargs": {"hooks": [{"class_name": "support.probes.Keeper", "rate": 0.1}]}}
    resume_options.check_hooks(Path("x.pt"), {"Keeper": {"config": config}}, args, {})
    with pytest.raises(UserError, match="Keeper's part is missing"):
        resume_options.check_hooks(Path("x.pt"), {}, args, {})


@pytest.mark.parametrize("where, value", [
    (("networks",), {}), (("networks", "G"), ...), (("memory",), "text"), (("memory",), []), (("memory", "G"), ...),
    (("base_lr", "G"), []),
])  # fmt: skip
def test_a_hooks_part_without_a_network_of_its_settings_is_refused(
    whole: Run, host_dir: Path, where: Where, value: Any
) -> None:
    networks = load_networks(whole.snapshot(2), host_dir)
    networks = {kind: networks[kind].requires_grad_(True) for kind in ("G", "D")}
    parts = states.load(whole.folder / "regan-state-000002.pt")["hooks"]
    resume_options.check_hooks(Path("x.pt"), parts, whole.options, networks)
    with pytest.raises(UserError, match=r"x\.pt"):
        resume_options.check_hooks(Path("x.pt"), changed(parts, ("regan", *where), value), whole.options, networks)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_state_is_refused_or_loads(whole: Run, host_dir: Path, data: Any) -> None:
    """Whatever the checks let pass, the optimizers and the hook of a run can be given."""
    state = states.load(whole.folder / "regan-state-000002.pt")
    networks = load_networks(whole.snapshot(2), host_dir)
    networks = {kind: networks[kind].requires_grad_(True) for kind in ("G", "D")}
    broken = changed(state, data.draw(st.sampled_from([*leaves(state)])), data.draw(st.sampled_from(REPLACEMENTS)))
    try:
        check_fields(broken)
        check_fit(broken, networks, 1)
        resume_options.check_hooks(Path("x.pt"), broken["hooks"], whole.options, networks)
    except (ValueError, UserError):
        return
    optimizers = {kind: torch.optim.Adam(network.parameters()) for kind, network in networks.items()}
    for kind, optimizer in optimizers.items():
        optimizer.load_state_dict(broken["optimizers"][kind])
    next(networks["G"].parameters()).grad = torch.ones_like(next(networks["G"].parameters()))
    optimizers["G"].step()
    hook = Reconfiguration(networks["G"], ReconfigurationConfig.from_dict(whole.options["loss_kwargs"]["hooks"][0]["settings"]))
    try:
        hook.attach(optimizers["G"], state=broken["hooks"]["regan"])
    except ValueError as err:
        assert "the state has" in str(err)  # other settings, which the options of the state tell first
