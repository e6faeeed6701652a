"""What happens in this process, for those who look on: each has a short queue of its own and may be slow or dead.

Whoever tells something never waits. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from motion_service.errors import QueueFull

MAX_READERS: Final = 32
KEPT: Final = 256
"""Events that may wait for one reader; then the oldest are dropped, and it is told how many."""

Event = Mapping[str, Any]


class Reader:
    """The events that one reader has not taken yet."""

    def __init__(self, kept: int = KEPT) -> None:
        self._waiting: deque[Event] = deque(maxlen=kept)
        self._missed = 0
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Never waits."""
        self._missed += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        self._news.set()

    async def take(self, wait_s: float) -> list[Event]:
        """All that wait, after at most ``wait_s``; first of all how many were dropped before them."""
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return []
        self._news.clear()
        missed, self._missed = self._missed, 0
        events: list[Event] = [{"v": 1, "type": "missed", "count": missed}] if missed else []
        events += self._waiting
        self._waiting.clear()
        return events


class Events:
    """Everybody who looks on."""

    def __init__(self) -> None:
        self._readers: list[Reader] = []

    @property
    def readers(self) -> int:
        return len(self._readers)

    def tell(self, type: str, **facts: Any) -> None:
        """Tell all of them. ``facts``: JSON values."""
        for reader in self._readers:
            reader.put({"v": 1, "type": type, **facts})

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Look on until the block ends. Raises :class:`QueueFull`."""
        if len(self._readers) >= MAX_READERS:
            raise QueueFull(f"{MAX_READERS} clients look on already", retry_after_s=10.0)
        reader = Reader()
        self._readers.append(reader)
        try:
            yield reader
        finally:
            self._readers.remove(reader)
