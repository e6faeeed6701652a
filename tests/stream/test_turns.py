"""Turns at the model: one at a time, the most urgent next, and none is lost."""

from __future__ import annotations

import asyncio

from motion_service.mdm_adapter.turns import DeadlineTurns
from tests.stream.live_fakes import simulate


def test_the_earliest_deadline_goes_next_and_cancelled_ones_are_passed_over() -> None:
    async def main() -> list[float]:
        turns, served = DeadlineTurns(), []

        async def hold(deadline: float) -> None:
            async with turns.take(deadline):
                served.append(deadline)
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(hold(deadline)) for deadline in (9.0, 5.0, 7.0, 1.0, 3.0)]
        await asyncio.sleep(0.5)
        tasks[3].cancel()  # waits, and would be next
        await asyncio.sleep(1)
        tasks[4].cancel()  # holds the turn
        await asyncio.gather(*tasks, return_exceptions=True)
        async with turns.take(0.0):
            served.append(0.0)
        return served

    assert simulate(main()) == [9.0, 3.0, 5.0, 7.0, 0.0]
