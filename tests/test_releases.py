"""What every release wrote goes on with this code: its runs are trained further and read, its presets train.

The folders are made by ``releases/make.py``. A release to come adds a folder, and nothing here.
"""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
import torch
from click.testing import CliRunner
from releases.make import NAMED, OPTIONS, dry_run, shown, write_data
from safetensors.torch import load_file
from support.networks import load_networks
from support.processes import TESTS, run_python
from support.runs import Run, finished_run

from regan_ext.cli import main
from regan_ext.hosts.embedded_train import host_module
from regan_ext.runs.chain import read_runs
from training_hooks.core.engine import look_up
from training_hooks.methods.method import entries, entry_of
from training_hooks.methods.regan import METHOD
from training_hooks.nvidia import state as states

FOLDERS = sorted(path for path in (TESTS / "releases").iterdir() if path.is_dir() and path.name != "__pycache__")
RUNS = [path.parent for folder in FOLDERS for path in sorted(folder.glob(f"*/{OPTIONS}"))]
NETWORKS = ("G", "D", "G_ema")


def name_of(path: Path) -> str:
    return str(path.relative_to(TESTS / "releases"))


@dataclass(frozen=True)
class Begun:
    """A run as a release left it, its snapshot made anew.

    Args:
        name: of the release and the run.
        folder: of the run, with the name that the host gave it.
        snapshot: its network pickle.
        tensors: of the networks, by network and name with a dot between them.
    """

    name: str
    folder: Path
    snapshot: Path
    tensors: Dict[str, torch.Tensor]

    @property
    def statistics(self) -> Any:
        """Of its last tick."""
        return json.loads((self.folder / "stats.jsonl").read_text().splitlines()[-1])


def rebuild(folder: Path) -> "tuple[Path, Dict[str, torch.Tensor]]":
    """The snapshot of a run folder, pickled by today's host from the tensors that lie in its place; the state is told of it."""
    options = json.loads((folder / "training_options.json").read_text())
    construct = host_module("dnnlib").util.construct_class_by_name
    common = dict(c_dim=0, img_resolution=options["training_set_kwargs"]["resolution"], img_channels=1)
    (stored,) = folder.glob("*.safetensors")
    tensors = load_file(stored)
    pipe = construct(**options["augment_kwargs"]) if "augment_kwargs" in options else None
    content: Dict[str, Any] = {"training_set_kwargs": options["training_set_kwargs"], "augment_pipe": pipe}
    for kind in NETWORKS:
        network = construct(**options[f"{kind[0]}_kwargs"], **common).eval().requires_grad_(False)
        network.load_state_dict({n[len(kind) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{kind}.")})
        content[kind] = network
    snapshot = stored.with_suffix(".pkl")
    snapshot.write_bytes(pickle.dumps(content))
    stored.unlink()
    state = torch.load(states.state_path(snapshot), weights_only=True)
    torch.save({**state, "snapshot": states.fingerprint(snapshot)}, states.state_path(snapshot))
    return snapshot, tensors


@pytest.fixture(scope="module", params=RUNS, ids=name_of)
def begun(request: pytest.FixtureRequest, host_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    kept: Path = request.param
    place = tmp_path_factory.mktemp("begun")
    options = json.loads((kept / "training_options.json").read_text())
    folder = place / "runs" / Path(options["run_dir"]).name
    shutil.copytree(kept, folder)
    write_data(place)
    return Begun(name_of(kept), folder, *rebuild(folder))


@pytest.fixture(scope="module")
def further(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What the same command does with ``--resume``, in a process of its own."""
    outdir = tmp_path_factory.mktemp("further")
    script = [str(TESTS / "releases" / "make.py"), "train", f"--outdir={outdir}", "--metrics=none", f"--resume={begun.folder}"]
    given = json.loads((begun.folder / OPTIONS).read_text())
    return finished_run(outdir, run_python([*script, *given], cwd=begun.folder.parent.parent))


# ---------------------------------------------------------------- its files


def test_what_is_kept_is_small_and_holds_no_code() -> None:
    assert FOLDERS and RUNS
    for folder in FOLDERS:
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= 300_000
        assert {path.suffix for path in files} <= {".json", ".jsonl", ".pt", ".safetensors"}
        for path in files:
            if path.suffix == ".pt":
                torch.load(path, weights_only=True)


def classes(value: Any) -> Iterator[str]:
    """The dotted names of ours in the options of a run."""
    if isinstance(value, dict):
        yield from (name for key, name in value.items() if key == "class_name" and name.startswith("training_hooks."))
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from classes(inner)


@pytest.mark.parametrize("folder", RUNS, ids=name_of)
def test_names_lead_to_what_there_is_today(folder: Path) -> None:
    options = json.loads((folder / "training_options.json").read_text())
    named = set(classes(options))
    assert {name: look_up(name).__name__ for name in named} == {name: name.rpartition(".")[2] for name in named}
    assert len(named) >= 2  # of the loss and of the optimizer
    methods = [entry for entry in entries(options) if entry.method is not None]
    assert methods and [entry.name for entry in methods if entry.config() is None] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_presets_mean_what_they_meant(folder: Path, host_dir: Path, data_zip: Path) -> None:
    (found,) = folder.glob("*.preset.json")
    meant = {name: entry_of(hook).config() for name, hook in json.loads((folder / NAMED).read_text()).items()}
    meant[str(found)] = METHOD.read(json.loads(found.read_text())["regan"])
    assert None not in meant.values() and len(set(meant.values())) == len(meant) >= 5
    for name, config in meant.items():
        result = CliRunner().invoke(main, dry_run(data_zip, name))
        assert result.exit_code == 0, result.output
        assert entry_of(shown(result.output)).config() == config


# ---------------------------------------------------------------- its runs


def test_run_goes_on(begun: Begun, further: Run) -> None:
    before, after = states.load(states.state_path(begun.snapshot)), states.load(states.state_path(further.snapshot(2)))
    assert (before["batch_idx"], after["batch_idx"]) == (60, 63)
    assert [line["Progress/tick"]["mean"] for line in further.stats] == [before["cur_tick"]]
    assert [further.stats[-1][name]["mean"] for name in ("ReGAN/phase", "ReGAN/cycle")] == [2, 4]
    for network, taken in (("G", 3 + 1), ("D", 3)):  # 60 is a multiple of 4, after which G is regularised
        steps = [[int(entry["step"]) for entry in s["optimizers"][network]["state"].values()] for s in (before, after)]
        assert steps[1] == [step + taken for step in steps[0]]


def test_methods_go_on_where_they_were(begun: Begun, further: Run) -> None:
    """These statistics can only grow in the runs that are kept, and are smaller in a run that begins with its last phase."""
    grown = [name for name in ("ReGAN/explored", "APA/p") if name in begun.statistics]
    assert grown
    assert [name for name in grown if further.stats[-1][name]["mean"] < begun.statistics[name]["mean"]] == []


def test_masks_hold_to_the_end_of_the_phase(begun: Begun, further: Run, host_dir: Path) -> None:
    """The member of the pair is of the iteration before the switch to the last phase, the first one that was trained here."""
    member = load_networks(further.folder / "network-pair-000001-sparse.pkl", host_dir)["G"]
    weights = {name: p for name, p in member.named_parameters() if p.ndim > 1}
    pruned = {name: begun.tensors[f"G.{name}"] == 0 for name in weights}
    assert sum(int(zeros.sum()) for zeros in pruned.values()) > 100
    assert [name for name in weights if not torch.equal(weights[name] == 0, pruned[name])] == []
    assert not torch.equal(member.mapping.fc0.bias, begun.tensors["G.mapping.fc0.bias"])


def test_run_is_read(begun: Begun, further: Run) -> None:
    (first,), (whole,) = read_runs([begun.folder]), read_runs([begun.folder, further.folder])
    assert first.notes == whole.notes == ()
    assert (first.iterations, first.total_kimg) == (whole.iterations, whole.total_kimg) == (63, 2)
    assert (first.kimg, whole.kimg) == (pytest.approx(1.92), pytest.approx(2.016))
    assert [tick.kimg for tick in whole.ticks] == [*(tick.kimg for tick in first.ticks), whole.kimg]
    assert [part.run.folder for part in whole.earlier] == [first.folder]
    assert first.config is not None and first.config == whole.config and first.config.interval == 8
    measured = [json.loads(line) for line in (begun.folder / "metric-kid1k_full.jsonl").read_text().splitlines()]
    newest = {line["snapshot_pkl"]: line["results"]["kid1k_full"] for line in measured}
    assert [point.value for point in whole.metrics] == list(newest.values())


def test_report(begun: Begun, further: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["report", str(begun.folder), str(further.folder), f"--out={page}"])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "kid1k_full" in text and begun.folder.name in text and further.folder.name in text


def test_export(begun: Begun, tmp_path: Path) -> None:
    target = tmp_path / "G_ema.safetensors"
    result = CliRunner().invoke(main, ["export", str(begun.snapshot), "--to=safetensors", f"--out={target}", "--trust"])
    assert result.exit_code == 0, result.output
    exported = load_file(target)
    assert exported and {n: t for n, t in exported.items() if not torch.equal(t, begun.tensors[f"G_ema.{n}"])} == {}
