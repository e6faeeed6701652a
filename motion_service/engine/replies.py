"""Results from the model thread to the event loops that wait for them, many at one go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

_NOT_FOR_FUTURES = (StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError)
"""An asyncio future that gets one of these hangs, ends the event loop or looks cancelled instead of failed."""


class Reply:
    """Where one result goes. Made on the loop that waits for it."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def settle(self, result: object) -> None:
        """On its loop. An exception is raised where the future is awaited; nothing when nobody waits any more."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


def deliver(answers: Sequence[tuple[Reply, object]]) -> None:
    """Settle replies from another thread: one wake-up a loop. Loops that have ended get nothing."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Reply, object]]] = defaultdict(list)
    for reply, result in answers:
        if isinstance(result, _NOT_FOR_FUTURES):
            failure = RuntimeError(f"the job ended with {type(result).__name__}")
            failure.__cause__ = result
            result = failure
        by_loop[reply.loop].append((reply, result))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_settle_all, pairs)


def _settle_all(pairs: Sequence[tuple[Reply, object]]) -> None:
    for reply, result in pairs:
        reply.settle(result)
