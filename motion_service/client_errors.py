"""What the service answers when it does not do as asked, as the exceptions of :mod:`motion_service.errors`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from motion_service import errors
from motion_service.errors import PROBLEM_BASE, Busy, ClientError, MotionError

_BY_STATUS: Final[Mapping[int, type[MotionError]]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    404: errors.NotFound,
    413: errors.PayloadTooLarge,
    422: errors.BadRequest,
    429: errors.QueueFull,
    504: errors.DeadlineExceeded,
}
"""For answers of something in front of the service, or of another version of it."""


def reply_to_error(status: int, headers: Mapping[str, str], body: bytes) -> MotionError:
    """The exception that an answer other than success means. Names in ``headers`` are in lower case."""
    problem = _read_problem(body)
    name = str(problem.get("type", "")).removeprefix(PROBLEM_BASE)
    kind = _by_problem().get(name) or _BY_STATUS.get(status, ClientError)
    detail = problem.get("detail")
    error = kind(detail if isinstance(detail, str) else f"the motion service answered {status} {_phrase(status)}")
    field = problem.get("field")
    error.field = field if isinstance(field, str) else None
    if isinstance(error, Busy):
        after = headers.get("retry-after", "")
        error.retry_after_s = float(after[:9]) if after.isdecimal() else 1.0
    return error


def _by_problem() -> dict[str, type[MotionError]]:
    """{problem: class}; where several share one, the most general."""
    found: dict[str, type[MotionError]] = {}
    for kind in _tree(MotionError):
        found.setdefault(kind.problem, kind)
    return found


def _tree(kind: type[MotionError]) -> Iterator[type[MotionError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _tree(narrower)


def _read_problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no standard status)"
