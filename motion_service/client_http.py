"""Between httpx and :mod:`motion_service.client_exchange`: options, timeouts, and what its exceptions mean.

httpx is imported when the first client is made, so that importing the client costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from motion_service.client_exchange import CONNECT_S, NoReply, Reply, Send
from motion_service.client_settings import Settings
from motion_service.errors import BadRequest

if TYPE_CHECKING:
    import httpx


def client_options(settings: Settings, transport: Any) -> dict[str, Any]:
    """Arguments of ``httpx.Client`` and ``httpx.AsyncClient``."""
    return {"base_url": settings.base_url, "headers": settings.headers(), "transport": transport}


def request_options(step: Send) -> dict[str, Any]:
    """Arguments of ``stream`` and ``request`` of either client. Every wait ends at the deadline of the step."""
    import httpx

    call, seconds = step.call, step.seconds
    return {
        "method": call.method,
        "url": call.path,
        "content": call.body,
        "headers": {**call.headers, "x-request-id": call.request_id},
        "timeout": httpx.Timeout(seconds, connect=min(seconds, CONNECT_S)),
    }


def read_in_time(answer: httpx.Response, step: Send) -> bytes:
    """The body, of which each piece must come before the deadline. Raises httpx's exceptions."""
    import httpx

    answer.request.extensions["timeout"]["read"] = step.seconds  # httpx's own bounds each wait anew, not all together
    pieces = []
    for piece in answer.iter_bytes():
        pieces.append(piece)
        if time.monotonic() > step.end:
            raise httpx.ReadTimeout("the answer did not end in time", request=answer.request)
    return b"".join(pieces)


def to_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """What came back."""
    return Reply(status, {name.lower(): value for name, value in headers.items()}, body)


def to_no_reply(error: Exception) -> NoReply:
    """Why nothing came back."""
    import httpx

    name = type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return NoReply("unsent", f"{name} at {_place(error)}, is it running?")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return NoReply("late", "the time for it is over")
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError):
        return NoReply("lost", f"{name}, the connection was lost")
    return NoReply("invalid", f"{name}: {error}")


def _place(error: httpx.RequestError) -> str:
    """Where it was tried, without what a URL may hold of secrets."""
    try:
        return error.request.url.netloc.decode("ascii")
    except RuntimeError:  # nothing was tried
        return "the service"


def read_upload(file: Path | str | bytes | BinaryIO) -> bytes:
    """The content of a file to send. Raises :class:`BadRequest` for an empty one and OSError."""
    if isinstance(file, str | Path):
        content = Path(file).read_bytes()
    else:
        content = file if isinstance(file, bytes) else file.read()
    if not content:
        raise BadRequest("the file is empty", field="avatar")
    return content
