"""A performance on the frames of a live stream, window by window."""

from __future__ import annotations

import numpy as np
import torch

from motion_service.live_frames import FrameLayout, LiveFrames
from motion_service.speak.enact import enact, gaze
from motion_service.speak.performance import Performance

AHEAD_S = 4.0
"""A performance is planned so much further than it is played, s: strokes begin before what they lead to."""


def plan_ahead(performance: Performance, frames: int, fps: float) -> Performance:
    """Planned for everything before frame number ``frames`` at ``fps``."""
    return performance.until(frames / fps + AHEAD_S)


def enact_frames(performance: Performance, frames: LiveFrames, first: int, fps: float) -> LiveFrames:
    """``frames`` (T) of a source, number ``first`` onwards, with the performance on them; gaze is what it adds."""
    times = (first + np.arange(len(frames), dtype=np.float64)) / fps
    channels = performance.channels(times)
    layout = FrameLayout(frames.bones, (), True)
    acted = LiveFrames(layout, np.empty((len(frames), layout.width), np.float32))
    local, hips = enact(channels, frames.bones, torch.clone(frames.rotations), frames.hips)
    acted.rotations.copy_(local)
    acted.hips.copy_(hips)
    acted.contacts.copy_(frames.contacts)
    if acted.gaze is not None:
        acted.gaze.copy_(gaze(channels))
    return acted
