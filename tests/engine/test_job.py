import pytest

from motion_service.engine.job import Job, JobState
from motion_service.errors import Cancelled


def test_job_keeps_account_of_its_life() -> None:
    seen: list[JobState] = []
    job: Job[int] = Job(lambda self: seen.append(self.state) or 7)
    assert (job.state, job.started_at, job.finished_at) == (JobState.QUEUED, None, None)
    assert job.run() == 7
    assert (seen, job.state) == ([JobState.RUNNING], JobState.DONE)
    assert job.started_at is not None and job.finished_at is not None
    assert job.queued_at <= job.started_at <= job.finished_at
    assert job.waited_s == job.started_at - job.queued_at


def test_failed_job_keeps_its_error() -> None:
    def fail(job: Job[int]) -> int:
        raise KeyError("lost")

    job = Job(fail)
    with pytest.raises(KeyError, match="lost"):
        job.run()
    assert job.state is JobState.FAILED


def test_cancelled_job_does_not_start() -> None:
    reached: list[int] = []
    job: Job[None] = Job(lambda _: reached.append(1))
    job.cancel()
    assert job.state is JobState.CANCELLED
    with pytest.raises(Cancelled):
        job.run()
    assert reached == []
    assert job.state is JobState.CANCELLED
