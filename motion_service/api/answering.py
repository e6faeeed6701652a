"""From a checked request to its response: in the format that is accepted, once a key, and only while somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from motion_service.answer import MEDIA_TYPES, Answer
from motion_service.api.cancellation import unless_disconnected
from motion_service.api.idempotency import KeptAnswers, fingerprint, scoped_key
from motion_service.api.negotiation import Wish, answer_to_response, with_accepted_format
from motion_service.api.problem import problem_responses
from motion_service.jobs_claims import Claim, Claims
from motion_service.schemas import MotionOptions
from motion_service.store import ArtifactStore
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


Work = Callable[[Wish, str | None], Coroutine[Any, Any, Answer]]
"""Makes what is wished, under a job id when one is given."""


class Answering:
    """What the routes that make motion share."""

    def __init__(self, store: ArtifactStore, defaults: MotionOptions) -> None:
        self._store, self._defaults = store, defaults
        self._kept, self._claims = KeptAnswers(), Claims(store)

    async def respond(self, request: Request, body: Wish, key: str | None, make: Work[Wish]) -> Response:
        """The answer that ``make`` gives. ``key``: the Idempotency-Key, if one was sent. Raises what ``make`` raises,
        :class:`KeyReused`, and :class:`Cancelled` when the client has gone.
        """
        wish = with_accepted_format(body, request)
        work = make(wish, None) if key is None else self._once(request, wish, key, make)
        answer = await unless_disconnected(request, work)
        job_id.set(answer.job_id)  # for the log line of the request; the work had a context of its own
        return answer_to_response(answer)

    def _once(self, request: Request, wish: Wish, key: str, make: Work[Wish]) -> Coroutine[Any, Any, Answer]:
        """The answer of the job that the key names, by this replica or another."""
        job, mark = self._store.job_id(scoped_key(request, key)), fingerprint(request, wish)
        kind = wish.with_defaults(self._defaults).format
        claim = Claim(mark, datetime.now(UTC).isoformat(timespec="milliseconds"), request.state.request_id)
        return self._kept.once(job, mark, lambda: self._claims.once(job, claim, kind, lambda: make(wish, job)))
