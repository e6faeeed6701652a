"""The one thread that owns the models: work in at one end, results out as asyncio futures, the event loop always free.

Two kinds of work take turns on it. *Runs* are clips on their way through the denoising steps: the scheduler says which
of them take steps together, a :class:`~motion_service.engine.resident.Resident` does it. *Jobs* are callables for
everything else; between their steps (:meth:`Job.check`) runs go on. While a batch is with the device the next one is
prepared; with nothing to do the thread sleeps and the device gets not one kernel.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from motion_service.engine.costs import CostTable, cpu_costs
from motion_service.engine.job import Job, Result
from motion_service.engine.replies import Reply, deliver
from motion_service.engine.resident import DeviceFull, Resident, Ticket
from motion_service.engine.run import Batch, SamplingRun
from motion_service.engine.scheduler import Policy, Scheduler
from motion_service.engine.tally import Tally, WorkerStats
from motion_service.errors import Cancelled, Draining, GenerationFailed
from motion_service.progress import note_run

SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter while others wait. The usual 5 ms are half of a whole clip on a GPU."""
AHEAD_S: Final = 0.003
"""The next batch is chosen so long before the device is predicted to be free: earlier, and new runs wait longer;
later, and the device waits for the host."""
GLANCE_S: Final = 0.002
"""A prediction may be wrong: a device that is busy is looked at so often."""
BETWEEN_S: Final = 0.03
"""Time that runs get between two steps of a job."""
NARROWER_S: Final = 60.0
"""How long batches stay narrower after the device had no memory for one."""


@dataclass(slots=True)
class _UnderWay:
    """A batch that is with the device."""

    batch: Batch
    ticket: Ticket
    ending: tuple[SamplingRun, ...]


class Worker:
    """Owns the models and their thread. A failing job or batch fails alone."""

    def __init__(
        self,
        *,
        on_start: Callable[[], object] | None = None,
        costs: CostTable | None = None,
        policy: Policy | None = None,
    ) -> None:
        """``on_start`` runs first on the new thread. ``costs``: what batches are expected to take; default: a CPU's."""
        self._on_start = on_start
        self._scheduler = Scheduler({}, costs or cpu_costs(), policy)
        self._models: dict[str, Resident] = {}
        self._thread: threading.Thread | None = None
        self._accepts = self._dropping = False
        self._wake = threading.Condition()
        self._inbox: deque[Callable[[], object]] = deque()
        self._jobs: deque[tuple[Job[Any], Reply]] = deque()
        self._replies: dict[str, Reply] = {}
        self._under_way: deque[_UnderWay] = deque()
        self._free_at = 0.0
        self._job: Job[Any] | None = None
        self._job_next = True
        self._tally = Tally()

    # --- from other threads -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept work. Does nothing when started before; raises what ``on_start`` raises."""
        if self._thread is not None:
            return
        self._dropping = False
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="model", daemon=True)
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread = None
            raise
        self._accepts = True

    async def stop(self, *, drain: bool = True) -> None:
        """Refuse new work and wait for the thread to end: after all that was handed in, or (``drain=False``) at once.

        What is dropped ends with :class:`~motion_service.errors.Draining`, the running job with ``Cancelled``.
        """
        thread, self._thread = self._thread, None
        self._accepts = False
        if thread is None:
            return
        if not drain:
            self._dropping = True
            if (job := self._job) is not None:
                job.cancel()
        self._post(lambda: None)
        await asyncio.to_thread(thread.join)

    async def submit(self, job: Job[Result]) -> Result:
        """Queue ``job`` and wait for its result. Raises what the job raises, or Draining when not accepting.

        Cancelling the wait cancels the job: before its start it never reaches the model.
        """
        reply = self._new_reply()
        self._post(lambda: self._jobs.append((job, reply)))
        try:
            result: Result = await reply.future
            return result
        except asyncio.CancelledError:
            job.cancel()
            self._post(lambda: None)
            raise

    async def sample(self, run: SamplingRun) -> Any:
        """Queue a run of a model and wait for what the model makes of it. Raises as :meth:`submit`, and ValueError for
        a run that the model cannot take.

        Cancelling the wait ends the run at its next step.
        """
        reply = self._new_reply()
        note_run(run)
        self._post(lambda: self._admit(run, reply))
        try:
            return await reply.future
        except asyncio.CancelledError:
            self._post(lambda: self._scheduler.cancel(run.id))
            raise

    async def prepare(self) -> None:
        """Let every model make what is made once (graphs, kernels), before there are runs. Raises what one raises."""

        def prepare(job: Job[None]) -> None:
            # The largest first: what it reserves on the device holds what the others need.
            for name, resident in sorted(self._models.items(), key=lambda item: -item[1].limits.largest):
                resident.prepare(self.costs)
                self._scheduler.add_model(name, resident.limits)

        await self.submit(Job(prepare))

    def add_model(self, name: str, resident: Resident) -> None:
        """Let runs name ``name``; again after its limits have changed, while it has no runs."""

        def add() -> None:
            self._models[name] = resident
            self._scheduler.add_model(name, resident.limits)

        self._post(add)

    @property
    def costs(self) -> CostTable:
        """What batches take. To be changed on the model thread only."""
        return self._scheduler.costs

    @property
    def stats(self) -> WorkerStats:
        return self._tally.stats

    def facts(self) -> dict[str, Mapping[str, Any]]:
        """What each model tells of itself, by name."""
        return {name: resident.facts() for name, resident in list(self._models.items())}

    def _new_reply(self) -> Reply:
        if not self._accepts:
            raise Draining("The service does not accept work now; try again shortly")
        self._tally.submitted += 1
        return Reply(asyncio.get_running_loop())

    def _post(self, what: Callable[[], object]) -> None:
        """Have something quick done on the model thread."""
        with self._wake:
            self._inbox.append(what)
            self._wake.notify()

    # --- on the model thread ------------------------------------------------------------------------------------------

    def _main(self, started: Future[None]) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
        except BaseException as error:  # the edge of the thread: whoever starts it gets to know
            started.set_exception(error)
            return
        started.set_result(None)
        while True:
            self._take_inbox()
            if self._dropping:
                self._drop_all()
            if not self._turn() and not self._wait():
                return

    def _wait(self) -> bool:
        """Sleep until something arrives; False when nothing can arrive any more."""
        with self._wake:
            while not self._inbox:
                if self._thread is not threading.current_thread():
                    return False
                self._wake.wait()
        return True

    def _take_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _admit(self, run: SamplingRun, reply: Reply) -> None:
        try:
            self._scheduler.submit(run)
        except ValueError as error:
            self._finish([(reply, error)])
            return
        self._replies[run.id] = reply

    def _turn(self) -> bool:
        """Do one thing that is due. False when there is nothing to do."""
        if self._is_ahead():
            return True
        if self._jobs and self._job_next:
            self._run_job(*self._jobs.popleft())
            return True
        self._job_next = True
        if self._hand_out():
            return True
        if self._under_way:
            self._complete()
            return True
        return bool(self._jobs)

    def _is_ahead(self) -> bool:
        """Whether the device has enough to do; then a while has passed, or its oldest batch is complete."""
        if not self._under_way:
            return False
        ahead_s = self._free_at - time.monotonic() - AHEAD_S
        if len(self._under_way) > 1 or self._under_way[0].ticket.done:
            self._complete()
            return True
        if ahead_s <= 0:
            return False
        with self._wake:
            if not self._inbox:
                self._wake.wait(min(ahead_s, GLANCE_S))
        return True

    def _hand_out(self) -> bool:
        """Give the device its next batch. False when there is none."""
        now = max(time.monotonic(), self._free_at)
        batch = self._scheduler.next_batch(now)
        self._take_news()
        if batch is None:
            return False
        began = time.monotonic()
        self._tally.started += sum(run.began == now for run in batch.runs)
        try:
            ticket = self._models[batch.model].run(batch)
        except DeviceFull as error:
            self._make_narrower(batch, error)
            return True
        except Exception as error:  # the edge of the thread: only the runs of this batch are lost
            self._lose(batch, error)
            return True
        self._tally.batch(batch)
        end = max(batch.started + batch.predicted_ms / 1000, time.monotonic())
        ending = self._scheduler.finished(batch, end, took_ms=float("nan"))
        for run in ending:  # what comes next on the device may have its place: it comes later there too
            self._models[run.model].leave(run)
        self._under_way.append(_UnderWay(batch, ticket, ending))
        self._free_at = end
        self._tally.busy_s += time.monotonic() - began
        self._take_news()
        self._job_next = bool(self._jobs)
        return True

    def _complete(self) -> None:
        """Wait for the oldest batch and hand out what it made."""
        began = time.monotonic()
        under_way = self._under_way.popleft()
        batch = under_way.batch
        answers: list[tuple[Reply, object]] = []
        try:
            took_ms = under_way.ticket.wait()
            self.costs.observe(batch.model, batch.bucket, batch.width, batch.mode, batch.num_steps, took_ms)
            results = under_way.ticket.results()
        except Exception as error:  # the edge of the device
            results = dict.fromkeys((run.id for run in under_way.ending), error)
        for run in under_way.ending:
            if (reply := self._replies.pop(run.id, None)) is not None:
                answers.append((reply, results[run.id]))
        now = time.monotonic()
        self._free_at = now + sum(other.batch.predicted_ms for other in self._under_way) / 1000
        self._tally.busy_s += now - began
        self._finish(answers)

    def _take_news(self) -> None:
        for run in self._scheduler.take_news().cancelled:
            self._models[run.model].leave(run)
            self._tally.started += run.began is None
            if (reply := self._replies.pop(run.id, None)) is not None:
                self._finish([(reply, Cancelled())])

    def _make_narrower(self, batch: Batch, error: DeviceFull) -> None:
        if batch.width == 1:
            self._lose(batch, GenerationFailed("The device has no memory for this clip; ask for a shorter one"), error)
            return
        self._scheduler.put_back(batch, max_width=batch.width // 2, until=time.monotonic() + NARROWER_S)

    def _lose(self, batch: Batch, error: Exception, cause: Exception | None = None) -> None:
        """End the runs of a batch with an error."""
        error.__cause__ = error.__cause__ or cause
        replies = [self._replies.pop(run.id) for run in batch.runs if run.id in self._replies]
        for run in batch.runs:
            run.cancelled = True
        self._scheduler.put_back(batch)
        self._take_news()
        self._finish([(reply, error) for reply in replies])

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _run_job(self, job: Job[Any], reply: Reply) -> None:
        self._job, self._job_next = job, False
        job.between = self._between
        self._tally.started += 1
        began = time.monotonic()
        result: object
        try:
            if self._dropping:
                job.cancel()
                raise Draining()
            result = job.run()
        except BaseException as error:  # the edge of the thread: a job fails alone, whatever it raises
            result = error
        finally:
            self._job = None
        self._tally.busy_s += time.monotonic() - began
        self._finish([(reply, result)])

    def _between(self) -> None:
        """Between two steps of a job: runs have their share of the time."""
        self._take_inbox()
        until = time.monotonic() + BETWEEN_S
        while not self._dropping and (self._hand_out() or self._under_way):
            if self._under_way:
                self._complete()
            if time.monotonic() > until:
                return

    def _drop_all(self) -> None:
        while self._under_way:
            self._complete()
        for run_id, reply in list(self._replies.items()):
            self._scheduler.cancel(run_id)
            del self._replies[run_id]
            self._finish([(reply, Draining())])
        self._take_news()
        for job, reply in self._jobs:
            job.cancel()
            self._tally.started += 1
            self._finish([(reply, Draining())])
        self._jobs.clear()

    def _finish(self, answers: Iterable[tuple[Reply, object]]) -> None:
        """Count and deliver: a result, or an exception."""
        answers = list(answers)
        self._tally.ended(result for _, result in answers)
        deliver(answers)
