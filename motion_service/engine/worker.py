"""The one thread that owns the model: jobs in at one end, results out as asyncio futures, the event loop always free.

First come, first served; a plain queue (``ThreadPoolExecutor`` with a single thread). It is handed callables and knows
nothing of what they compute, so batching can replace the inside without its callers noticing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from motion_service.engine.job import Job, Result
from motion_service.errors import Cancelled, Draining

_NOT_FOR_FUTURES = (StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError)
"""An asyncio future that gets one of these hangs, ends the event loop or looks cancelled instead of failed."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What the worker has done since it was made."""

    waiting: int
    """Jobs handed in and not yet started."""
    running: int
    done: int
    failed: int
    cancelled: int
    """Jobs nobody waited for any more, and jobs refused by a stop."""
    busy_s: float
    """Seconds spent inside jobs."""


class Worker:
    """Runs jobs one after the other on a thread of its own. A failing job fails alone."""

    def __init__(self, *, on_start: Callable[[], object] | None = None) -> None:
        """``on_start`` runs first on the new thread (thread count, device, warm-up)."""
        self._on_start = on_start
        self._executor: ThreadPoolExecutor | None = None
        self._dropping = False
        self._running: Job[Any] | None = None
        self._lock = threading.Lock()
        self._submitted = self._done = self._failed = self._cancelled = 0
        self._busy_s = 0.0

    def start(self) -> None:
        """Begin to accept jobs. Does nothing when started before."""
        if self._executor is None:
            self._dropping = False
            executor = ThreadPoolExecutor(1, thread_name_prefix="model")
            if self._on_start is not None:
                executor.submit(self._on_start).result()
            self._executor = executor

    async def stop(self, *, drain: bool = True) -> None:
        """Refuse new jobs and wait for the thread to end: after all jobs handed in, or (``drain=False``) at once.

        Dropped jobs end with :class:`~motion_service.errors.Draining`, the running one with ``Cancelled``.
        """
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if not drain:
            with self._lock:
                self._dropping = True
                if self._running is not None:
                    self._running.cancel()
        await asyncio.to_thread(executor.shutdown)

    async def submit(self, job: Job[Result]) -> Result:
        """Queue ``job`` and wait for its result. Raises what the job raises, or Draining when not accepting.

        Cancelling the wait cancels the job: before its start it never reaches the model.
        """
        if self._executor is None:
            raise Draining("The service does not accept work now; try again shortly")
        with self._lock:
            self._submitted += 1
        future = self._executor.submit(self._run, job)
        future.add_done_callback(self._count)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            job.cancel()
            raise

    @property
    def stats(self) -> WorkerStats:
        with self._lock:
            running = int(self._running is not None)
            finished = self._done + self._failed + self._cancelled
            waiting = max(0, self._submitted - finished - running)
            return WorkerStats(waiting, running, self._done, self._failed, self._cancelled, self._busy_s)

    def _run(self, job: Job[Result]) -> Result:
        """On the thread: one job."""
        with self._lock:
            if self._dropping:
                job.cancel()
                raise Draining()
            self._running = job
        started = time.monotonic()
        try:
            return job.run()
        except _NOT_FOR_FUTURES as error:
            raise RuntimeError(f"the job ended with {type(error).__name__}") from error
        finally:
            with self._lock:
                self._running = None
                self._busy_s += time.monotonic() - started

    def _count(self, future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        with self._lock:
            if future.cancelled() or isinstance(error, Cancelled | Draining):
                self._cancelled += 1
            elif error is not None:
                self._failed += 1
            else:
                self._done += 1
