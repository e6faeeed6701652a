"""What a run of a diffusion model is made from, and how sources hand one in."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from torch import Tensor

from motion_service import metrics
from motion_service.clips import TextEmbedding
from motion_service.diffusion.schedule import Schedule, Step, Variance, evenly_spaced, respace, shortcut_schedule
from motion_service.engine.guard import Engine
from motion_service.engine.run import Priority, SamplingRun
from motion_service.errors import NonFiniteOutput
from motion_service.source import LiveOrder
from motion_service.telemetry import log_event

_numbers: Final = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class ClipWork:
    """One clip, or one window after a prefix, all on the CPU. Features are normalised."""

    text: TextEmbedding
    steps: tuple[Step, ...]
    """In sampling order."""
    guidance: float
    frames: int
    """T to be made, without the prefix."""
    seed: int
    """Of all its noise: 0 .. 2**63 - 1."""
    prefix: Tensor | None = None
    """(C, F) frames before it, for window models."""
    target: tuple[Tensor, Tensor] | None = None
    """Places (8, 3) and which of them are asked (8,), for models with target."""


@dataclass(frozen=True, slots=True)
class Urgency:
    """How soon a run is wanted, and by whom."""

    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    """Monotonic seconds."""
    client: str = ""


def order_to_urgency(order: LiveOrder) -> Urgency:
    """Windows that are played soon go before clips; those of a script without a screen do not."""
    if math.isinf(order.deadline):
        return Urgency(client=order.client)
    return Urgency(Priority.LIVE, order.deadline, order.client)


async def sample_clip(
    worker: Engine, model: str, work: ClipWork, urgency: Urgency | None = None
) -> tuple[Tensor, float]:
    """Normalised features (T, F) float32 on the CPU, and the seconds that the run waited for its first step.

    Numbers that are not finite are made once more in float32. Raises NonFiniteOutput, and what the worker raises;
    cancelling the wait ends the run at its next step.
    """
    features, waited_s = await _sample_once(worker, model, work, urgency or Urgency())
    if is_finite(features):
        return features, waited_s
    metrics.NOT_FINITE.inc()
    log_event("numbers not finite, made again in float32", level=logging.WARNING, model=model)
    try:
        features, again_s = await _sample_once(worker, exact_name(model), work, urgency or Urgency())
    except ValueError as error:  # there is no such model
        raise NonFiniteOutput() from error
    if not is_finite(features):
        raise NonFiniteOutput("the model returned numbers that are not finite; are its weights damaged?")
    return features, waited_s + again_s


def exact_name(model: str) -> str:
    """The same network in float32, one clip at a time: for what its fast twin made a mess of."""
    return f"{model} (float32)"


def is_finite(features: Tensor) -> bool:
    """Whether all numbers are: one that is not makes the sum like it."""
    return math.isfinite(float(features.numpy().sum()))  # for so few numbers quicker than a tensor's own


async def _sample_once(worker: Engine, model: str, work: ClipWork, urgency: Urgency) -> tuple[Tensor, float]:
    run = SamplingRun(
        id=f"{model}-{next(_numbers)}",
        model=model,
        frames=work.frames + (0 if work.prefix is None else len(work.prefix)),
        steps=len(work.steps),
        priority=urgency.priority,
        arrival=time.monotonic(),
        deadline=urgency.deadline,
        client=urgency.client,
        work=work,
    )
    features = cast("Tensor", await worker.sample(run))
    return features, max(0.0, (run.began or run.arrival) - run.arrival)


class StepTable:
    """The schedules that one model can be sampled with, each made once: requests ask for a few again and again."""

    def __init__(self, schedule: Schedule, variance: Variance = "small") -> None:
        self._variance: Variance = variance
        self._schedules = {schedule.num_steps: schedule}
        self._whole = schedule
        self._steps: dict[tuple[int, bool], tuple[Step, ...]] = {}

    def schedule(self, num_steps: int) -> Schedule:
        """The schedule of so many steps, 1 to those of training, evenly spaced."""
        if num_steps not in self._schedules:
            kept = evenly_spaced(self._whole.num_steps, num_steps)
            self._schedules[num_steps] = respace(self._whole, kept)
        return self._schedules[num_steps]

    def steps(self, num_steps: int, *, deterministic: bool = False) -> tuple[Step, ...]:
        """In sampling order: ancestral sampling, or DDIM without fresh noise."""
        key = num_steps, deterministic
        if key not in self._steps:
            schedule = self.schedule(num_steps)
            self._steps[key] = schedule_to_steps(schedule, deterministic=deterministic, variance=self._variance)
        return self._steps[key]


def schedule_to_steps(
    schedule: Schedule, *, deterministic: bool = False, variance: Variance = "small"
) -> tuple[Step, ...]:
    """The steps of ancestral sampling, or of DDIM without fresh noise."""
    steps: Iterable[Step] = schedule.descending_ddim() if deterministic else schedule.descending(variance)
    return tuple(steps)


def shortcut_steps(schedule: Schedule, num_steps: int) -> tuple[Step, ...]:
    """The steps of a network that learned so many shortcuts through ``schedule``; none for 0."""
    return schedule_to_steps(shortcut_schedule(schedule, num_steps), deterministic=True) if num_steps else ()


def window_seed(seed: int, index: int) -> int:
    """Seed of one window of a clip: another for each, the same whenever it is asked for. 63 bits."""
    words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
