"""The Diagnostics page: files that were built beforehand, from one folder only, and the two avatars that it shows.

What there is is listed once, at the start; no name in a request ever becomes a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from motion_service.errors import NotFound

WEB: Final = Path(__file__).resolve().parents[1] / "web"
BUILT: Final = WEB / "static"
AVATARS: Final = WEB / "avatars"
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".vrm": "model/gltf-binary",
}
"""Content type by ending; files with another ending are not sent."""
CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self' blob:",  # textures inside a .vrm become blobs that three.js fetches
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The page talks to the service that it came from and to nobody else."""
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # names carry no hash: a browser asks whether its copy is current
}


@dataclass(frozen=True, slots=True)
class Page:
    """The files of the page by their path on the service."""

    files: Mapping[str, Path]

    @property
    def paths(self) -> frozenset[str]:
        """Everything that is sent without asking who wants it: the page is no secret, and has to ask for the key."""
        return frozenset(self.files)


def find_page(built: Path = BUILT, avatars: Path = AVATARS) -> Page:
    """List what there is. Without a built page ``/`` is known all the same, and says so."""
    found = [(built, "/"), (avatars, "/avatars/")]
    files = {
        prefix + path.relative_to(folder).as_posix(): path
        for folder, prefix in found
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in MEDIA_TYPES
    }
    return Page({**files, "/": built / "index.html"})


def page_routes(page: Page) -> APIRouter:
    """One route for each file. They are not part of the described interface."""
    router = APIRouter()

    def add(url: str, path: Path) -> None:
        def send(request: Request) -> Response:
            if not path.is_file():
                raise NotFound("the page is not built: run make web")
            file = FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=_HEADERS, stat_result=path.stat())
            if request.headers.get("if-none-match") == file.headers["etag"]:
                return Response(status_code=304, headers={**_HEADERS, "ETag": file.headers["etag"]})
            return file

        router.add_api_route(url, send, methods=["GET"], include_in_schema=False)

    for url, path in page.files.items():
        add(url, path)
    return router
