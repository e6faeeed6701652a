"""Faults under the shipped model itself: what comes out is motion, and the same as it would have been."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import torch

from motion_service.clips import VrmClip
from motion_service.engine.costs import CPU_MINI
from motion_service.engine.guard import GuardedWorker
from motion_service.engine.resident import DeviceFull
from motion_service.engine.worker import Worker
from motion_service.errors import EngineLost, NonFiniteOutput
from motion_service.faults import ALWAYS, Fault, FaultPlan
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.decode import decode
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.source import SourceClip
from motion_service.text_encoder import UseEncoder
from tests.fakes import MINI
from tests.reliability.invariance import WideCosts, angle_between, request_of, run_invariance


def on_mini(scenario: Callable[[LiveDiffusionSource, GuardedWorker, FaultPlan], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        plan = FaultPlan()
        worker = GuardedWorker(lambda: Worker(costs=WideCosts(CPU_MINI), faults=plan), lost_after_s=0.5)
        worker.start()
        source = LiveDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
        worker.ready()
        try:
            await asyncio.wait_for(scenario(source, worker, plan), 60)
        finally:
            await worker.stop()

    asyncio.run(whole())


def clip_of(made: SourceClip) -> VrmClip:
    return decode(made)[0]


def assert_same(one: VrmClip, other: VrmClip) -> None:
    assert max(angle_between(track, other.rotations[bone]) for bone, track in one.rotations.items()) < 1e-4


def test_company_in_a_batch_changes_nothing() -> None:
    found = run_invariance(7, checked=2)
    assert found["ok"], found


def test_numbers_that_are_not_finite_are_made_again() -> None:
    async def scenario(source: LiveDiffusionSource, worker: GuardedWorker, plan: FaultPlan) -> None:
        plan.add(Fault("results", "nan"))
        made = clip_of(await source.generate(request_of(1)))
        assert plan.struck == [("results", "nan")]
        assert all(bool(torch.isfinite(track).all()) for track in made.rotations.values())
        plan.add(Fault("results", "nan", times=ALWAYS))
        with pytest.raises(NonFiniteOutput):
            await source.generate(request_of(1))

    on_mini(scenario)


def test_motion_is_the_same_whatever_broke_on_the_way() -> None:
    async def scenario(source: LiveDiffusionSource, worker: GuardedWorker, plan: FaultPlan) -> None:
        expected = clip_of(await source.generate(request_of(2)))
        for fault in (
            Fault("batch", "raise", times=2, applies=lambda batch: len(batch.runs) > 1),
            Fault("batch", "raise", DeviceFull, 2, applies=lambda batch: batch.width > 1),
        ):
            plan.add(fault)
            made = await asyncio.gather(*(source.generate(request_of(number)) for number in (2, 3, 4)))
            assert_same(expected, clip_of(made[0]))
            assert plan.struck, "what was to break did"
            plan.clear()
            plan.struck.clear()
        plan.add(Fault("batch", "hang", seconds=3.0))
        with pytest.raises(EngineLost):
            await source.generate(request_of(2))
        while worker.condition != "ready":
            await asyncio.sleep(0.05)
        assert_same(expected, clip_of(await source.generate(request_of(2))))

    on_mini(scenario)
