"""What is made of a stream so far: the source's motion and the same on the avatar, frame by frame, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch

from motion_service.clips import VrmClip
from motion_service.errors import MotionError
from motion_service.live_frames import Floats, LiveFrames
from motion_service.source import LiveOrder, LiveSource, LiveState, LiveText, LiveWindow
from motion_service.speak.live import enact_frames, plan_ahead, stand_still
from motion_service.speak.performance import Performance
from motion_service.together import Together
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.live_fit import FittedMotion, NextWindow, extend_all, open_fit, settle_here

PAUSE_S: Final = 0.015
"""One window costs as much as ten of a batch, s: so long after the last one company is waited for."""


@dataclass(frozen=True, slots=True)
class Reel:
    """Immutable: going back, or on another way, leaves this one as it is."""

    state: LiveState
    fitted: FittedMotion
    performance: Performance | None = None
    """What the body does by itself on top of the source's motion."""

    @property
    def made(self) -> int:
        """Number of the source's frame that comes next."""
        return self.state.frame

    def rewind(self, frame: int) -> Reel:
        """As it was when the source's ``frame`` came next. Raises BadRequest where the history does not reach."""
        return replace(self, state=self.state.rewind(frame), fitted=self.fitted.rewind(frame))

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
        still: bool = False,
    ) -> Reel:
        """With the next ``num_frames`` frames; ``settle``: they end in a neutral stance; ``still``: without drift."""
        rows = await source.sample(self.state, text, order)
        window = LiveWindow(self.state, rows, num_frames, history)
        return await extender.call(NextFrames(source, self, window, text.mood, history, settle, still))

    async def perform_anew(
        self, frame: int, performance: Performance, source: LiveSource, history: int, extender: Extender
    ) -> Reel:
        """With another performance from the source's ``frame`` on, on the same motion: no model is asked.

        Raises BadRequest where the history does not reach.
        """
        changed = Reel(self.state, self.fitted.rewind(frame), performance)
        return await extender.call(NextFrames(source, changed, None, None, history))

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
    reel: Reel
    window: LiveWindow | None
    """None: the reel's own motion beyond what is fitted of it is fitted."""
    mood: str | None
    history: int
    settle: bool = False
    still: bool = False


Extender = Together[NextFrames, Reel]
"""Puts windows of many streams behind their reels."""


def new_extender() -> Extender:
    """One for all streams of a process: they are decoded and fitted in one thread, as more only hinder each other."""
    return Together(extend_reels, name="motion-windows", pause_s=PAUSE_S)


@torch.inference_mode()
def extend_reels(items: Sequence[NextFrames]) -> list[Reel | Exception]:
    """Decode and fit in one go. For each reel the longer one, or what was wrong with its frames."""
    states: list[LiveState | MotionError] = [item.reel.state for item in items]
    for source in {id(item.source): item.source for item in items}.values():
        made = {row: item.window for row, item in enumerate(items) if item.window is not None and item.source is source}
        for row, state in zip(made, source.extend_all([*made.values()]), strict=True):
            states[row] = _steadied(items[row], state)
    sound = {row: state for row, state in enumerate(states) if isinstance(state, LiveState)}
    plans = {row: _plan(items[row].reel.performance, state) for row, state in sound.items()}
    fitted = extend_all([_next_window(items[row], state, plans[row]) for row, state in sound.items()])
    reels = {row: Reel(state, motion, plans[row]) for (row, state), motion in zip(sound.items(), fitted, strict=True)}
    return [reels[row] if isinstance(state, LiveState) else state for row, state in enumerate(states)]


def _steadied(item: NextFrames, state: LiveState | MotionError) -> LiveState | MotionError:
    if not item.still or isinstance(state, MotionError):
        return state
    return stand_still(state, state.frame - item.reel.state.frame)


def _plan(performance: Performance | None, state: LiveState) -> Performance | None:
    return None if performance is None else plan_ahead(performance, state.frame, state.fps)


def _next_window(item: NextFrames, state: LiveState, performance: Performance | None) -> NextWindow:
    """What lies between the motion as it is fitted and as it is made."""
    motion, mood = item.reel.fitted, item.mood
    window = state.window(state.frame - motion.frame)
    if performance is not None:
        window = enact_frames(performance, window, motion.frame, state.fps)
        mood = mood or performance.mood(motion.frame / state.fps)
    if item.settle:
        window = settle_here(window, state.rest_hips_height, state.fps)
    return NextWindow(motion, window, mood, item.history)


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
