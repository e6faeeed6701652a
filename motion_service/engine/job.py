"""One piece of work for the model thread, and its state. Knows neither torch nor motion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

from motion_service.engine.pulse import JOB_S
from motion_service.errors import Cancelled

Result = TypeVar("Result")


def nothing() -> None:
    """There is nothing else to do."""


class JobState(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Generic[Result]):
    """Work to be run once, on the thread that owns the model.

    ``work`` gets the job itself, so that long work can call :meth:`check` between its steps.
    """

    def __init__(self, work: Callable[[Job[Result]], Result], *, patience_s: float = JOB_S) -> None:
        """``patience_s``: longest time between two checks; then the thread is taken to hang."""
        self.work = work
        self.patience_s = patience_s
        self.between: Callable[[], None] = nothing
        """Called at each check: what else the thread has to do between the steps of this job."""
        self.state = JobState.QUEUED
        self.queued_at = time.monotonic()
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask for an end from any thread: queued work never starts, running work ends at its next :meth:`check`."""
        self._cancelled.set()
        if self.state is JobState.QUEUED:
            self.state = JobState.CANCELLED

    def check(self) -> None:
        """Between two steps: let others have their turn, and raise :class:`~motion_service.errors.Cancelled` if nobody
        waits for the result any more.
        """
        self.between()
        if self._cancelled.is_set():
            raise Cancelled()

    def run(self) -> Result:
        """Do the work on the calling thread and keep account of it. Raises what the work raises."""
        self.started_at = time.monotonic()
        try:
            if self._cancelled.is_set():
                raise Cancelled()
            self.state = JobState.RUNNING
            result = self.work(self)
            self.state = JobState.DONE
            return result
        except Cancelled:
            self.state = JobState.CANCELLED
            raise
        finally:
            if self.state is JobState.RUNNING:
                self.state = JobState.FAILED
            self.finished_at = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds in the queue, until now while still there."""
        return (self.started_at or time.monotonic()) - self.queued_at
