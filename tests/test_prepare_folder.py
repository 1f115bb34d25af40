"""``regan-ext data prepare my-images``: what is a fault and what is ordinary work, labels of folders, and what is left out."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from regan_ext.cli import main
from regan_ext.data import images
from regan_ext.data.decoding import decode, suffixes
from regan_ext.data.deep import deep_values, load_shallow, white_level
from regan_ext.data.near_copies import NearCopies


def photo(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    """Something with large and small forms, as photos have."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def cli(*arguments: Any, code: int = 0) -> str:
    """What ``regan-ext data`` prints."""
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def prepare(folder: Path, *options: str, code: int = 0) -> str:
    """Prepare at 16 pixels into out.zip beside the folder."""
    return cli("prepare", "my-images", folder, folder.parent / "out.zip", "--resolution=16", *options, code=code)


def written(folder: Path) -> Dict[str, Any]:
    """Name → image in out.zip, and its labels under dataset.json."""
    with zipfile.ZipFile(folder.parent / "out.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    labels = json.loads(content.pop("dataset.json"))["labels"]
    return {**{name: Image.open(io.BytesIO(data)) for name, data in content.items()}, "dataset.json": labels}


def labels(folder: Path) -> Any:
    found = written(folder)["dataset.json"]
    return None if found is None else [label for _, label in found]


# Faults and ordinary work


def test_reducing_photos_is_counted_and_no_fault(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number in range(30):
        save(folder / f"{number:02d}.jpg", photo(seed=number))
    output = prepare(folder, "--strict")
    assert output.splitlines() == [
        f"{tmp_path / 'out.zip'}: 30 images, 16x16, RGB, without labels",
        "  30 not square, the middle cut out",
        "  30 reduced to 16x16",
        "Scaled with the lanczos filter.",
    ]
    assert "07.jpg: not square, the middle cut out (of 90x60); reduced to 16x16 (from 60x60)" in prepare(folder, "--verbose")
    save(folder / "x.png", photo().convert("RGBA"))
    (folder / "y.png").write_bytes(b"hello")
    (folder / "notes.txt").write_text("x")
    lines = prepare(folder).splitlines()
    assert lines[-4:] == [
        "Faults in 3 files:",
        "  notes.txt: left out (not an image by its name)",
        "  x.png: transparent: put on white",
        "  y.png: left out (not an image)",
    ]
    assert "Faults" not in prepare(folder, "--quiet")
    refused = prepare(folder, "--strict", code=2)
    assert "x.png: transparent" in refused and "--strict: something is wrong with 3 files" in refused


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save(folder / "good.png", photo())
    for number in range(50):
        (folder / f"{number:02d}.png").write_bytes(b"hello")
    assert "and 30 files more; --verbose lists all" in prepare(folder) and "49.png" not in prepare(folder)
    assert "49.png: left out (not an image)" in prepare(folder, "--verbose")


def test_what_lies_about_is_named_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save(folder / "a.png", photo())
    for name in (".DS_Store", "Thumbs.db", "._a.png", "__MACOSX/._b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    for run in ("runs/00000-mine", "runs/00001-mine"):
        save(folder / run / "fakes000000.png", photo(seed=1))
        save(folder / run / "reals.png", photo(seed=2))
        (folder / run / "training_options.json").write_text("{}")
    output = prepare(folder, "--strict")
    assert "out.zip: 1 image, " in output and "4 files that are hidden or left by file managers, such as .DS_Store" in output
    assert "the folder of a training run (runs/00000-mine), 4 pictures in all such" in output
    assert "its pictures are no training images" in prepare(folder / "runs" / "00000-mine", code=2)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".tga", ".pcx", ".ico", ".jp2", ".dds", ".sgi", ".JPG", ".qoi", ".avif"])
def test_every_format_that_pillow_reads_is_read(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "photos"
    save(folder / "a.png", photo())
    form = suffixes().get(suffix.lower())
    if form is None or form not in Image.SAVE:
        pytest.skip(f"this Pillow has no {suffix}")
    save(folder / f"b{suffix}", photo(64, 64, seed=1), format=form)
    assert "out.zip: 2 images" in prepare(folder, "--strict")


@pytest.mark.parametrize("name, reason", [("a.pdf", "document"), ("a.eps", "document"), ("a.heic", "HEIC"), ("a.mp4", "film")])
def test_what_is_not_read_has_a_way_out(tmp_path: Path, name: str, reason: str) -> None:
    folder = tmp_path / "photos"
    save(folder / "b.png", photo())
    (folder / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    output = prepare(folder)
    assert f"{name}: left out (" in output and reason in output and "save" in output


def test_pad_keeps_the_whole_image(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save(folder / "wide.png", Image.new("RGB", (32, 8), "red"))
    save(folder / "tall.png", Image.new("RGB", (4, 16), "blue"))
    output = prepare(folder, "--fit=pad", "--strict")
    assert "2 not square, filled up with white" in output and "1 reduced to 16x16" in output
    tall, wide = (np.asarray(image) for name, image in sorted(written(folder).items()) if name.endswith(".png"))
    assert (tall[:, :6] == 255).all() and (tall[:, 6:10] == [0, 0, 255]).all() and (tall[:, 10:] == 255).all()
    assert (wide[:4] > 250).all() and (wide[7:9, :, 1:] < 5).all() and (wide[12:] > 250).all()


# More than 8 bits


def deep_png(values: "np.ndarray[Any, Any]") -> bytes:
    """A PNG of 16 bits a channel of the values [H, W] or [H, W, 3], which Pillow writes of grey only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, 0 if values.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@settings(max_examples=25, deadline=None)
@given(bits=st.sampled_from([8, 10, 12, 14, 16]), colour=st.booleans(), seed=st.integers(0, 99))
def test_deep_images_are_scaled_by_the_bits_that_they_fill(bits: int, colour: bool, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, (16, 16, 3) if colour else (16, 16))
    values.flat[seed] = 2**bits - 1
    data = deep_png(values)
    found = deep_values(lambda whole: decode(data, whole))
    assert found is not None and (found == values).all() and white_level(found) == bits
    shallow = images.mend(load_shallow(lambda whole: decode(data, whole), bits), "RGB" if colour else "L", bits)
    assert np.abs(np.asarray(shallow).astype(float) - values * 255 / (2**bits - 1)).max() <= (1 if bits == 16 else 0.5)


def test_a_dark_scan_is_judged_by_all_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "bright.png").write_bytes(deep_png(np.full((16, 16), 4000)))
    (folder / "dark.png").write_bytes(deep_png(np.full((16, 16), 200)))
    assert "2 images have more than 8 bits a channel; their values fill 12: 4095 is white" in prepare(folder, "--strict")
    bright, dark = (image.getpixel((3, 3)) for name, image in sorted(written(folder).items()) if name.endswith(".png"))
    assert (bright, dark) == (249, 12)


# Labels of folders


def classes(folder: Path, **count: int) -> Path:
    for name, number in count.items():
        for index in range(number):
            save(folder / name.replace("__", "/") / f"{index}.png", photo(seed=hash((name, index)) % 2**32))
    return folder


def test_folders_are_classes(tmp_path: Path) -> None:
    folder = classes(tmp_path / "mine", dogs=2, cats=3, dogs__old=1)
    output = prepare(folder)
    assert (
        "16x16, RGB, with labels" in output
        and "2 classes from the folders: 0 cats (3 files), 1 dogs (3 files); train" in output
    )
    assert labels(folder) == [0, 0, 0, 1, 1, 1]
    prepare(folder, "--labels=none")
    assert labels(folder) is None
    save(folder / "top.png", photo(seed=7))
    assert "without labels" in prepare(folder)
    assert "has not two folders or more that all its images lie in" in prepare(folder, "--labels=folders", code=2)


def test_folders_of_another_order_are_no_classes(tmp_path: Path) -> None:
    for name, count in {"each": dict(a=1, b=1, c=2), "one": dict(a=4), "wrapped": dict(photos__a=3)}.items():
        assert "without labels" in prepare(classes(tmp_path / name, **count))
    folder = classes(tmp_path / "deep", photos__a=2, photos__b=2)  # as in the zip of a folder
    assert "0 a (2 files), 1 b (2 files)" in prepare(folder)
    (folder / "dataset.json").write_text('{"labels": null}')
    assert "without labels" in prepare(folder) and labels(folder) is None
    assert "with labels" in prepare(folder, "--labels=folders") and labels(folder) == [0, 0, 1, 1]


def test_a_dataset_json_goes_before_folders_and_is_found_below(tmp_path: Path) -> None:
    folder = classes(tmp_path / "mine", photos__a=2, photos__b=2)
    rows = [["a/0.png", 2], ["a/1.png", 1], ["b/0.png", 1], ["b/1.png", 2]]
    (folder / "photos" / "dataset.json").write_text(json.dumps({"labels": rows}))
    output = prepare(folder)
    assert "counted from 1, and are now from 0" in output and "notes" not in output and labels(folder) == [1, 0, 0, 1]
    rows.append(["a/9.png", 1])
    (folder / "photos" / "dataset.json").write_text(json.dumps({"labels": rows}))
    assert "1 labels of photos/dataset.json are for images that are not here, the first for a/9.png" in prepare(folder)


def test_a_copy_in_another_class_is_told(tmp_path: Path) -> None:
    folder = classes(tmp_path / "mine", a=2, b=2)
    (folder / "b" / "copy.png").write_bytes((folder / "a" / "0.png").read_bytes())
    assert "b/copy.png: copy, left out (same pixels as a/0.png, which has the label 0 and not 1)" in prepare(folder)


# Near copies


def near(pictures: Dict[str, Image.Image]) -> List[Any]:
    found = NearCopies()
    for name, image in pictures.items():
        found.add(name, image)
    return found.pairs()


@settings(max_examples=20, deadline=None)
@given(seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=12, unique=True), quality=st.integers(50, 95))
def test_copies_that_were_encoded_or_scaled_are_found_and_others_not(seeds: List[int], quality: int) -> None:
    pictures = {str(seed): photo(seed=seed) for seed in seeds}
    assert near(pictures) == []
    out = io.BytesIO()
    photo(seed=seeds[0]).save(out, format="jpeg", quality=quality)
    pictures["jpeg"] = Image.open(out)
    pictures["small"] = photo(seed=seeds[1]).resize((45, 30))
    pictures["sharp"] = photo(seed=seeds[1]).filter(ImageFilter.SHARPEN).convert("L")
    assert near(pictures) == [(str(seeds[0]), "jpeg"), (str(seeds[1]), "small"), (str(seeds[1]), "sharp")]


def test_drawings_on_the_same_white_are_not_alike(tmp_path: Path) -> None:
    drawings = {}
    for number in range(8):
        drawing = Image.new("L", (64, 64), "white")
        drawing.paste(0, (8 * number, 8, 8 * number + 3, 20))
        drawings[str(number)] = drawing
    assert near(drawings) == []


def test_near_copies_are_told_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save(folder / "a.png", photo())
    save(folder / "b.png", photo(seed=1))
    save(folder / "c.jpg", photo(), quality=80)
    output = prepare(folder, "--strict")
    assert "1 image nearly the same as another, and kept: c.jpg like a.png." in output and "3 images" in output


# Names


def test_a_misspelt_name_and_a_missing_argument_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert "is obama meant?" in cli("check", "obma", "x", code=2)
    assert "is my-images meant?" in cli("prepare", "my-image", "photos", "out.zip", code=2)
    assert "my-images stands before photos" in cli("check", "photos", "x", code=2)
    assert "animalface-cat" in cli("check", "afhq", "x", code=2)  # not FFHQ
    for command in ("get", "prepare", "check", "subset"):
        assert f"For example: regan-ext data {command} " in cli(command, code=2)


def test_list_has_each_licence_once() -> None:
    output = cli("list")
    assert output.count("BY-NC-SA") == 1 and output.count("none stated by those who collected") == 1


# Lists


_NO_FILES = {"pipe": os.mkfifo, "device": lambda path: os.symlink("/dev/zero", path), "folder": os.mkdir}


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices as on Unix")
@pytest.mark.parametrize("make", _NO_FILES.values(), ids=_NO_FILES)
def test_a_list_that_is_no_file_is_refused(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "photos"
    save(folder / "a.png", photo(16, 16))
    prepare(folder)
    make(tmp_path / "list.json")
    before = sorted(tmp_path.iterdir())
    out = cli("subset", tmp_path / "out.zip", tmp_path / "some.zip", "--indices", tmp_path / "list.json", code=2)
    assert "list.json cannot be read as a list" in out and sorted(tmp_path.iterdir()) == before
    out = cli("check", "ffhq-1024", tmp_path / "out.zip", "--pixel-md5", tmp_path / "list.json", code=2)
    assert "list.json is not FFHQ's" in out
