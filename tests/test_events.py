"""Events and progress: whoever looks on gets everything or is told how much not, and nobody is held up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service import progress
from motion_service.errors import QueueFull
from motion_service.events import MAX_READERS, Events, Reader
from motion_service.progress import Progress


@dataclass
class Run:
    steps: int
    done: int = 0
    began: float | None = None


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 5))
def test_a_slow_reader_has_the_newest_and_the_number_of_the_others(bursts: list[int], kept: int) -> None:
    async def read() -> None:
        reader, told = Reader(kept), 0
        for burst in bursts:
            for _ in range(burst):
                reader.put({"type": "job_step", "number": told})
                told += 1
            events = await reader.take(0.0) if burst else []
            lost = max(0, burst - kept)
            assert [event["type"] for event in events[:1]] == (["missed"] if lost else ["job_step"] * (burst > 0))
            assert not lost or events.pop(0)["count"] == lost
            assert [event["number"] for event in events] == list(range(told - burst + lost, told))

    asyncio.run(read())


async def test_waiting_ends_with_news_or_with_time() -> None:
    events = Events()
    with events.reading() as reader:
        assert await reader.take(0.001) == []
        asyncio.get_running_loop().call_later(0.005, lambda: events.tell("job_done", job_id="a"))
        assert await reader.take(20) == [{"v": 1, "type": "job_done", "job_id": "a"}]
    assert events.readers == 0
    events.tell("job_done", job_id="nobody listens")


def test_readers_are_bounded() -> None:
    events = Events()
    holding = [events.reading() for _ in range(MAX_READERS)]
    for reading in holding:
        reading.__enter__()
    with pytest.raises(QueueFull), events.reading():
        pass
    holding[0].__exit__(None, None, None)
    with events.reading():
        assert events.readers == MAX_READERS


async def test_progress_is_that_of_the_own_job() -> None:
    async def work(own: Progress, steps: int) -> None:
        progress.current.set(own)
        progress.expect(3 * steps)
        await asyncio.sleep(0)
        run = Run(steps)
        progress.note_run(run)
        run.began, run.done = 1.0, steps - 1

    first, second = Progress(), Progress()
    assert (first.begun, first.done, first.steps) == (False, 0, 0)
    await asyncio.gather(work(first, 10), work(second, 4))
    assert [(own.begun, own.done, own.steps) for own in (first, second)] == [(True, 9, 30), (True, 3, 12)]
    progress.expect(5)  # nobody wants to know
    progress.note_run(Run(5))
