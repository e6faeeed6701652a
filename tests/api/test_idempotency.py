"""Idempotency-Key: bounded memory on a clock of its own, and what requests over HTTP get."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from motion_service.answer import Answer
from motion_service.api.idempotency import KeptAnswers
from motion_service.errors import DeadlineExceeded, KeyReused
from tests.fakes import Api, FakeSource, StartApi

HEADERS = {"Idempotency-Key": "one"}


class Maker:
    """Makes answers, counts them, and fails while ``failure`` is set."""

    def __init__(self) -> None:
        self.made = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, num_bytes: int = 10) -> Answer:
        self.made += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Answer(f"job {self.made}", b"x" * num_bytes, "application/json", {}, {}, {"mp4": print})


@pytest.fixture
def make() -> Maker:
    return Maker()


async def test_an_answer_is_kept_for_its_time_without_what_is_heavy(make: Maker) -> None:
    now = [0.0]
    kept = KeptAnswers(seconds=300, clock=lambda: now[0])
    first = await kept.once("k", "f", make)
    now[0] = 299
    again = await kept.once("k", "f", make)
    assert (again.job_id, again.pending) == (first.job_id, {})
    with pytest.raises(KeyReused):
        await kept.once("k", "another", make)
    now[0] = 301
    assert (await kept.once("k", "another", make)).job_id == "job 2"


async def test_memory_is_bounded_by_number_and_by_bytes(make: Maker) -> None:
    few = KeptAnswers(max_answers=3)
    for key in "abcde":
        await few.once(key, "f", make)
    assert [*few._entries] == [*"cde"]
    small = KeptAnswers(max_bytes=100)
    for key in "abcde":
        await small.once(key, "f", lambda: make(40))
    assert [*small._entries] == [*"de"]
    await small.once("huge", "f", lambda: make(1000))
    assert not small._entries, "one that is larger than all there is room for is not kept"


async def test_failures_are_not_kept(make: Maker) -> None:
    kept = KeptAnswers()
    make.failure = DeadlineExceeded()
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await kept.once("k", "f", make)
    make.failure = None
    assert (await kept.once("k", "f", make)).job_id == "job 3"


async def test_work_ends_when_the_last_who_waits_leaves(make: Maker) -> None:
    kept = KeptAnswers()
    make.gate.clear()
    waiting = [asyncio.create_task(kept.once("k", "f", make)) for _ in range(2)]
    await asyncio.sleep(0)
    work = kept._entries["k"].work
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    assert not work.cancelled()
    waiting[1].cancel()
    await asyncio.wait({waiting[1], work})
    assert work.cancelled() and not kept._entries
    make.gate.set()
    assert (await kept.once("k", "f", make)).job_id == "job 2"


async def test_over_http(api: Api, start_api: StartApi) -> None:
    async def ask(headers: dict[str, str], path: str = "/v1/motion/generate", **fields: Any) -> Any:
        return await api.http.post(path, json={"prompt": "walks", "duration_sec": 0.5, **fields}, headers=headers)

    first = await ask(HEADERS)
    assert (await ask(HEADERS)).content == first.content
    for other in ({"fps": 30}, {"path": "/v1/motion/generate/dip"}, {"mood": "happy"}):
        refused = await ask(HEADERS, **other)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "idempotency-key-reused")
    msgpack = await ask({**HEADERS, "Accept": "application/msgpack"})
    assert msgpack.status_code == 422, "another format is another request"
    somebody = await ask({**HEADERS, "X-API-Key": "theirs"})
    assert somebody.json()["job_id"] != first.json()["job_id"], "keys belong to who sends them"
    proxied = await ask({**HEADERS, "X-API-Key": "ours", "Authorization": "Basic cHJveHk6cHc="})
    assert proxied.json()["job_id"] not in (first.json()["job_id"], somebody.json()["job_id"]), "whatever a proxy adds"
    assert (await ask({"Idempotency-Key": "x" * 256})).status_code == 422
    source = api.pipeline.sources["mini"]
    assert isinstance(source, FakeSource) and len(source.asked) == 3
