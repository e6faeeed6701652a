"""Which of several replicas makes a job that a client named: the one that claims it. The others wait for its answer.

A claim is a small file beside those of the job, ``<job_id>/claim-1``, which only one replica can create. It says for
which request it stands, and while the job is being made it changes every :data:`BEAT_S`. One that has not changed for
:data:`LOST_S` and has no answer was left by a replica that is gone: the next one creates ``claim-2``, and so on. No two
clocks are compared. A claim stays as long as the answer; a failure takes it away, so that it can be tried again.

Should a replica live that was given up (it hung, or was cut off), the job is made twice: with the same seed, which
belongs to the job, so that either file holds the same motion.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from motion_service.answer import Answer
from motion_service.errors import KeyReused, NotFound, StorageAway
from motion_service.jobs_stored import answer_again, keep_body
from motion_service.store import ArtifactStore, is_job_id, reading
from motion_service.store_place import Place
from motion_service.telemetry import log_event

BEAT_S: Final = 1.0
LOST_S: Final = 3.0
SHORTEST_S: Final = 0.05
LONGEST_S: Final = 0.5
"""Between two looks at a claim; the times grow longer."""
TRIES: Final = 10
"""To claim a job whose claims are taken away at the same moment."""
STALE_S: Final = 60.0
"""After so long without a sign, by the clock of the place, a job that nobody asks for again counts as failed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who makes a job for which request."""

    fingerprint: str
    created: str
    """ISO 8601, UTC."""
    request_id: str | None
    maker: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Nobody else's."""
    beat: int = 0
    """How often its maker has said that it lives."""


_JSON: Final = TypeAdapter(Claim)


Make = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The newest claim of a job, which another replica made."""

    number: int
    content: bytes


class Claims:
    """The claims of one store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store, self._place = store, store.place

    async def once(self, job_id: str, claim: Claim, kind: str, make: Make) -> Answer:
        """The answer of a job in format ``kind``, made here or elsewhere; here also while the store is away.

        Raises :class:`KeyReused` when the job was claimed for another request, and what ``make`` raises.
        """
        lost, seen, since, pause = 0, b"", time.monotonic(), SHORTEST_S
        while True:
            try:
                found = await asyncio.to_thread(self._look, job_id, claim, kind, lost)
            except (OSError, StorageAway) as error:
                log_event("job not claimed", level=logging.WARNING, error=error)
                return await make()
            if isinstance(found, Answer):
                return found
            if isinstance(found, int):
                return await self._make(job_id, found, claim, kind, make)
            if found.content != seen:
                seen, since = found.content, time.monotonic()
            elif time.monotonic() - since > LOST_S:
                lost = found.number
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_S)

    def _look(self, job_id: str, claim: Claim, kind: str, lost: int) -> int | Answer | _Elsewhere:
        """The number of the claim that is ours from now on; or the answer; or who makes it. Claims up to ``lost`` are
        those of replicas that are gone.
        """
        number, content = lost + 1, _JSON.dump_json(claim)
        for _ in range(TRIES):
            if self._place.create(_name(job_id, number), content):
                return number
            try:
                found = _newest(self._place, job_id, number)
            except FileNotFoundError:  # taken away at this moment
                continue
            if found.content == content:  # it was ours, and the word of it was lost on the way
                return found.number
            known = _parse(found.content)
            if known is None:  # it was damaged: it does not say whose the answer is
                return found
            if known.fingerprint != claim.fingerprint:
                raise key_reused()
            with suppress(NotFound):
                return answer_again(self._store, job_id, kind)
            return found
        raise OSError("a claim can neither be made nor read")

    async def _make(self, job_id: str, number: int, claim: Claim, kind: str, make: Make) -> Answer:
        """Make what is claimed, and say meanwhile that it is being made."""
        done = asyncio.Event()
        beating = asyncio.create_task(self._beat(_name(job_id, number), claim, done))
        kept = False
        try:
            answer = await make()
            kept = await self._keep(answer, kind)
            return answer
        finally:
            done.set()
            await beating
            if not kept:
                await asyncio.to_thread(self._release, job_id, number)

    async def _beat(self, name: str, claim: Claim, done: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), BEAT_S)
                return
            claim = replace(claim, beat=claim.beat + 1)
            say = partial(_write, content=_JSON.dump_json(claim))
            with suppress(OSError):  # the next one may come through
                await asyncio.to_thread(self._place.write, name, say)

    async def _keep(self, answer: Answer, kind: str) -> bool:
        """Whether others can give this answer again."""
        if any(answer.artifacts[file]["state"] != "ready" for file in {"vrm-json", kind} & answer.artifacts.keys()):
            return False
        if kind == "msgpack":
            try:
                await asyncio.to_thread(keep_body, self._store, answer)
            except OSError as error:
                log_event("answer not kept", level=logging.WARNING, error=error)
                return False
        return True

    def _release(self, job_id: str, number: int) -> None:
        """Take our claim away and those of replicas that are gone, unless we were taken for gone ourselves."""
        with suppress(OSError):
            if _newest(self._place, job_id, number).number == number:
                for earlier in range(number, 0, -1):
                    self._place.remove(_name(job_id, earlier))


def key_reused() -> KeyReused:
    """A job has a name, and was asked for otherwise."""
    return KeyReused("this Idempotency-Key was used for another request: make a new one", field="Idempotency-Key")


def find_claim(store: ArtifactStore, job_id: str) -> tuple[Claim | None, bool]:
    """The claim of a job, if there is one, and whether its maker gave a sign of late. Raises :class:`StorageAway`."""
    if not is_job_id(job_id):
        return None, False
    with reading(), suppress(FileNotFoundError):
        found = _newest(store.place, job_id, 1)
        is_alive = time.time() - store.place.written(_name(job_id, found.number)) < STALE_S
        return _parse(found.content), is_alive
    return None, False


def _newest(place: Place, job_id: str, number: int) -> _Elsewhere:
    """The last claim from ``number`` on. Raises FileNotFoundError when that one is not there."""
    content = place.read(_name(job_id, number))
    with suppress(FileNotFoundError):
        return _newest(place, job_id, number + 1)
    return _Elsewhere(number, content)


def _name(job_id: str, number: int) -> str:
    return f"{job_id}/claim-{number}"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _parse(content: bytes) -> Claim | None:
    """None for one that is being written at this moment."""
    try:
        return _JSON.validate_json(content)
    except ValidationError:
        return None
