"""How often one key may ask: a bucket of tokens for each, filled at an even rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from motion_service.errors import RateLimited

BURST_S: Final = 10.0
"""A key that was quiet may ask at once as often as it may in so long; at least once."""


class RateLimit:
    """Tokens of every key. Belongs to one event loop, so it needs no lock."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_minute``: requests of one key; 0 = as many as it likes."""
        self._rate = per_minute / 60  # a second
        self._most = max(1.0, self._rate * BURST_S)
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def take(self, key: int) -> None:
        """One request of a key. Raises :class:`RateLimited` with the time until the next one is due."""
        if not self._rate:
            return
        now = self._clock()
        tokens, at = self._buckets.get(key, (self._most, now))
        tokens = min(self._most, tokens + (now - at) * self._rate)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            raise RateLimited("slow down, or ask for a higher limit", retry_after_s=(1 - tokens) / self._rate)
        self._buckets[key] = (tokens - 1, now)
