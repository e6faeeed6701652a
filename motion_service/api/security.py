"""Who may come in, and how much they may send: API keys, their rates and the body limit, as plain ASGI middleware.

With no keys configured only loopback addresses are bound, unless the operator says that something else guards the
service. With keys every path needs one except those that only tell a status, and artifacts at the signed URLs that
answers name.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_service.api.lifecycle import OPEN_PATHS
from motion_service.api.limits import RateLimit
from motion_service.api.problem import problem_response
from motion_service.edit_schemas import MAX_EDIT_BODY
from motion_service.errors import Forbidden, MotionError, PayloadTooLarge, RateLimited, TooSlow, Unauthorized
from motion_service.speak_schemas import MAX_SPEAK_BODY
from motion_service.vrm.glb import MAX_FILE

MAX_BODY: Final = 64 * 1024  # bytes
STREAMED: Final[Mapping[tuple[str, str], int]] = {("POST", "/v1/avatars"): MAX_FILE + MAX_BODY}
"""(method, path) of the routes that read their body in pieces -> its limit in bytes, the frame of a form included."""
LARGER: Final[Mapping[tuple[str, str], int]] = {
    ("POST", "/v1/motion/edit"): MAX_EDIT_BODY,
    ("POST", "/v1/motion/speak"): MAX_SPEAK_BODY,
}
"""(method, path) of other routes that take more -> their limit in bytes."""
BODY_S: Final = 30.0
"""Longest time that a body may take to arrive, unless its route reads it in pieces."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that make no motion: they do not count for the rate of a key."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, has_keys: bool, allow_no_key: bool) -> None:
    """Refuse to serve strangers without a key. Raises :class:`ValueError` with the remedy."""
    if not (has_keys or allow_no_key or is_loopback(host)):
        raise ValueError(
            f"MOTION_HOST={host} is reachable from other machines and no API key is set: set MOTION_API_KEYS, or "
            "MOTION_ALLOW_NO_KEY=on when something in front guards the service, or MOTION_HOST=127.0.0.1"
        )


class KeyMiddleware:
    """Asks for a key, ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``. Deny by default.

    A page cannot set headers of a WebSocket; it offers the subprotocol ``key.`` and the key in base64url beside the one
    it wants to speak.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Iterable[str],
        limit: RateLimit | None = None,
        is_signed: Callable[[str, str], bool] = lambda path, query: False,
        open_paths: Collection[str] = (),
    ) -> None:
        """``limit`` of requests of one key; ``is_signed(path, query)``: a URL that opens by itself; ``open_paths``:
        what is open to all besides the status.
        """
        self.app = app
        self._open_paths = OPEN_PATHS | {*open_paths}
        self._hashes = [_hash(key) for key in keys]
        self._limit, self._is_signed = limit or RateLimit(0), is_signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._open_paths:
            return await self.app(scope, receive, send)
        try:
            key = self._find_key(scope)
            if key is not None and scope.get("method") not in READING:
                self._limit.take(key)
            elif key is None and not self._opens(scope):
                raise Unauthorized("send Authorization: Bearer KEY or X-API-Key: KEY")
        except (Unauthorized, RateLimited) as error:
            return await problem_response(error, scope)(scope, receive, send)
        await self.app(scope, receive, send)

    def _opens(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return False
        return self._is_signed(scope["path"], scope.get("query_string", b"").decode("latin-1"))

    def _find_key(self, scope: Scope) -> int | None:
        """The number of the key that was sent; None for none that is known."""
        sent = sent_key(Headers(scope=scope))
        if not sent and scope["type"] == "websocket":
            sent = _key_in_protocols(scope.get("subprotocols", ()))
        digest = _hash(sent)
        matches = [secrets.compare_digest(digest, known) for known in self._hashes]  # a list: always compare all
        return matches.index(True) if any(matches) else None


class BodyLimitMiddleware:
    """Reads the body up to :data:`MAX_BODY` bytes (see :data:`LARGER`) and refuses more before anything is parsed.

    Routes in :data:`STREAMED` get their body as it comes; there, :class:`PayloadTooLarge` is raised where it is read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        streamed = STREAMED.get((scope["method"], scope["path"]))
        limit = streamed or LARGER.get((scope["method"], scope["path"]), MAX_BODY)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > limit:
            return await problem_response(_too_large(limit), scope)(scope, receive, send)
        if streamed is not None:
            return await self.app(scope, _bounded(receive, limit), send)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _read(receive, limit)
        except TimeoutError:
            refusal: MotionError = TooSlow(f"send the body within {BODY_S:g} s", field="body")
            return await problem_response(refusal, scope)(scope, receive, send)
        except PayloadTooLarge as error:
            return await problem_response(error, scope)(scope, receive, send)
        if body is not None:
            await self.app(scope, _replay(body, receive), send)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None when the client has gone. Raises :class:`PayloadTooLarge`."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def sent_key(headers: Headers) -> str:
    """The key that a request came with, genuine or not; empty for none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _key_in_protocols(protocols: Iterable[str]) -> str:
    """The key that a page offers as a subprotocol; empty when there is none."""
    offered = next((name.removeprefix("key.") for name in protocols if name.startswith("key.")), "")
    try:
        return base64.urlsafe_b64decode(offered + "=" * (-len(offered) % 4)).decode()
    except (ValueError, binascii.Error):
        return ""


def check_origin(headers: Headers, allowed: Iterable[str]) -> None:
    """Refuse a WebSocket from a page of elsewhere, which CORS does not: browsers say where it is from, others nothing.

    A page of the service's own host may, and those of ``allowed`` origins; "*" allows all. Raises :class:`Forbidden`.
    """
    origin = headers.get("origin")
    if origin is None or origin in (known := {*allowed}) or "*" in known:
        return
    if urlsplit(origin).netloc != headers.get("host"):
        raise Forbidden("this origin may not open a stream: name it in MOTION_ALLOWED_ORIGINS")


def _bounded(receive: Receive, limit: int) -> Receive:
    """``receive`` that raises :class:`PayloadTooLarge` once the body is longer than ``limit`` bytes."""
    taken = 0

    async def receive_bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return receive_bounded


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` that first gives the whole body."""
    replayed = False

    async def receive_again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"send at most {limit} bytes", field="body")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
