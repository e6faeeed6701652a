"""Which format a client accepts, and the response around a body in it."""

from __future__ import annotations

import re
from typing import Final, TypeVar, get_args

from fastapi import Request
from fastapi.responses import Response

from motion_service.answer import MEDIA_TYPES, Answer
from motion_service.schemas import AnswerFormat, GenerateRequest

ANSWER_FORMATS: Final = get_args(AnswerFormat)
_TOO_VAGUE: Final = frozenset({"application/octet-stream", "text/plain"})
"""Content types that choose no format when they stand in ``Accept``."""

Wish = TypeVar("Wish", bound=GenerateRequest)


def with_accepted_format(body: Wish, request: Request) -> Wish:
    """The format that ``Accept`` names, when the request itself names none."""
    by_type = {media_type.partition(";")[0]: kind for kind, media_type in MEDIA_TYPES.items() if kind in ANSWER_FORMATS}
    named = [by_type[name] for name in _accepted(request) if name in by_type and name not in _TOO_VAGUE]
    if "format" in body.model_fields_set or not named:
        return body
    return body.model_copy(update={"format": named[0]})


def _accepted(request: Request) -> list[str]:
    """Content types of ``Accept``, the most wanted first (RFC 9110, 12.5.1); those with q=0 are left out."""
    weights: dict[str, float] = {}
    for part in request.headers.get("accept", "").split(","):
        name, _, parameters = part.partition(";")
        weight = re.search(r"\bq\s*=\s*(\d(?:\.\d*)?)", parameters)
        weights.setdefault(name.strip().lower(), float(weight[1]) if weight else 1.0)
    return sorted((name for name in weights if weights[name] > 0), key=lambda name: -weights[name])


def answer_to_response(answer: Answer) -> Response:
    """The answer as it goes out."""
    return Response(answer.body, media_type=answer.media_type, headers=_describe(answer))


def _describe(answer: Answer) -> dict[str, str]:
    """What a body that is no JSON cannot say: where its JSON lies and whether a model made it."""
    headers = {
        "X-Job-Id": answer.job_id,
        "X-Motion-Generator": str(answer.metadata["generator"]),
        "X-Motion-Fallback": "true" if "fallback_reason" in answer.metadata else "false",
        "Vary": "Accept",
    }
    if answer.artifacts["vrm-json"]["state"] == "ready":
        headers["Link"] = f'<{answer.metadata["url"]}>; rel="describedby"; type="application/json"'
    return headers
