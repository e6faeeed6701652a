"""What every request gets: an id and its place in a trace, headers that keep browsers careful, one line in the log, and
a mark in the metrics."""

from __future__ import annotations

import re
import time
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_service import metrics
from motion_service.telemetry import log_event, request_id, trace
from motion_service.tracing import Trace, span

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
"""Of every response."""
NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of everything that is no page."""


class ObserveMiddleware:
    """See the module. The client's own id is taken when it is plain, and its ``traceparent`` when it is valid."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        chosen = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = chosen
        request_id.set(chosen)
        own = Trace.following(headers.get("traceparent", ""))
        trace.set(own)
        started, status, source = time.monotonic(), 0, ""

        async def send_marked(message: Message) -> None:
            nonlocal status, source
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                source = answered.get("x-motion-generator", "")
                answered["X-Request-Id"] = chosen
                answered["traceresponse"] = own.header
                answered.update(SECURITY_HEADERS)
                if not answered.get("content-type", "").startswith("text/html"):
                    answered.setdefault("Content-Security-Policy", NO_PAGE)
            await send(message)

        with span(f"{scope.get('method', 'WS')} {scope['path'][:200]}", own, kind="server") as mark:
            try:
                await self.app(scope, receive, send_marked)
            finally:
                took_s = time.monotonic() - started
                if scope["type"] == "http":
                    _note(scope, status or 500, took_s, source)
                    mark("http.response.status_code", status or 500)


def _note(scope: Scope, status: int, took_s: float, source: str) -> None:
    """One line in the log, and the metrics; unknown paths are one route, or anybody could make up thousands."""
    path = scope["path"][:200]
    log_event("request", method=scope["method"], path=path, status=status, ms=round(1000 * took_s, 1))
    route = getattr(scope.get("route"), "path", "unknown")
    metrics.REQUESTS.labels(route, str(status), source or "none").inc()
    metrics.DURATION.labels(route).observe(took_s)
