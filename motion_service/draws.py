"""How often a source is asked for one request: repetitions, and for each of them the draws of best-of-N."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from motion_service.clips import VrmClip
from motion_service.edit import describe_edit, put_in
from motion_service.errors import BadRequest, DeadlineExceeded, GenerationFailed
from motion_service.mdm_adapter.decode import decode
from motion_service.schemas import MAX_SEED, GenerateRequest
from motion_service.source import EditingSource, EditPlan, MotionSource, SourceClip, SourceRequest
from motion_service.telemetry import log_event

MAX_DRAWS: Final = 16
"""Most clips made for one request."""
_Made = TypeVar("_Made")


def check_draws(options: GenerateRequest) -> None:
    """Raises BadRequest for more clips than one request may cost."""
    if options.repetitions * options.best_of > MAX_DRAWS:
        raise BadRequest(f"repetitions times best_of must be at most {MAX_DRAWS}", field="best_of")


async def draw_clips(source: MotionSource, wish: SourceRequest, options: GenerateRequest) -> list[SourceClip]:
    """``best_of`` clips for every repetition, one after the other; those of one repetition share batches."""
    made: list[SourceClip] = []
    for seeds in _seeds(wish.seed, options):
        made += await _all([source.generate(replace(wish, seed=seed)) for seed in seeds])
    return made


async def draw_edits(
    source: EditingSource, wish: SourceRequest, clip: VrmClip, edit: EditPlan, options: GenerateRequest
) -> list[SourceClip]:
    """The same for edits, in the client's own clip. Raises DeadlineExceeded."""
    raw: list[SourceClip] = []
    try:
        async with asyncio.timeout(options.deadline_ms / 1000):
            for seeds in _seeds(wish.seed, options):
                raw += await _all([source.edit(replace(wish, seed=seed), clip, edit) for seed in seeds])
    except TimeoutError as error:
        raise DeadlineExceeded() from error
    except GenerationFailed as error:
        log_event("edit failed", error=error, reason=error.problem, provider=source.name)
        raise
    return await asyncio.to_thread(
        lambda: [
            replace(
                made,
                clip=put_in(clip, decode(made)[0], edit),
                joints=None,
                facts={**made.facts, **describe_edit(clip, edit)},
            )
            for made in raw
        ]
    )


def _seeds(first: int, options: GenerateRequest) -> list[list[int]]:
    """Seeds of each repetition. The first of each counts up as without best-of-N, so that one draw changes nothing."""
    step = options.repetitions
    return [
        [(first + repetition + step * draw) % (MAX_SEED + 1) for draw in range(options.best_of)]
        for repetition in range(options.repetitions)
    ]


async def _all(work: Sequence[Coroutine[Any, Any, _Made]]) -> list[_Made]:
    """All results, made side by side; the first failure ends the others."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
