"""Which text drives which frames of a motion that is made window by window, and the motion of such a script.

Streams change the script while they play; ``POST /v1/motion/generate`` plays one of known length to its end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from motion_service.clips import PromptPlan, Segment, VrmClip
from motion_service.errors import BadRequest
from motion_service.prompt.times import times_to_seconds
from motion_service.source import (
    LiveOrder,
    LiveSource,
    LiveState,
    LiveText,
    LiveWindow,
    MotionSource,
    SourceClip,
    SourceRequest,
    extend_state,
)

IDLE: Final = PromptPlan(
    "a person stands idle",
    "en",
    (Segment("a person stands idle", "idle", (), None, "a person stands idle"),),
    action="idle",
    confidence=1.0,
    captions=("a person stands idle",),
)
"""What an empty prompt asks for."""
ACTION_S: Final = 3.0
"""How long one of several actions lasts when nothing is said of it, s."""


@dataclass(frozen=True, slots=True)
class Script:
    """Texts in order of time, each with the frame (of the source) where it begins. The first one begins at once."""

    entries: tuple[tuple[int, LiveText], ...]

    def at(self, frame: int) -> tuple[LiveText, int | None]:
        """The text that drives ``frame``, and the frame where the next one begins; None when none follows."""
        begun = max((i for i, (start, _) in enumerate(self.entries) if start <= frame), default=0)
        following = self.entries[begun + 1 :]
        return self.entries[begun][1], following[0][0] if following else None

    def between(self, start: int, stop: int) -> list[LiveText]:
        """The texts that drive any of the frames ``start`` to ``stop - 1``."""
        ends = [frame for frame, _ in self.entries[1:]] + [stop]
        return [text for (begin, text), end in zip(self.entries, ends, strict=True) if begin < stop and end > start]

    def then(self, frame: int, texts: Sequence[LiveText], idle: LiveText, fps: float) -> Script:
        """This script up to ``frame``, from there on ``texts``; ``idle`` when the last of them has a length."""
        return Script((*(entry for entry in self.entries if entry[0] < frame), *_place(frame, texts, idle, fps)))

    def forget(self, frame: int) -> Script:
        """Without the texts that were over before ``frame``."""
        begun = sum(start <= frame for start, _ in self.entries)
        return Script(self.entries[max(0, begun - 1) :])


def new_script(texts: Sequence[LiveText], idle: LiveText, fps: float, frame: int = 0) -> Script:
    """``texts`` from ``frame`` on."""
    return Script(tuple(_place(frame, texts, idle, fps)))


def _place(frame: int, texts: Sequence[LiveText], idle: LiveText, fps: float) -> list[tuple[int, LiveText]]:
    """(first frame, text) of texts in a row."""
    placed, start = [], float(frame)
    for i, text in enumerate(texts):
        placed.append((round(start), text))
        if text.seconds is None and i == len(texts) - 1:
            return placed
        start += (text.seconds or ACTION_S) * fps
    return [*placed, (round(start), idle)]


async def read_plan(source: LiveSource, plan: PromptPlan, seed: int) -> tuple[LiveText, ...]:
    """The actions of a plan as ``source`` reads them; one that is asked for some times lasts so long."""
    texts = await source.read(plan, seed)
    if len(texts) != 1 or texts[0].seconds is not None:
        return texts
    counted = times_to_seconds(plan.action, plan.times) if plan.times else None
    return (replace(texts[0], seconds=plan.seconds or counted),)


async def play_script(
    source: LiveSource, state: LiveState, script: Script, num_frames: int, order: LiveOrder
) -> VrmClip:
    """The next ``num_frames`` frames of a script after ``state``. Windows end with their text: each starts on time."""
    history = num_frames + source.context_frames
    end = state.frame + num_frames
    while state.frame < end:
        text, next_start = script.at(state.frame)
        until = min(end, state.frame + source.window_frames, next_start or end)
        rows = await source.sample(state, text, order)
        window = LiveWindow(state, rows, until - state.frame, history)
        state = await asyncio.to_thread(extend_state, source, window)
    return state.newest(num_frames)


@dataclass(slots=True)
class ScriptedSource:
    """A :class:`~motion_service.source.MotionSource` of clips that are made as streams are: after a pose, and of
    several prompts in a row."""

    live: LiveSource
    parts: tuple[tuple[PromptPlan, float], ...] = ()
    """(what is asked for, seconds); none: the plan of the request."""
    pose: VrmClip | None = None
    """What the clip goes on from; None: a neutral stance."""
    max_seconds: float = math.inf
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.live.name

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip of the length of the request."""
        fps, idle = self.live.fps, (await self.live.read(IDLE, request.seed))[0]
        order = LiveOrder(request.seed, request.guidance, request.steps)
        script, said = Script(()), list[LiveText]()
        start = 0.0
        for plan, seconds in self.parts or ((request.plan, request.seconds),):
            texts = await read_plan(self.live, plan, request.seed)
            script, start = script.then(round(start * fps), texts, idle, fps), start + seconds
            said += texts
        state = await asyncio.to_thread(self.live.open, self.pose)
        clip = await play_script(self.live, state, script, max(1, round(request.seconds * fps)), order)
        return self.live.label(clip, said, order)


def play_parts(
    source: MotionSource, parts: Sequence[tuple[PromptPlan, float]], pose: VrmClip | None, is_speech: bool
) -> MotionSource:
    """``source`` playing ``parts`` after ``pose``. For a speech any will do, which then stands and does nothing else.

    Raises :class:`BadRequest` for one that makes a clip at once.
    """
    if isinstance(source, LiveSource):
        return ScriptedSource(source, tuple(parts), pose)
    if is_speech:
        return source
    raise BadRequest(f"{source.name} makes a clip at once: leave provider out, or take dip or mini", field="provider")
