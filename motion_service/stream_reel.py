"""What is made of a stream so far: the source's motion and the same on the avatar, frame by frame, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from motion_service.clips import VrmClip
from motion_service.errors import MotionError, NonFiniteOutput
from motion_service.live_frames import Floats, LiveFrames
from motion_service.source import LiveOrder, LiveSource, LiveState, LiveText, LiveWindow
from motion_service.together import Together
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.live_fit import FittedMotion, NextWindow, extend_all, open_fit, settle_here


@dataclass(frozen=True, slots=True)
class Reel:
    """Immutable: going back, or on another way, leaves this one as it is."""

    state: LiveState
    fitted: FittedMotion

    @property
    def made(self) -> int:
        """Number of the source's frame that comes next."""
        return self.state.frame

    def rewind(self, frame: int) -> Reel:
        """As it was when the source's ``frame`` came next. Raises BadRequest where the history does not reach."""
        return Reel(self.state.rewind(frame), self.fitted.rewind(frame))

    def oldest(self, context_frames: int) -> int:
        """Earliest frame that it can go on from: ``context_frames`` before it must be known."""
        return self.state.frame - len(self.fitted.frames) + context_frames

    async def advance(
        self,
        source: LiveSource,
        text: LiveText,
        num_frames: int,
        order: LiveOrder,
        history: int,
        extender: Extender,
        *,
        settle: bool = False,
    ) -> Reel:
        """With the next ``num_frames`` frames; ``settle``: they end in a neutral stance."""
        rows = await source.sample(self.state, text, order)
        window = LiveWindow(self.state, rows, num_frames, history)
        return await extender.call(NextFrames(source, self.fitted, window, text.mood, settle))

    def frames(self, fps: float) -> int:
        """How many frames of a stream at ``fps`` are made: those that lie no later than the source's last one."""
        return frames_before(self.made, self.state.fps, fps)

    def take(self, first: int, num_frames: int, fps: float) -> LiveFrames:
        """Frames ``first`` onwards at ``fps``, for the wire."""
        return self.fitted.take(first, num_frames, fps)


@dataclass(frozen=True, slots=True, eq=False)
class NextFrames:
    """What the model made for a reel, to be decoded and fitted."""

    source: LiveSource
    fitted: FittedMotion
    window: LiveWindow
    mood: str | None
    settle: bool


Extender = Together[NextFrames, Reel]
"""Puts windows of many streams behind their reels."""


def new_extender() -> Extender:
    """One for all streams of a process: they are decoded and fitted in one thread, as more only hinder each other."""
    return Together(extend_reels, name="motion-windows")


@torch.inference_mode()
def extend_reels(items: Sequence[NextFrames]) -> list[Reel | Exception]:
    """Decode and fit in one go. For each reel the longer one, or what was wrong with its frames."""
    states: list[LiveState | MotionError] = [NonFiniteOutput()] * len(items)
    for source in {id(item.source): item.source for item in items}.values():
        rows = [row for row, item in enumerate(items) if item.source is source]
        for row, state in zip(rows, source.extend_all([items[row].window for row in rows]), strict=True):
            states[row] = state
    sound = {row: state for row, state in enumerate(states) if isinstance(state, LiveState)}
    fitted = extend_all([_next_window(items[row], state) for row, state in sound.items()])
    reels = {row: Reel(state, motion) for (row, state), motion in zip(sound.items(), fitted, strict=True)}
    return [reels[row] if isinstance(state, LiveState) else state for row, state in enumerate(states)]


def _next_window(item: NextFrames, state: LiveState) -> NextWindow:
    window = state.window(item.window.num_frames)
    if item.settle:
        window = settle_here(window, state.rest_hips_height, state.fps)
    return NextWindow(item.fitted, window, item.mood, item.window.history)


def open_reel(source: LiveSource, fitting: Fitting, pose: VrmClip | None = None, frame: int = 0) -> Reel:
    """A reel whose next frame is the source's number ``frame``, after a neutral stance or ``pose``."""
    state = source.open(pose, frame)
    return Reel(state, fit_state(state, fitting))


def fit_state(state: LiveState, fitting: Fitting, memory: Floats | None = None) -> FittedMotion:
    """What is known of a motion, on an avatar. ``memory`` (M,): of the filters of a motion that this one resumes."""
    return open_fit(state.frames, state.rest_hips_height, state.fps, fitting, state.frame, memory)


def frames_before(made: int, source_fps: float, fps: float) -> int:
    """Frames at ``fps``, from 0, that ``made`` frames of the source settle."""
    return 0 if made < 1 else math.floor((made - 1) * fps / source_fps + 1e-6) + 1


def settled_by(frames: int, source_fps: float, fps: float) -> int:
    """How many frames of the source must stay as they are, so that the first ``frames`` at ``fps`` do."""
    return 0 if frames < 1 else math.ceil((frames - 1) * source_fps / fps - 1e-6) + 1
