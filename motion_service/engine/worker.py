"""The one thread that owns the models: work in at one end, results out as asyncio futures, the event loop always free.

Two kinds of work take turns on it. *Runs* are clips on their way through the denoising steps: the scheduler says which
of them take steps together, a :class:`~motion_service.engine.resident.Resident` does it. *Jobs* are callables for
everything else; between their steps (:meth:`Job.check`) runs go on. While a batch is with the device the next one is
prepared; with nothing to do the thread sleeps and the device gets not one kernel.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from motion_service.engine.batches import Batches
from motion_service.engine.costs import CostTable, cpu_costs
from motion_service.engine.job import Job, Result
from motion_service.engine.pulse import Pulse
from motion_service.engine.recovery import is_device_lost
from motion_service.engine.replies import Reply, deliver
from motion_service.engine.resident import Resident
from motion_service.engine.run import SamplingRun
from motion_service.engine.scheduler import Policy
from motion_service.engine.tally import Tally, WorkerStats
from motion_service.errors import Draining
from motion_service.faults import FaultPlan
from motion_service.progress import note_run
from motion_service.telemetry import log_event

SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter while others wait. The usual 5 ms are half of a whole clip on a GPU."""
BETWEEN_S: Final = 0.03
"""Time that runs get between two steps of a job."""
PREPARE_S: Final = 600.0
"""Longest time that preparing one model takes."""


class Worker:
    """Owns the models and their thread. A failing job or batch fails alone."""

    def __init__(
        self,
        *,
        on_start: Callable[[], object] | None = None,
        costs: CostTable | None = None,
        policy: Policy | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        """``on_start`` runs first on the new thread. ``costs``: what batches are expected to take; default: a CPU's."""
        self.pulse = Pulse()
        self._lost: BaseException | None = None
        self._faults = faults or FaultPlan()
        self._on_start = on_start
        self._tally = Tally()
        self._batches = Batches(costs or cpu_costs(), policy, self._tally, self.pulse, self._finish, self._faults)
        self._outstanding: set[Reply] = set()
        self._thread: threading.Thread | None = None
        self._accepts = self._dropping = False
        self._wake = threading.Condition()
        self._asleep = False
        self._inbox: deque[Callable[[], object]] = deque()
        self._jobs: deque[tuple[Job[Any], Reply]] = deque()
        self._job: Job[Any] | None = None
        self._job_next = True

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
        finally:
            self._outstanding.discard(reply)

    async def sample(self, run: SamplingRun) -> Any:
        """Queue a run of a model and wait for what the model makes of it. Raises as :meth:`submit`, and ValueError for
        a run that the model cannot take.

        Cancelling the wait ends the run at its next step.
        """
        reply = self._new_reply()
        note_run(run)
        self._post_soon(lambda: self._batches.admit(run, reply))
        try:
            return await reply.future
        except asyncio.CancelledError:
            self._post(lambda: self._batches.scheduler.cancel(run.id))
            raise
        finally:
            self._outstanding.discard(reply)

    def abandon(self, error: Exception) -> None:
        """Give the thread up as it is: whoever waits gets ``error`` now. Call it on the event loop."""
        self._accepts, self._dropping, self._thread = False, True, None
        self._post(lambda: None)
        deliver([(reply, error) for reply in self._outstanding])

    @property
    def lost(self) -> BaseException | None:
        """Why there is no going on: the thread has died, or the device is lost."""
        return self._lost or self._batches.lost

    async def prepare(self) -> None:
        """Let every model make what is made once (graphs, kernels), before there are runs. Raises what one raises."""
        await self.submit(Job(lambda job: self._batches.prepare(job.check), patience_s=PREPARE_S))

    def add_model(self, name: str, resident: Resident) -> None:
        """Let runs name ``name``; again after its limits have changed, while it has no runs."""
        self._post(lambda: self._batches.add_model(name, resident))

    @property
    def costs(self) -> CostTable:
        """What batches take. To be changed on the model thread only."""
        return self._batches.scheduler.costs

    @property
    def stats(self) -> WorkerStats:
        return self._tally.stats

    def facts(self) -> dict[str, Mapping[str, Any]]:
        """What each model tells of itself, by name."""
        return {name: resident.facts() for name, resident in list(self._batches.models.items())}

    def _new_reply(self) -> Reply:
        if not self._accepts:
            raise Draining("The service does not accept work now; try again shortly")
        self._tally.submitted += 1
        reply = Reply(asyncio.get_running_loop())
        self._outstanding.add(reply)
        return reply

    def _post(self, what: Callable[[], object]) -> None:
        """Have something quick done on the model thread."""
        with self._wake:
            self._inbox.append(what)
        self._rouse()

    def _post_soon(self, what: Callable[[], object]) -> None:
        """The same, but wake the thread at the end of this turn of the event loop, for all that comes in it: runs that
        are asked for together can begin together."""
        with self._wake:
            self._inbox.append(what)
            asleep = self._asleep
        if asleep:
            asyncio.get_running_loop().call_soon(self._rouse)

    def _rouse(self) -> None:
        """A thread that is awake looks by itself soon, and to be woken for each costs more than that wait."""
        with self._wake:
            if self._asleep:
                self._asleep = False
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
        try:
            self._go_on()
        except BaseException as error:  # a mistake of ours: whoever watches the thread gets to know
            self._lost = error
            log_event("model thread died", level=logging.ERROR, error=error)

    def _go_on(self) -> None:
        while True:
            self.pulse.expect()
            self._faults.strike("turn")
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
                self.pulse.rest()
                self._asleep = True
                self._wake.wait()
        return True

    def _take_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _turn(self) -> bool:
        """Do one thing that is due. False when there is nothing to do."""
        if self._batches.is_ahead():
            return True
        if self._jobs and self._job_next:
            self._run_job(*self._jobs.popleft())
            return True
        self._job_next = True
        if self._batches.hand_out():
            self._job_next = bool(self._jobs)
            return True
        if self._batches.under_way:
            self._batches.complete()
            return True
        return bool(self._jobs)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _run_job(self, job: Job[Any], reply: Reply) -> None:
        self._job, self._job_next = job, False
        job.between = self._between
        self.pulse.expect(job.patience_s)
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
            self._lost = error if is_device_lost(error) else self._lost
        finally:
            self._job = None
        self._tally.busy_s += time.monotonic() - began
        self._finish([(reply, result)])

    def _between(self) -> None:
        """Between two steps of a job: runs have their share of the time."""
        self._take_inbox()
        until = time.monotonic() + BETWEEN_S
        while not self._dropping and (self._batches.hand_out() or self._batches.under_way):
            if self._batches.under_way:
                self._batches.complete()
            if time.monotonic() > until:
                break
        if self._job is not None:
            self.pulse.expect(self._job.patience_s)

    def _drop_all(self) -> None:
        self._batches.drop()
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
