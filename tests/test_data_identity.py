"""Sets of images are told apart by their content."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Optional

import pytest

from regan_ext.train import data_identity
from regan_ext.train.data_identity import identity, is_same


def write(folder: Path, **contents: bytes) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    return folder


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return folder.with_suffix(".zip")


def same(one: Any, other: Any, use_labels: bool = False) -> Optional[bool]:
    return is_same(identity(str(one)), identity(str(other)), use_labels)


@pytest.mark.parametrize("all_read", [1 << 28, 0], ids=["small", "large"])
def test_a_folder_its_zip_and_others(tmp_path: Path, all_read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_identity, "_READ_ALL", all_read)
    first = write(tmp_path / "first", a=b"one", b=b"two")
    assert same(first, zipped(first)) and same(first, first)
    for number, contents in enumerate([dict(a=b"one", b=b"twO"), dict(a=b"two", b=b"one"), dict(a=b"one")]):
        other = write(tmp_path / str(number), **contents)
        assert same(first, other) is same(zipped(first), zipped(other)) is same(first, zipped(other)) is False


def test_labels_count_where_they_are_used(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", a=b"1"), write(tmp_path / "other", a=b"1")
    (one / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0]]}))
    (other / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0]], "filter": "box"}))
    assert same(one, other, use_labels=True)
    (other / "dataset.json").write_text(json.dumps({"labels": [["a.png", 1]]}))
    assert same(one, other) and same(one, zipped(other), use_labels=True) is False


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    folder = write(tmp_path / "folder", a=b"1")
    assert identity(str(tmp_path / "x.zip")) is identity(str(tmp_path / "gone")) is identity(None) is None
    assert same(folder, tmp_path / "x.zip") is None
