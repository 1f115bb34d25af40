"""``regan-ext data``: downloads from a server that misbehaves, archives that attack, images of every kind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.commands import ended
from support.data_server import Server, serving
from support.host_images import host_reads

from regan_ext.cli import main
from regan_ext.data import download as downloads
from regan_ext.data import table
from regan_ext.data.archive import write_list
from regan_ext.data.check import fingerprint
from regan_ext.data.containers import open_container
from regan_ext.data.dataset_json import filter_of, labels_of
from regan_ext.data.decoding import Unreadable, decode
from regan_ext.data.download import DownloadError, download
from regan_ext.data.fetch import ask
from regan_ext.data.images import encode, fit, mend, pixel_hash, what_is_done, what_is_wrong
from regan_ext.data.layouts.folder import chosen
from regan_ext.data.manifest import Archive, Limits
from regan_ext.data.unpack import UnpackError, unpack
from regan_ext.support.errors import UserError

RANDOM = np.random.default_rng(0)
BODY = RANDOM.bytes(300_000)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cli(*arguments: Any, code: int = 0) -> str:
    """What ``regan-ext data`` prints; its exit code has to be ``code``, and an error one line."""
    return ended("data", *arguments, code=code).output


def listing(folder: Path) -> List[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode.startswith("I;16"):
        return Image.fromarray(pixels[..., :2].copy().view(np.uint16)[..., 0])
    if mode == "RGBA":
        return Image.fromarray(pixels)
    return Image.fromarray(pixels[..., :3].copy()).convert(mode)


def png(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=options.pop("format", "png"), **options)
    return out.getvalue()


def zipped(members: Dict[str, bytes], **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: "Dict[str, bytes | tarfile.TarInfo]") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(data, tarfile.TarInfo):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(b"" if isinstance(data, tarfile.TarInfo) else data))
    return out.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    with serving() as running:
        yield running


def fetch(url: str, target: Path, **known: Any) -> List[int]:
    """Download; returns the offsets that were reported."""
    seen: List[int] = []
    download(url, target, Archive("x", **known), lambda done, total: seen.append(done))
    return seen


def refused(url: str, target: Path, **known: Any) -> str:
    """The one line that a download fails with."""
    with pytest.raises(DownloadError) as caught:
        fetch(url, target, **known)
    assert "\n" not in caught.value.message
    return caught.value.message


# Downloads


def test_a_file_comes_whole_and_its_hashes_are_recorded(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.zip"
    fetch(server.put("/x", BODY), target)
    assert target.read_bytes() == BODY and listing(target.parent) == ["x.zip", "x.zip.json"]
    noted = json.loads((target.parent / "x.zip.json").read_text())
    assert noted["sha256"] == hashlib.sha256(BODY).hexdigest() and noted["size"] == len(BODY)


def test_a_cut_is_gone_on_from_in_the_same_call(server: Server, tmp_path: Path) -> None:
    fetch(server.put("/x", BODY, cut=[100_000, 50_000]), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY
    # Whole pieces of 16 KiB are kept.
    assert [request.get("Range") for request in server.requests] == [None, "bytes=98304-", "bytes=147456-"]
    assert server.requests[1]["If-Range"] == '"1"'


def test_a_cut_is_gone_on_from_in_a_later_call_where_a_hash_will_tell(server: Server, tmp_path: Path) -> None:
    known = {"md5": hashlib.md5(BODY).hexdigest()}
    url = server.put("/x", BODY, cut=[100_000] + [0] * (downloads.ATTEMPTS - 1))
    message = refused(url, tmp_path / "x", **known)
    assert "98304 bytes are kept in x.part" in message
    assert listing(tmp_path) == ["x.part"] and (tmp_path / "x.part").read_bytes() == BODY[:98_304]
    server.requests.clear()
    assert fetch(url, tmp_path / "x", **known)[0] > 98_304
    assert (tmp_path / "x").read_bytes() == BODY and [request["Range"] for request in server.requests] == ["bytes=98304-"]
    assert listing(tmp_path) == ["x", "x.json"]


def test_what_no_hash_will_tell_is_begun_anew_in_a_later_call(server: Server, tmp_path: Path) -> None:
    url = server.put("/x", b"old" * 40_000, cut=[100_000] + [0] * (downloads.ATTEMPTS - 1))
    assert "kept" not in refused(url, tmp_path / "x") and listing(tmp_path) == []
    (tmp_path / "x.part").write_bytes(b"of a process that was killed")
    fetch(server.put("/x", BODY), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY and "Range" not in server.requests[-1]


def test_ctrl_c_leaves_the_part_and_no_file(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, total: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.put("/x", BODY), tmp_path / "x", Archive("x"), interrupt)
    assert listing(tmp_path) == ["x.part"]
    fetch(server.url + "/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY


@pytest.mark.parametrize(
    "old, new", [({}, {"etag": '"2"'}), ({}, {"ranges": False}), ({"etag": None}, {"etag": None})],
    ids=["other file", "ranges ignored", "no validator"],
)  # fmt: skip
def test_where_a_part_cannot_be_trusted_the_download_begins_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Dict[str, Any], new: Dict[str, Any]
) -> None:
    url = server.put("/x", b"old" * 40_000, cut=[100_000], **old)
    monkeypatch.setattr(downloads.time, "sleep", lambda _: server.put("/x", BODY, **new))  # between two attempts
    fetch(url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY and listing(tmp_path) == ["x", "x.json"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(BODY)
    fetch(server.put("/x", BODY[:1000]), tmp_path / "x", md5=hashlib.md5(BODY[:1000]).hexdigest())
    assert (tmp_path / "x").read_bytes() == BODY[:1000]


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_hash_leaves_nothing(server: Server, tmp_path: Path, kind: str) -> None:
    message = refused(server.put("/x", BODY), tmp_path / "x", **{kind: "0" * 32})
    assert f"{kind.upper()} is {hashlib.new(kind, BODY).hexdigest()}, expected 000" in message and listing(tmp_path) == []


def test_a_wrong_hash_of_a_resumed_file_leaves_nothing(server: Server, tmp_path: Path) -> None:
    assert "it was deleted" in refused(server.put("/x", BODY, cut=[9]), tmp_path / "x", md5="0" * 32)
    assert listing(tmp_path) == []


def test_a_file_that_is_shorter_than_published_is_not_begun(server: Server, tmp_path: Path) -> None:
    assert "299999 bytes are offered, expected 300000" in refused(server.put("/x", BODY[1:]), tmp_path / "x", size=len(BODY))
    assert listing(tmp_path) == []


def test_an_endless_file_is_broken_off(server: Server, tmp_path: Path) -> None:
    assert "more than the 1000 that" in refused(server.put("/x", BODY), tmp_path / "x", max_bytes=1000)
    message = refused(server.put("/x", BODY, length=False), tmp_path / "x", max_bytes=20_000)
    assert "longer than the 20000 bytes" in message and listing(tmp_path) == []


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_an_archive_that_is_called_an_encoding_comes_as_it_lies_there(server: Server, tmp_path: Path, encoding: str) -> None:
    body = tarred({"a": BODY})
    found = fetch(server.put("/x.tgz", body, headers={"Content-Encoding": encoding}), tmp_path / "x.tgz")
    assert (tmp_path / "x.tgz").read_bytes() == body and found[-1] == len(body)


@pytest.mark.skipif(os.name == "nt", reason="has no such locks")
def test_a_file_is_fetched_by_one_at_a_time(server: Server, tmp_path: Path) -> None:
    url, tried = server.put("/x", BODY), []

    def meanwhile(done: int, total: Any) -> None:
        if not tried:
            tried.append(done)
            with pytest.raises(UserError, match="another regan-ext is fetching this file"):
                fetch(url, tmp_path / "x")

    download(url, tmp_path / "x", Archive("x"), meanwhile)
    assert tried and (tmp_path / "x").read_bytes() == BODY and listing(tmp_path) == ["x", "x.json"]


def test_a_file_that_cannot_get_its_name_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert "cannot be written" in refused(server.put("/x", BODY), tmp_path / "x")


def test_what_was_recorded_on_first_use_is_held_to(server: Server, tmp_path: Path) -> None:
    fetch(server.put("/x", BODY), tmp_path / "x")
    (tmp_path / "x").unlink()
    message = refused(server.put("/x", BODY[::-1]), tmp_path / "x")
    assert "on first use it was" in message and f"on purpose, delete {tmp_path / 'x.json'}" in message
    assert listing(tmp_path) == ["x.json"]


def test_redirects_are_followed_and_loops_are_not(server: Server, tmp_path: Path) -> None:
    server.put("/there", BODY)
    fetch(server.put("/here", status=302, headers={"Location": "/there"}), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY
    assert "redirect" in refused(server.put("/loop", status=302, headers={"Location": "/loop"}), tmp_path / "y")


@pytest.mark.parametrize("status, words", [(403, "access is refused"), (404, "not there"), (418, "nothing was downloaded")])
def test_a_refusal_is_told_and_not_repeated(server: Server, tmp_path: Path, status: int, words: str) -> None:
    message = refused(server.put("/x", b"no", status=status), tmp_path / "x")
    assert str(status) in message and words in message and len(server.requests) == 1 and listing(tmp_path) == []


def test_an_overloaded_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    assert "503" in refused(server.put("/x", status=503), tmp_path / "x")
    assert len(server.requests) == downloads.ATTEMPTS and listing(tmp_path) == []


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    "page, words",
    [
        ("<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", 'titled "google drive - quota exceeded" came'),
        ("<html><head><title>Sign\n in</title>", 'a web page titled "sign in" came instead of the file'),
    ],
)
def test_a_page_in_place_of_an_archive_is_recognised(
    server: Server, tmp_path: Path, page: str, words: str, typed: bool
) -> None:
    kind = "text/html; charset=utf-8" if typed else "application/zip"
    assert words in refused(server.put("/x", page.encode(), headers={"Content-Type": kind}), tmp_path / "x")
    assert listing(tmp_path) == []


def test_a_server_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    assert "connection failed" in refused("http://127.0.0.1:1/x", tmp_path / "x") and listing(tmp_path) == []
    for url in ("x:y", "http://a..b/x", "http://[::1/x"):
        assert url in refused(url, tmp_path / "x")


# Unpacking


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link() -> bytes:
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({info: b"/etc/passwd"})  # type: ignore[dict-item]


def lying_zip() -> bytes:
    """A bomb whose directory says that it is small."""
    data = zipped({"a": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED)
    return data.replace((50_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))


def zip_of_version(version: int) -> bytes:
    """A zip that says it needs that version to be unpacked."""
    data = zipped({"0.png": png(picture(16, 16))})
    at = data.index(b"PK\x01\x02") + 6
    return data[:at] + version.to_bytes(2, "little") + data[at + 2 :]


def zip_of_bytes() -> bytes:
    """A zip with a name that says it is UTF-8 and is not."""
    return zipped({"é.png": png(picture(16, 16))}).replace("é".encode(), b"\xff\xfe")


def lzma_zip() -> bytes:
    data = zipped({"a": BODY[:500]}, compression=zipfile.ZIP_LZMA)
    return data.replace(b"\x09\x04\x05\x00\x5d", b"\x09\x04\x05\x00\xff")


EVIL: Dict[str, Tuple[Callable[[], bytes], str]] = {
    "zip bomb": (lambda: zipped({"a": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED), "more than a data set"),
    "zip lies": (lying_zip, "nothing was unpacked"),
    "zip crowd": (lambda: zipped({str(number): b"" for number in range(60)}), "more than a data set"),
    "zip cut": (lambda: zipped({"a": BODY})[:200_000], "broken, cut short"),
    "zip damaged": (lambda: zipped({"a": b"x" * 500}).replace(b"xxx", b"xyx", 1), "broken, cut short"),
    "zip name": (zip_of_bytes, "broken, cut short"),
    "zip nameless": (lambda: zipped({"q": b""}).replace(b"q", b"\0"), "nothing was unpacked"),
    "zip version": (lambda: zip_of_version(99), "broken, cut short or not safe (zip file version 9.9"),
    "zip lzma": (lzma_zip, "broken, cut short"),
    "zip empty": (lambda: zipped({}), "holds no files"),
    "tar climbs": (lambda: tarred({"../x": b"x"}), "outside the destination"),
    "tar link": (lambda: tarred({"a": link("a", tarfile.SYMTYPE), "a/b": b"x"}), "not safe"),
    "tar hard link": (lambda: tarred({"a": link("a", tarfile.LNKTYPE)}), "not safe"),
    "tar device": (lambda: tarred({"a": link("a", tarfile.CHRTYPE)}), "not safe"),
    "tar bomb": (lambda: tarred({"a": bytes(50_000_000)}), "more than a data set"),
    "tar crowd": (lambda: tarred({str(number): b"" for number in range(60)}), "more than a data set"),
    "tar cut": (lambda: tarred({"a": BODY})[:200_000], "broken, cut short"),
    "page": (lambda: b"<html>", "broken, cut short"),
    "nothing": (lambda: b"", "nothing was unpacked"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_attacks_or_is_broken_leaves_nothing(tmp_path: Path, kind: str) -> None:
    make, words = EVIL[kind]
    (tmp_path / "in").write_bytes(make())
    with pytest.raises(UnpackError) as caught:
        unpack(tmp_path / "in", tmp_path / "deep" / "out", Limits(files=50, bytes=10_000_000))
    assert words in caught.value.message and "\n" not in caught.value.message
    assert listing(tmp_path) == ["deep", "in"] and not Path("/tmp/regan-ext-evil").exists()


@pytest.mark.parametrize(
    "make, name",
    [
        *((zipped, name) for name in ("../x", "a/../../x", "/tmp/regan-ext-evil", "..\\x", "C:/x")),
        (tarred, "/tmp/regan-ext-evil"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_name_that_leads_out_of_the_folder_does_not(tmp_path: Path, make: Callable[..., bytes], name: str) -> None:
    (tmp_path / "in").write_bytes(make({name: b"x"}))
    assert unpack(tmp_path / "in", tmp_path / "deep" / "out", Limits()) == 1
    outside = [path for path in listing(tmp_path) if not path.startswith("deep/out/")]
    assert outside == ["deep", "deep/out", "in"] and not Path("/tmp/regan-ext-evil").exists()


def test_a_link_in_a_zip_becomes_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(zip_link())
    unpack(tmp_path / "in", tmp_path / "out", Limits())
    assert not (tmp_path / "out" / "a").is_symlink() and (tmp_path / "out" / "a").read_bytes() == b"/etc/passwd"


@pytest.mark.parametrize("make", [zipped, tarred])
def test_good_archives_unpack(tmp_path: Path, make: Callable[[Dict[str, bytes]], bytes]) -> None:
    (tmp_path / "in").write_bytes(make({"a/b.txt": b"1", "c": BODY}))
    assert unpack(tmp_path / "in", tmp_path / "out", Limits()) == 2
    assert listing(tmp_path / "out") == ["a", "a/b.txt", "c"] and (tmp_path / "out" / "c").read_bytes() == BODY


def test_one_set_is_taken_out_of_a_shared_archive(tmp_path: Path) -> None:
    inner = zipped({"1.png": b"1", "2.png": b"2"})
    (tmp_path / "in").write_bytes(zipped({"pack/100-shot-grumpy_cat.zip": inner, "pack/AnimalFace-dog/d/3.png": b"3"}))
    unpack(tmp_path / "in", tmp_path / "cat", Limits(), ["grumpy-cat", "100-shot-grumpy-cat"])
    unpack(tmp_path / "in", tmp_path / "dog", Limits(), ["animalface-dog"])
    assert listing(tmp_path / "cat") == ["1.png", "2.png"] and listing(tmp_path / "dog") == ["d", "d/3.png"]
    with pytest.raises(UnpackError, match="has no folder or zip named panda"):
        unpack(tmp_path / "in", tmp_path / "panda", Limits(), ["panda"])


# The table, and get


def test_the_table_is_consistent() -> None:
    names = [name for known in table.DATA_SETS for name in (known.name, *known.aliases)]
    assert len(set(names)) == len(names)
    for known in table.DATA_SETS:
        assert known.resolution & (known.resolution - 1) == 0 and known.licence
        for archive in known.archives:
            assert archive.url.startswith("http") and archive.offered_by
            assert len(archive.md5 or "0" * 32) == 32 and len(archive.sha256 or "0" * 64) == 64
        for page in known.pages:
            assert page[0].startswith("https://") and "FastGAN" not in "".join(page)
    text = cli("list")
    assert all(known.name in text for known in table.DATA_SETS)


@pytest.mark.parametrize("spelling", ["grumpy_cat", "100-shot-grumpy_cat", "few-shot-grumpy-cat", "Grumpy Cat"])
def test_every_spelling_of_a_name_is_known(spelling: str) -> None:
    assert table.get(spelling).name == "grumpy-cat"


def test_an_unknown_name_lists_the_known_ones() -> None:
    assert "animalface-cat" in cli("get", "afhq", code=2)


def test_get_brings_checks_and_unpacks(server: Server, tmp_path: Path) -> None:
    url = server.put("/x.zip", zipped({"all/obama/1.png": b"1", "all/panda/1.png": b"2"}))
    arguments = ["get", "obama", "--dir", tmp_path / "data", "--accept-licence", "--url", url]
    output = cli(*arguments)
    assert "Licence of obama: none stated" in output and url in output and "recorded" in output
    archive = "data-efficient-gans.zip"
    assert listing(tmp_path / "data") == [archive, archive + ".json", "obama", "obama/1.png"]
    again = cli(*arguments)
    assert "there already" in again and "unpacked already" in again and len(server.requests) == 1
    cli("get", "panda", *arguments[2:])
    assert len(server.requests) == 1 and (tmp_path / "data/panda/1.png").read_bytes() == b"2"
    (tmp_path / "data" / archive).write_bytes(b"changed")
    assert "not the right file" in cli(*arguments, code=2)


def test_what_lies_in_the_way_of_get_is_named(server: Server, tmp_path: Path) -> None:
    arguments = [
        "get",
        "obama",
        "--dir",
        tmp_path,
        "--accept-licence",
        "--url",
        server.put("/x", zipped({"obama/1.png": b"1"})),
    ]
    archive, content = tmp_path / "data-efficient-gans.zip", tmp_path / "obama"
    (content / "empty").mkdir(parents=True)
    assert f"{content} is there, but it is no folder with files; delete it" in cli(*arguments, code=2)
    (content / "empty").rmdir()
    content.rmdir()
    content.write_bytes(b"")
    assert "no folder with files" in cli(*arguments, code=2) and not server.requests
    content.unlink()
    archive.mkdir()
    assert f"{archive} is there, but it cannot be used: Is a directory; move it away" in cli(*arguments, code=2)
    archive.rmdir()
    archive.write_bytes(zipped({"obama/1.png": b"1"}))
    assert "hash recorded, nobody published one" in cli(*arguments) and "hash as on first use" in cli(*arguments)
    archive.write_bytes(b"changed")
    assert f"delete {archive}.json" in cli(*arguments, code=2)


def test_nothing_is_asked_of_a_server_before_the_licence_is_accepted(server: Server, tmp_path: Path) -> None:
    output = cli("get", "cifar10", "--dir", tmp_path, "--url", server.put("/x", BODY), code=2)
    assert "--accept-licence" in output and not server.requests and listing(tmp_path) == []


def test_where_a_server_refuses_the_way_by_hand_is_told(server: Server, tmp_path: Path) -> None:
    url = server.put("/page", b"<html><title>quota</title>", headers={"Content-Type": "text/html"})
    output = cli("get", "oxford-flowers", "--dir", tmp_path / "new", "--accept-licence", "--url", url, code=1)
    assert "quota" in output and "By hand:" in output and "vgg/data/flowers" in output and listing(tmp_path / "new") == []


def test_several_archives_come_from_one_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flowers = table.get("flowers")
    bodies = [tarred({"jpg/image_00001.jpg": b"1"}), b"labels", b"ids"]
    archives = []
    for archive, body in zip(flowers.archives, bodies):
        server.put(f"/mirror/{archive.filename}", body)
        archives.append(replace(archive, md5=hashlib.md5(body).hexdigest()))
    assert "expected 52808999861908f626f3c1f4e79d11fa" in cli(
        "get", "flowers", "--dir", tmp_path, "--accept-licence", "--url", server.url + "/mirror/", code=1
    )
    assert listing(tmp_path) == []
    monkeypatch.setattr(table, "DATA_SETS", (replace(flowers, archives=tuple(archives)),))
    assert "as published" in cli("get", "flowers", "--dir", tmp_path, "--accept-licence", "--url", server.url + "/mirror/")
    assert {"imagelabels.mat", "setid.mat", "oxford-flowers/jpg/image_00001.jpg"} <= set(listing(tmp_path))


def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with pytest.raises(UserError, match="nobody is here"):
        ask(False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert ask(True) and not ask(False)


def test_a_bomb_from_the_server_is_one_line(server: Server, tmp_path: Path) -> None:
    url = server.put("/x", zipped({"obama/1.png": bytes(9_000_000)}, compression=zipfile.ZIP_DEFLATED))
    output = cli("get", "obama", "--dir", tmp_path, "--accept-licence", "--url", url, code=1)
    assert "more than a data set" in output and "to have it fetched anew" in output
    assert listing(tmp_path) == ["data-efficient-gans.zip"]


def test_what_no_program_can_fetch_is_explained() -> None:
    output = cli("get", "ffhq-256-1k", code=2)
    assert (
        "CC BY-NC-SA" in output and "https://github.com/NVlabs/ffhq-dataset" in output and "data prepare ffhq-256-1k" in output
    )
    assert "prepare digits -" in cli("get", "digits")
    assert "prepare my-images" in cli("get", "my-images", code=2)


# Images


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "HSV"]


@quick
@given(
    kind=st.sampled_from(MODES),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    resolution=st.sampled_from([4, 16, 32]),
    mode=st.sampled_from(["L", "RGB"]),
    resize=st.sampled_from(["box", "lanczos", "bicubic"]),
)
def test_every_image_becomes_what_the_host_takes(
    kind: str, width: int, height: int, resolution: int, mode: str, resize: str
) -> None:
    image = picture(width, height, kind)
    faults = what_is_wrong(image, resolution, mode) + what_is_done(image, resolution, mode)
    out = fit(mend(image, mode), resolution, resize)
    assert out.mode == mode and out.size == (resolution, resolution)
    again = decode(encode(out))
    assert pixel_hash(again) == pixel_hash(out)
    assert what_is_wrong(again, resolution, mode) == what_is_done(again, resolution, mode) == []
    if not faults and image.mode == mode:
        assert out.tobytes() == image.tobytes()
    if (width, height) != (resolution, resolution):
        assert any(str(width) in fault or str(height) in fault for fault in faults)


def test_the_hash_is_of_colours_and_not_of_their_numbers() -> None:
    image = Image.fromarray(np.array([[0, 1, 2, 3]], dtype=np.uint8))
    palettes = [[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9], [255, 0, 0, 0, 255, 0, 0, 0, 255, 8, 9, 9]]
    hashes = []
    for colours in palettes:
        image = Image.fromarray(np.array([[0, 1, 2, 3]], dtype=np.uint8))
        image.putpalette(colours)
        again = image.remap_palette([3, 2, 1, 0])
        assert image.mode == again.mode == "P" and image.tobytes() != again.tobytes()
        assert pixel_hash(image) == pixel_hash(again) == pixel_hash(image.convert("RGB"))
        hashes.append(pixel_hash(image))
        image.info["transparency"] = 0
        hashes.append(pixel_hash(image))
    assert len(set(hashes)) == 4
    for mode in ("L", "RGB"):
        plain = picture(3, 2, mode)
        assert pixel_hash(plain) == hashlib.sha256(f"{mode} 3x2\n".encode() + plain.tobytes()).hexdigest()


def test_what_is_mended_keeps_its_looks() -> None:
    red = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    red.paste((0, 0, 0, 0), (0, 0, 4, 8))
    assert mend(red, "RGB").getpixel((0, 0)) == (255, 255, 255) and mend(red, "RGB").getpixel((7, 0)) == (255, 0, 0)
    deep = Image.fromarray(np.array([[0, 257 * 7, 65535]], dtype=np.uint16))
    assert list(mend(decode(png(deep)), "L").tobytes()) == [0, 7, 255]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn to the right
    lying = picture(20, 10)
    lying.paste((0, 0, 255), (0, 0, 20, 5))
    turned = decode(png(lying, exif=exif))
    assert "turned upright" in " ".join(what_is_done(turned, 16, "RGB"))
    assert mend(turned, "RGB").size == (10, 20) and mend(turned, "RGB").getpixel((9, 0)) == (0, 0, 255)
    assert mend(picture(8, 8, "CMYK"), "RGB").mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(png(picture(20, 10), exif=exif))
    assert mend(image, "RGB").tobytes() == ImageOps.exif_transpose(image).tobytes()


@quick
@given(data=st.data(), form=st.sampled_from(["png", "jpeg", "gif", "tiff", "webp", "bmp", "ppm"]))
def test_damaged_files_are_unreadable_and_nothing_worse(data: st.DataObject, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = bytearray(png(picture(20, 12), format=form, **({} if form in ("gif", "bmp", "ppm") else {"exif": exif})))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, min(len(body), 200) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(body))
        what_is_wrong(image, 16, "RGB")
        assert fit(mend(image, "RGB"), 16, "lanczos").size == (16, 16)
    except Unreadable:
        pass


@pytest.mark.parametrize(
    "data, words",
    [
        (b"hello", "not an image"),
        (b"", "not an image"),
        (png(picture(64, 64))[:5000], "cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (png(Image.new("1", (20_000, 20_000))), "too many pixels"),
    ],
    ids=["text", "nothing", "half", "a program", "bomb"],
)
def test_what_is_no_image_is_said(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        decode(data)


# Prepare


def messy_folder(folder: Path) -> Path:
    """One image of every kind that people have, 16 pixels wanted."""
    folder.mkdir()
    (folder / "sub").mkdir()
    files = {
        "a-good.png": png(picture(16, 16)),
        "b-grey.png": png(picture(16, 16, "L", 1)),
        "c-alpha.png": png(picture(16, 16, "RGBA", 2)),
        "d-wide.jpg": png(picture(40, 20, seed=3), format="jpeg"),
        "e-small.png": png(picture(7, 9, seed=4)),
        "f-palette.gif": png(picture(32, 32, "P", 5), format="gif"),
        "g-cmyk.jpg": png(picture(16, 16, "CMYK", 6), format="jpeg"),
        "h-deep.png": png(picture(16, 16, "I;16", 7)),
        "i-copy.png": png(picture(16, 16), compress_level=9),
        "j-half.png": png(picture(16, 16, seed=8))[:300],
        "k-text.png": b"hello",
        "sub/l-good.webp": png(picture(16, 16, seed=9), format="webp", lossless=True),
        "notes.txt": b"x",
        ".DS_Store": b"x",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_own_images_are_judged_one_by_one_and_mended(tmp_path: Path, host_dir: Path) -> None:
    folder, out = messy_folder(tmp_path / "mine"), tmp_path / "out.zip"
    output = cli("prepare", "my-images", folder, out, "--resolution=16", "--verbose")
    for line in [
        "b-grey.png: grey among colour images: converted to RGB",
        "c-alpha.png: transparent: put on white",
        "d-wide.jpg: not square, the middle cut out (of 40x20); reduced to 16x16 (from 20x20)",
        "e-small.png: too small (7x7): enlarged to 16x16; not square, the middle cut out (of 7x9)",
        "f-palette.gif: its palette converted; reduced to 16x16 (from 32x32)",
        "g-cmyk.jpg: converted to RGB (from CMYK)",
        "h-deep.png: grey among colour images: converted to RGB; scaled to 8 bits (from more)",
        "i-copy.png: copy, left out (same pixels as a-good.png)",
        "j-half.png: left out (broken",
        "k-text.png: left out (not an image)",
        "notes.txt: left out (not an image by its name)",
        f"{out}: 9 images, 16x16, RGB, without labels",
        "  3 left out",
    ]:
        assert line in output, line
    assert "a-good.png:" not in output and "l-good" not in output and output.count("DS_Store") == 1
    images, labels = host_reads(out, host_dir)
    assert len(images) == 9 and all(image.shape == (3, 16, 16) for image in images) and labels == [[]] * 9
    assert images[0].tobytes() == np.asarray(picture(16, 16)).transpose(2, 0, 1).tobytes()
    with zipfile.ZipFile(out) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert "fingerprint" in cli("check", "my-images", out, "--count=9")
    assert listing(tmp_path)[-1] == "out.zip" and not [name for name in listing(tmp_path) if "partial" in name]


def test_the_same_images_make_the_same_bytes(tmp_path: Path) -> None:
    folder = messy_folder(tmp_path / "mine")
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    cli("prepare", "my-images", folder, first, "--resolution=16", "--quiet")
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    (tmp_path / "mine.zip").write_bytes(zipped({name: (folder / name).read_bytes() for name in listing(folder) if "." in name}))
    cli("prepare", "my-images", tmp_path / "mine.zip", second, "--resolution=16", "--quiet")
    assert first.read_bytes() == second.read_bytes()


def test_strict_and_failures_leave_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = messy_folder(tmp_path / "mine"), tmp_path / "out.zip"
    out.write_bytes(b"before")
    before = listing(tmp_path)
    assert "--strict: something is wrong with 8 files" in cli(
        "prepare", "my-images", folder, out, "--resolution=16", "--strict", code=2
    )
    monkeypatch.setattr("regan_ext.data.prepare.fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert CliRunner().invoke(main, ["data", "prepare", "my-images", str(folder), str(out)]).exit_code == 1
    monkeypatch.setattr("regan_ext.data.prepare.fit", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "No space left" in cli("prepare", "my-images", folder, out, code=2)
    assert out.read_bytes() == b"before" and listing(tmp_path) == before


def test_grey_images_stay_grey_and_labels_follow(tmp_path: Path, host_dir: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png(picture(20, 16, "L", number)))
    (folder / "dataset.json").write_text(json.dumps({"labels": [[f"{number}.png", number % 2] for number in range(4)]}))
    assert "grey, with labels" in cli("prepare", "my-images", folder, tmp_path / "out.zip", "--resolution=16", "--quiet")
    images, labels = host_reads(tmp_path / "out.zip", host_dir)
    assert [image.shape for image in images] == [(1, 16, 16)] * 4 and labels == [[1, 0], [0, 1], [1, 0], [0, 1]]
    (folder / "4.png").write_bytes(png(picture(16, 16, "L", 9)))
    assert "Only 4 of 5 images have a label" in cli("prepare", "my-images", folder, tmp_path / "out.zip", "--quiet")
    (folder / "4.png").write_bytes(b"broken")
    output = cli("prepare", "my-images", folder, tmp_path / "out.zip", "--resolution=16")
    assert "4 images, 16x16, grey, with labels" in output and "Only" not in output
    for text in ("[]", '{"labels":' + "[" * 100_000):
        (folder / "dataset.json").write_text(text)
        assert "dataset.json is not of the form" in cli("prepare", "my-images", folder, tmp_path / "out.zip", code=2)


@pytest.mark.skipif(os.name == "nt", reason="links as on Unix")
def test_a_linked_folder_is_said(tmp_path: Path) -> None:
    for name in ("mine", "mine/sub", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "0.png").write_bytes(png(picture(16, 16)))
    (tmp_path / "mine" / "sub" / "more").symlink_to(tmp_path / "other")
    output = cli("prepare", "my-images", tmp_path / "mine", tmp_path / "out.zip", "--resolution=16")
    assert "sub/more: left out (a link to a folder, which is not followed)" in output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["my-images", "gone", "out.zip"], "gone does not exist"),
        (["my-images", "mine", "out.tar"], "end in .zip"),
        (["my-images", "mine", "mine.txt/out.zip"], "mine.txt/out.zip cannot be written"),
        (["my-images", "mine.txt", "out.zip"], "neither a folder nor a zip"),
        (["my-images", "mine", "out.zip", "--resolution=100"], "power of two"),
        (["my-images", "mine", "out.zip", "--count=9"], "then regan-ext data subset"),
        (["obama", "mine", "out.zip", "--any-count", "--count=9"], "--count=9: 1 image found"),
        (["my-images", "mine", "out.zip", "--rest=r.zip"], "--rest needs --count"),
        (["my-images", "mine", "out.zip", "--split=train"], "has only all"),
        (["my-images", "empty", "out.zip"], "holds no images"),
        (["obama", "mine", "out.zip"], "holds 1 image, obama has 100; --any-count"),
        (["obama", "mine", "out.zip", "--any-count"], "1.png: not an image"),
        (["cifar10", "mine", "out.zip"], "has no data_batch_1"),
        (["cifar10", "mine.txt", "out.zip"], "cannot be read as CIFAR-10"),
        (["digits", "mine", "out.zip"], "the source of digits is -"),
        (["digits", "-", "out.zip", "--rest=r.zip"], "--rest needs --count"),
        (["digits", "-", "out.zip", "--count=1800"], "only 178 images of the class 0"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: List[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "1.png").write_bytes(b"x")
    (tmp_path / "mine.txt").write_bytes(b"x")
    before = listing(tmp_path)
    assert words in cli("prepare", *arguments, code=2)
    assert listing(tmp_path) == before


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    """Those that the tables name, for example."""
    cli("prepare", "digits", "-", tmp_path / "data" / "more" / "digits-100.zip", "--count=100")
    assert listing(tmp_path / "data" / "more") == ["digits-100.indices.txt", "digits-100.zip"]


def fake_cifar(path: Path, protocol: int = 2, **more: Any) -> List["np.ndarray[Any, Any]"]:
    """An archive of CIFAR-10's form with 4 images a batch; returns those of the training part."""
    members, images = {}, []
    for number, name in enumerate([*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 3072), dtype=np.uint8)
        images += list(pixels.reshape(-1, 3, 32, 32)) if name != "test_batch" else []
        values = {"data": pixels, "labels": [number, 1, 2, 3], **more}
        members[f"cifar-10-batches-py/{name}"] = pickle.dumps(values, protocol=protocol)
    path.write_bytes(tarred(members))
    return images


def test_cifar10_is_read_from_its_archive(tmp_path: Path, host_dir: Path) -> None:
    archive, out = tmp_path / "cifar-10-python.tar.gz", tmp_path / "out.zip"
    expected = fake_cifar(archive)
    cli("prepare", "cifar10", archive, out, "--any-count")
    images, labels = host_reads(out, host_dir)
    assert all(np.array_equal(image, other) for image, other in zip(images, expected)) and len(images) == 20
    assert [label.index(1) for label in labels[:8]] == [0, 1, 2, 3, 1, 1, 2, 3]
    cli("prepare", "cifar10", archive, out, "--any-count", "--split=test", "--resolution=64")
    images, _ = host_reads(out, host_dir)
    assert len(images) == 4 and images[0].shape == (3, 64, 64)
    assert "images: 24" in cli("check", "cifar10", archive, "--count=24")


def test_labels_that_do_not_fit_the_images_of_cifar10_are_refused(tmp_path: Path) -> None:
    fake_cifar(tmp_path / "x.tar.gz", labels=[0] * 5)
    message = cli("prepare", "cifar10", tmp_path / "x.tar.gz", tmp_path / "out.zip", "--any-count", code=2)
    assert "data_batch_1 has 4 images and 5 labels" in message


class _Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch attacked",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fake_cifar(tmp_path / "x.tar.gz", extra=_Attack())
    assert "names posix.system" in cli("prepare", "cifar10", "x.tar.gz", "out.zip", "--any-count", code=2)
    assert listing(tmp_path) == ["x.tar.gz"]


def test_tiny_imagenet_has_its_classes(tmp_path: Path, host_dir: Path) -> None:
    base = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(["n02", "n01"]):
        (base / "train" / wnid / "images").mkdir(parents=True)
        (base / "train" / wnid / f"{wnid}_boxes.txt").write_text("x")
        for image in range(2):
            kind = "L" if image else "RGB"
            data = png(picture(64, 64, kind, 10 * number + image), format="jpeg")
            (base / "train" / wnid / "images" / f"{wnid}_{image}.JPEG").write_bytes(data)
    (base / "val" / "images").mkdir(parents=True)
    (base / "val" / "images" / "val_0.JPEG").write_bytes(png(picture(64, 64), format="jpeg"))
    (base / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t1\t1\n")
    assert "2 grey among colour images" in cli("prepare", "tiny_imagenet", base, tmp_path / "out.zip", "--any-count")
    images, labels = host_reads(tmp_path / "out.zip", host_dir)
    assert len(images) == 4 and labels == [[1, 0], [1, 0], [0, 1], [0, 1]]
    arguments = ["prepare", "tiny_imagenet", tmp_path, tmp_path / "out.zip", "--any-count", "--split=val"]
    cli(*arguments)
    assert host_reads(tmp_path / "out.zip", host_dir)[1] == [[0, 1]]
    for text in (base / "wnids.txt", base / "val" / "val_annotations.txt"):
        text.write_bytes(b"val_0.JPEG\t\xff\n")
        assert f"{text.name} cannot be read as text" in cli(*arguments, code=2)
        text.unlink()


def test_flowers_come_from_their_archive_with_labels(tmp_path: Path, host_dir: Path) -> None:
    from scipy.io import savemat

    names = [f"jpg/image_{number:05d}.jpg" for number in (1, 2, 3)]
    (tmp_path / "102flowers.tgz").write_bytes(
        tarred({name: png(picture(70, 50 + number, seed=number), format="jpeg") for number, name in enumerate(names)})
    )
    savemat(str(tmp_path / "imagelabels.mat"), {"labels": np.array([[3, 1, 2]])})
    before = listing(tmp_path)
    output = cli("prepare", "flowers", tmp_path / "102flowers.tgz", tmp_path / "out.zip", "--any-count", "--resolution=32")
    assert "3 not square" in output and "Scaled with the lanczos filter" in output
    images, labels = host_reads(tmp_path / "out.zip", host_dir)
    assert [image.shape for image in images] == [(3, 32, 32)] * 3 and [label.index(1) for label in labels] == [2, 0, 1]
    assert listing(tmp_path) == sorted([*before, "out.zip"])


def test_ffhq_is_reduced_with_a_box_and_its_choice_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "ffhq"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number:05d}.png").write_bytes(png(picture(512, 512, seed=number)))
    out = tmp_path / "out.zip"
    cli("prepare", "ffhq-256", folder, out, "--any-count", "--count=2", "--seed=3")
    rows = [line.split("  # ") for line in (tmp_path / "out.indices.txt").read_text().splitlines()[1:]]
    assert rows == [[str(number), f"{number:05d}.png"] for number in chosen(6, 2, 3)]
    with zipfile.ZipFile(out) as archive:
        first = np.asarray(Image.open(io.BytesIO(archive.read("00000/img00000000.png")))).astype(float)
    source = np.asarray(Image.open(folder / rows[0][1])).astype(float).reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(first - source).max() <= 1


def images_and_filter(path: Path) -> Tuple[Dict[str, bytes], Any]:
    content = members(path)
    return content, json.loads(content.pop("dataset.json")).get("resize_filter")


@pytest.mark.parametrize("side, named", [(16, None), (32, "box"), (8, "box")])
def test_what_images_were_scaled_with_is_noted(tmp_path: Path, side: int, named: Any, host_dir: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(3):
        picture(side, side, seed=number).save(tmp_path / "mine" / f"{number}.png")
    arguments = ["prepare", "my-images", tmp_path / "mine"]
    options = ["--resolution=16", "--filter=box", "--quiet"]
    cli(*arguments, tmp_path / "ours.zip", *options)
    cli("subset", tmp_path / "ours.zip", tmp_path / "part.zip", "--count=2", "--rest", tmp_path / "rest.zip")
    for name in ("ours.zip", "part.zip", "rest.zip"):
        content, found = images_and_filter(tmp_path / name)
        assert found == named and filter_of(tmp_path / name) == named, name
        assert [image.shape for image in host_reads(tmp_path / name, host_dir)[0]] == [(3, 16, 16)] * len(content)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.tgz").write_bytes(tarred({"image_00001.jpg": png(picture(20, 16), format="jpeg")}))
    from_archive = ["prepare", "flowers", tmp_path / "mine.tgz", tmp_path / "out.zip", "--any-count"]
    before = listing(tmp_path)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert "out.zip cannot be written: Permission denied" in cli(*from_archive, code=2)
    with pytest.raises(UnpackError, match="cannot be unpacked"):
        unpack(tmp_path / "mine.tgz", tmp_path / "new", Limits())
    assert listing(tmp_path) == before


@pytest.mark.skipif("REGAN_TEST_CHECKOUT" not in os.environ, reason="needs NVIDIA's checkout, which is not ours to carry")
@pytest.mark.parametrize("resize", ["box", "lanczos"])
@pytest.mark.parametrize("mode, form", [("RGB", "png"), ("RGB", "jpeg"), ("L", "png")])
def test_images_and_labels_are_those_of_the_hosts_own_tool(tmp_path: Path, resize: str, mode: str, form: str) -> None:
    (tmp_path / "in").mkdir()
    sizes = [(16, 16), (40, 40), (40, 20), (7, 9)] if mode == "RGB" else [(16, 16), (40, 40), (7, 7)]
    for number, size in enumerate(sizes):
        picture(*size, mode, number).save(tmp_path / "in" / f"{number}.{form}")
    labels = [[f"{number}.{form}", number % 2] for number in range(len(sizes))]
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": labels}))
    cli("prepare", "my-images", tmp_path / "in", tmp_path / "ours.zip", "--resolution=16", f"--filter={resize}")
    tool = [Path(os.environ["REGAN_TEST_CHECKOUT"]) / "dataset_tool.py", f"--source={tmp_path / 'in'}"]
    options = [f"--dest={tmp_path / 'theirs.zip'}", "--width=16", "--height=16", f"--resize-filter={resize}"]
    crop = ["--transform=center-crop"] if mode == "RGB" else []
    subprocess.run([sys.executable, *map(str, tool), *options, *crop], check=True, capture_output=True)
    ours, theirs = members(tmp_path / "ours.zip"), members(tmp_path / "theirs.zip")
    assert json.loads(ours.pop("dataset.json"))["labels"] == json.loads(theirs.pop("dataset.json"))["labels"]
    assert list(ours.items()) == list(theirs.items())


# Digits, subset, check


def test_the_first_digits_of_each_class_are_chosen_and_the_rest_are_the_others(tmp_path: Path, host_dir: Path) -> None:
    cli("prepare", "digits", "-", tmp_path / "d.zip", "--count=100", f"--rest={tmp_path / 'r.zip'}")
    images, labels = host_reads(tmp_path / "d.zip", host_dir)
    assert [label.index(1) for label in labels] == [digit for digit in range(10) for _ in range(10)]
    rest, rest_labels = host_reads(tmp_path / "r.zip", host_dir)
    assert len(images) == 100 and len(rest) == 1697 and rest[0].shape == (1, 32, 32) and len(rest_labels[0]) == 10
    lists = [(tmp_path / name).read_text().splitlines()[1:] for name in ("d.indices.txt", "r.indices.txt")]
    assert sorted(int(row.split()[0]) for row in lists[0] + lists[1]) == list(range(1797))
    cli("prepare", "digits", "-", tmp_path / "all.zip")
    whole, _ = host_reads(tmp_path / "all.zip", host_dir)
    assert all(np.array_equal(whole[int(row.split()[0])], image) for row, image in zip(lists[1], rest))
    cli("prepare", "digits", "-", tmp_path / "s.zip", "--count=25", "--seed=1", "--resolution=8")
    some, some_labels = host_reads(tmp_path / "s.zip", host_dir)
    assert some[0].shape == (1, 8, 8) and sorted(label.index(1) for label in some_labels) == sorted(
        [*range(10)] * 2 + [0, 1, 2, 3, 4]
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "digits.zip"
    cli("prepare", "digits", "-", path, "--count=40", "--resolution=8")
    return path


def members(path: Path) -> Dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@quick
@given(count=st.integers(1, 39), seed=st.integers(0, 2**32 - 1))
def test_a_subset_and_its_rest_are_the_whole(prepared: Path, tmp_path: Path, count: int, seed: int) -> None:
    out, rest = tmp_path / "s.zip", tmp_path / "r.zip"
    cli("subset", prepared, out, f"--count={count}", f"--seed={seed}", f"--rest={rest}")
    whole, one, other = members(prepared), members(out), members(rest)
    labels = [dict(json.loads(part.pop("dataset.json"))["labels"]) for part in (whole, one, other)]
    assert len(one) == count and {**one, **other} == whole and not set(one) & set(other)
    assert {**labels[1], **labels[2]} == labels[0] and set(labels[1]) == set(one) and list(one) == sorted(one)
    again = tmp_path / "again.zip"
    cli("subset", prepared, again, f"--indices={tmp_path / 's.indices.txt'}")
    assert again.read_bytes() == out.read_bytes()


@quick
@given(total=st.integers(1, 200), data=st.data())
def test_a_smaller_choice_lies_in_a_larger_one(total: int, data: st.DataObject) -> None:
    small, seed = data.draw(st.integers(1, total)), data.draw(st.integers(0, 99))
    large = data.draw(st.integers(small, total))
    assert set(chosen(total, small, seed)) <= set(chosen(total, large, seed)) <= set(range(total))


def test_a_choice_is_the_same_on_every_machine() -> None:
    assert chosen(70_000, 3, 0) == [5755, 20161, 48749]


def test_lists_of_every_form_are_read(prepared: Path, tmp_path: Path) -> None:
    names = sorted(name for name in members(prepared) if name.endswith(".png"))
    forms = {
        "a.txt": "# numbers\n3\n1\n",
        "b.json": "[1, 3]",
        "c.json": json.dumps([names[3], names[1]]),
        "d.txt": f"{names[1]}\n{names[3]}",
    }
    results = set()
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        cli("subset", prepared, tmp_path / "out.zip", f"--indices={tmp_path / name}")
        results.add((tmp_path / "out.zip").read_bytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "names no image"),
        ("40", "number 40"),
        ("9" * 5000, "number 999"),
        ("# 1 of 41 images of a.zip\n1", "chooses from 41 images, and the zip has 40"),
        ("x.png", "x.png, which is not"),
        ("1\n1", "twice"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(prepared: Path, tmp_path: Path, text: Any, words: str) -> None:
    if text is not None:
        (tmp_path / "list.txt").write_text(text)
    assert words in cli("subset", prepared, tmp_path / "out.zip", f"--indices={tmp_path / 'list.txt'}", code=2)
    assert not (tmp_path / "out.zip").exists()


def test_a_list_of_prepare_chooses_from_the_whole(tmp_path: Path) -> None:
    folder, whole, some, again = (tmp_path / name for name in ("faces", "whole.zip", "some.zip", "again.zip"))
    folder.mkdir()
    for number, name in enumerate(["#b.png", "a.png", "c d.png", "img00000000.png", "z # 1.png"]):
        (folder / name).write_bytes(png(picture(16, 16, seed=number)))
    arguments = ["prepare", "obama", folder, "--any-count", "--resolution=16"]
    cli(*arguments, whole)
    cli(*arguments, some, "--count=3")
    listed = tmp_path / "some.indices.txt"
    cli("subset", whole, again, f"--indices={listed}")
    images = [[data for name, data in members(path).items() if name.endswith(".png")] for path in (some, again)]
    assert images[0] == images[1] and len(images[0]) == 3
    assert "chooses from 5 images, and the zip has 3" in cli("subset", some, again, f"--indices={listed}", code=2)
    before = listed.read_bytes()
    cli("subset", whole, some, f"--indices={listed}")
    assert some.read_bytes() == again.read_bytes() and listed.read_bytes() == before
    rest = f"--rest={tmp_path / 'faces' / '..' / 'some.zip'}"
    assert "it is what is read" in cli("subset", whole, again, f"--indices={listed}", rest, code=2)


def test_names_that_a_list_cannot_hold_are_chosen_all_the_same(tmp_path: Path) -> None:
    names = ["#a.png", " b.png", "c\nd.png", "e\u2028.png", "5 # f.png", "g # h.png", "größe.png"]
    (tmp_path / "in.zip").write_bytes(zipped({name: png(picture(16, 16, seed=n)) for n, name in enumerate(names)}))
    cli("subset", tmp_path / "in.zip", tmp_path / "a.zip", "--count=6")
    cli("subset", tmp_path / "in.zip", tmp_path / "b.zip", f"--indices={tmp_path / 'a.indices.txt'}")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="links as on Unix")
def test_what_is_read_is_never_written_over(prepared: Path, tmp_path: Path) -> None:
    real, out, around = tmp_path / "real.zip", tmp_path / "out.zip", tmp_path / "sub" / ".."
    real.write_bytes(prepared.read_bytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.zip").symlink_to(real)
    os.link(real, tmp_path / "hard.zip")
    (tmp_path / "folder.indices.txt").mkdir()
    before = listing(tmp_path)
    for source in (tmp_path / "link.zip", tmp_path / "hard.zip", around / "real.zip"):
        assert "it is what is read" in cli("subset", source, real, "--count=1", code=2)
        assert "it is what is read" in cli("prepare", "my-images", source, real, code=2)
        assert "it is what is read" in cli("check", "digits", source, f"--hashes={real}", code=2)
    for command in (["subset", real], ["prepare", "digits", "-"]):
        assert "a file of its own" in cli(*command, out, "--count=20", f"--rest={around / 'out.zip'}", code=2)
        assert "folder.indices.txt cannot be written: it is a folder" in cli(
            *command, tmp_path / "folder.zip", "--count=20", code=2
        )
    assert listing(tmp_path) == before and real.read_bytes() == prepared.read_bytes()


def test_a_list_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        write_list(tmp_path / "x.txt", [], ["a"])
    assert listing(tmp_path) == []


def test_subset_wants_one_choice_and_another_file(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    assert "either --count or --indices" in cli("subset", prepared, out, code=2)
    assert "40 images found" in cli("subset", prepared, out, "--count=41", code=2)
    assert "it is what is read" in cli("subset", prepared, prepared, "--count=1", code=2)
    assert "none is left" in cli("subset", prepared, out, "--count=40", f"--rest={tmp_path / 'r.zip'}", code=2)
    assert "is a folder" in cli("subset", tmp_path, out, "--count=1", code=2)
    assert listing(tmp_path) == []


def test_check_sees_the_same_pixels_in_another_form(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for number, (name, data) in enumerate(reversed(list(members(prepared).items()))):
        if name.endswith(".png"):
            (folder / f"{number}.bmp").write_bytes(png(Image.open(io.BytesIO(data)), format="bmp"))
    first = cli("check", "digits", prepared, "--count=40", f"--hashes={tmp_path / 'hashes.txt'}")
    line = next(line for line in first.splitlines() if line.startswith("fingerprint"))
    assert line in cli("check", "my-images", folder, "--fingerprint", line.split()[1])
    hashes = [row.split("  ") for row in (tmp_path / "hashes.txt").read_text().splitlines()[1:]]
    assert len(hashes) == 40 and fingerprint([digest for digest, _ in hashes]) == line.split()[1]
    assert "the fingerprint is not" in cli("check", "digits", prepared, "--count=40", "--fingerprint=00", code=1)
    assert "it has 40 images, expected 1797" in cli("check", "digits", prepared, code=1)


def test_check_names_what_the_host_would_trip_over(tmp_path: Path) -> None:
    folder = messy_folder(tmp_path / "mine")
    output = cli("check", "my-images", folder, code=1)
    assert "2 images cannot be decoded" in output and "different sizes" in output and "c-alpha.png is RGBA" in output
    assert f"regan-ext data prepare my-images {folder} OUT.zip" in output
    for count, members_, words in [
        (1, {"a.png": png(picture(24, 24))}, "a.png is 24x24, not a square with a power of two"),
        (1, {"a.png": png(picture(16, 16)), "dataset.json": b'{"labels": [["b.png", 0]]}'}, "no label for 1 image"),
    ]:
        (tmp_path / "x.zip").write_bytes(zipped(members_))
        assert words in cli("check", "my-images", tmp_path / "x.zip", f"--count={count}", code=1)
    (tmp_path / "x.zip").write_bytes(zipped({"a.png": png(picture(16, 16))}, compression=zipfile.ZIP_DEFLATED))
    assert "compressed" in cli("check", "my-images", tmp_path / "x.zip", code=1)
    assert "does not exist" in cli("check", "my-images", tmp_path / "gone", code=2)


def two_images(path: Path, extra: Dict[str, bytes]) -> Path:
    path.write_bytes(zipped({**{f"{n}.png": png(picture(16, 16, seed=n)) for n in range(2)}, **extra}))
    return path


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"__MACOSX/._0.png": b"x"}, "the host takes 1 other files for images, the first is __MACOSX/._0.png"),
        ({"licence.pdf": b"%PDF-1.4"}, "the first is licence.pdf"),
        *(
            ({"dataset.json": json.dumps({"labels": [["0.png", 0], ["1.png", label]]}).encode()}, "1.png has")
            for label in ("cat", {"a": 1}, -1, [0.5])
        ),
        ({"dataset.json": b'{"labels": [["0.png", [1, 2]], ["1.png", [1]]]}'}, "1.png has [1]; labels are"),
    ],
    ids=["macos", "pdf", "text", "dict", "negative", "mixed", "lengths"],
)
def test_check_reports_what_the_host_cannot_open(tmp_path: Path, host_dir: Path, extra: Dict[str, bytes], words: str) -> None:
    path = two_images(tmp_path / "x.zip", extra)
    with pytest.raises(Exception):  # noqa: B017
        host_reads(path, host_dir)
    output = cli("check", "my-images", path, code=1)
    assert (words in output or words.replace("1.png", "0.png") in output) and "fingerprint" in output
    if "dataset.json" in extra:
        assert "dataset.json cannot be used" in cli("prepare", "my-images", path, tmp_path / "out.zip", code=2)
    else:
        cli("prepare", "my-images", path, tmp_path / "out.zip", "--resolution=16")
        cli("check", "my-images", tmp_path / "out.zip")


_LABELS = st.one_of(
    st.integers(-2, 3), st.booleans(), st.text(max_size=2), st.lists(st.integers(0, 2) | st.floats(0, 1), max_size=2)
)


@quick
@given(pair=st.tuples(_LABELS, _LABELS))
def test_labels_that_are_taken_are_taken_by_the_host(tmp_path: Path, host_dir: Path, pair: Tuple[Any, Any]) -> None:
    rows = [[f"{number}.png", label] for number, label in enumerate(pair)]
    path = two_images(tmp_path / "x.zip", {"dataset.json": json.dumps({"labels": rows}).encode()})
    try:
        taken = labels_of(open_container(path))
    except UserError:
        return
    assert taken == dict(rows) and len(host_reads(path, host_dir)[1]) == 2


def test_a_zip_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    for data in (zip_of_bytes(), zip_of_version(99)):
        (tmp_path / "x.zip").write_bytes(data)
        assert "x.zip is not a zip that can be read" in cli("check", "my-images", tmp_path / "x.zip", code=2)
    two_images(tmp_path / "x.bin", {})
    assert "its name does not end in .zip" in cli("check", "my-images", tmp_path / "x.bin", code=1)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for option in (
        ["check", "ffhq-1024", tmp_path, "--pixel-md5"],
        ["subset", tmp_path / "x.bin", tmp_path / "o.zip", "--indices"],
    ):
        assert "deep.json" in cli(*option, tmp_path / "deep.json", code=2)


def test_check_compares_with_ffhqs_own_list(tmp_path: Path) -> None:
    folder = tmp_path / "ffhq"
    folder.mkdir()
    listed = {}
    for number in range(2):
        image = picture(1024, 1024, seed=number)
        (folder / f"{number:05d}.png").write_bytes(png(image, compress_level=1))
        listed[str(number)] = {"image": {"pixel_md5": hashlib.md5(np.asarray(image).tobytes()).hexdigest()}}
    (tmp_path / "list.json").write_text(json.dumps(listed))
    arguments = ["check", "ffhq-1024", folder, "--count=2", "--pixel-md5", tmp_path / "list.json"]
    assert "2 images have its pixels, 0 not" in cli(*arguments)
    (folder / "00001.png").write_bytes(png(picture(1024, 1024, seed=5), compress_level=1))
    assert "1 images do not have FFHQ's pixels, the first is 00001.png" in cli(*arguments, code=1)
    (tmp_path / "list.json").write_text("[]")
    assert "is not FFHQ's" in cli(*arguments, code=2)


@pytest.mark.skipif(os.name == "nt", reason="names and permissions as on Unix")
def test_odd_names_and_closed_folders(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate([b"\xff.png", b"two\nlines.png", "größe.png".encode()]):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(png(picture(16, 16, seed=number)))
    output = cli("prepare", "my-images", folder, tmp_path / "out.zip", "--resolution=32")
    for name in (r"\udcff.png", r"two\nlines.png", "größe.png"):
        assert f"  {name}: too small" in output
    assert "3 images" in output


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(path: Any, onerror: Any) -> Iterator[Any]:
        onerror(PermissionError(13, "Permission denied", "closed"))
        yield path, [], []

    monkeypatch.setattr(os, "walk", walk)
    assert "closed cannot be read: Permission denied" in cli("prepare", "my-images", tmp_path, tmp_path / "out.zip", code=2)
