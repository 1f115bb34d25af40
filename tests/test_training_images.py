"""What ``train`` and ``data check`` say of training images before the host sees them, and when it trips over one later."""

from __future__ import annotations

import contextlib
import io
import json
import os
import unicodedata
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.host_images import host_reads

from regan_ext.cli import main
from regan_ext.data.containers import open_container
from regan_ext.data.dataset_json import matched
from regan_ext.data.host_view import view
from regan_ext.support.errors import UserError
from regan_ext.train.images import check_images, faults_named


def picture(side: int = 16, mode: str = "RGB", seed: int = 0, form: str = "png", **options: Any) -> bytes:
    """An encoded image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 4), dtype=np.uint8)
    image = Image.fromarray(pixels) if mode == "RGBA" else Image.fromarray(pixels[..., :3].copy()).convert(mode)
    out = io.BytesIO()
    image.save(out, format=form, **options)
    return out.getvalue()


def write(folder: Path, files: Dict[str, bytes]) -> Path:
    """A folder with these files, or a zip where its name says so."""
    if folder.suffix == ".zip":
        with zipfile.ZipFile(folder, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return folder
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


GOOD = {f"{number:03d}.png": picture(seed=number) for number in range(30)}


def told(path: Path, **more: Any) -> str:
    """What train refuses these images with: one line that names the way out."""
    with pytest.raises(UserError) as caught:
        check_images(str(path), **more)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("form", ["data", "data.zip"])
@pytest.mark.parametrize(
    "extra, words",
    [
        ({"017.png": picture(mode="RGBA")}, "017.png is RGBA, not RGB or grey"),
        ({"017.png": picture(mode="L")}, "000.png is RGB and 017.png L; 29 of 30 are RGB"),
        ({"017.png": picture()[:-40]}, "017.png cannot be read (broken or cut short"),
        ({"017.jpg": picture(form="jpeg")[:-200]}, "017.jpg cannot be read (broken"),
        ({"017.webp": picture(form="webp", lossless=True)[:-100]}, "017.webp cannot be read (broken"),
        ({"017.png": b"hello", "018.png": b""}, "017.png cannot be read (not an image), nor can 1 others"),
        ({"017.png": picture(32)}, "000.png is 16x16 and 017.png 32x32; 29 of 30 are 16x16"),
        ({"000-thumb.png": picture(8)}, "30 of 31 are 16x16; the host takes the size of all from the first"),
        ({"__MACOSX/._017.png": b"x"}, "the host takes 1 other files for images, the first is __MACOSX/._017.png"),
        ({"licence.pdf": b"%PDF-1.4", "logo.eps": b"%!PS"}, "takes 2 other files for images, the first is licence.pdf"),
        ({"017.bmp": picture(form="png", mode="P")}, "017.bmp is P, not RGB or grey"),
        ({"r/0-x/training_options.json": b"{}", "r/0-x/fakes.png": picture()}, "pictures of a run's folder (r/0-x)"),
    ],
    ids=[
        "alpha",
        "grey",
        "cut-png",
        "cut-jpeg",
        "cut-webp",
        "text",
        "size",
        "thumbnail",
        "macos",
        "documents",
        "palette",
        "run",
    ],
)
def test_one_image_among_many_is_named_before_anything_starts(
    tmp_path: Path, form: str, extra: Dict[str, bytes], words: str
) -> None:
    path = write(tmp_path / form, {**{name: data for name, data in GOOD.items() if name not in extra}, **extra})
    assert words in told(path) and f"regan-ext data prepare my-images {path} OUT.zip fixes that" in told(path)
    checked = CliRunner().invoke(main, ["data", "check", "my-images", str(path)])
    assert checked.exit_code == 1 and (words in checked.output or "cannot be decoded" in checked.output)
    out = tmp_path / "out.zip"
    assert CliRunner().invoke(main, ["data", "prepare", "my-images", str(path), str(out), "--resolution=16"]).exit_code == 0
    check_images(str(out))


def test_good_images_are_left_alone(tmp_path: Path, capsys: Any) -> None:
    files = {**GOOD, "Thumbs.db": b"x", "notes.txt": b"x", "late.jpg": picture(form="jpeg", exif=b"Exif\0\0" + bytes(60_000))}
    for form in ("data", "data.zip"):
        check_images(str(write(tmp_path / form, files)))
    large = write(tmp_path / "large.zip", {name: picture(256, seed=number) for number, name in enumerate("ab")})
    os.rename(large, tmp_path / "l.zip")
    assert told(tmp_path / "l.zip").count("holds no images") == 1
    check_images(str(write(tmp_path / "m.zip", {f"{name}.png": picture(256, seed=number) for number, name in enumerate("ab")})))
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices as on Unix")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", dict(list(GOOD.items())[:3]))
    for name, make in [
        ("pipe.png", os.mkfifo),
        ("zero.png", lambda path: os.symlink("/dev/zero", path)),
        ("gone.png", lambda path: os.symlink("/nowhere", path)),
    ]:
        make(folder / name)
        assert f"{name} cannot be read (a " in told(folder)
        output = CliRunner().invoke(main, ["data", "prepare", "my-images", str(folder), str(tmp_path / "o.zip")]).output
        assert f"{name}: left out (a " in output and "3 images" in output
        (folder / name).unlink()
    os.mkfifo(folder / "dataset.json")
    assert "dataset.json is not of the form" in told(folder)
    os.mkfifo(tmp_path / "pipe.zip")
    assert "neither a folder nor a zip" in told(tmp_path / "pipe.zip")


# Labels


def labelled(tmp_path: Path, labels: Any, form: str = "data.zip", names: Optional[List[str]] = None) -> Path:
    content = labels if isinstance(labels, bytes) else json.dumps({"labels": labels}).encode()
    images = dict(zip(names or ["a.png", "b.png", "c.png"], GOOD.values()))
    return write(tmp_path / form, {**images, "dataset.json": content})


@pytest.mark.parametrize(
    "labels, words",
    [
        ([["a.png", 0], ["b.png", 1]], "dataset.json has no label for 1 image, the first is c.png"),
        ([["./a.png", 0], ["./b.png", 1], ["./c.png", 1]], "no label for 3 images, the first is a.png; it has ./a.png"),
        ([], "no label for 3 images"),
        ([["a.png", 0], ["b.png", 0.5], ["c.png", 1]], "b.png has 0.5; labels are whole numbers from 0"),
        ([["a.png", 0], ["b.png", float("nan")], ["c.png", 1]], "b.png has NaN"),
        ([["a.png", [0.5]], ["b.png", [float("inf")]], ["c.png", [1]]], "b.png has [Infinity]"),
        ([["a.png", []], ["b.png", []], ["c.png", []]], "a.png has []"),
        ([["a.png", 10**400], ["b.png", 0], ["c.png", 1]], "a.png has 1000"),
        ([["a.png", 20240101], ["b.png", 20240102], ["c.png", 20240102]], "asks for 20240103 classes, and 3 images have 2"),
        ([["a.png", 0, 1]], "not of the form"),
        (b'{"label": []}', "not of the form"),
        (b'{"labels": [["a.png", 0]', "not of the form"),
        (b"[" * 100_000, "not of the form"),
        (b"\xff\xfe\xff", "not of the form"),
    ],
)
def test_labels_that_end_a_run_or_say_another_thing_are_named(tmp_path: Path, labels: Any, words: str) -> None:
    path = labelled(tmp_path, labels)
    assert words in told(path)
    checked = CliRunner().invoke(main, ["data", "check", "my-images", str(path)])
    assert checked.exit_code == 1 and words in checked.output


def test_labels_that_are_allowed_and_seldom_meant_are_noted(tmp_path: Path, capsys: Any) -> None:
    check_images(str(labelled(tmp_path, [["a.png", 1], ["b.png", 2], ["c.png", 1]])))
    assert "counted from 1" in capsys.readouterr().err
    check_images(str(labelled(tmp_path, [["a.png", 0], ["b.png", 7], ["c.png", 1]])))
    assert "5 of 8 classes are without images" in capsys.readouterr().err
    marked = b"\xef\xbb\xbf" + json.dumps({"labels": {"a.png": 0, "b.png": 1.0, "c.png": 1}}).encode()
    check_images(str(labelled(tmp_path, marked)))  # the host reads both the mark and the dictionary
    assert capsys.readouterr().err == ""
    check_images(str(labelled(tmp_path, None)))


_SPELL = {
    "backslash": lambda name: name.replace("/", "\\"),
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "dot": lambda name: f"./{name}",
    "case": str.upper,
    "suffix": lambda name: name.replace(".png", ".jpg"),
    "no suffix": lambda name: name[:-4],
    "base": lambda name: name.split("/")[-1],
    "longer": lambda name: f"home/me/photos/{name}",
    "all": lambda name: ".\\" + unicodedata.normalize("NFD", name).replace("/", "\\").upper().replace(".PNG", ".jpeg"),
}


@pytest.mark.parametrize("spell", _SPELL)
def test_labels_find_their_images_in_the_obvious_spellings(tmp_path: Path, spell: str) -> None:
    names = ["cats/größe.png", "cats/été 1.png", "cats/ça.png"]
    rows = [[_SPELL[spell](name), number] for number, name in enumerate(names)]
    assert matched(dict(map(tuple, rows)), names) == ({name: number for number, name in enumerate(names)}, [])
    path, out = labelled(tmp_path, rows, names=names), tmp_path / "out.zip"
    assert "no label for" in told(path)
    result = CliRunner().invoke(main, ["data", "prepare", "my-images", str(path), str(out), "--resolution=16"])
    assert "with labels" in result.output and "3 labels of dataset.json were found by another spelling" in result.output
    with zipfile.ZipFile(out) as archive:
        written = dict(json.loads(archive.read("dataset.json"))["labels"])
        for member, label in written.items():
            assert archive.read(member)[-5000:] and names.index(sorted(names)[int(member[-12:-4])]) == label


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_label_goes_to_an_image_that_another_fits_as_well(data: st.DataObject) -> None:
    part = st.sampled_from(["a", "A", "b", "a.png", "b.png", "B.PNG", "a.jpg", "x/a.png", "y/a.png", "x/b.png", "./a.png"])
    images = data.draw(st.lists(part, unique=True, min_size=1))
    labels = {name: number for number, name in enumerate(data.draw(st.lists(part, unique=True)))}
    found, left = matched(labels, images)
    assert set(found) <= set(images) and len(found) + len(left) == len(labels)
    assert sorted([*found.values(), *(labels[name] for name in left)]) == sorted(labels.values())
    assert all(found[name] == labels[name] for name in set(images) & set(labels))


@pytest.mark.parametrize("labels", [[["z.png", 0]], [["a.png", 0], ["y/b.png", 1], ["z/b.png", 0], ["c.png", 1]]])
def test_a_label_without_an_image_is_an_error_of_prepare(tmp_path: Path, labels: Any) -> None:
    path, out = labelled(tmp_path, labels), tmp_path / "out.zip"
    arguments = ["data", "prepare", "my-images", str(path), str(out), "--resolution=16"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "which is no image here in any spelling" in result.output and not out.exists()
    assert result.output.count("\n") == 1
    assert CliRunner().invoke(main, [*arguments, "--labels=none"]).exit_code == 0


# What the host does with what is taken


_FILE = st.tuples(
    st.sampled_from(["png", "jpeg", "bmp", "gif", "webp", "tiff"]),
    st.sampled_from(["RGB", "RGB", "RGB", "L", "RGBA", "P", "1", "I;16"]),
    st.sampled_from([".png", ".jpg", ".bmp", ".webp"]),
    st.sampled_from([0, 0, 0, 1, 30]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(_FILE, min_size=1, max_size=3))
def test_what_is_taken_can_be_read_by_the_host_to_the_last_pixel(tmp_path: Path, host_dir: Path, files: List[Any]) -> None:
    content = {}
    for number, (form, mode, suffix, cut) in enumerate(files):
        try:
            data = picture(mode="RGBA" if mode == "RGBA" else mode.replace("I;16", "I"), seed=number, form=form)
        except OSError:  # a format without such pixels
            data = picture(seed=number, form=form)
        content[f"{number}{suffix}"] = data[: len(data) - cut] if cut else data
    path = write(tmp_path / "x.zip", content)
    seen = view(open_container(path))
    if not seen.broken and not seen.problems:
        images, _ = host_reads(path, host_dir)
        assert {image.shape for image in images} in ({(3, 16, 16)}, {(1, 16, 16)})


def test_the_folder_of_runs_is_not_among_the_images(tmp_path: Path) -> None:
    data = write(tmp_path / "data", dict(list(GOOD.items())[:2]))
    (tmp_path / "link").symlink_to(data)
    for outdir in (data, data / "runs", tmp_path / "link" / "runs", data / ".." / "data" / "x"):
        assert "--outdir" in told(data, outdir=str(outdir)) and "outside it" in told(data, outdir=str(outdir))
    check_images(str(data), str(tmp_path / "runs"))
    check_images(str(data), str(tmp_path / "data-runs"))


def test_the_hosts_own_exception_becomes_a_line_that_names_the_file(tmp_path: Path, host_dir: Path) -> None:
    """A PNG whose pixels are damaged in the middle has a good header and a good end."""
    data = bytearray(picture(seed=5))
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(8)
    path = write(tmp_path / "x.zip", {**dict(list(GOOD.items())[:5]), "damaged.png": bytes(data)})
    check_images(str(path))
    with pytest.raises(click.ClickException, match=r"damaged.png cannot be read \(broken") as caught, faults_named(str(path)):
        host_reads(path, host_dir)
    assert "\n" not in caught.value.message and caught.value.exit_code == 1
    text = 'Caught OSError in DataLoader worker process 0.\n  File "dataset.py", line 1, in _load_raw_image\nOSError: broken'
    with pytest.raises(click.ClickException, match=r"damaged\.png"), faults_named(str(path)):
        raise OSError(text)
    with pytest.raises(click.ClickException, match=r"could not be loaded \(OSError: broken\)"), faults_named(str(tmp_path)):
        raise OSError(text)
    with pytest.raises(OSError, match="No space"), faults_named(str(path)):
        raise OSError(28, "No space left on device")


_NAMES = "a.png b.jpg c.gif d.tiff sub/e.webp ._f.png g.tga dataset.json x/dataset.json h.pdf"
_NAME = st.sampled_from(_NAMES.split())
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.sampled_from(["a.png", "labels"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["labels", "a.png"]), part, max_size=2),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_data_set_is_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    """Damaged images, labels of any form: every command ends with an exit code of its own and one line."""
    files: Dict[str, bytes] = {}
    for name in data.draw(st.lists(_NAME, unique=True, max_size=4)):
        body = bytearray(picture(seed=len(name), form=data.draw(st.sampled_from(["png", "jpeg", "gif", "tiff", "webp"]))))
        for _ in range(data.draw(st.integers(0, 3))):
            body[data.draw(st.integers(0, min(len(body), 300) - 1))] = data.draw(st.integers(0, 255))
        files[name] = bytes(body)
        if name.endswith("json"):
            files[name] = json.dumps(data.draw(_JSON | _JSON.map(lambda value: {"labels": value}))).encode()
    path = write(tmp_path / "x.zip", files)
    for arguments in (["check", "my-images", path], ["prepare", "my-images", path, tmp_path / "o.zip", "--resolution=16"]):
        result = CliRunner().invoke(main, ["data", *map(str, arguments)])
        assert result.exit_code in (0, 1, 2) and (result.exception is None or isinstance(result.exception, SystemExit))
        assert (tmp_path / "o.zip").exists() == (arguments[0] == "prepare" and result.exit_code == 0)
        (tmp_path / "o.zip").unlink(missing_ok=True)
    with contextlib.suppress(UserError):
        check_images(str(path))


def test_what_is_not_there_is_said_without_a_remedy_that_cannot_help(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert told(tmp_path / "nowhere.zip").endswith(f"--data: {tmp_path / 'nowhere.zip'} does not exist")
    assert told(tmp_path / "empty").endswith("it holds no images")
