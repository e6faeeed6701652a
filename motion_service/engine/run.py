"""What the scheduler talks about: runs of a sampler, the batches it makes of them, the limits of a model.

Knows no torch and no clock: time is what the caller says, in monotonic seconds. A *clip* is what one run makes, a *row*
one frame of it in the network.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

Mode = Literal["loop", "step"]

BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
"""Clips that a graph is recorded for, unless a model says otherwise."""


class Priority(IntEnum):
    """Smaller is served first."""

    LIVE = 0
    """A window of a stream that is being played: late is a frozen avatar."""
    INTERACTIVE = 1
    """Somebody waits for the answer."""
    BATCH = 2
    """Nobody watches."""


@dataclass(slots=True, eq=False)
class SamplingRun:
    """One clip, or one window of a stream, on its way through the denoising steps. The scheduler changes its state."""

    id: str
    model: str
    frames: int
    """Rows in the network: a window counts with its prefix."""
    steps: int
    priority: Priority = Priority.INTERACTIVE
    arrival: float = 0.0
    deadline: float = math.inf
    """When the last step must be done; inf = as soon as may be."""
    client: str = ""
    """Clients of one priority take turns; all without a name are one client."""
    work: Any = None
    """What the model needs to begin; the scheduler does not look at it."""

    done: int = 0
    """Steps taken."""
    bucket: int = 0
    """Frames rounded up to a length of the model; set when submitted."""
    in_flight: bool = False
    """Holds a place on the device: has begun and not ended."""
    cancelled: bool = False
    late: bool = False
    """The deadline cannot be met any more, not even alone."""
    began: float | None = None
    """When the first batch with it was handed out."""
    company: int = 0
    """It shares batches only with runs of the same number: 0, or another one after a batch with it has failed."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.steps < 1:
            raise ValueError(f"a run has at least one frame and one step, got {self.frames} and {self.steps}")
        if not self.deadline > -math.inf or not math.isfinite(self.arrival):
            raise ValueError("arrival must be finite and deadline a number or infinity")

    def begin_anew(self, company: int) -> None:
        """From the first step, among others of ``company``; it must have left the scheduler."""
        self.done, self.began, self.company = 0, None, company
        self.cancelled = self.late = False

    @property
    def remaining(self) -> int:
        """Steps still to be taken."""
        return self.steps - self.done


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What may run at once on one model. Raises ValueError for buckets that are none."""

    lengths: tuple[int, ...]
    """Length buckets in rows, ascending."""
    batches: tuple[int, ...] = BATCHES
    """Batch buckets in clips, ascending, 1 among them."""
    slots: int = 0
    """Most clips in flight, paused ones included; 0 = twice the largest batch, so that a full one can be paused."""
    rows: int = 0
    """Most rows in flight, counted by length bucket; 0 = as many as the slots allow."""
    packed: bool = False
    """Rows of clips lie one after the other, so that the mean length counts; else all are padded to the longest."""
    loops: frozenset[tuple[int, int, int]] | None = None
    """(length bucket, batch bucket, steps) that a graph of the whole loop exists for; None = all."""

    def __post_init__(self) -> None:
        for name, buckets in (("lengths", self.lengths), ("batches", self.batches)):
            if not buckets or buckets[0] < 1 or list(buckets) != sorted(set(buckets)):
                raise ValueError(f"{name} must ascend from at least 1, got {buckets}")
        if self.batches[0] != 1:
            raise ValueError(f"batches must begin with 1, got {self.batches}")
        if self.slots < 0 or self.rows < 0:
            raise ValueError("slots and rows must not be negative")

    @property
    def max_slots(self) -> int:
        return self.slots or 2 * self.batches[-1]

    @property
    def max_rows(self) -> int:
        return self.rows or self.max_slots * self.lengths[-1]

    @property
    def largest(self) -> int:
        """Rows of the largest graph."""
        return self.lengths[-1] * self.batches[-1]

    def length_bucket(self, frames: float) -> int:
        """The smallest that holds ``frames``. Raises ValueError beyond the largest."""
        if frames > self.lengths[-1]:
            raise ValueError(f"clips of this model have at most {self.lengths[-1]} frames, got {frames}")
        return self.lengths[bisect.bisect_left(self.lengths, frames)]

    def batch_bucket(self, num_clips: int) -> int:
        """The smallest that holds so many clips, or the largest there is."""
        return self.batches[min(bisect.bisect_left(self.batches, num_clips), len(self.batches) - 1)]

    def shape(self, runs: Sequence[SamplingRun]) -> tuple[int, int]:
        """Length and batch bucket of a graph that takes these clips together."""
        width = self.batch_bucket(len(runs))
        if self.packed:
            return self.length_bucket(sum(run.frames for run in runs) / width), width
        return max(run.bucket for run in runs), width

    def has_loop(self, bucket: int, width: int, steps: int) -> bool:
        return self.loops is None or (bucket, width, steps) in self.loops


@dataclass(frozen=True, slots=True)
class Batch:
    """One thing for the device to do: ``num_steps`` steps of each of ``runs``."""

    model: str
    bucket: int
    """Length bucket of the graph."""
    width: int
    """Batch bucket of the graph; seats beyond ``runs`` stay empty."""
    runs: tuple[SamplingRun, ...]
    mode: Mode
    """``loop``: all steps of runs that have not begun, in one graph; ``step``: a graph for each step."""
    num_steps: int
    predicted_ms: float
    started: float
    """When it was handed out."""

    @property
    def padding(self) -> float:
        """Share of the graph's rows that are no frame of a clip, 0 to 1."""
        return 1 - sum(run.frames for run in self.runs) / (self.bucket * self.width)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run has to expect."""

    wait_s: float
    """Until its first step."""
    finish_s: float
    """Until its last step is done."""
    hopeless: bool
    """It would miss its deadline: better refused now, with a Retry-After of ``wait_s``."""
