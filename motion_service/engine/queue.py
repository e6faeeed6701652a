"""The runs that are not done yet, most urgent first.

Order: priority; then those with a deadline that can still be met, earliest first; then the others by turns of their
clients. Turns are start-time fair queueing (Goyal et al. 1996): a run is stamped with the work its client has had
before it, so one client with a thousand runs and one with a single run advance side by side.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from itertools import islice
from typing import Final

from motion_service.engine.run import Priority, SamplingRun

Key = tuple[int, bool, float, int]
"""(priority, no deadline to be kept, deadline or turn, number of submission)"""

_REMEMBERED: Final = 1024
"""Clients whose turns are kept before those that owe nothing are forgotten."""


class RunQueue:
    """See the module. Holds waiting and running runs alike, until they are removed."""

    def __init__(self) -> None:
        self._order: list[tuple[Key, SamplingRun]] = []
        self._keys: dict[str, Key] = {}
        self._runs: dict[str, SamplingRun] = {}  # in the order of submission
        self._turns: dict[str, float] = {}
        self._clients: dict[tuple[Priority, str], float] = {}  # work stamped so far
        self._now = dict.fromkeys(Priority, 0.0)  # turn of the run that began last
        self._submitted = 0

    def add(self, run: SamplingRun) -> None:
        client = (run.priority, run.client)
        turn = max(self._now[run.priority], self._clients.get(client, 0.0))
        self._clients[client] = turn + run.frames * run.steps
        self._turns[run.id] = turn
        self._runs[run.id] = run
        self._submitted += 1
        self._insert(run, self._submitted)
        if len(self._clients) > _REMEMBERED:
            self._clients = {key: turn for key, turn in self._clients.items() if turn > self._now[key[0]]}

    def remove(self, run: SamplingRun) -> None:
        del self._order[self._place(run)]
        del self._keys[run.id], self._runs[run.id], self._turns[run.id]

    def begin(self, run: SamplingRun) -> None:
        """It gets its first step: runs that are submitted later queue behind its turn."""
        self._now[run.priority] = max(self._now[run.priority], self._turns[run.id])

    def demote(self, run: SamplingRun) -> None:
        """Its deadline is lost: from now on it takes its turn like those without."""
        number = self._keys[run.id][-1]
        del self._order[self._place(run)]
        run.late = True
        self._insert(run, number)

    def ahead(self, num: int) -> list[SamplingRun]:
        """The ``num`` most urgent."""
        return [run for _, run in islice(self._order, num)]

    def before(self, run: SamplingRun) -> Iterator[SamplingRun]:
        """All that are more urgent than one that was submitted, or would be if it were submitted now."""
        key = self._keys.get(run.id)
        if key is None:
            turn = max(self._now[run.priority], self._clients.get((run.priority, run.client), 0.0))
            key = _key(run, turn, self._submitted + 1)
        return (other for _, other in islice(self._order, bisect.bisect_left(self._order, key, key=_first)))

    @property
    def oldest(self) -> SamplingRun:
        """Submitted before all others. Raises StopIteration when there is none."""
        return next(iter(self._runs.values()))

    def get(self, run_id: str) -> SamplingRun | None:
        return self._runs.get(run_id)

    def __iter__(self) -> Iterator[SamplingRun]:
        """By urgency."""
        return (run for _, run in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def _insert(self, run: SamplingRun, number: int) -> None:
        key = self._keys[run.id] = _key(run, self._turns[run.id], number)
        bisect.insort(self._order, (key, run), key=_first)

    def _place(self, run: SamplingRun) -> int:
        return bisect.bisect_left(self._order, self._keys[run.id], key=_first)


def _first(entry: tuple[Key, SamplingRun]) -> Key:
    return entry[0]


def _key(run: SamplingRun, turn: float, number: int) -> Key:
    if run.late or math.isinf(run.deadline):
        return (run.priority, True, turn, number)
    return (run.priority, False, run.deadline, number)
