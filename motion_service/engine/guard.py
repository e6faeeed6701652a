"""A worker that is watched: when its thread dies or hangs, another one takes its place with the same models.

A thread cannot be ended from outside, so one that hangs is left alone with what it held; whoever waited for it is told,
and falls back. Nothing but this module knows that there was ever more than one worker. When the device itself is lost,
or no new thread gets going, only another process can help: ``on_fatal`` is called, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from motion_service import metrics
from motion_service.engine.costs import CostTable
from motion_service.engine.job import Job, Result
from motion_service.engine.recovery import is_device_lost
from motion_service.engine.resident import Resident
from motion_service.engine.run import SamplingRun
from motion_service.engine.tally import WorkerStats
from motion_service.engine.worker import Worker
from motion_service.errors import EngineLost
from motion_service.telemetry import log_event

LOOK_S: Final = 0.2
"""How often the thread is looked at."""
LOST_GPU_S: Final = 5.0
LOST_CPU_S: Final = 10.0
"""How long a thread may be overdue before it is given up. On a CPU others may have taken the cores."""
REBUILD_S: Final = 300.0
"""Longest time that a new thread takes to get the models ready."""

Condition = Literal["new", "starting", "ready", "stalled", "rebuilding", "lost"]


class Engine(Protocol):
    """What sources ask of a worker, watched or not."""

    async def submit(self, job: Job[Result]) -> Result:
        """See :meth:`Worker.submit`."""
        ...

    async def sample(self, run: SamplingRun) -> Any:
        """See :meth:`Worker.sample`."""
        ...

    def add_model(self, name: str, resident: Resident) -> None:
        """See :meth:`Worker.add_model`."""


class GuardedWorker:
    """See the module. Belongs to one event loop from :meth:`start` on."""

    def __init__(
        self,
        new_worker: Callable[[], Worker],
        *,
        lost_after_s: float = LOST_CPU_S,
        on_fatal: Callable[[], object] = lambda: None,
    ) -> None:
        self._new_worker, self._lost_after_s, self.on_fatal = new_worker, lost_after_s, on_fatal
        self._worker = new_worker()
        self._models: dict[str, Resident] = {}
        self._watching: asyncio.Task[None] | None = None
        self._overdue_s = 0.0
        self._warm = False
        self.condition: Condition = "new"
        """``stalled``: what it does takes too long, it may still come back; ``rebuilding``: it was given up."""
        self.restarts: dict[str, int] = {}
        """How often a thread was given up, by reason: died, hung."""

    def start(self) -> None:
        """Start the thread, and to watch it. Call it on the event loop."""
        self._worker.start()
        self.condition = "starting"
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self, *, drain: bool = True) -> None:
        """See :meth:`Worker.stop`. A thread that does not answer is not waited for."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        hung = self.condition in ("stalled", "rebuilding", "lost")
        if hung or (self.condition == "starting" and not drain):
            self._worker.abandon(EngineLost())
        else:
            await self._worker.stop(drain=drain)

    async def submit(self, job: Job[Result]) -> Result:
        """See :meth:`Worker.submit`. Raises EngineLost as well."""
        self._check()
        return await self._worker.submit(job)

    async def sample(self, run: SamplingRun) -> Any:
        """See :meth:`Worker.sample`. Raises EngineLost as well."""
        self._check()
        return await self._worker.sample(run)

    async def prepare(self) -> None:
        """See :meth:`Worker.prepare`."""
        await self._worker.prepare()
        self._warm = True

    def add_model(self, name: str, resident: Resident) -> None:
        """See :meth:`Worker.add_model`."""
        self._models[name] = resident
        self._worker.add_model(name, resident)

    def ready(self) -> None:
        """What was to be done before the first request is done."""
        self.condition = "ready"

    @property
    def costs(self) -> CostTable:
        return self._worker.costs

    @property
    def stats(self) -> WorkerStats:
        return self._worker.stats

    def facts(self) -> dict[str, Mapping[str, Any]]:
        """See :meth:`Worker.facts`."""
        return self._worker.facts()

    def _check(self) -> None:
        if self.condition in ("rebuilding", "lost"):
            raise EngineLost()

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look every :data:`LOOK_S`. Time counts only as it is looked at, so that a process that was stopped is not
        taken for a thread that hangs."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._worker.lost is not None:
                await self._replace("died", self._worker.lost)
                continue
            self._overdue_s = self._overdue_s + LOOK_S if self._worker.pulse.overdue_s else 0.0
            if self._overdue_s >= self._lost_after_s:
                await self._replace("hung", None)
            elif self.condition in ("ready", "stalled"):
                self.condition = "stalled" if self._overdue_s else "ready"

    async def _replace(self, reason: str, error: BaseException | None) -> None:
        """Another worker instead of this one."""
        was_ready = self.condition in ("ready", "stalled")
        self.condition = "rebuilding"
        self.restarts[reason] = self.restarts.get(reason, 0) + 1
        metrics.RESTARTS.labels(reason).inc()
        self._overdue_s = 0.0
        log_event("model thread lost", level=logging.ERROR, reason=reason, error=error)
        self._worker.abandon(EngineLost())
        if error is not None and is_device_lost(error):
            return await self._give_up(error)
        try:
            async with asyncio.timeout(REBUILD_S):
                await self._rebuild()
        except Exception as failure:  # the edge of the device: whatever it is, it is not going to work in this process
            return await self._give_up(failure)
        self.condition = "ready" if was_ready else "starting"
        log_event("model thread replaced", level=logging.WARNING)

    async def _rebuild(self) -> None:
        worker = self._new_worker()
        worker.start()

        def renew(job: Job[dict[str, Resident]]) -> dict[str, Resident]:
            fresh = {}
            for name, resident in self._models.items():
                job.check()
                fresh[name] = resident.renewed()
            return fresh

        self._models = await worker.submit(Job(renew))
        for name, resident in self._models.items():
            worker.add_model(name, resident)
        if self._warm:
            await worker.prepare()
        self._worker = worker

    async def _give_up(self, error: BaseException) -> None:
        self.condition = "lost"
        log_event("the models cannot be run in this process any more", level=logging.CRITICAL, error=error)
        self.on_fatal()
        await asyncio.Event().wait()  # there is nothing left to watch
