"""Windows of streams are runs of the engine: urgent, with their client; what follows does not depend on the cuts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from motion_service.engine.run import Priority, SamplingRun
from motion_service.engine.worker import Worker
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import LiveOrder
from motion_service.text_encoder import UseEncoder
from motion_service.timeline import read_plan
from motion_service.vrm.live_lock import MEMORY, Feet, hold_feet
from tests.fakes import MINI


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    worker.start()
    yield worker
    asyncio.run(worker.stop())


@pytest.fixture(scope="module")
def mini(worker: Worker) -> LiveDiffusionSource:
    return LiveDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)


@pytest.mark.parametrize(
    ("order", "priority"),
    [
        (LiveOrder(5, steps=2, deadline=1e9, client="a"), Priority.LIVE),
        (LiveOrder(5, steps=2), Priority.INTERACTIVE),
    ],
)
async def test_a_window_that_is_played_soon_goes_before_clips(
    mini: LiveDiffusionSource,
    worker: Worker,
    order: LiveOrder,
    priority: Priority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[SamplingRun] = []
    sample = worker.sample

    def watched(run: SamplingRun) -> Any:
        runs.append(run)
        return sample(run)

    monkeypatch.setattr(worker, "sample", watched)
    text = (await read_plan(mini, prompt_to_plan("a person waves"), 1))[0]
    rows = await mini.sample(mini.open(None), text, order)
    assert rows.shape == (mini.window_frames, 260)
    (run,) = runs
    assert (run.priority, run.deadline, run.client) == (priority, order.deadline, order.client)
    assert run.steps == 2 and (priority is Priority.LIVE) == math.isfinite(run.deadline)


def test_the_foot_lock_does_not_depend_on_windows() -> None:
    """Feet held in pieces of any length, and whoever else is there, are the feet held at once."""
    draw = np.random.default_rng(1)
    frames, streams = 120, 3
    places = 0.004 * draw.standard_normal((frames, streams, 2, 2, 3)).cumsum(0)
    places[..., 1] = np.abs(places[..., 1])
    labels = np.repeat(draw.random((frames // 8, streams, 2, 2)) < 0.7, 8, axis=0)
    feet = Feet(places, labels, np.zeros((streams, 2, 2)), np.ones((streams, 1)), 20.0)
    nothing = np.full((streams, 2, MEMORY // 2), np.nan)
    offsets, remembered = hold_feet(feet, nothing)
    assert np.abs(offsets).max() > 0.005
    memory, begin = nothing[:1], 0
    for end in (1, 8, 40, 41, 97, frames):
        rows = slice(begin, end)
        part = replace(
            feet, parts=places[rows, :1], labels=labels[rows, :1], floor=feet.floor[:1], scale=feet.scale[:1]
        )
        offset, memories = hold_feet(part, memory)
        assert np.allclose(offset, offsets[rows, :1], atol=1e-9) and np.allclose(
            memories, remembered[rows, :1], atol=1e-9
        )
        memory, begin = memories[-1], end
