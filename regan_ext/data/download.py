"""Download one file: gone on with after a cut, checked, and under its name only when it is whole and right."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import queue
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional
from urllib.parse import urlsplit

import click
import requests
import urllib3

from .. import __version__
from ..support.errors import UserError
from ..support.locks import locked_file
from .hashes import hashes, record, why_wrong
from .manifest import Archive

__all__ = ["ATTEMPTS", "DownloadError", "Progress", "download"]

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt, twice as long before each later one
PATIENCE = 60.0  # seconds for the headers, and for every piece
_PIECE = 1 << 14  # bytes; of a cut connection the piece that was not full is lost

Progress = Callable[[int, Optional[int]], None]  # bytes so far, bytes in all where they are known


class DownloadError(click.ClickException):
    """A server or network that does not give what was asked for. One line, exit code 1."""


class _Cut(Exception):
    """A fault that may be gone at the next attempt."""


def download(url: str, target: Path, archive: Archive, progress: Progress) -> Dict[str, Any]:
    """Bring ``url`` to ``target``. What was cut stays as ``target``.part, and the next call goes on from there if a hash was
    published; what is wrong is deleted.

    Args:
        url: an http or https address.
        target: file to write.
        archive: what is known of it.
        progress: called after every piece.

    Returns:
        Size and hashes of the file, which are recorded beside it.

    Raises:
        DownloadError: the server refuses, sends a page or a wrong file, the connection breaks in every attempt, or the file
            cannot be written.
        UserError: another process is fetching it.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(part) as handles:
            if handles is None:
                raise UserError(f"{target}: another regan-ext is fetching this file; wait for it")
            try:
                _bring(url, part, archive, progress)
                found = hashes(part)
                wrong = why_wrong(found, archive, target)
                if wrong is not None:
                    os.truncate(part, 0)
                    raise DownloadError(f"{url}: not the file that was expected, it was deleted: {wrong}")
                os.replace(part, target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    if part.stat().st_size == 0:
                        part.unlink()
            record(target, found, url)
            return found
    except OSError as err:
        raise DownloadError(f"{target}: cannot be written ({err.strerror or err})") from err


def _bring(url: str, part: Path, archive: Archive, progress: Progress) -> None:
    """Bring the file into its part, in as many attempts as it takes."""
    # Where no hash will tell, only what this server has begun to send in this call can be gone on with.
    trusted, validator = bool(archive.md5 or archive.sha256), ""
    for attempt in range(ATTEMPTS):
        headers = {"Accept-Encoding": "identity", "User-Agent": f"regan-ext/{__version__}"}
        if (trusted or validator) and part.stat().st_size:
            headers["Range"] = f"bytes={part.stat().st_size}-"
            headers.update({"If-Range": validator} if validator else {})
        answer = _answer(url, headers)
        try:
            response = next(answer)
            offset = _judge(url, response, part)
            tag = response.headers.get("ETag", "")
            validator = tag if tag.startswith('"') and tag.isascii() and tag.isprintable() else ""
            _take(url, response, answer, part, offset, archive, progress)
            return
        except _Cut as err:
            if attempt == ATTEMPTS - 1:
                kept = part.stat().st_size if trusted else 0
                more = f"; {kept} bytes are kept in {part.name}, the same command goes on from there" if kept else ""
                os.truncate(part, kept)
                raise DownloadError(f"{url}: {err}{more}") from err
            time.sleep(PAUSE * 2**attempt)


def _answer(url: str, headers: Dict[str, str]) -> Iterator[Any]:
    """The answer, then its body as it was sent, in pieces of 16 KiB.

    It is taken in a thread: a server that sends a byte now and then keeps every timeout of a socket from passing, in the
    headers too. The thread of one that is left ends with the program.
    """
    items: "queue.Queue[Any]" = queue.Queue(maxsize=4)

    def take() -> None:
        try:
            hooks = {"response": _drop_body_of_redirect}
            with requests.get(url, headers=headers, stream=True, timeout=(15, PATIENCE), hooks=hooks) as response:
                # Some servers call a .tgz the gzip encoding of a tar; the file is wanted as it lies there.
                response.raw.headers.pop("Content-Encoding", None)
                items.put(response)
                for piece in response.iter_content(_PIECE):
                    items.put(piece)
            items.put(None)
        except Exception as err:  # told by the thread that waits
            items.put(err)

    threading.Thread(target=take, daemon=True).start()
    while True:
        try:
            item = items.get(timeout=PATIENCE)
        except queue.Empty as err:
            raise _Cut(f"no answer or less than {_PIECE >> 10} KiB within {PATIENCE:g} seconds") from err
        if item is None:
            return
        if isinstance(item, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
            raise _Cut(f"the connection failed: {_in_words(item, url)}") from item
        if isinstance(item, Exception):
            raise DownloadError(f"{url}: {_in_words(item, url)}") from item
        yield item


def _drop_body_of_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """requests would read it to its end, which there need not be one of."""
    if response.is_redirect:
        response.raw.close()


def _judge(url: str, response: requests.Response, part: Path) -> int:
    """The offset that this answer begins at; ``_Cut`` where another attempt may have one."""
    status = response.status_code
    if url.startswith("https:") and response.url.startswith("http:"):
        raise DownloadError(f"{url}: leads to an address that is not encrypted, {response.url}")
    if status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {part.stat().st_size}-"):
        return part.stat().st_size
    if status == 200:
        return 0
    if status in (206, 416):
        os.truncate(part, 0)
        raise _Cut("the server sent another part than was asked for")
    if status == 429 or status >= 500:
        raise _Cut(f"the server answers {status} {response.reason}")
    advice = {401: "it wants a login", 403: "access is refused", 404: "it is not there (any more)", 410: "it is gone"}
    raise DownloadError(f"{url}: the server answers {status} {response.reason}: {advice.get(status, 'nothing was downloaded')}")


def _take(
    url: str, response: requests.Response, pieces: Iterator[Any], part: Path, offset: int, archive: Archive, progress: Progress
) -> None:
    """Write what comes behind the first ``offset`` bytes of the part; of a page, or of more than the file can have, nothing."""
    length = response.headers.get("Content-Length", "").strip()
    total = offset + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    if total is not None and (total > archive.max_bytes or archive.size not in (None, total)):
        os.truncate(part, 0)
        expected = f"expected {archive.size}" if archive.size else f"more than the {archive.max_bytes} that this file can have"
        raise DownloadError(f"{url}: {total} bytes are offered, {expected}; nothing was downloaded")
    with open(part, "ab" if offset else "wb") as file:
        for piece in pieces:
            page = None if offset else _page(response, piece)
            offset += len(piece)
            if page is not None or offset > archive.max_bytes:
                file.truncate(0)
                raise DownloadError(
                    f"{url}: {page or f'longer than the {archive.max_bytes} bytes that this file can have; it was deleted'}"
                )
            file.write(piece)
            progress(offset, total)
    if total is not None and offset < total:
        raise _Cut(f"cut after {offset} of {total} bytes")


def _page(response: requests.Response, first: bytes) -> Optional[str]:
    """What a page says that a server sends to a person in place of the file, with status 200; None where it is none."""
    text = first.decode("utf-8", errors="replace").lower()
    if "html" not in response.headers.get("Content-Type", "") and not text.lstrip().startswith(("<!doctype html", "<html")):
        return None
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL)
    said = f' titled "{" ".join(title.group(1).split())[:80]}"' if title else ""
    return f"a web page{said} came instead of the file; open the address in a browser"


_lib, _urllib3 = requests.exceptions, urllib3.exceptions
# The first that fits; urllib3 counts every failure to connect among those of time.
_WORDS: Any = (
    (_lib.ProxyError, "the proxy does not lead to {host}"),
    (socket.gaierror, "no address is known of {host}; is it spelt right, and is there a network?"),
    (ConnectionRefusedError, "{host} takes no connections on this port"),
    ((ConnectionError, http.client.RemoteDisconnected), "{host} broke the connection off"),
    (_lib.TooManyRedirects, "it is a redirect without end"),
    ((_lib.InvalidSchema, _lib.MissingSchema), "an address begins with http:// or https://"),
    ((http.client.IncompleteRead, _urllib3.IncompleteRead), "it ended before its end"),
    ((TimeoutError, _urllib3.ConnectTimeoutError, _lib.Timeout), "{host} did not answer in time"),
)


def _in_words(err: BaseException, url: str) -> str:
    """Why nothing came, for a reader who is no programmer."""
    causes, host = [err], url
    for cause in causes:  # which grows: what an exception was made from, the innermost last
        inner = [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
        causes += [each for each in inner if isinstance(each, BaseException) and all(each is not known for known in causes)]
    with contextlib.suppress(ValueError):
        host = urlsplit(url).hostname or url
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not accepted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return f"{host} cannot be reached from here; is there a network?"
    for kinds, words in _WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return str(words.format(host=host))
    text = " ".join(str(part) for part in causes[-1].args if isinstance(part, str)) or type(causes[-1]).__name__
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>:?\s*|HTTPS?Connection\w*\(.*?\): ", "", text))[:160]
