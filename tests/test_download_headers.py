"""Downloads from servers whose headers lie, that never come to an end, or that are not there: bounded, and one line."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regan_ext.data import download
from regan_ext.data.download import DownloadError
from regan_ext.data.manifest import Archive

BODY = bytes(range(256)) * 200


@contextmanager
def sending(*answers: bytes, drip: Optional[bytes] = None) -> Iterator[str]:
    """A server that sends these bytes, the last to all later requests, then ``drip`` again and again; yields its address."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    left = list(answers)

    def serve(connection: socket.socket, content: bytes) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(content.replace(b"PORT", b"%d" % listener.getsockname()[1]))
                while drip is not None and not ended.wait(0.02 if len(drip) < 100 else 0):
                    connection.sendall(drip)
            except OSError:  # it was left
                pass

    def listen() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            content = left.pop(0) if len(left) > 1 else left[0]
            threading.Thread(target=serve, args=(connection, content), daemon=True).start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.zip"
    finally:
        ended.set()
        listener.close()
        thread.join(5)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    monkeypatch.setattr(download, "PATIENCE", 0.4)


def refused(url: str, folder: Path, size: int = 10**6) -> str:
    with pytest.raises(DownloadError) as caught:
        download.download(url, folder / "x.zip", Archive("x.zip", max_bytes=size), lambda done, total: None)
    assert "\n" not in caught.value.message and not (folder / "x.zip").exists()
    return caught.value.message


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "start, drip, words",
    [
        (b"", b"", "no answer or less than 16 KiB within"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a", "no answer or less"),
        (HEAD, b"X: y\r\n" * 500, "connection failed"),  # more headers than any server sends
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"a", "no answer or less than 16 KiB"),
        (HEAD + b"\r\n", b"a", "no answer or less than 16 KiB"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1", "no answer or less"),
        (HEAD + b"\r\n", bytes(65536), "longer than the 1000000 bytes that this file can have"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x.zip\r\n\r\n", bytes(65536), "redirect without end"),
    ],
    ids=["silent", "header", "headers", "slow", "slow without length", "chunk", "endless", "redirect"],
)
def test_a_server_that_does_not_end_is_left(tmp_path: Path, start: bytes, drip: bytes, words: str) -> None:
    with sending(start, drip=drip) as url:
        assert words in refused(url, tmp_path)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: -5",
        b"Content-Length: 5, 6",
        b"Content-Length: \xb2",
        b"Content-Length: 99999999999999",
        b"Content-Length: 60000",
        b"Transfer-Encoding: chunked\r\n\r\nzz",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff",
        b"Content-Type: text/html; charset=\x1b[31m\xff",
        b"X: " + b"a" * 70_000,
    ],
    ids=lambda headers: headers[:40].decode("latin1"),
)
def test_headers_that_lie_are_one_line(tmp_path: Path, headers: bytes) -> None:
    with sending(HEAD + headers + b"\r\n\r\n" + BODY) as url:
        try:
            found = download.download(url, tmp_path / "x.zip", Archive("x.zip", max_bytes=10**6), lambda done, total: None)
        except DownloadError as err:
            assert "\n" not in err.message
        else:
            assert found["size"] == len(BODY)


@pytest.mark.parametrize(
    "span",
    [b"bytes 0-9/10", b"bytes " + b"9" * 5000 + b"-/", b"bytes \xb2-3/4", b"bytes */51200", b"", b"lines 1000-2000/3000"],
)
def test_a_part_of_another_place_is_not_put_behind_what_is_there(tmp_path: Path, span: bytes) -> None:
    first = HEAD + b'ETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(BODY) + BODY[:20_000]
    part = b"HTTP/1.1 206 Partial\r\nContent-Range: " + span + b"\r\nContent-Length: 10\r\n\r\n0123456789"
    with sending(first, part) as url:
        assert "another part than was asked for" in refused(url, tmp_path)
    assert not (tmp_path / "x.zip.part").exists()


@pytest.mark.parametrize(
    "location, words",
    [
        (b"file:///etc/passwd", "begins with http"),
        (b"http://[::1", ""),
        (b"http://127.0.0.1:99999/", ""),
        (b"http://a..b/", ""),
        (b"\xff\xfe", ""),
        (b"http://127.0.0.1:PORT/" + b"a" * 60_000, ""),
        (b"//", ""),
        (b"\x1b]0;x\x07", ""),
    ],
    ids=lambda value: value[:30].decode("latin1") if isinstance(value, bytes) else "",
)
def test_a_redirect_to_nowhere_is_one_line(tmp_path: Path, location: bytes, words: str) -> None:
    with sending(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n") as url:
        assert words in refused(url, tmp_path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.tuples(st.sampled_from(["Content-Length", "Content-Range", "Location", "ETag", "Transfer-Encoding",
       "Content-Encoding", "Last-Modified", "Content-Type"]), st.binary(max_size=12)), max_size=4),
       status=st.sampled_from([b"200", b"206", b"302", b"416", b"999", b"-1", b"abc"]))  # fmt: skip
def test_no_answer_is_a_traceback(tmp_path: Path, lines: List[object], status: bytes) -> None:
    head = b"".join(f"{name}: ".encode() + value + b"\r\n" for name, value in lines)  # type: ignore[misc,attr-defined]
    with sending(b"HTTP/1.1 " + status + b" X\r\n" + head + b"\r\n" + BODY[:300]) as url:
        try:
            download.download(url, tmp_path / "x.zip", Archive("x.zip", max_bytes=1000), lambda done, total: None)
        except DownloadError as err:
            assert "\n" not in err.message
    for left in tmp_path.iterdir():
        assert left.stat().st_size <= 1000
        left.unlink()


@pytest.mark.parametrize(
    "url, words",
    [
        ("http://127.0.0.1:1/x", "127.0.0.1 takes no connections on this port"),
        ("http://no-such-host.invalid/x", "no address is known of no-such-host.invalid; is it spelt right"),
        ("ftp://127.0.0.1/x", "an address begins with http:// or https://"),
        ("127.0.0.1/x", "an address begins with http:// or https://"),
    ],
)
def test_the_reason_is_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PATIENCE", 20)
    message = refused(url, tmp_path)
    assert words in message and "Errno" not in message and list(tmp_path.iterdir()) == []


def test_a_server_that_hangs_up_is_said(tmp_path: Path) -> None:
    with sending(b"") as url:
        assert "broke the connection off" in refused(url, tmp_path)
    with sending(HEAD + b"Content-Length: 60000\r\n\r\n" + BODY) as url:
        assert "it ended before its end" in refused(url, tmp_path) or "cut after" in refused(url, tmp_path)
