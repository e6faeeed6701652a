"""A file server on the loopback address that misbehaves as it is told, request by request."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", bytes], None]


@dataclass
class AssetServer:
    """What is served, how the next requests for it go wrong, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, such as ``/mdm/x.zip``."""
    trouble: dict[str, list[Behaviour]] = field(default_factory=dict)
    """Behaviours of the next requests for a path, first come first served; then all is well."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of every request."""
    etag: str = '"one"'


class Handler(BaseHTTPRequestHandler):
    """Serves whole files and ranges, with an ETag and If-Range."""

    protocol_version = "HTTP/1.1"
    assets: AssetServer

    def do_GET(self) -> None:
        path, span = self.path.partition("?")[0], self.headers.get("Range")
        self.assets.asked.append((self.path, span))
        content = self.assets.files.get(path)
        if content is None:
            self.send(404, b"")
            return
        troubles = self.assets.trouble.get(path) or []
        (troubles.pop(0) if troubles else well)(self, content)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def start_of_range(self) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        is_same = self.headers.get("If-Range") in (None, self.assets.etag)
        return int(found[1]) if found and is_same else 0

    def log_message(self, *_: object) -> None:
        pass


def well(handler: Handler, content: bytes) -> None:
    start = handler.start_of_range()
    if start >= len(content) > 0:
        handler.send(416, b"", Content_Range=f"bytes */{len(content)}")
        return
    told = {"ETag": handler.assets.etag}
    if start:
        told["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.send(206 if start else 200, content[start:], **told)


def break_after(count: int) -> Behaviour:
    """Promise all that is asked for, send ``count`` bytes of it and hang up."""

    def act(handler: Handler, content: bytes) -> None:
        start = handler.start_of_range()
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", handler.assets.etag)
        handler.send_header("Content-Length", str(len(content) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[start : start + count])
        handler.hang_up()

    return act


def without_ranges(count: int) -> Behaviour:
    """The same from the start every time, as a server that knows no ranges does."""

    def act(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:count])
        handler.hang_up()

    return act


def promise(count: int) -> Behaviour:
    """Say that the file has ``count`` bytes, whatever it has."""

    def act(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(count))
        handler.end_headers()
        handler.wfile.write(content[:count])
        handler.hang_up()

    return act


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with this and nothing else."""
    return lambda handler, content: handler.send(status, body, **headers)


def page(text: str) -> Behaviour:
    """A web page, status 200."""
    return answer(200, text.encode(), Content_Type="text/html; charset=utf-8")


@contextmanager
def serve_assets() -> Iterator[AssetServer]:
    """A running server."""
    assets = AssetServer()
    handler = type("BoundHandler", (Handler,), {"assets": assets})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assets.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield assets
        finally:
            server.shutdown()
            thread.join()
