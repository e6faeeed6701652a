"""From a checked request to its response: in the format that is accepted, once a key, and only while somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from motion_service.answer import MEDIA_TYPES, Answer
from motion_service.api.cancellation import unless_disconnected
from motion_service.api.idempotency import KeptAnswers, fingerprint, scoped_key
from motion_service.api.negotiation import Wish, answer_to_response, with_accepted_format
from motion_service.api.problem import problem_responses
from motion_service.telemetry import job_id

_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
MOTION_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The motion, in the format that was asked for",
        "content": {
            media_type.partition(";")[0]: _FILE
            for media_type in MEDIA_TYPES.values()
            if media_type != "application/json"
        },
    },
    **problem_responses(400, 401, 408, 413, 422, 429, 500, 503, 504, 507),
}
"""What routes that make motion declare besides their JSON."""


class Answering:
    """What the routes that make motion share."""

    def __init__(self) -> None:
        self._kept = KeptAnswers()

    async def respond(
        self, request: Request, body: Wish, key: str | None, make: Callable[[Wish], Coroutine[Any, Any, Answer]]
    ) -> Response:
        """The answer that ``make`` gives. ``key``: the Idempotency-Key, if one was sent. Raises what ``make`` raises,
        :class:`KeyReused`, and :class:`Cancelled` when the client has gone.
        """
        wish = with_accepted_format(body, request)
        if key is None:
            work = make(wish)
        else:
            work = self._kept.once(scoped_key(request, key), fingerprint(request, wish), lambda: make(wish))
        answer = await unless_disconnected(request, work)
        job_id.set(answer.job_id)  # for the log line of the request; the work had a context of its own
        return answer_to_response(answer)
