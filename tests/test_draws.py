"""Repetitions and best-of-N: which seeds are drawn, that draws run side by side, and what counts as a fault."""

from __future__ import annotations

import asyncio

import pytest

from motion_service.draws import MAX_DRAWS, check_draws, draw_clips
from motion_service.errors import BadRequest, GenerationFailed
from motion_service.placeholder import PlaceholderSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.quality import REAL_RANGE, faults, measure_clip
from motion_service.schemas import GenerateRequest
from motion_service.source import SourceClip, SourceRequest


class Counting(PlaceholderSource):
    """Says how many run at once; fails for one seed when asked to."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.running = self.most = 0
        self.fails_at = fails_at
        self.ended: list[int] = []

    async def generate(self, request: SourceRequest) -> SourceClip:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0 if request.seed == self.fails_at else 0.01)
            if request.seed == self.fails_at:
                raise GenerationFailed()
            return await super().generate(request)
        finally:
            self.running -= 1
            self.ended.append(request.seed)


def options(**values: int) -> GenerateRequest:
    return GenerateRequest.model_validate({"prompt": "wave", **values})


WISH = SourceRequest(prompt_to_plan("wave"), 1.0, 7)


def test_one_draw_has_the_seeds_it_always_had() -> None:
    made = asyncio.run(draw_clips(PlaceholderSource(), WISH, options(repetitions=3)))
    assert [clip.seed for clip in made] == [7, 8, 9]


def test_draws_of_a_repetition_run_side_by_side_and_start_with_its_seed() -> None:
    source = Counting()
    made = asyncio.run(draw_clips(source, WISH, options(repetitions=2, best_of=3)))
    assert [clip.seed for clip in made] == [7, 9, 11, 8, 10, 12]
    assert source.most == 3


def test_a_failing_draw_ends_the_others() -> None:
    source = Counting(fails_at=8)
    with pytest.raises(GenerationFailed):
        asyncio.run(draw_clips(source, WISH, options(best_of=4)))
    assert source.running == 0


def test_more_clips_than_a_request_may_cost_are_refused() -> None:
    check_draws(options(repetitions=2, best_of=8))
    with pytest.raises(BadRequest):
        check_draws(options(repetitions=MAX_DRAWS // 2, best_of=3))


def test_faults_grow_with_what_is_worse_than_recordings() -> None:
    clip = asyncio.run(PlaceholderSource().generate(WISH)).clip
    measures = measure_clip(clip)  # type: ignore[arg-type]
    assert faults(measures) == 0
    assert set(REAL_RANGE) <= set(measures)
    worse = {**measures, "penetration_cm": 3.0}
    assert faults(worse) > 1 and faults({**worse, "self_intersection_cm": 8.0}) > faults(worse)
