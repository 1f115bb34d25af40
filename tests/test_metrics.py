"""Metrics: the numbers against independent computations, the cache, the protocol, a real run, and bad input in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import sys
import types
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from support.detectors import FEATURES, Tiny, write_detector
from support.run_folders import make_run, ticks_of_one_kimg
from support.runs import SMALL, Run, drive, finished_run

from regan_ext.cli import main
from regan_ext.data.hashes import hashes
from regan_ext.hosts import projected_gan, stylegan2_ada
from regan_ext.hosts.detectors import DETECTORS, STYLEGAN3, prefix, torchscript_in_place_of
from regan_ext.metrics import (
    check,
    content,
    digit_detector,
    efficientnet,
    fetch,
    install,
    nearest,
    prepare,
    protocol,
    registry,
)
from regan_ext.metrics.settings import MetricSettings
from regan_ext.runs.folder import read_run
from regan_ext.support.errors import UserError
from training_hooks.nvidia import current
from training_hooks.nvidia.metrics import KINDS, Kind, direction

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 16


def write_images(path: Path, images: np.ndarray) -> Path:
    """uint8 [N, H, W, 3] as a zip, or as a folder where the path has no ending."""
    if not path.suffix:
        path.mkdir()
    with zipfile.ZipFile(path, "w") if path.suffix else io.BytesIO() as archive:
        for number, image in enumerate(images):
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, format="png")
            if isinstance(archive, zipfile.ZipFile):
                archive.writestr(f"{number:05d}.png", encoded.getvalue())
            else:
                (path / f"{number:05d}.png").write_bytes(encoded.getvalue())
    return path


def random_images(count: int, seed: int) -> np.ndarray:
    mean = np.linspace(90, 150, SIDE)[:, None, None]
    return np.random.RandomState(seed).normal(mean, 40, [count, SIDE, SIDE, 3]).clip(0, 255).astype(np.uint8)


MADE: List[np.ndarray] = []


class Painter(torch.nn.Module):
    """A generator of blurred noise that remembers what it made."""

    z_dim, c_dim = 8, 0

    def __init__(self) -> None:
        super().__init__()
        self.basis = torch.randn([8, 3, SIDE, SIDE], generator=torch.Generator().manual_seed(7)) / 6

    def forward(self, z: torch.Tensor, c: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        images = torch.einsum("nz,zchw->nchw", z, self.basis)
        MADE.append((images * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy())
        return images


class Copier(Painter):
    """Shows the images of a data set, one after the other."""

    def __init__(self, images: np.ndarray):
        super().__init__()
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.next = 0

    def forward(self, z: torch.Tensor, c: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        chosen = torch.arange(self.next, self.next + len(z)) % len(self.images)
        self.next += len(z)
        return (self.images[chosen].float() - 127.99) / 127.5


@pytest.fixture
def host(host_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuple[Any, Any]]:
    """The host's metric_main and metric_utils, put back afterwards, with a cache folder of their own."""
    import importlib

    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, device=None: self)
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    modules = [importlib.import_module(f"metrics.{name}") for name in ("metric_main", "metric_utils", "precision_recall")]
    before = [dict(vars(module)) for module in modules]
    names = dict(modules[0]._metric_dict)
    yield modules[0], modules[1]
    for module, values in zip(modules, before):
        for name in set(vars(module)) - set(values):
            del vars(module)[name]
        vars(module).update(values)
    modules[0]._metric_dict.clear()
    modules[0]._metric_dict.update(names)
    modules[1]._feature_detector_cache.clear()
    protocol._hashes.clear()


def measure(host: Tuple[Any, Any], name: str, training: Path, G: Any, **settings: Any) -> Dict[str, Any]:
    install.install(host[0], MetricSettings(names=(name,), **settings))
    MADE.clear()
    kwargs = {"class_name": "training.dataset.ImageFolderDataset", "path": str(training), "max_size": None, "xflip": True}
    torch.manual_seed(1)
    np.random.seed(1)
    return dict(host[0].calc_metric(metric=name, G=G, dataset_kwargs=kwargs, device=torch.device("cpu")))


# ---------------------------------------------------------------- the numbers


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """By the nuclear norm of the product of the centred features, without a matrix root or a covariance's inverse."""
    a, b = ((v - v.mean(0)) / np.sqrt(len(v)) for v in (x, y))
    root = np.linalg.svd(a @ b.T if len(a) < 1200 else a.T @ a, compute_uv=False).sum()
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * root)


def features_of(detector: Path, images: np.ndarray) -> np.ndarray:
    """What the detector computes, in double precision and without it. Images [N, H, W, 3] or [N, 3, H, W]."""
    weight = Tiny(FEATURES).weight.detach().numpy().astype(np.float64)
    channels_first = images.transpose(0, 3, 1, 2) if images.shape[-1] == 3 else images
    return channels_first.reshape(len(images), -1).astype(np.float64) @ weight


@pytest.mark.parametrize("count", [300, 10])
def test_fid_agrees_with_a_computation_of_its_own(host: Tuple[Any, Any], tmp_path: Path, count: int) -> None:
    """Also with fewer real images than features, where the covariance has no full rank."""
    detector, images = write_detector(tmp_path / "tiny.pt"), random_images(count, 0)
    data = write_images(tmp_path / "real.zip", images)
    result = measure(host, "fid1k_full", data, Painter(), detector=str(detector))
    expected = frechet(features_of(detector, images), features_of(detector, np.concatenate(MADE)[:1000]))
    assert result["results"]["fid1k_full"] == pytest.approx(expected, rel=1e-3)


def test_kid_and_precision_tell_copies_from_noise(host: Tuple[Any, Any], tmp_path: Path) -> None:
    detector, images = write_detector(tmp_path / "tiny.pt"), random_images(300, 0)
    data = write_images(tmp_path / "real.zip", images)
    found = {}
    for name, G in (("copies", Copier(images)), ("noise", Painter())):
        kid = measure(host, "kid1k_full", data, G, detector=str(detector))["results"]["kid1k_full"]
        pr = measure(host, "pr1k3_full", data, G, detector=str(detector))["results"]
        found[name] = [kid, pr["pr1k3_full_precision"], pr["pr1k3_full_recall"]]
    x, y = features_of(detector, images), features_of(detector, np.concatenate(MADE)[:1000])
    k_xx, k_yy, k_xy = ((a @ b.T / FEATURES + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    unbiased = (k_xx.sum() - np.trace(k_xx)) / n / (n - 1) + (k_yy.sum() - np.trace(k_yy)) / m / (m - 1) - 2 * k_xy.mean()
    assert found["noise"][0] == pytest.approx(unbiased, rel=0.1)  # the host averages over subsets
    assert abs(found["copies"][0]) < found["noise"][0] / 20
    assert found["copies"][1] == 1 and found["copies"][2] > 0.99
    assert found["noise"][1] < 0.2


def test_precision_and_recall_do_not_depend_on_the_length_of_features(host: Tuple[Any, Any], tmp_path: Path) -> None:
    """In the host's half precision squared distances beyond 65504 are one, and everything is near."""
    data, found = write_images(tmp_path / "real.zip", random_images(100, 0)), []
    for scale in (1.0, 2.0**12, 2.0**-12):
        detector = write_detector(tmp_path / f"{scale:g}.pt", scale=scale)
        found.append(measure(host, "pr1k3_full", data, Painter(), detector=str(detector))["results"])
    assert found[0] == found[1] == found[2] and all(value < 0.9 for value in found[0].values())
    with pytest.raises(ValueError, match="no finite numbers"):
        broken = write_detector(tmp_path / "broken.pt", scale=float("nan"))
        measure(host, "pr1k3_full", data, Painter(), detector=str(broken))


@pytest.mark.parametrize("kind, fewest", [("fid1k_full", 1), ("kid1k_full", 2), ("pr1k3_full", 4)])
def test_the_fewest_images_that_give_a_number(host: Tuple[Any, Any], tmp_path: Path, kind: str, fewest: int) -> None:
    """One fewer is told before anything is computed; without that it is a traceback or not a number."""
    detector = str(write_detector(tmp_path / "tiny.pt"))
    enough = write_images(tmp_path / "enough.zip", random_images(fewest, 0))
    found = measure(host, kind, enough, Painter(), detector=detector)["results"]
    assert found and all(np.isfinite(value) for value in found.values())
    if fewest > 1:
        few = write_images(tmp_path / "few.zip", random_images(fewest - 1, 0))
        with pytest.raises(ValueError, match=f"{kind} needs at least {fewest} real images, and .*few.zip has {fewest - 1}$"):
            measure(host, kind, few, Painter(), detector=detector)
        assert MADE == []


def test_a_host_that_unpickles_detectors_measures_with_a_file_of_torchscript(
    host: Tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of StyleGAN3's shape do; each keeps what it has loaded by its place and device."""
    loaded = host[1]._feature_detector_cache

    def unpickled(url: str, device: Any, **kwargs: Any) -> Any:
        return loaded.setdefault((url, device), None) or pickle.loads(Path(url).read_bytes())

    monkeypatch.setattr(host[1], "get_feature_detector", unpickled)
    data = write_images(tmp_path / "real.zip", random_images(16, 0))
    found = measure(host, "fid1k_full", data, Painter(), detector=str(write_detector(tmp_path / "tiny.pt")))["results"]
    assert np.isfinite(found["fid1k_full"])


@pytest.mark.parametrize("count", [4, 25, 26])
def test_the_host_compares_few_vectors_on_the_cpu(host: Tuple[Any, Any], count: int) -> None:
    """The CPU compares 25 vectors or fewer in another way than more, for which it knows no half precision."""
    install.install(host[0], MetricSettings())
    rows, columns = torch.randn([count, 8]).half(), torch.randn([count, 8]).half()
    found = host[0].precision_recall.compute_distances(rows, columns, num_gpus=1, rank=0, col_batch_size=10000)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), torch.cdist(rows.float(), columns.float()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("count", [4, 26])
def test_precision_and_recall_of_few_images(host: Tuple[Any, Any], tmp_path: Path, count: int) -> None:
    detector, images = str(write_detector(tmp_path / "tiny.pt")), random_images(count, 0)
    data = write_images(tmp_path / "real.zip", images)
    copies = measure(host, "pr1k3_full", data, Copier(images), detector=detector)["results"]
    noise = measure(host, "pr1k3_full", data, Painter(), detector=detector)["results"]
    assert copies == {"pr1k3_full_precision": 1, "pr1k3_full_recall": 1}
    real, made = features_of(Path(detector), images), features_of(Path(detector), np.concatenate(MADE)[:1000])
    to_made = np.linalg.norm(real[:, None] - made, axis=-1)
    reach = np.sort(np.linalg.norm(real[:, None] - real, axis=-1), axis=1)[:, 3]
    assert noise["pr1k3_full_precision"] == pytest.approx((to_made < reach[:, None]).any(0).mean(), abs=0.01)


def test_a_family_has_any_number_of_images_and_the_hosts_own_stay() -> None:
    assert registry.parse("fid5k_full") == registry.Metric(KINDS["fid"], 5000, "full")
    assert registry.parse("pr12k3_train") == registry.Metric(KINDS["pr"], 12000, "train")
    assert registry.parse("is10k") == registry.Metric(KINDS["is"], 10000, "full")
    assert [registry.parse(name) for name in ("fid0k_full", "fid5k", "fid5k_all", "xfid5k_full", "is5k_full", "pr5k_full")] == [
        None
    ] * 6


def test_a_metric_is_one_row(host: Tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    row = Kind("higher", ("_density", "_coverage"), fewest=6, compute=lambda main, opts, n: [n, main.__name__])
    monkeypatch.setitem(KINDS, "dc", row)  # type: ignore[arg-type]
    known = dict(host[0]._metric_dict)
    monkeypatch.setattr(host[0], "_metric_dict", known)
    registry.register(host[0], ("dc3k_test",))
    opts = types.SimpleNamespace(dataset_kwargs={})
    assert known["dc3k_test"](opts) == {"dc3k_test_density": 3000, "dc3k_test_coverage": "metrics.metric_main"}
    assert opts.against == "test" and direction("dc3k_test_density") == "higher"
    found = check.too_few("dc3k_test", {"path": "x"}, lambda path: range(5))
    assert found is not None and "at least 6 real images" in found


def test_the_hosts_own_metrics_are_not_replaced(host: Tuple[Any, Any]) -> None:
    before = dict(host[0]._metric_dict)
    registry.register(host[0], ("fid50k_full", "kid3k_test", "nonsense"))
    assert {name: host[0]._metric_dict[name] for name in before} == before
    assert set(host[0].list_valid_metrics()) == {*before, *registry.STANDARD, "kid3k_test"}


# ---------------------------------------------------------------- what is compared with what


def test_the_protocol_names_what_was_measured(host: Tuple[Any, Any], tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "tiny.pt")
    data, test = write_images(tmp_path / "a.zip", random_images(30, 0)), write_images(tmp_path / "b.zip", random_images(20, 1))
    with zipfile.ZipFile(test, "a") as archive:
        archive.writestr("dataset.json", json.dumps({"labels": None, "resize_filter": "box"}))
    against = {"detector": str(detector), "data": str(test)}
    full, train, scored = (measure(host, n, data, Painter(), **against) for n in ("fid1k_full", "fid1k_train", "is1k"))
    assert full["protocol"] == {
        "generated": 1000,
        "reference": "b.zip",
        "reference_images": 20,
        "reference_sha256": content.read_content(test, tmp_path).sha256,
        "filter": "box",
        "detector": "tiny",
        "detector_sha256": hashes(detector)["sha256"],
        "truncation": 1.0,
        "network": "G_ema",
    }
    assert train["protocol"]["reference"] == "a.zip" and train["protocol"]["reference_images"] == 30  # no mirrored ones
    assert "reference" not in scored["protocol"] and scored["protocol"]["detector"] == "tiny"
    assert measure(host, "fid1k_test", data, Painter(), **against)["results"]["fid1k_test"] == full["results"]["fid1k_full"]
    with pytest.raises(ValueError, match="--metricdata"):
        measure(host, "fid1k_test", data, Painter(), detector=str(detector))


@pytest.mark.parametrize("looks_on", [True, False])
def test_measuring_leaves_the_random_numbers_of_a_method_alone(
    host: Tuple[Any, Any], tmp_path: Path, looks_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain run keeps drawing as the host does."""
    monkeypatch.setattr(current, "_engine", types.SimpleNamespace(observes=lambda: looks_on))
    data = write_images(tmp_path / "a.zip", random_images(30, 0))
    measure(host, "fid1k_full", data, Painter(), detector=str(write_detector(tmp_path / "tiny.pt")))
    drawn = float(torch.rand(1)), float(np.random.rand())
    torch.manual_seed(1)
    np.random.seed(1)
    assert (drawn == (float(torch.rand(1)), float(np.random.rand()))) == (not looks_on)


def test_the_protocol_names_which_images_were_chosen(tmp_path: Path) -> None:
    data = write_images(tmp_path / "a.zip", random_images(6, 0))

    def reference(**kwargs: Any) -> Dict[str, Any]:
        noted = protocol.Protocol("G_ema", {})
        noted.compared_with({"path": str(data), **kwargs}, 4, content.read_content(data, tmp_path))
        return noted.to_dict(open)

    whole, subset = reference(max_size=6, random_seed=1), reference(max_size=4, random_seed=1)
    assert whole == reference(max_size=None) and "reference_subset" not in whole and "mirrored" not in whole
    assert subset == {**whole, "reference_subset": {"max_size": 4, "random_seed": 1}}
    assert reference(max_size=4) == {**whole, "reference_subset": {"max_size": 4, "random_seed": 0}}
    assert reference(max_size=4, random_seed=1, xflip=True) == {**subset, "mirrored": True}


def test_images_that_lie_elsewhere_are_still_those_that_were_trained_on(tmp_path: Path) -> None:
    data = write_images(tmp_path / "a.zip", random_images(2, 0))
    wanted = prepare.Wanted(Path("s.pkl"), str(data), None, None, "G_ema", 1.0, 0, None, True, "cpu")
    known = {"class_name": "a.B", "path": "/gone.zip", "max_size": 4, "random_seed": 3, "xflip": True}
    shape = types.SimpleNamespace(img_resolution=SIDE, c_dim=0)
    expected = {"path": str(data), "resolution": SIDE, "use_labels": False, "xflip": False}
    assert prepare._dataset_kwargs(wanted, known, shape) == {**known, **expected}
    assert prepare._dataset_kwargs(wanted, None, shape)["max_size"] is None


def test_a_link_to_nothing_beside_the_images_is_no_matter(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "folder", random_images(2, 0))
    whole = content.read_content(folder, tmp_path)
    (folder / "notes.txt").symlink_to(tmp_path / "gone.txt")
    assert content.read_content(folder, tmp_path) == whole


def test_lines_of_another_protocol_are_no_part_of_a_series(tmp_path: Path) -> None:
    run = make_run(tmp_path / "00000-a", ticks_of_one_kimg(10))
    lines = [(1, None), (2, {"network": "G_ema"}), (3, {"network": "G"}), (2, {"network": "G_ema", "seed": 5})]
    with open(run / "metric-fid1k_full.jsonl", "w") as file:
        for value, measured_on in lines:
            line: Dict[str, Any] = {"results": {"fid1k_full": value}, "snapshot_pkl": f"network-snapshot-{value:06d}.pkl"}
            file.write(json.dumps(line if measured_on is None else {**line, "protocol": measured_on}) + "\n")
    found = read_run(run)
    assert [point.value for point in found.metrics] == [1, 2, 2]
    assert [note for note in found.notes if "metric-fid1k_full.jsonl: 1 of 4 lines" in note]


def test_statistics_are_kept_by_content(host: Tuple[Any, Any], tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "tiny.pt")

    def fid(data: Path, by: Path = detector) -> Tuple[float, int]:
        found = measure(host, "fid1k_full", data, Painter(), detector=str(by))["results"]["fid1k_full"]
        return found, len(list((tmp_path / "cache" / "gan-metrics").glob("*.pkl")))

    first = write_images(tmp_path / "first.zip", random_images(20, 0))
    value, _ = fid(first)
    assert fid(first) == (value, 1)
    (tmp_path / "elsewhere").mkdir()
    assert fid(Path(shutil.copy(first, tmp_path / "elsewhere"))) == (value, 1)
    folder = write_images(tmp_path / "elsewhere" / "first", random_images(20, 0))
    assert fid(folder) == (value, 1)
    shutil.copy(folder / "00001.png", folder / "00002.png")  # changed in place
    changed, count = fid(folder)
    assert count == 2 and changed != value
    other = write_detector(tmp_path / "other.pt", seed=1)
    first_of_other, count = fid(first, other)
    assert count == 3 and first_of_other != value
    detector.write_bytes(other.read_bytes())  # another network by the same name; a run's own does not change while it runs
    protocol._hashes.clear()
    host[1]._feature_detector_cache.clear()
    assert fid(first) == (first_of_other, 4)


def test_metrics_every_counts_snapshots_and_keeps_no_old_value() -> None:
    def training_loop(cur_tick: int, done: bool) -> bool:
        network_snapshot_ticks = 5
        return network_snapshot_ticks > 0 and install._is_due(3)

    due = [tick for tick in range(0, 50, 5) if training_loop(tick, False)]
    assert due == [0, 15, 30, 45] and training_loop(5, True)


# ---------------------------------------------------------------- the real loop


@pytest.fixture(scope="module")
def measured(data_zip: Path, host_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuple[Run, Path, Path]:
    """A run of two ranks with snapshots at ticks 0, 1 and 2, measured at every second one; and its two files."""
    folder = tmp_path_factory.mktemp("measured")
    detector, test = write_detector(folder / "tiny.pt"), folder / "test.zip"
    with zipfile.ZipFile(data_zip) as source, zipfile.ZipFile(test, "w") as archive:
        for name in sorted(source.namelist())[:20]:
            archive.writestr(name, source.read(name))
    arguments = [f"--outdir={folder / 'runs'}", f"--data={data_zip}", *SMALL, "--gpus=2", "--batch=128", "--aug=noaug",
                 "--kimg=2", "--states=0", "--metrics=fid1k_full,fid1k_train", f"--metric-detector={detector}",
                 f"--metricdata={test}", "--metrics-every=2"]  # fmt: skip
    result = drive("probed", *arguments, env={"DNNLIB_CACHE_DIR": str(folder / "cache")})
    return finished_run(folder / "runs", result), detector, test


def test_a_run_is_measured_with_another_detector_and_reference(measured: Tuple[Run, Path, Path], data_zip: Path) -> None:
    run, detector, test = measured
    for name, reference, images in (("fid1k_full", test, 20), ("fid1k_train", data_zip, 64)):
        lines = [json.loads(line) for line in (run.folder / f"metric-{name}.jsonl").read_text().splitlines()]
        assert [line["snapshot_pkl"][-6:] for line in lines] == ["00.pkl", "02.pkl"]
        assert all(np.isfinite(line["results"][name]) for line in lines)
        known = {"reference": reference.name, "reference_images": images, "detector_sha256": hashes(detector)["sha256"]}
        assert all(known.items() <= line["protocol"].items() and line["protocol"]["generated"] == 1000 for line in lines)
        assert [point.kimg for point in read_run(run.folder).metrics if point.name == name] == [0, 2]
        line = rf"^{name} \d[\d.e+]* of network-snapshot-000002.pkl \(\d+ s\)$"
        assert re.search(line, run.output, re.MULTILINE) and '"results"' not in run.output  # a line for readers
    assert "failed" not in run.output


def test_every_rank_hears_of_what_was_measured_before_its_tick_ends(measured: Tuple[Run, Path, Path]) -> None:
    run, *_ = measured
    lines = [(run.folder / f"metric-fid1k_{of}.jsonl").read_text().splitlines() for of in ("full", "train")]
    results = [{**json.loads(full)["results"], **json.loads(train)["results"]} for full, train in zip(*lines)]
    for rank in (0, 1):
        records = [r for r in run.records if r["rank"] == rank and r["event"] in ("on_report", "on_metrics", "on_tick")]
        assert [r["event"] for r in records] == ["on_report", "on_metrics", "on_tick", "on_report", "on_tick",
                                                 "on_report", "on_metrics", "on_tick"]  # fmt: skip
        heard = [r for r in records if r["event"] == "on_metrics"]
        assert [r["values"] for r in heard] == results and [r["kimg"] for r in heard] == [0.128, 2.048]


def command(*arguments: Any, code: int = 0, **kwargs: Any) -> str:
    """Run the command in this process; returns what it printed, which is one line where it fails."""
    result: Result = CliRunner().invoke(main, ["metrics", *map(str, arguments)], **kwargs)
    assert result.exit_code == code, (result.output, result.exception)
    if code:
        lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1 and "Traceback" not in result.output, result.output
        return lines[0]
    return result.output


def test_a_snapshot_is_measured_outside_of_training(
    host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], data_zip: Path, tmp_path: Path
) -> None:
    run, detector, test = measured
    snapshot = shutil.copy(run.snapshot(2), tmp_path)
    given = ["run", snapshot, "--host=embedded", f"--metric-detector={detector}", f"--metricdata={test}"]
    lines = []
    for more in ([], ["--save"], ["--seed=1", "--which=G"], ["--trunc=0.5", f"--data={data_zip}"]):
        output = command(*given, "--metrics=fid1k_full", *more)
        (line,) = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        lines.append(line)
    values = [line["results"]["fid1k_full"] for line in lines]
    assert values[0] == values[1] and len(set(values)) == 3
    assert [line["protocol"]["seed"] for line in lines] == [0, 0, 1, 0]
    assert [line["protocol"]["network"] for line in lines] == ["G_ema", "G_ema", "G", "G_ema"]
    assert lines[-1]["protocol"]["truncation"] == 0.5
    (saved,) = (tmp_path / "metric-fid1k_full.jsonl").read_text().splitlines()
    assert json.loads(saved)["results"]["fid1k_full"] == values[0]
    (tmp_path / "metric-fid1k_full.jsonl").unlink()
    (tmp_path / "metric-fid1k_full.jsonl").mkdir()
    assert "--save: metric-fid1k_full.jsonl in " in command(*given, "--metrics=fid1k_full", "--save", code=1)


def test_all_snapshots_of_a_run_are_measured_once(
    host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], tmp_path: Path
) -> None:
    """The run measured its snapshots at 0 and 2 kimg; what has another protocol counts for nothing."""
    run, detector, test = measured
    folder = Path(shutil.copytree(run.folder, tmp_path / run.folder.name))
    series = folder / "metric-fid1k_full.jsonl"
    before = series.read_text().splitlines()
    other = json.loads(before[0])
    other["protocol"]["truncation"], other["snapshot_pkl"] = 0.5, "network-snapshot-000001.pkl"
    series.write_text("".join(line + "\n" for line in [*before, json.dumps(other)]))
    given = ["run", folder, "--host=embedded", "--metrics=fid1k_full", f"--metric-detector={detector}", f"--metricdata={test}"]

    def lines() -> List[str]:
        return [line for line in command(*given, "--all", "--save").splitlines() if line.startswith("{")]

    first, saved = lines(), series.read_text()
    assert [json.loads(line)["snapshot_pkl"][-6:] for line in first] == ["00.pkl", "01.pkl", "02.pkl"]
    assert [json.loads(line)["protocol"].get("seed") for line in first] == [None, 0, None]
    assert [first[0], first[2]] == before and len(saved.splitlines()) == 4
    assert lines() == first and series.read_text() == saved
    assert "--all is for a run folder" in command(*given, "--all", "--best", code=2)
    (folder / "network-snapshot-000001.pkl").write_bytes(b"cut")
    series.write_text("".join(line + "\n" for line in before))
    result = CliRunner().invoke(main, ["metrics", *map(str, given), "--all"])
    assert result.exit_code == 1 and "000001.pkl is not a network pickle" in result.output
    assert result.output.endswith("Error: 1 of 3 snapshots were not measured\n") and before[1] in result.output


def test_a_detector_that_cannot_be_had_is_one_line_with_the_way_out(
    host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise requests.exceptions.ConnectionError("no network for inception-2015-12-05.pt")

    monkeypatch.setattr(host[1].dnnlib.util, "open_url", refuse)
    said = command("run", measured[0].snapshot(2), "--host=embedded", "--metrics=fid5k_full", code=1)
    assert "ConnectionError" in said and said.endswith("regan-ext metrics fetch inception --from=FILE")


def test_the_sheet_of_nearest_images(host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], tmp_path: Path) -> None:
    run, detector, test = measured
    given = ["nearest", run.snapshot(2), "--host=embedded", "--count=5", "--neighbours=2"]
    by_pixels = command(*given, f"--out={tmp_path / 'pixels.png'}")
    assert "2 nearest of 64 training images, by their pixels at 16x16" in by_pixels
    by_features = command(*given, f"--metric-detector={detector}", f"--metricdata={test}", f"--out={tmp_path / 'features.png'}")
    assert (
        "the features of tiny.pt" in by_features and "100.0% of the 20 images of test.zip" in by_features
    )  # all were trained on
    assert Image.open(tmp_path / "features.png").size == (4 * (3 * 64 + 4 + 12) - 12, 2 * (64 + 12) - 12)


def test_nearest_draws_only_when_every_image_has_been_read(
    host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], data_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, detector, test = measured
    data, other = tmp_path / "data", tmp_path / "other"
    for source, folder in ((data_zip, data), (test, other)):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    cut, small = sorted(data.rglob("*.png"))[5], sorted(other.rglob("*.png"))[3]
    shutil.copy(detector, tmp_path / "tiny.pt")
    monkeypatch.setenv("HOME", str(tmp_path))
    given = ["nearest", run.snapshot(2), "--host=embedded", "--count=2", f"--out={tmp_path / 'sheet.png'}",
             "--data=~/data", "--metricdata=~/other", "--metric-detector=~/tiny.pt"]  # fmt: skip
    assert f"lies in {data}" in command(*given, f"--out={data / 'sheet.png'}", code=2)
    whole, right = cut.read_bytes(), small.read_bytes()
    cut.write_bytes(whole[:60])
    assert f"--data: {cut.relative_to(data)} of {data} cannot be used" in command(*given, code=2)
    cut.write_bytes(whole)
    Image.new("L", (4, 4)).save(small)
    assert f"--metricdata: {small.relative_to(other)} of {other} cannot be used" in command(*given, code=2)
    assert not (tmp_path / "sheet.png").exists()
    small.write_bytes(right)
    assert "20 images of other" in command(*given) and (tmp_path / "sheet.png").exists()


def test_the_share_of_close_images() -> None:
    training = torch.tensor([[0.0], [1.0], [10.0]])
    points = torch.tensor([[0.1], [0.4], [1.9], [2.1], [15.0], [30.0]])
    # nearest and distance: 0: .1, 0: .4, 1: .9, 1: 1.1, 10: 5, 10: 20; of those the nearest other lies at 1, 1, 1, 1, 9, 9
    assert nearest.share_of_close(points, training) == pytest.approx(4 / 6)
    assert nearest.nearest_to(points, training, 2)[0].tolist() == [0, 1]


# ---------------------------------------------------------------- detectors


def test_fetch_puts_the_file_where_the_host_looks(host: Tuple[Any, Any], tmp_path: Path) -> None:
    source = write_detector(tmp_path / "mine.pt", features=2048)
    known = hashes(source)["sha256"]
    output = command("fetch", f"--from={source}", f"--sha256={known.upper()}")
    name = "a866f8d678872dcf6fcf60ddd09807ab_inception-2015-12-05.pt"
    target = tmp_path / "cache" / "downloads" / name
    assert str(target) in output and known in output
    found = host[1].dnnlib.util.open_url(DETECTORS["inception"].url, return_filename=True)
    assert Path(found) == target and target.read_bytes() == source.read_bytes()
    data = write_images(tmp_path / "real.zip", random_images(20, 0))
    assert measure(host, "kid1k_full", data, Painter())["protocol"]["detector"] == "inception-2015-12-05"
    assert DETECTORS["vgg16"].filename == "5982b9427714baaab6e0a48ef3b1dbfd_vgg16.pt"


def test_one_file_serves_hosts_that_would_unpickle_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    url, downloads = STYLEGAN3.format("vgg16"), tmp_path / "downloads"
    assert torchscript_in_place_of(url) is None
    downloads.mkdir()
    (downloads / DETECTORS["vgg16"].filename).touch()
    assert torchscript_in_place_of(url) == DETECTORS["vgg16"].url
    assert torchscript_in_place_of(STYLEGAN3.format("inception-2015-12-05")) is None
    assert torchscript_in_place_of(DETECTORS["vgg16"].url) is None  # its own host needs no other
    (downloads / f"{prefix(url)}vgg16.pkl").touch()
    assert torchscript_in_place_of(url) is None


def test_a_host_finds_no_file_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    source, replace, seen = write_detector(tmp_path / "mine.pt", features=2048), os.replace, []
    folder, pattern = tmp_path / "cache" / "downloads", prefix(DETECTORS["inception"].url) + "*"
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(list(folder.glob(pattern))), replace(a, b)))
    command("fetch", f"--from={source}")
    assert seen == [[]] and [path.name for path in folder.iterdir()] == [DETECTORS["inception"].filename]


def test_fetch_downloads_where_no_file_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_detector(tmp_path / "mine.pt", features=2048)
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(
        fetch,
        "download",
        lambda url, target, archive, progress: (target.parent.mkdir(parents=True), shutil.copy(source, target)),
    )
    command("fetch", "inception")
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [DETECTORS["inception"].filename]


def test_fetch_refuses_another_file_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    good = write_detector(tmp_path / "good.pt", features=2048)
    text, cut = tmp_path / "page.pt", tmp_path / "cut.pt"
    text.write_text("<html>moved</html>")
    cut.write_bytes(good.read_bytes()[:-2000])
    assert "its SHA-256 is" in command("fetch", f"--from={good}", "--sha256=00ff", code=2)
    assert "is not a TorchScript file" in command("fetch", f"--from={text}", code=2)
    assert "is not a TorchScript file" in command("fetch", f"--from={cut}", code=2)
    assert "24 features, expected 2048" in command("fetch", f"--from={write_detector(tmp_path / 'small.pt')}", code=2)
    assert "does not exist" in command("fetch", f"--from={tmp_path / 'none.pt'}", code=2)
    assert not (tmp_path / "cache").exists()
    other = tmp_path / "cache" / "downloads" / (prefix(DETECTORS["inception"].url) + "other.pt")
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    assert "delete" in command("fetch", f"--from={good}", code=2)


def test_the_digit_detector_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, classes = digit_detector.digit_images()
    assert images.shape == (1797, 1, 32, 32)
    monkeypatch.setattr(digit_detector, "digit_images", lambda: (images[:300], classes[:300]))
    quick = digit_detector.Training(epochs=2, folds=2, batch=32)
    facts = [digit_detector.train_detector(tmp_path / name, quick) for name in ("a.pt", "b.pt")]
    assert facts[0] == facts[1] and (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert facts[0]["images"] == 300 and 0.3 < float(str(facts[0]["held_out_accuracy"])) <= 1
    check.check_detector(tmp_path / "a.pt", ["fid5k_full", "is10k"])
    features = torch.jit.load(str(tmp_path / "a.pt"))(images[:300].repeat(1, 3, 1, 1), return_features=True)
    assert features.shape == (300, 64) and torch.allclose(features.std(dim=0), torch.ones(64), atol=1e-2)


def test_efficientnet_is_the_same_file_every_time_and_judges_a_picture_alone_as_among_others(tmp_path: Path) -> None:
    files = [tmp_path / "a.pt", tmp_path / "b.pt"]
    facts = [efficientnet.write_detector(file) for file in files]
    assert facts[0] == facts[1] and files[0].read_bytes() == files[1].read_bytes()
    assert facts[0]["sha256"] == hashes(files[0])["sha256"]
    check.check_detector(files[0], ["fid5k_full", "kid5k_full", "pr5k3_full", "is10k"], 32)
    images = torch.from_numpy(random_images(6, 0)).permute(0, 3, 1, 2)
    network = torch.jit.load(str(files[0]))
    together = network(images, return_features=True)
    alone = torch.cat([network(image[None], return_features=True) for image in images])
    assert together.shape == (6, facts[0]["features"]) and together.std() > 0.1
    assert torch.allclose(alone, together, atol=1e-4)
    assert torch.allclose(network(images).sum(dim=1), torch.ones(6))


# ---------------------------------------------------------------- bad input


def test_what_cannot_be_measured_is_refused_before_training(host: Tuple[Any, Any], tmp_path: Path) -> None:
    construct: Callable[..., Any] = host[1].dnnlib.util.construct_class_by_name
    data = write_images(tmp_path / "real.zip", random_images(4, 0))
    kwargs = {"class_name": "training.dataset.ImageFolderDataset", "path": str(data), "max_size": 4, "resolution": SIDE}
    larger, empty, text = tmp_path / "larger.zip", tmp_path / "empty.zip", tmp_path / "text.pt"
    write_images(larger, np.zeros([2, 32, 32, 3], np.uint8))
    zipfile.ZipFile(empty, "w").close()
    text.write_text("no network")

    def refusal(*names: str, **settings: Any) -> str:
        with pytest.raises(UserError) as caught:
            check.check_settings(MetricSettings(names=names, **settings), kwargs, construct)
        assert "\n" not in caught.value.message and caught.value.exit_code == 2
        return caught.value.message

    assert "--metricdata" in refusal("fid10k_test")
    assert "does not exist" in refusal(data=str(tmp_path / "none.zip"))
    assert "32x32x3" in refusal(data=str(larger)) and "no data set" in refusal(data=str(empty))
    assert "not a TorchScript file" in refusal(detector=str(text)) and "does not exist" in refusal(detector="none.pt")
    identity = tmp_path / "identity.pt"
    torch.jit.script(torch.nn.Identity()).save(str(identity))
    assert "return_features=True" in refusal(detector=str(identity))
    check.check_settings(
        MetricSettings(str(data), str(write_detector(tmp_path / "tiny.pt")), names=("is1k",)), kwargs, construct
    )


def test_no_host_is_measured_with_the_network_that_its_discriminator_is_made_of(host: Tuple[Any, Any], tmp_path: Path) -> None:
    construct: Callable[..., Any] = host[1].dnnlib.util.construct_class_by_name
    data = write_images(tmp_path / "real.zip", random_images(4, 0))
    kwargs = {"class_name": "training.dataset.ImageFolderDataset", "path": str(data), "max_size": 4, "resolution": SIDE}
    plain, judge = write_detector(tmp_path / "plain.pt"), tmp_path / "judge.pt"
    facts = {check.FACTS: b'{"network": "efficientnet-lite0"}'}
    torch.jit.save(torch.jit.load(str(plain)), str(judge), _extra_files=facts)
    for flavour, file in ((projected_gan.FLAVOUR, plain), (stylegan2_ada.FLAVOUR, judge), (None, judge)):
        check.check_settings(MetricSettings(detector=str(file)), kwargs, construct, flavour=flavour)
    with pytest.raises(UserError, match=r"--metric-detector: .*efficientnet-lite0, which the discriminator of projected-gan"):
        check.check_settings(MetricSettings(detector=str(judge)), kwargs, construct, flavour=projected_gan.FLAVOUR)


def test_bad_options_of_run_are_one_line(host: Tuple[Any, Any], measured: Tuple[Run, Path, Path], tmp_path: Path) -> None:
    given = ["run", measured[0].snapshot(2), "--host=embedded"]
    pipe, gone = tmp_path / "pipe.zip", tmp_path / "gone.pkl"
    os.mkfifo(pipe)
    gone.symlink_to("gone")
    assert "'fid5k_fool' is not one of" in command(*given, "--metrics=fid5k_fool", code=2).replace(
        "fid5k_fool is", "'fid5k_fool' is"
    )
    assert "--metricdata" in command(*given, "--metrics=fid10k_test", code=2)
    assert "does not exist" in command(*given, "--data=none.zip", code=2)
    few = tmp_path / "few.zip"
    with zipfile.ZipFile(measured[2]) as source, zipfile.ZipFile(few, "w") as archive:
        for name in source.namelist()[:3]:
            archive.writestr(name, source.read(name))
    told = f"--metrics=pr1k3_full needs at least 4 real images, and {few} has 3"
    assert told in command(*given, "--metrics=fid1k_full,pr1k3_full", f"--metricdata={few}", code=2)
    for data in ("--data", "--metricdata"):
        assert f"{data}: {pipe} is neither a folder nor a file" in command(*given, f"{data}={pipe}", code=2)
        assert f"{data}: {tmp_path / 'none.zip'} does not exist" in command(*given, f"{data}={tmp_path / 'none.zip'}", code=2)
    foreign = tmp_path / "network-snapshot-000002.pkl"
    foreign.write_bytes(measured[0].snapshot(2).read_bytes().replace(b"G_ema", b"G_emb"))
    for name in ("run", "nearest"):
        out = ["--out=sheet.png"] if name == "nearest" else []
        assert "--trust" in command(name, foreign, "--host=embedded", *out, code=2)
        assert "is a link to gone" in command(name, gone, "--host=embedded", *out, code=2)
    colour = write_images(tmp_path / "colour.zip", random_images(4, 0))
    assert "3 channels, the network 1" in command(*given, f"--data={colour}", code=2)
    assert "'--seed'" in command(*given, "--seed=99999999999999999999", code=2)
    assert ".png" in command("nearest", *given[1:], "--out=sheet.gif", code=2)
