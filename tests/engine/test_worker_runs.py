"""Runs through the worker on a device that exists only in memory: nothing lost, nothing twice, one failure alone."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from motion_service.engine.costs import CostTable
from motion_service.engine.job import Job
from motion_service.engine.resident import DeviceFull, DoneTicket, Resident, Ticket
from motion_service.engine.run import Batch, ModelLimits, Priority, SamplingRun
from motion_service.engine.worker import Worker
from motion_service.errors import Cancelled, Draining, GenerationFailed

LIMITS = ModelLimits((20, 60), (1, 2, 4), slots=8, packed=True)


class LateTicket(DoneTicket):
    """Is done a little after it was handed out, in the background."""

    def __init__(self, results: Mapping[str, Any], seconds: float) -> None:
        super().__init__(1000 * seconds, results)
        self._at = time.monotonic() + seconds

    @property
    def done(self) -> bool:  # type: ignore[override]
        return time.monotonic() >= self._at

    def wait(self) -> float:
        time.sleep(max(0.0, self._at - time.monotonic()))
        return super().wait()


class Device:
    """Counts the steps of each run, and what holds a place."""

    def __init__(self, seconds: float = 0.0, limits: ModelLimits = LIMITS) -> None:
        self.limits = limits
        self.seconds = seconds
        self.steps: dict[str, int] = {}
        self.places: set[str] = set()
        self.widest = 0
        self.before: Callable[[Batch], None] = lambda batch: None
        self.threads: set[int] = set()
        self.prepared = False

    def prepare(self, costs: CostTable) -> None:
        self.prepared = True

    def run(self, batch: Batch) -> Ticket:
        self.threads.add(threading.get_ident())
        self.before(batch)
        for run in batch.runs:
            self.places.add(run.id)
            assert self.steps.setdefault(run.id, 0) == run.done
            self.steps[run.id] += batch.num_steps
        assert len(self.places) <= self.limits.max_slots
        self.widest = max(self.widest, len(batch.runs))
        results = {run.id: f"made {run.id}" for run in batch.runs if self.steps[run.id] == run.steps}
        return LateTicket(results, self.seconds) if self.seconds else DoneTicket(0.01, results)

    def leave(self, run: SamplingRun) -> None:
        self.places.discard(run.id)

    def facts(self) -> Mapping[str, Any]:
        return {"places": len(self.places)}


def run_of(name: object, steps: int = 10, frames: int = 20, **other: Any) -> SamplingRun:
    return SamplingRun(f"{name}", "model", frames, steps, arrival=time.monotonic(), **other)


def on_worker(device: Device, scenario: Callable[[Worker], Coroutine[Any, Any, None]]) -> Worker:
    async def whole() -> Worker:
        worker = Worker()
        worker.start()
        worker.add_model("model", device)
        try:
            await asyncio.wait_for(scenario(worker), 30)
        finally:
            await worker.stop()
        return worker

    return asyncio.run(whole())


def test_the_fake_is_what_the_worker_asks_for() -> None:
    resident: Resident = Device()
    assert resident.facts() == {"places": 0}


@pytest.mark.parametrize("seed", range(8))
def test_every_run_gets_its_steps_once_and_its_own_result(seed: int) -> None:
    drawn = random.Random(seed)
    device = Device(seconds=drawn.choice([0.0, 0.001]))
    cancelled = set()

    async def one(worker: Worker, number: int) -> None:
        await asyncio.sleep(drawn.random() / 20)
        run = run_of(number, drawn.randint(1, 12), drawn.choice([5, 20, 60]), priority=Priority(drawn.randrange(3)))
        task = asyncio.create_task(worker.sample(run))
        if drawn.random() < 0.2:
            await asyncio.sleep(drawn.random() / 50)
            if task.cancel():
                cancelled.add(run.id)
        try:
            assert await task == f"made {number}"
            assert device.steps[run.id] == run.steps
        except asyncio.CancelledError:
            assert run.id in cancelled

    async def scenario(worker: Worker) -> None:
        jobs = [worker.submit(Job(lambda job: job.check() or "job")) for _ in range(3)]
        results = await asyncio.gather(*(one(worker, number) for number in range(60)), *jobs)
        assert results[-3:] == ["job"] * 3

    worker = on_worker(device, scenario)
    assert not device.places and len(device.threads) == 1
    stats = worker.stats
    assert (stats.waiting, stats.running, stats.failed) == (0, 0, 0)
    assert stats.done + stats.cancelled == 63
    assert stats.clip_steps >= stats.batch_steps >= stats.batches > 0


def test_models_are_prepared_and_may_change_their_limits() -> None:
    device = Device()

    async def scenario(worker: Worker) -> None:
        assert await worker.sample(run_of("first")) == "made first"
        device.limits = ModelLimits((20, 60, 100))
        with pytest.raises(ValueError, match="at most 60 frames"):
            await worker.sample(run_of("early", frames=100))
        await worker.prepare()
        assert device.prepared
        assert await worker.sample(run_of("long", frames=100)) == "made long"

    on_worker(device, scenario)


def test_runs_share_batches() -> None:
    device = Device(seconds=0.002)

    async def scenario(worker: Worker) -> None:
        worker.costs.observe("model", 20, 1, "step", 1, 1.1)
        worker.costs.observe("model", 20, 4, "step", 1, 1.2)  # a wide batch costs hardly more, as on a GPU
        await asyncio.gather(*(worker.sample(run_of(i)) for i in range(16)))

    on_worker(device, scenario)
    assert device.widest == 4


def test_runs_go_on_between_the_steps_of_a_job() -> None:
    device = Device()

    async def scenario(worker: Worker) -> None:
        entered, seen = threading.Event(), []

        def work(job: Job[str]) -> str:
            entered.set()
            until = time.monotonic() + 20
            while not device.steps and time.monotonic() < until:
                job.check()
            seen.append(dict(device.steps))
            return "job"

        slow = asyncio.create_task(worker.submit(Job(work)))
        await asyncio.to_thread(entered.wait, 10)
        assert await worker.sample(run_of("live", priority=Priority.LIVE)) == "made live"
        assert await slow == "job"
        assert seen[0]["live"] > 0

    on_worker(device, scenario)


def test_a_failing_batch_loses_its_own_runs_only() -> None:
    device = Device()

    def fail(batch: Batch) -> None:
        if any(run.id == "bad" for run in batch.runs):
            raise GenerationFailed("broken")

    device.before = fail

    async def scenario(worker: Worker) -> None:
        with pytest.raises(GenerationFailed, match="broken"):
            await worker.sample(run_of("bad"))
        assert await worker.sample(run_of("good")) == "made good"

    worker = on_worker(device, scenario)
    assert (worker.stats.failed, worker.stats.done) == (1, 1)
    assert not device.places


def test_what_fails_on_the_device_fails_its_runs() -> None:
    device = Device()

    class Broken(DoneTicket):
        def wait(self) -> float:
            raise GenerationFailed("lost on the device")

    async def scenario(worker: Worker) -> None:
        real = device.run
        device.run = lambda batch: Broken(1.0, {})  # type: ignore[method-assign]
        with pytest.raises(GenerationFailed, match="lost on the device"):
            await worker.sample(run_of("bad", steps=1))
        device.run = real  # type: ignore[method-assign]
        assert await worker.sample(run_of("good", steps=1)) == "made good"

    on_worker(device, scenario)


def test_a_full_device_gets_narrower_batches() -> None:
    device = Device()
    refused = []

    def refuse_wide(batch: Batch) -> None:
        if batch.width > 1:
            refused.append(batch.width)
            raise DeviceFull()

    device.before = refuse_wide

    async def scenario(worker: Worker) -> None:
        worker.costs.observe("model", 20, 1, "step", 1, 1.1)
        worker.costs.observe("model", 20, 4, "step", 1, 1.2)
        results = await asyncio.gather(*(worker.sample(run_of(i)) for i in range(8)))
        assert results == [f"made {i}" for i in range(8)]

    on_worker(device, scenario)
    assert refused == sorted(refused, reverse=True) and 0 < len(refused) <= 3


def test_one_clip_that_does_not_fit_is_told() -> None:
    device = Device()

    def refuse(batch: Batch) -> None:
        raise DeviceFull()

    device.before = refuse

    async def scenario(worker: Worker) -> None:
        with pytest.raises(GenerationFailed, match="memory"):
            await worker.sample(run_of("large"))

    on_worker(device, scenario)


def test_impossible_runs_are_refused() -> None:
    async def scenario(worker: Worker) -> None:
        with pytest.raises(ValueError, match="at most 60 frames"):
            await worker.sample(run_of("long", frames=61))
        with pytest.raises(ValueError, match="no model"):
            await worker.sample(SamplingRun("x", "other", 20, 1))

    on_worker(Device(), scenario)


def test_a_stop_without_drain_drops_runs_and_frees_their_places() -> None:
    device = Device(seconds=0.01)

    async def scenario() -> None:
        worker = Worker()
        worker.start()
        worker.add_model("model", device)
        tasks = [asyncio.create_task(worker.sample(run_of(i, steps=1000))) for i in range(6)]
        while not device.steps:
            await asyncio.sleep(0.001)
        await worker.stop(drain=False)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, Draining | Cancelled)
        assert not device.places
        with pytest.raises(Draining):
            await worker.sample(run_of("late"))

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_places_are_free_for_those_that_the_scheduler_lets_in() -> None:
    """While a batch is with the device, the next one may already need the places of runs that end with it."""
    device = Device(seconds=0.003, limits=ModelLimits((20,), (1, 2), slots=2, packed=True))

    async def scenario(worker: Worker) -> None:
        results = await asyncio.gather(*(worker.sample(run_of(i, steps=2)) for i in range(40)))
        assert results == [f"made {i}" for i in range(40)]

    on_worker(device, scenario)
    assert not device.places
