"""A web server on this machine that behaves as well or as badly as a test wants."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterator, List, Optional


@dataclass
class Served:
    """A file, and how it is served.

    Args:
        body: content.
        cut: bytes after which the connection breaks, for as many answers; then the whole is sent.
        ranges: whether a Range header is heeded.
        etag: entity tag, None for none.
        status: of the answer.
        headers: more headers.
        length: whether the answer has a Content-Length.
    """

    body: bytes = b""
    cut: List[int] = field(default_factory=list)
    ranges: bool = True
    etag: Optional[str] = '"1"'
    status: int = 200
    headers: Dict[str, str] = field(default_factory=dict)
    length: bool = True


class Server:
    """Files by path, and the requests that were made for them."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: Dict[str, Served] = {}
        self.requests: List[Dict[str, str]] = []

    def put(self, path: str, body: bytes = b"", **how: Any) -> str:
        """Serve ``body`` at ``path``; returns its address."""
        self.files[path] = Served(body, **how)
        return self.url + path


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        state: Server = self.server.state  # type: ignore[attr-defined]
        state.requests.append({"path": self.path, **dict(self.headers)})
        served = state.files.get(self.path, Served(status=404))
        start, status = 0, served.status
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") in (None, served.etag)
        if match and served.ranges and status == 200 and is_same:
            start, status = int(match.group(1)), 206
            if start >= len(served.body):
                self.send_error(416)
                return
        body = served.body[start:]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(served.body) - 1}/{len(served.body)}")
        if served.length:
            self.send_header("Content-Length", str(len(body)))
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: served.cut.pop(0)] if served.cut else body)


@contextmanager
def serving() -> Iterator[Server]:
    """A running server, stopped at the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    state = Server(server.server_address[1])
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
