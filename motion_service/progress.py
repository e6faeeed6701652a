"""How far the making of one clip is, for whoever looks on. Whoever works pays for it with one entry in a list.

Whoever starts a job puts a :class:`Progress` into the context (:data:`current`); the engine notes there each run that
it takes, and sources say how many steps they expect in all. Reading it asks nobody to do anything.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol


class Stepping(Protocol):
    """A run of the engine as seen from here."""

    @property
    def steps(self) -> int: ...

    @property
    def done(self) -> int: ...

    @property
    def began(self) -> float | None: ...


class Progress:
    """The denoising steps of one job. Written by its task, read from anywhere."""

    def __init__(self) -> None:
        self._expected = 0
        self._runs: list[Stepping] = []

    def expect(self, steps: int) -> None:
        """So many more steps are going to be taken."""
        self._expected += steps

    def add(self, run: Stepping) -> None:
        """One run was handed to the engine."""
        self._runs.append(run)

    @property
    def begun(self) -> bool:
        """Whether the first step was taken; before that the job waits."""
        return any(run.began is not None for run in self._runs)

    @property
    def done(self) -> int:
        """Steps taken."""
        return sum(run.done for run in self._runs)

    @property
    def steps(self) -> int:
        """Steps in all, as far as is known."""
        return max(self._expected, sum(run.steps for run in self._runs))


current: Final[ContextVar[Progress | None]] = ContextVar("progress", default=None)
"""Of the job that the current task works for."""


def expect(steps: int) -> None:
    """Say so to the job of this task, if anybody wants to know."""
    if (progress := current.get()) is not None:
        progress.expect(steps)


def note_run(run: Stepping) -> None:
    """Note a run of the job of this task, if anybody wants to know."""
    if (progress := current.get()) is not None:
        progress.add(run)
