"""Batches on their way: handed to the models, waited for, their results given to whoever asked. On the model thread.

While one is with the device the next one is prepared. A batch that fails is tried again in halves, apart from others,
so that a run which breaks it fails alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from motion_service import metrics
from motion_service.engine.costs import CostTable
from motion_service.engine.pulse import FIRST_S, SLACK, Pulse
from motion_service.engine.recovery import DeviceLost, Waiting, halves, is_device_lost
from motion_service.engine.replies import Reply
from motion_service.engine.resident import DeviceFull, Resident, Ticket
from motion_service.engine.run import Batch, SamplingRun
from motion_service.engine.scheduler import Policy, Scheduler
from motion_service.engine.tally import Tally
from motion_service.errors import Cancelled, Draining, GenerationFailed
from motion_service.faults import FaultPlan
from motion_service.telemetry import log_event

AHEAD_S: Final = 0.003
"""The next batch is chosen so long before the device is predicted to be free: earlier, and new runs wait longer;
later, and the device waits for the host."""
GLANCE_S: Final = 0.002
"""A prediction may be wrong: a device that is busy is looked at so often."""
NARROWER_S: Final = 60.0
"""How long batches stay narrower after the device had no memory for one."""


@dataclass(slots=True)
class _UnderWay:
    """A batch that is with the device."""

    batch: Batch
    ticket: Ticket
    ending: tuple[SamplingRun, ...]


class Batches:
    """See the module."""

    def __init__(
        self,
        costs: CostTable,
        policy: Policy | None,
        tally: Tally,
        pulse: Pulse,
        finish: Callable[[Iterable[tuple[Reply, object]]], None],
        faults: FaultPlan,
    ) -> None:
        """``finish`` delivers results, or exceptions."""
        self.scheduler = Scheduler({}, costs, policy)
        self.models: dict[str, Resident] = {}
        self.lost: BaseException | None = None
        """Why the device cannot be used any more."""
        self._tally, self._pulse, self._finish, self._faults = tally, pulse, finish, faults
        self._replies: dict[str, Reply] = {}
        self._under_way: deque[_UnderWay] = deque()
        self._free_at = 0.0
        self._shapes: set[tuple[str, int, int, str]] = set()

    @property
    def under_way(self) -> int:
        """Batches that are with the device."""
        return len(self._under_way)

    def add_model(self, name: str, resident: Resident) -> None:
        """See :meth:`Worker.add_model <motion_service.engine.worker.Worker.add_model>`."""
        self.models[name] = resident
        self.scheduler.add_model(name, resident.limits)

    def prepare(self, check: Callable[[], None]) -> None:
        """Let every model make what is made once; ``check`` is called before each."""
        # The largest first: what it reserves on the device holds what the others need.
        for name, resident in sorted(self.models.items(), key=lambda item: -item[1].limits.largest):
            check()
            resident.prepare(self.scheduler.costs)
            self.scheduler.add_model(name, resident.limits)

    def admit(self, run: SamplingRun, reply: Reply) -> None:
        try:
            self.scheduler.submit(run)
        except ValueError as error:
            self._finish([(reply, error)])
            return
        self._replies[run.id] = reply

    def is_ahead(self) -> bool:
        """Whether the device has enough to do; then its oldest batch is complete, or some time has passed."""
        if not self._under_way:
            return False
        ahead_s = self._free_at - time.monotonic() - AHEAD_S
        if len(self._under_way) > 1 or self._under_way[0].ticket.done:
            self.complete()
            return True
        if ahead_s <= 0:
            return False
        time.sleep(min(ahead_s, GLANCE_S))
        return True

    def hand_out(self) -> bool:
        """Give the device its next batch. False when there is none."""
        now = max(time.monotonic(), self._free_at)
        batch = self.scheduler.next_batch(now)
        self._take_news()
        if batch is None:
            return False
        began = time.monotonic()
        new = [run for run in batch.runs if run.began == now]
        self._tally.started += len(new)
        for run in new:
            metrics.QUEUE_WAIT.observe(max(0.0, now - run.arrival))
        shape = (batch.model, batch.bucket, batch.width, batch.mode)
        self._pulse.expect(SLACK * batch.predicted_ms / 1000 if shape in self._shapes else FIRST_S)
        try:
            self._faults.strike("batch", batch)
            ticket = self.models[batch.model].run(batch)
        except DeviceFull as error:
            self._make_narrower(batch, error)
            return True
        except Exception as error:  # the edge of the thread: only the runs of this batch are lost
            self._lose(batch, error)
            return True
        self._shapes.add(shape)
        self._tally.batch(batch)
        metrics.BATCH_SIZE.observe(len(batch.runs))
        metrics.FILL.observe(1 - batch.padding)
        end = max(batch.started + batch.predicted_ms / 1000, time.monotonic())
        ending = self.scheduler.finished(batch, end, took_ms=float("nan"))
        for run in ending:  # what comes next on the device may have its place: it comes later there too
            self.models[run.model].leave(run)
        self._under_way.append(_UnderWay(batch, ticket, ending))
        self._free_at = end
        self._tally.busy_s += time.monotonic() - began
        self._take_news()
        return True

    def complete(self) -> None:
        """Wait for the oldest batch and hand out what it made."""
        began = time.monotonic()
        under_way = self._under_way.popleft()
        batch = under_way.batch
        answers: list[tuple[Reply, object]] = []
        left_ms = batch.predicted_ms + sum(other.batch.predicted_ms for other in self._under_way)
        self._pulse.expect(SLACK * left_ms / 1000)
        try:
            took_ms = under_way.ticket.wait()
            self.scheduler.costs.observe(batch.model, batch.bucket, batch.width, batch.mode, batch.num_steps, took_ms)
            results = self._faults.spoil("results", under_way.ticket.results())
            metrics.BATCH_SECONDS.observe(took_ms / 1000)
            metrics.STEP_SECONDS.observe(took_ms / 1000 / batch.num_steps)
        except Exception as error:  # the edge of the device
            self._lose_made(under_way, error)
            return
        for run in under_way.ending:
            if (reply := self._replies.pop(run.id, None)) is not None:
                answers.append((reply, results[run.id]))
        now = time.monotonic()
        self._free_at = now + sum(other.batch.predicted_ms for other in self._under_way) / 1000
        self._tally.busy_s += now - began
        self._finish(answers)

    def _take_news(self) -> None:
        for run in self.scheduler.take_news().cancelled:
            self.models[run.model].leave(run)
            self._tally.started += run.began is None
            metrics.CANCELLED.labels("waiting" if run.began is None else "running").inc()
            if (reply := self._replies.pop(run.id, None)) is not None:
                self._finish([(reply, Cancelled())])

    def _make_narrower(self, batch: Batch, error: DeviceFull) -> None:
        metrics.OOM.inc()
        if batch.width == 1:
            self._lose(batch, GenerationFailed("The device has no memory for this clip; ask for a shorter one"), error)
            return
        self.scheduler.put_back(batch, max_width=batch.width // 2, until=time.monotonic() + NARROWER_S)

    def _lose(self, batch: Batch, error: Exception, cause: Exception | None = None) -> None:
        """A batch failed before the device had it. One run ends with the error; of several, see :func:`halves`."""
        error.__cause__ = error.__cause__ or cause
        waiting = self._waiting(batch.runs)
        for run in batch.runs:
            run.cancelled = True
        self.scheduler.put_back(batch)
        self._take_news()
        self._try_apart(waiting, error)

    def _lose_made(self, failed: _UnderWay, error: Exception) -> None:
        """The device failed a batch that was counted as done. What it was handed after that is worth nothing either."""
        batches = [failed, *self._under_way]
        self._under_way.clear()
        waiting = self._waiting({run.id: run for one in batches for run in one.batch.runs}.values())
        for run, _ in waiting:
            self.scheduler.cancel(run.id)
        self._take_news()
        self._free_at = 0.0
        self._try_apart(waiting, error)

    def _waiting(self, runs: Iterable[SamplingRun]) -> list[Waiting]:
        """Those of ``runs`` that somebody still waits for, who is not told of news any more."""
        return [(run, self._replies.pop(run.id)) for run in runs if not run.cancelled and run.id in self._replies]

    def _try_apart(self, waiting: list[Waiting], error: Exception) -> None:
        """Runs that have left the scheduler because their batch failed: one fails, several begin anew in two halves."""
        if is_device_lost(error):
            self.lost, error = error, DeviceLost()
        if len(waiting) <= 1 or self.lost is not None:
            self._finish([(reply, error) for _, reply in waiting])
            return
        log_event("batch failed, halves are tried apart", level=logging.WARNING, error=error, runs=len(waiting))
        for run, reply in halves(waiting):
            self.admit(run, reply)

    def drop(self) -> None:
        """End everything; what is with the device is waited for."""
        while self._under_way:
            self.complete()
        for run_id, reply in list(self._replies.items()):
            self.scheduler.cancel(run_id)
            del self._replies[run_id]
            self._finish([(reply, Draining())])
        self._take_news()
