"""``Idempotency-Key``: a client that does not know whether its request arrived sends it again and gets the same job.

The shape is that of https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/: the same key with
another request is 422. Answers are kept in memory, for some minutes and up to a number of bytes, and then as long as
the job's files are (:mod:`motion_service.jobs_claims`, for which this saves the way); failures are not.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import Header, Request

from motion_service.answer import Answer
from motion_service.api.security import sent_key
from motion_service.jobs_claims import key_reused
from motion_service.schemas import GenerateRequest

KEPT_SECONDS: Final = 300.0
KEPT_BYTES: Final = 64 * 2**20
KEPT_ANSWERS: Final = 256

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Made by the client, another one for each motion it wants: sent again as long as the job's files "
        "are kept, to this replica or another one of the same store, the same request gets the answer of the same job.",
    ),
]

Make = Callable[[], Coroutine[Any, Any, Answer]]


@dataclass(slots=True)
class _Entry:
    fingerprint: str
    work: asyncio.Future[Answer]
    waiting: int = 0
    """Requests that wait for it; when the last one leaves, the work ends."""
    answered: float | None = None
    """Time of the clock when it was answered; None while it is being made."""
    num_bytes: int = 0


class KeptAnswers:
    """Answers by key. Belongs to one event loop, so it needs no lock."""

    def __init__(
        self,
        seconds: float = KEPT_SECONDS,
        max_bytes: int = KEPT_BYTES,
        max_answers: int = KEPT_ANSWERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._max_bytes, self._max_answers, self._clock = seconds, max_bytes, max_answers, clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def once(self, key: str, fingerprint: str, make: Make) -> Answer:
        """The answer that ``make`` gives the first request with ``key``, also while it is still being made.

        Raises :class:`KeyReused` when that request had another fingerprint, and what ``make`` raises.
        """
        self._forget()
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(fingerprint, asyncio.create_task(make()))
        elif entry.fingerprint != fingerprint:
            raise key_reused()
        entry.waiting += 1
        try:
            answer = await asyncio.shield(entry.work)
            self._keep(key, entry, answer)
            return answer
        finally:
            entry.waiting -= 1
            self._drop_unfinished(key, entry)

    def _keep(self, key: str, entry: _Entry, answer: Answer) -> None:
        """From now on the entry is an answer without the files that follow it, which hold whole clips."""
        if entry.answered is None and self._entries.get(key) is entry:
            entry.answered, entry.num_bytes = self._clock(), len(answer.body)
            entry.work = asyncio.get_running_loop().create_future()
            entry.work.set_result(replace(answer, pending={}))
            self._forget()

    def _drop_unfinished(self, key: str, entry: _Entry) -> None:
        """Forget what failed; end what nobody waits for any more."""
        if entry.work.done() and not entry.work.cancelled() and entry.work.exception() is None:
            return
        if entry.work.done() or entry.waiting == 0:
            entry.work.cancel()
            if self._entries.get(key) is entry:
                del self._entries[key]

    def _forget(self) -> None:
        """Drop what is too old or too much, the oldest first; what is still being made stays."""
        now = self._clock()
        done = [key for key, entry in self._entries.items() if entry.answered is not None]
        num_bytes = sum(entry.num_bytes for entry in self._entries.values())
        for number, key in enumerate(done):
            entry = self._entries[key]
            is_full = num_bytes > self._max_bytes or len(done) - number > self._max_answers
            if is_full or now - (entry.answered or 0.0) > self._seconds:
                num_bytes -= entry.num_bytes
                del self._entries[key]


def scoped_key(request: Request, key: str) -> str:
    """The name of the job of one client: others, with another API key, may use the same text."""
    return f"{sent_key(request.headers)}\0{key}"


def fingerprint(request: Request, body: GenerateRequest) -> str:
    """What makes two requests the same: path, options and prompt."""
    return hashlib.sha256(f"{request.url.path}\0{body.model_dump_json()}".encode("utf-8", "replace")).hexdigest()
