"""The door: how many requests may be worked on or wait at one time. Refusing at once beats waiting too long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from motion_service.errors import QueueFull

_SMOOTHING = 0.2
"""Weight of the newest request in the running mean of seconds per request."""


class Admission:
    """Counts the requests inside; belongs to one event loop, so it needs no lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        self.refused = 0
        self._mean_s = 1.0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place. Raises :class:`QueueFull` with the predicted wait for the next free one."""
        if self.inside >= self.limit:
            self.refused += 1
            raise QueueFull(
                f"{self.inside} requests are already waiting; try again later", retry_after_s=max(1.0, self._mean_s)
            )
        self.inside += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self.inside -= 1
            self._mean_s += _SMOOTHING * (time.monotonic() - started - self._mean_s)
