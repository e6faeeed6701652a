import asyncio
import threading
from collections.abc import Callable

import pytest

from motion_service.engine.job import Job, JobState
from motion_service.engine.worker import Worker
from motion_service.errors import Cancelled, Draining, GenerationFailed


def job(work: Callable[[], str]) -> Job[str]:
    return Job(lambda _: work())


class Gate:
    """Work that reports its start and waits to be let through."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.open.wait(10)
        return "through"

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)


def test_results_come_back_in_order_from_one_thread() -> None:
    async def scenario() -> None:
        worker, order = Worker(), []
        worker.start()

        def work(i: int) -> Callable[[Job[str]], str]:
            def run(_: Job[str]) -> str:
                order.append(i)
                return threading.current_thread().name

            return run

        names = await asyncio.gather(*(worker.submit(Job(work(i))) for i in range(5)))
        assert order == [0, 1, 2, 3, 4]
        assert len(set(names)) == 1
        assert names[0] != threading.current_thread().name
        assert (worker.stats.done, worker.stats.waiting, worker.stats.running) == (5, 0, 0)
        await worker.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GenerationFailed("bad"), GenerationFailed),
        (ValueError("bad"), ValueError),
        (StopIteration(), RuntimeError),
        (SystemExit(1), RuntimeError),
        (asyncio.CancelledError(), RuntimeError),
    ],
)
def test_a_failing_job_fails_alone(error: BaseException, expected: type[Exception]) -> None:
    def fail() -> str:
        raise error

    async def scenario() -> None:
        worker = Worker()
        worker.start()
        bad = job(fail)
        with pytest.raises(expected):
            await asyncio.wait_for(worker.submit(bad), 10)
        assert bad.state is JobState.FAILED
        assert await worker.submit(job(lambda: "fine")) == "fine"
        assert (worker.stats.failed, worker.stats.done) == (1, 1)
        await worker.stop()

    asyncio.run(scenario())


def test_event_loop_stays_free_while_a_job_runs() -> None:
    async def scenario() -> None:
        worker, gate = Worker(), Gate()
        worker.start()
        waiting = asyncio.create_task(worker.submit(job(gate)))
        await gate.wait_entered()
        assert (worker.stats.running, worker.stats.waiting) == (1, 0)
        gate.open.set()
        assert await waiting == "through"
        await worker.stop()

    asyncio.run(scenario())


def test_cancelled_jobs_never_reach_the_model() -> None:
    async def scenario() -> None:
        worker, gate, reached = Worker(), Gate(), []
        worker.start()
        first = asyncio.create_task(worker.submit(job(gate)))
        await gate.wait_entered()
        queued = job(lambda: reached.append(1) or "ran")
        second = asyncio.create_task(worker.submit(queued))
        await asyncio.sleep(0)
        assert worker.stats.waiting == 1
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.open.set()
        await first
        assert await worker.submit(job(lambda: "later")) == "later"
        assert (reached, queued.state) == ([], JobState.CANCELLED)
        assert (worker.stats.cancelled, worker.stats.done, worker.stats.waiting) == (1, 2, 0)
        await worker.stop()

    asyncio.run(scenario())


def test_cancelling_a_running_job_ends_it_at_its_next_check() -> None:
    async def scenario() -> None:
        worker, gate = Worker(), Gate()
        worker.start()

        def work(self: Job[str]) -> str:
            gate()
            self.check()
            return "not reached"

        running = Job(work)
        task = asyncio.create_task(worker.submit(running))
        await gate.wait_entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.set()
        await worker.stop()
        assert running.state is JobState.CANCELLED
        assert (worker.stats.cancelled, worker.stats.done) == (1, 0)

    asyncio.run(scenario())


def test_stop_drains_the_queue_and_refuses_new_jobs() -> None:
    async def scenario() -> None:
        worker, gate = Worker(), Gate()
        worker.start()
        tasks = [asyncio.create_task(worker.submit(job(work))) for work in (gate, lambda: "queued")]
        await gate.wait_entered()
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await worker.submit(job(lambda: "late"))
        assert not stopping.done()
        gate.open.set()
        await stopping
        assert await asyncio.gather(*tasks) == ["through", "queued"]

    asyncio.run(scenario())


def test_stop_without_drain_drops_the_queue() -> None:
    async def scenario() -> None:
        worker, gate, reached = Worker(), Gate(), []
        worker.start()

        def work(self: Job[str]) -> str:
            gate()
            self.check()
            return "not reached"

        running = asyncio.create_task(worker.submit(Job(work)))
        await gate.wait_entered()
        queued = asyncio.create_task(worker.submit(job(lambda: reached.append(1) or "ran")))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(worker.stop(drain=False))
        await asyncio.sleep(0)
        gate.open.set()
        results = await asyncio.gather(running, queued, return_exceptions=True)
        await stopping
        assert [type(result) for result in results] == [Cancelled, Draining]
        assert reached == []
        assert (worker.stats.cancelled, worker.stats.waiting) == (2, 0)

    asyncio.run(scenario())


def test_a_worker_can_be_started_again_and_prepares_its_thread() -> None:
    async def scenario() -> None:
        prepared: list[str] = []
        worker = Worker(on_start=lambda: prepared.append(threading.current_thread().name))
        with pytest.raises(Draining):
            await worker.submit(job(lambda: "too early"))
        for _ in range(2):
            worker.start()
            worker.start()
            assert await worker.submit(job(lambda: threading.current_thread().name)) == prepared[-1]
            await worker.stop()
            await worker.stop()
        assert len(prepared) == 2

    asyncio.run(scenario())
