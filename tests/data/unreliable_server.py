"""A local HTTP server that gives files as bad networks and bad servers do."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Served:
    """One file, and how it is given; `requests` counts what was asked for it."""

    content: bytes
    breaks_after: list[int] = field(default_factory=list)  # bytes of the first responses' bodies
    length: int | None = None  # Content-Length in the place of the true one
    announce: bool = True  # Content-Length at all
    ranges: bool = True
    tagged: bool = True
    status: list[int] = field(default_factory=list)  # of the first responses
    kind: str = "application/zip"
    change: Callable[[Served], None] | None = None  # called after each response
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        served: Served | None = self.server.files.get(self.path.lstrip("/"))
        if served is None:
            self.send_error(404)
            return
        served.requests.append(dict(self.headers))
        if served.status:
            code = served.status.pop(0)
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        body, start = served.content, 0
        wanted = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range") in (None, served.tag)
        if wanted and served.ranges and unchanged:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{served.length or len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        if served.announce:
            self.send_header("Content-Length", str(len(body) if served.length is None else served.length - start))
        self.send_header("Content-Type", served.kind)
        if served.tagged:
            self.send_header("ETag", served.tag)
        self.send_header("Connection", "close")
        self.end_headers()
        if served.breaks_after:
            body = body[: served.breaks_after.pop(0)]
        with contextlib.suppress(OSError):  # the client may have had enough
            self.wfile.write(body)
        self.close_connection = True
        if served.change:
            served.change(served)

    def log_message(self, *arguments: object) -> None:
        pass


class Server:
    """Files by name, at `url(name)`, as long as the block lasts."""

    def __init__(self) -> None:
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.files = {}
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def add(self, name: str, content: bytes, **behaviour: object) -> Served:
        self.http.files[name] = Served(content, **behaviour)
        return self.http.files[name]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}"
