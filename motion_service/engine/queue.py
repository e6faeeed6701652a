"""The runs that are not done yet, most urgent first.

Order: priority; then those with a deadline that can still be met, earliest first; then the others by turns of their
clients. Turns are start-time fair queueing (Goyal et al. 1996): a run is stamped with the work its client has had
before it, so one client with a thousand runs and one with a single run advance side by side.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from itertools import islice
from typing import Final

from motion_service.engine.run import Priority, SamplingRun

Lane = tuple[int, bool]
"""(priority, whether there is no deadline to be kept). A lower one waits while there is work in a higher."""
Key = tuple[int, bool, float, int]
"""(lane, deadline or turn, number of submission)"""

_REMEMBERED: Final = 1024
"""So many clients are remembered before those that owe nothing are forgotten, or twice those that do."""


class RunQueue:
    """See the module. Holds waiting and running runs alike, until they are removed."""

    def __init__(self) -> None:
        self._order: list[tuple[Key, SamplingRun]] = []
        self._keys: dict[str, Key] = {}
        self._runs: dict[str, SamplingRun] = {}
        self._turns: dict[str, float] = {}
        self._clients: dict[tuple[Priority, str], float] = {}  # work stamped so far
        self._now = dict.fromkeys(Priority, 0.0)  # turn of the run that began last
        self._remembered = _REMEMBERED
        self._submitted = 0

    def add(self, run: SamplingRun) -> None:
        client = (run.priority, run.client)
        turn = max(self._now[run.priority], self._clients.get(client, 0.0))
        self._clients[client] = turn + run.frames * run.steps
        self._turns[run.id] = turn
        self._runs[run.id] = run
        self._submitted += 1
        self._insert(run, self._submitted)
        if len(self._clients) > self._remembered:
            self._clients = {key: turn for key, turn in self._clients.items() if turn > self._now[key[0]]}
            self._remembered = 2 * max(_REMEMBERED, len(self._clients))

    def remove(self, run: SamplingRun) -> None:
        del self._order[self.place(run)]
        del self._keys[run.id], self._runs[run.id], self._turns[run.id]

    def begin(self, run: SamplingRun) -> None:
        """It gets its first step: runs that are submitted later queue behind its turn."""
        self._now[run.priority] = max(self._now[run.priority], self._turns[run.id])

    def demote(self, run: SamplingRun) -> None:
        """Its deadline is lost: from now on it takes its turn like those without."""
        number = self._keys[run.id][-1]
        del self._order[self.place(run)]
        run.late = True
        self._insert(run, number)

    def ahead(self, num: int) -> list[SamplingRun]:
        """The ``num`` most urgent."""
        return [run for _, run in islice(self._order, num)]

    def place(self, run: SamplingRun) -> int:
        """How many are more urgent than ``run``, or would be if it were submitted now."""
        key = self._keys.get(run.id)
        if key is None:
            turn = max(self._now[run.priority], self._clients.get((run.priority, run.client), 0.0))
            key = _key(run, turn, self._submitted + 1)
        return bisect.bisect_left(self._order, key, key=_first)

    def heads(self) -> dict[Lane, SamplingRun]:
        """The most urgent run of each lane that is not empty."""
        found = {}
        place = 0
        while place < len(self._order):
            key, run = self._order[place]
            found[key[:2]] = run
            place = bisect.bisect_left(self._order, (*key[:2], math.inf, 0), place, key=_first)
        return found

    def lanes(self, runs: Iterable[SamplingRun]) -> set[Lane]:
        return {self._keys[run.id][:2] for run in runs}

    def get(self, run_id: str) -> SamplingRun | None:
        return self._runs.get(run_id)

    def __len__(self) -> int:
        return len(self._order)

    def _insert(self, run: SamplingRun, number: int) -> None:
        key = self._keys[run.id] = _key(run, self._turns[run.id], number)
        bisect.insort(self._order, (key, run), key=_first)


def _first(entry: tuple[Key, SamplingRun]) -> Key:
    return entry[0]


def _key(run: SamplingRun, turn: float, number: int) -> Key:
    if run.late or math.isinf(run.deadline):
        return (run.priority, True, turn, number)
    return (run.priority, False, run.deadline, number)
