"""What is made of a stream so far: the source's motion and the same on the avatar, frame by frame, side by side."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.source import LiveOrder, LiveSource, LiveState, LiveText
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.live_fit import FittedMotion, open_fit, settle_here
from motion_service.vrm.live_frames import LiveFrames

_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="motion-windows")
"""They decode windows of all streams, earliest first; more of them only hinder each other."""


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
        self, source: LiveSource, text: LiveText, num_frames: int, order: LiveOrder, history: int, *, settle: bool
    ) -> Reel:
        """With the next ``num_frames`` frames; ``settle``: they end in a neutral stance."""
        rows = (await source.sample(self.state, text, order))[:num_frames]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_THREADS, self._extend, source, rows, text.mood, history, settle)

    @torch.inference_mode()
    def _extend(self, source: LiveSource, rows: Tensor, mood: str | None, history: int, settle: bool) -> Reel:
        """Decode and fit in one go."""
        state = source.extend(self.state, rows, history)
        window = state.newest(len(rows))
        return Reel(state, self.fitted.extend(settle_here(window) if settle else window, mood, history))

    def frames(self, fps: float) -> int:
        """How many frames of a stream at ``fps`` are made: those that lie no later than the source's last one."""
        return frames_before(self.made, self.state.clip.fps, fps)

    def take(self, first: int, num_frames: int, fps: float) -> LiveFrames:
        """Frames ``first`` onwards at ``fps``, for the wire."""
        return self.fitted.take(first, num_frames, fps)


def open_reel(source: LiveSource, fitting: Fitting, pose: VrmClip | None = None, frame: int = 0) -> Reel:
    """A reel whose next frame is the source's number ``frame``, after a neutral stance or ``pose``."""
    state = source.open(pose, frame)
    return Reel(state, open_fit(state.clip, fitting, frame))


def frames_before(made: int, source_fps: float, fps: float) -> int:
    """Frames at ``fps``, from 0, that ``made`` frames of the source settle."""
    return 0 if made < 1 else math.floor((made - 1) * fps / source_fps + 1e-6) + 1


def settled_by(frames: int, source_fps: float, fps: float) -> int:
    """How many frames of the source must stay as they are, so that the first ``frames`` at ``fps`` do."""
    return 0 if frames < 1 else math.ceil((frames - 1) * source_fps / fps - 1e-6) + 1
