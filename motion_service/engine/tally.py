"""What the worker has done so far, counted on its thread and read by anybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from motion_service.engine.run import Batch
from motion_service.errors import Cancelled, Draining


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """Since the worker was made; jobs and runs alike."""

    waiting: int
    """Handed in and not yet started."""
    running: int
    done: int
    failed: int
    cancelled: int
    """What nobody waited for any more, and what a stop refused."""
    busy_s: float
    """Seconds spent inside jobs and batches."""
    batches: int
    """Batches handed to the device."""
    batch_steps: int
    """Denoising steps of batches."""
    clip_steps: int
    """The same of single clips; by :attr:`batch_steps`, how many clips shared one on average."""
    widths: Mapping[int, int]
    """How many batches had so many clips."""


class Tally:
    """See the module. ``submitted`` is counted by those who submit, on their event loop; the rest by the worker."""

    def __init__(self) -> None:
        self.submitted = self.started = 0
        self.busy_s = 0.0
        self._done = self._failed = self._cancelled = 0
        self._batches = self._batch_steps = self._clip_steps = 0
        self._widths: dict[int, int] = {}

    def batch(self, batch: Batch) -> None:
        """A batch was handed to the device."""
        self._batches += 1
        self._widths[len(batch.runs)] = self._widths.get(len(batch.runs), 0) + 1
        self._batch_steps += batch.num_steps
        self._clip_steps += batch.num_steps * len(batch.runs)

    def ended(self, results: Iterable[object]) -> None:
        """What became of jobs and runs: a result, or an exception."""
        for result in results:
            if isinstance(result, Cancelled | Draining):
                self._cancelled += 1
            elif isinstance(result, BaseException):
                self._failed += 1
            else:
                self._done += 1

    @property
    def stats(self) -> WorkerStats:
        ended = self._done + self._failed + self._cancelled
        return WorkerStats(
            waiting=max(0, self.submitted - max(self.started, ended)),
            running=max(0, self.started - ended),
            done=self._done,
            failed=self._failed,
            cancelled=self._cancelled,
            busy_s=self.busy_s,
            batches=self._batches,
            batch_steps=self._batch_steps,
            clip_steps=self._clip_steps,
            widths=self._widths.copy(),
        )
