"""Windows of streams are runs of the engine: urgent, with their client; what follows does not depend on the cuts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from motion_service.engine.run import Priority, SamplingRun
from motion_service.engine.worker import Worker
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import LiveOrder, slice_clip
from motion_service.text_encoder import UseEncoder
from motion_service.timeline import read_plan
from motion_service.vrm.body import CANONICAL_BODY
from motion_service.vrm.live_lock import MEMORY, lock_live
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


async def test_the_foot_lock_does_not_depend_on_windows(mini: LiveDiffusionSource) -> None:
    """A motion locked in pieces of any length is the motion locked at once."""
    text = (await read_plan(mini, prompt_to_plan("a person walks forward"), 1))[0]
    state = mini.open(None)
    for _ in range(3):
        state = mini.extend(state, await mini.sample(state, text, LiveOrder(5, steps=4)), 1000)
    nothing = torch.full((MEMORY,), torch.nan)
    whole, remembered = lock_live(state.clip, CANONICAL_BODY, nothing)
    memory, begin = nothing, 0
    for end in (1, 8, 40, 41, 97, state.clip.num_frames):
        part, memories = lock_live(slice_clip(state.clip, begin, end), CANONICAL_BODY, memory)
        assert torch.allclose(memories, remembered[begin:end], atol=1e-6)
        for bone in ("leftUpperLeg", "rightLowerLeg", "leftFoot"):
            assert torch.allclose(part.rotations[bone], whole.rotations[bone][begin:end], atol=1e-4)
        memory, begin = memories[-1], end
