"""Calls that come in together are answered together: for work that costs little more for many than for one.

What is asked while a batch is worked on makes up the next one, so nothing waits for company, and the busier it gets,
the larger batches are. Where even a small batch is dear, the next one may be put off a little: by nothing while little
is asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Work on lists of items in a thread, called one item at a time from an event loop."""

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        most: int = 256,
        name: str = "together",
        pause_s: float = 0.0,
    ) -> None:
        """``work`` gives for each item its result, or what to raise for it; of at most ``most`` items at a time.

        ``name``: of the thread, which lives as long as the process. ``pause_s``: a batch begins no sooner after the end
        of the one before, so that more come together.
        """
        self._work = work
        self._most = most
        self._pause_s = pause_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def call(self, item: Item) -> Result:
        """The result of one item. Raises what the work gives for it; what the work raises, all of its items do."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if self._serving is None or self._serving.done() or self._serving.get_loop() is not loop:
            self._waiting = []
            self._serving = loop.create_task(self._serve())
        self._waiting.append((item, future))
        return await future

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # whoever else runs in this turn of the loop comes along
        while self._waiting:
            if self._pause_s and len(self._waiting) < self._most:
                await asyncio.sleep(max(0.0, min(self._pause_s, self._not_before - loop.time())))
            batch = [(item, future) for item, future in self._waiting if not future.done()]
            batch, self._waiting = batch[: self._most], batch[self._most :]
            if batch:
                await self._answer(batch)
                self._not_before = loop.time() + self._pause_s

    async def _answer(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            items = [item for item, _ in batch]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
        except Exception as error:  # the edge of the thread: it is for those who asked, and the next are answered
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def work_alike(
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    kind: Callable[[Item], Hashable],
    most: int,
) -> list[Result]:
    """Results in the order of ``items``, of work that takes items of one kind, at most ``most`` of them at a time."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, item in enumerate(items):
        groups[kind(item)].append(row)
    results: dict[int, Result] = {}
    for rows in groups.values():
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            results |= zip(part, work([items[row] for row in part]), strict=True)
    return [results[row] for row in range(len(items))]
