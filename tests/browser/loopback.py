"""A web server on the loopback address: pages of tests, node_modules, what ships, and files in memory."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.browser.installed import HERE, NODE_MODULES, WEB

_FOLDERS = {"modules": NODE_MODULES, "page": HERE, "static": WEB / "static"}
_TYPES = {".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript"}


class Loopback:
    """``with Loopback() as site``: serves until the block ends."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """{name: content}, served as ``/files/<name>``."""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site._find(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", _TYPES.get(Path(self.path).suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, name: str, content: bytes) -> str:
        """Serve ``content``; returns its address on the site."""
        self.files[name] = content
        return f"/files/{name}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _find(self, path: str) -> bytes | None:
        top, _, rest = path.lstrip("/").partition("/")
        if top == "files":
            return self.files.get(rest)
        folder = _FOLDERS.get(top)
        file = (folder / rest).resolve() if folder else None
        inside = file is not None and folder is not None and file.is_relative_to(folder.resolve())
        return file.read_bytes() if file is not None and inside and file.is_file() else None
