"""The answer of a web server, taken in a thread of its own: whatever the server does, the program waits for so long only."""

from __future__ import annotations

import contextlib
import errno
import http.client
import queue
import re
import socket
import ssl
import threading
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Type
from urllib.parse import urlsplit

import requests
import urllib3

__all__ = ["Answer", "Broken", "Strange", "TooSlow"]

PATIENCE = 60.0  # seconds for the headers, and for every piece
PIECE = 1 << 14  # bytes; of a cut connection the piece that was not full is lost
_CONNECT, _READ = 15, 60  # seconds of silence
_BREAKS = (requests.exceptions.ConnectionError, requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError)


class TooSlow(Exception):
    """The server kept silent, or sent so little that it would never end."""


class Broken(Exception):
    """The connection failed or was cut; the message says why."""


class Strange(Exception):
    """There is no such address, or what came is no answer that can be understood; the message says why."""


class Answer:
    """One GET. Enter it, then take ``response`` and ``pieces``.

    Args:
        url: an http or https address; redirects are followed.
        headers: of the request.
    """

    def __init__(self, url: str, headers: Dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._items: "queue.Queue[Any]" = queue.Queue(maxsize=4)
        self._left = threading.Event()

    def __enter__(self) -> "Answer":
        # A server that sends a byte now and then keeps every timeout of a socket from passing, in the headers too.
        threading.Thread(target=self._take, daemon=True).start()
        self.response: requests.Response = self._next()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._left.set()

    def pieces(self) -> Iterator[bytes]:
        """The body as it was sent, in pieces of 16 KiB.

        Raises:
            TooSlow, Broken, Strange: it does not come to its end.
        """
        while True:
            piece = self._next()
            if piece is None:
                return
            yield piece

    def _next(self) -> Any:
        try:
            item = self._items.get(timeout=PATIENCE)
        except queue.Empty as err:
            raise TooSlow(f"no answer or less than {PIECE >> 10} KiB within {PATIENCE:g} seconds") from err
        if not isinstance(item, BaseException):
            return item
        if isinstance(item, requests.exceptions.Timeout):
            raise TooSlow(f"no answer within {_READ} seconds") from item
        raise (Broken if isinstance(item, _BREAKS) else Strange)(_in_words(item, self._url)) from item

    def _take(self) -> None:
        try:
            hooks = {"response": _drop_body_of_redirect}
            timeout = (_CONNECT, _READ)
            with requests.get(self._url, headers=self._headers, stream=True, timeout=timeout, hooks=hooks) as response:
                # Some servers call a .tgz the gzip encoding of a tar; the file is wanted as it lies there.
                response.raw.headers.pop("Content-Encoding", None)
                self._put(response)
                for piece in response.iter_content(PIECE):
                    if not self._put(piece):
                        return
            self._put(None)
        except Exception as err:  # told by the thread that waits
            self._put(err)

    def _put(self, item: Any) -> bool:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.2)
                return True
        return False


def _drop_body_of_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """requests would read it to its end, which there need not be one of."""
    if response.is_redirect:
        response.raw.close()


# ---------------------------------------------------------------- in words


def _causes(err: BaseException) -> List[BaseException]:
    """The exception, and those that it was made from, the innermost last."""
    found: List[BaseException] = []
    todo: List[Any] = [err]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and all(item is not other for other in found):
            found.append(item)
            todo += [getattr(item, "reason", None), *item.args, item.__cause__, item.__context__]
    return found


def _in_words(err: BaseException, url: str) -> str:
    """Why nothing came, for a reader who is no programmer."""
    causes = _causes(err)
    try:
        host = urlsplit(url).hostname or url
    except ValueError:
        host = url
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not accepted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return f"{host} cannot be reached from here; is there a network?"
    for kinds, words in _WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words.format(host=host)
    return _innermost(causes[-1])


_lib, _urllib3 = requests.exceptions, urllib3.exceptions
# The first that fits; urllib3 counts every failure to connect among those of time.
_WORDS: Sequence[Tuple[Tuple[Type[BaseException], ...], str]] = (
    ((_lib.ProxyError,), "the proxy does not lead to {host}"),
    (
        (socket.gaierror,),
        "no address is known of {host}; is it spelt right, and is there a network?",
    ),
    ((ConnectionRefusedError,), "{host} takes no connections on this port"),
    ((ConnectionError, http.client.RemoteDisconnected), "{host} broke the connection off"),
    ((_lib.TooManyRedirects,), "it is a redirect without end"),
    ((_lib.InvalidSchema, _lib.MissingSchema), "an address begins with http:// or https://"),
    ((http.client.IncompleteRead, _urllib3.IncompleteRead), "it ended before its end"),
    ((TimeoutError, _urllib3.ConnectTimeoutError), "{host} did not answer in time"),
)


def _innermost(err: BaseException) -> str:
    text = " ".join(str(part) for part in err.args if isinstance(part, str)) or type(err).__name__
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>:?\s*|HTTPS?Connection\w*\(.*?\): ", "", text))[:160]
