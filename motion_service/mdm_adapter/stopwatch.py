"""How long the stages of one request took: what ``metadata.timings_ms`` tells."""

from __future__ import annotations

import time


class Stopwatch:
    """Milliseconds by stage. Waiting for the model counts as ``queue`` and not as the stage that waited."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {"queue": 0.0}
        self._mark = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """So much of the stage under way was spent in the queue."""
        self.timings_ms["queue"] += 1000 * seconds
        self._mark += seconds

    def lap(self, stage: str) -> None:
        """``stage`` has ended."""
        now = time.perf_counter()
        self.timings_ms[stage] = 1000 * (now - self._mark)
        self._mark = now
