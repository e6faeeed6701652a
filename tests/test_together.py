"""Calls that come in together: who gets what, and that nobody waits for company."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.errors import GenerationFailed
from motion_service.together import Together, work_alike


class Squares:
    """Squares numbers; odd ones fail. A gate holds the work up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append([*items])
        assert self.gate.wait(10)
        if 13 in items:
            raise ValueError("unlucky")
        return [GenerationFailed(str(item)) if item % 2 else item**2 for item in items]


async def test_calls_of_one_turn_go_together() -> None:
    work = Squares()
    together = Together(work, most=4)
    assert await asyncio.gather(*(together.call(i) for i in range(0, 20, 2))) == [i**2 for i in range(0, 20, 2)]
    assert [len(batch) for batch in work.batches] == [4, 4, 2]


async def test_what_comes_meanwhile_is_the_next_batch() -> None:
    work = Squares()
    together = Together(work)
    work.gate.clear()
    first = asyncio.create_task(together.call(2))
    while not work.batches:
        await asyncio.sleep(0.001)
    later = [asyncio.create_task(together.call(i)) for i in (4, 6, 8)]
    await asyncio.sleep(0.01)
    later[1].cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert [await first, await later[0], await later[2]] == [4, 16, 64]
    assert work.batches == [[2], [4, 8]], "who has given up is left out"


async def test_one_that_fails_does_not_spoil_the_others() -> None:
    together = Together(Squares())
    done = await asyncio.gather(*(together.call(i) for i in (2, 3, 4)), return_exceptions=True)
    assert done[::2] == [4, 16] and isinstance(done[1], GenerationFailed)


async def test_work_that_throws_is_told_to_all_and_the_next_are_answered() -> None:
    together = Together(Squares())
    done = await asyncio.gather(*(together.call(i) for i in (2, 13)), return_exceptions=True)
    assert all(isinstance(error, ValueError) for error in done)
    assert await together.call(4) == 16


def test_it_outlives_its_loop() -> None:
    """One loop ends in the middle of the work, another goes on with the same object."""
    work = Squares()
    together = Together(work)
    work.gate.clear()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(together.call(2), 0.02)

    asyncio.run(give_up())
    work.gate.set()
    assert asyncio.run(together.call(6)) == 36


@given(st.lists(st.integers(0, 50)), st.integers(1, 5), st.integers(1, 4))
def test_alike_in_parts_in_order(items: list[int], most: int, kinds: int) -> None:
    def work(part: Sequence[int]) -> list[int]:
        assert len(part) <= most and len({item % kinds for item in part}) == 1
        return [-item for item in part]

    assert work_alike(work, items, lambda item: item % kinds, most) == [-item for item in items]


async def test_a_pause_gathers_company() -> None:
    work = Squares()
    together = Together(work, pause_s=0.5)
    assert await together.call(2) == 4
    soon = [asyncio.create_task(together.call(i)) for i in (4, 6)]
    await asyncio.sleep(0.01)
    assert await asyncio.gather(*soon, together.call(8)) == [16, 36, 64]
    assert work.batches == [[2], [4, 6, 8]]
