"""How long a training run may take, and what it tells of itself while it takes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motion_service.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run may take, and where in the learning rate's cosine it stands. Minutes or steps, not both."""

    minutes: float | None = None
    """Of this run, start-up included."""
    total_minutes: float | None = None
    """Of the whole cosine, over several runs; None = of this run."""
    elapsed_minutes: float = 0.0
    """Spent by earlier runs."""
    steps: int | None = None
    """Of the whole cosine, earlier runs included."""

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise BadRequest("give either minutes or steps", field="minutes")
        if min(self.minutes or 1, self.total_minutes or 1, self.steps or 1) <= 0 or self.elapsed_minutes < 0:
            raise BadRequest("minutes and steps must be positive", field="minutes")

    def progress(self, step: int, minutes: float) -> float:
        """0..1, how much of the cosine is done after ``step`` steps in all and ``minutes`` of this run."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        whole = self.total_minutes or self.elapsed_minutes + self.minutes
        return min(1.0, (self.elapsed_minutes + minutes) / whole)

    def is_spent(self, step: int, minutes: float) -> bool:
        if self.steps is not None:
            return step >= self.steps
        return self.minutes is not None and minutes >= self.minutes


@dataclass(frozen=True, slots=True)
class Progress:
    """What is told now and then."""

    step: int
    minutes: float
    """Of this run."""
    steps_per_s: float
    lr: float
    loss: float
    terms: dict[str, float]
    share: float
    """0..1 of this run's budget."""

    def to_json(self) -> dict[str, Any]:
        numbers = {"minutes": self.minutes, "steps_per_s": self.steps_per_s, "loss": self.loss, **self.terms}
        return {"step": self.step, "lr": self.lr, **{name: round(value, 5) for name, value in numbers.items()}}


def write_log(path: Path, progress: Progress) -> str:
    """Append one JSON line to the log and return it."""
    line = json.dumps(progress.to_json())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    return line
