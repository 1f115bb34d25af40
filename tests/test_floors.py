"""``regan-ext metrics floors``: distances of real images among themselves, and what chance makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.commands import ended
from support.detectors import write_detector

from regan_ext.metrics.distances import Distances
from regan_ext.support.text import three_digits

SIDE = 32


def _root(covariance: Any) -> Any:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


@st.composite
def two_parts(draw: Any) -> Any:
    """Two sets of features of other means and spreads."""
    some, others, width = draw(st.integers(2, 12)), draw(st.integers(2, 12)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.normal(0, 1, (some, width)), random.normal(draw(st.floats(-2, 2)), 2, (others, width))


@settings(deadline=None)
@given(two_parts())
def test_distances_are_those_of_the_definitions(parts: Any) -> None:
    x, y = (part.astype(np.float32).astype(np.float64) for part in parts)
    found = Distances.of(np.concatenate([x, y]).astype(np.float32))
    some, others = np.arange(len(x)), np.arange(len(x), len(x) + len(y))

    def kernel(a: Any, b: Any) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    def mean(pairs: List[Any]) -> float:
        return float(np.mean([kernel(a, b) for a, b in pairs]))

    def within(rows: Any) -> float:
        return mean([(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j])

    discrepancy = within(x) + within(y) - 2 * mean([(a, b) for a in x for b in y])
    assert found.kernel(some, others) == pytest.approx(discrepancy, rel=1e-6, abs=1e-6)
    covariances = [np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], -1) for rows in (x, y)]
    roots = [_root(covariance) for covariance in covariances]
    root = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    frechet = np.square(x.mean(0) - y.mean(0)).sum() + sum(np.trace(covariance) for covariance in covariances) - 2 * root
    assert found.frechet(some, others) == pytest.approx(frechet, rel=1e-5, abs=1e-5)


@settings(deadline=None)
@given(two_parts())
def test_a_distance_has_no_direction_and_none_to_itself(parts: Any) -> None:
    found = Distances.of(np.concatenate(parts).astype(np.float32))
    rows = np.arange(len(parts[0]) + len(parts[1]))
    some, others = rows[: len(parts[0])], rows[len(parts[0]) :]
    assert found.frechet(some, others) == pytest.approx(found.frechet(others, some), rel=1e-6, abs=1e-6)
    assert found.kernel(some, others) == pytest.approx(found.kernel(others, some), rel=1e-6, abs=1e-6)
    assert found.frechet(some, some) == pytest.approx(0, abs=1e-5)


def write_blobs(folder: Path, count: int, seed: int, mode: str = "L", side: int = SIDE) -> Path:
    """Checked pictures with a bright square anywhere."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        pixels = np.kron(random.integers(0, 60, (side // 2, side // 2)), np.ones((2, 2))).astype(np.uint8)
        top, left = random.integers(0, side // 2, 2)
        pixels[top : top + side // 3, left : left + side // 3] = 220
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:03d}.png")
    return folder


def floors(*arguments: Any, code: int = 0) -> str:
    result = ended("metrics", "floors", *arguments, code=code)
    return result.stderr if code else result.stdout


@pytest.fixture
def given_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    train, rest = write_blobs(tmp_path / "train", 20, 1), write_blobs(tmp_path / "rest", 90, 2)
    detector = write_detector(tmp_path / "tiny.pt", scale=0.5)
    return [train, f"--metricdata={rest}", f"--metric-detector={detector}", "--draws=60"]


def test_the_floors_of_images_of_one_kind_are_what_chance_makes(given_options: List[Any]) -> None:
    said = floors(*given_options, "--json")
    found = {line["floor"]: line for line in map(json.loads, said.splitlines())}
    assert {name: line["images"] for name, line in found.items()} == {
        "train": [20, 90], "halves": [45, 45], "blurred": [45, 45], "noise": [45, 45],
    }  # fmt: skip
    for name in ("train", "halves"):
        for kind in ("kid", "fid"):
            chance = found[name][f"{kind}_chance"]
            assert chance["low"] < chance["mean"] < chance["high"] and chance["low"] <= found[name][kind] <= chance["high"]
    assert found["halves"]["fid_chance"]["mean"] < found["train"]["fid_chance"]["mean"]  # few images have the larger bias
    for kind in ("kid", "fid"):
        assert max(found["halves"][f"{kind}_chance"]["high"], found["blurred"][kind]) < found["noise"][kind]
    assert found["train"]["protocol"]["detector"] == "tiny" and found["train"]["protocol"]["metricdata"] == "rest"
    assert floors(*given_options, "--json") == said
    table = floors(*given_options)
    assert all(name in table for name in found) and table.index("KID") < table.index("Fréchet")


def test_training_images_of_another_kind_lie_above_the_floor(given_options: List[Any], tmp_path: Path) -> None:
    odd = write_blobs(tmp_path / "odd", 20, 3)
    for file in odd.iterdir():
        Image.open(file).point(lambda level: 255 - level).save(file)
    train = json.loads(floors(odd, *given_options[1:], "--json").splitlines()[0])
    assert train["kid"] > train["kid_chance"]["high"] and train["fid"] > train["fid_chance"]["high"]


def test_what_has_no_floor_is_one_line(given_options: List[Any], tmp_path: Path) -> None:
    train, rest, detector, _ = given_options
    few, colour = write_blobs(tmp_path / "few", 3, 0), write_blobs(tmp_path / "colour", 10, 0, "RGB")
    assert "has 3 images, and floors need 8" in floors(few, rest, detector, code=2)
    assert "have different shapes: 32x32x3 and 32x32x1" in floors(colour, rest, detector, code=2)
    assert "DATA: " in floors(tmp_path / "none", rest, detector, code=2)
    assert "--metric-detector: " in floors(train, rest, f"--metric-detector={tmp_path / 'none.pt'}", code=2)
    Image.new("L", (16, 16)).save(few / "000.png")
    write_blobs(tmp_path / "mixed", 10, 0)
    Image.new("L", (16, 16)).save(tmp_path / "mixed" / "005.png")
    assert "005.png" in floors(tmp_path / "mixed", rest, detector, code=2)
    (tmp_path / "mixed" / "005.png").write_bytes(b"no image")
    assert "cannot be used" in floors(tmp_path / "mixed", rest, detector, code=2)


def test_the_page_has_the_floors_that_were_measured() -> None:
    docs = Path(__file__).parent.parent / "docs"
    page = (docs / "metrics.md").read_text("utf-8")
    lines = [json.loads(line) for line in (docs / "results" / "floors.jsonl").read_text("utf-8").splitlines()]
    here = {"mnist-100.zip", "fashion-100.zip", "emoji-100.zip"}
    assert {line["protocol"]["data"] for line in lines} == here | {"emoji-100-32.zip"}  # of which docs/evidence.md tells
    for line in (each for each in lines if each["protocol"]["data"] in here):
        kid, fid = line["kid_chance"], line["fid_chance"]
        cells = [
            Path(line["protocol"]["data"]).stem,
            line["floor"],
            "{}, {}".format(*line["images"]),
            three_digits(1000 * line["kid"]),
            f"{three_digits(1000 * kid['low'])} .. {three_digits(1000 * kid['high'])}",
            three_digits(line["fid"]),
            f"{three_digits(fid['low'])} .. {three_digits(fid['high'])}",
            three_digits(fid["mean"]),
        ]
        assert f"| {' | '.join(cells)} |" in page
