"""A batch on its way over a stream of the GPU, between two marks; on a CPU everything is done at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class EventTicket:
    """A batch on a stream of the GPU, between two events."""

    def __init__(self, started: Any, ended: Any, results: Mapping[str, Tensor]) -> None:
        self._started, self._ended, self._results = started, ended, results

    @property
    def done(self) -> bool:
        return bool(self._ended.query())

    def wait(self) -> float:
        self._ended.synchronize()
        return float(self._started.elapsed_time(self._ended))

    def results(self) -> Mapping[str, Tensor]:
        return self._results


class HostEvent:
    """A mark in time on a device that does everything at once."""

    at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: HostEvent) -> float:
        return 1000 * (other.at - self.at)
