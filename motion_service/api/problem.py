"""Errors as problem details (RFC 9457): what was wrong, which field, and the request id; never a path or stack text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from motion_service import metrics
from motion_service.errors import (
    PROBLEM_BASE,
    BadRequest,
    Busy,
    MotionError,
    NotFound,
    PayloadTooLarge,
    TooSlow,
    Unauthorized,
)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_MAX_ERRORS: Final = 20
_MAX_DETAIL: Final = 300  # characters
_NOT_AN_OBJECT: Final = "send one JSON object, with content-type: application/json"


def problem_response(error: MotionError, scope: Scope, *, errors: list[dict[str, str]] | None = None) -> Response:
    """The answer to a failed request."""
    if isinstance(error, Busy | PayloadTooLarge | TooSlow | Unauthorized):
        metrics.REJECTED.labels(error.problem).inc()
    return _respond(
        scope, error.status, error.problem, error.title, error.detail, error.field, errors, _error_headers(error)
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(MotionError, _on_motion_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_motion_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MotionError)
    return problem_response(error, request.scope)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    """422 without the input: FastAPI's own answer repeats it, and NaN or half a surrogate pair cannot be encoded."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": field, "detail": _NOT_AN_OBJECT if field == "body" else _printable(_message(item))}
        for item in error.errors()[:_MAX_ERRORS]
        if (field := _field_name(item["loc"]))
    ]
    first = errors[0]
    invalid = BadRequest(f"{first['field']}: {first['detail']}", field=first["field"])
    return problem_response(invalid, request.scope, errors=errors)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What Starlette raises itself: unknown path, wrong method, a body that is no JSON."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    problem = status.phrase.lower().replace(" ", "-")
    field = "body" if status == HTTPStatus.BAD_REQUEST else None
    detail = _NOT_AN_OBJECT if field else status.description or status.phrase
    return _respond(request.scope, status, problem, status.phrase, detail, field, None, dict(error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> Response:
    """A mistake of ours: the log has the stack text, the client only the request id."""
    return problem_response(MotionError(), request.scope)


def _respond(
    scope: Scope,
    status: int,
    problem: str,
    title: str,
    detail: str,
    field: str | None,
    errors: list[dict[str, str]] | None,
    headers: dict[str, str],
) -> Response:
    request_id = scope.get("state", {}).get("request_id", "")
    document: dict[str, Any] = {
        "type": PROBLEM_BASE + problem,
        "title": title,
        "status": int(status),
        "detail": _printable(detail),
        "instance": f"urn:request:{request_id}",
        "request_id": request_id,
    }
    if field is not None:
        document["field"] = field
    if errors:
        document["errors"] = errors
    headers = {**headers, "X-Request-Id": request_id}
    return Response(orjson.dumps(document), status, headers, media_type=PROBLEM_MEDIA_TYPE)


def _error_headers(error: MotionError) -> dict[str, str]:
    if isinstance(error, Busy):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}


def _message(item: Mapping[str, Any]) -> str:
    return str(item["msg"]).removeprefix("Value error, ")


def _field_name(location: tuple[int | str, ...]) -> str:
    """``("body", "artifacts", 0)`` -> ``artifacts.0``; a place in unreadable JSON is just ``body``."""
    parts = [str(part) for part in location if part != "body"]
    if not parts or isinstance(location[-1], int) and len(location) == 2:
        return str(location[0])
    return _printable(".".join(parts))[:80]


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:_MAX_DETAIL]


def _document(description: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": reference}}}


PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: _document("The body is not JSON"),
    401: _document(Unauthorized.title),
    404: _document(NotFound.title),
    408: _document(TooSlow.title),
    413: _document(PayloadTooLarge.title),
    422: _document("A field is not valid; the document names it"),
    429: _document("Too many requests are waiting; Retry-After says when to come again"),
    500: _document("The service failed"),
    503: _document("Not ready or going away; or the model is not loaded, and placeholders are switched off"),
    504: _document("The deadline passed, and placeholders are switched off"),
    507: _document("The file that was to be the answer could not be written"),
}
"""For the OpenAPI document: every problem that the routes can answer with."""


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of :data:`PROBLEM_RESPONSES` that a route declares."""
    return {status: PROBLEM_RESPONSES[status] for status in statuses}
