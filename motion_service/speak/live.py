"""A performance on the frames of a live stream, window by window."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from motion_service.features.vrm_native import heading
from motion_service.geometry.rotation import quat_multiply, yaw_to_quat
from motion_service.live_frames import FrameLayout, LiveFrames
from motion_service.source import LiveState
from motion_service.speak.enact import enact, gaze
from motion_service.speak.performance import Performance

DRIFT_RAD: Final = math.radians(1.0)
DRIFT_M: Final = 0.01
"""Most of drift that is taken out of a window."""
AHEAD_S: Final = 4.0
"""A performance is planned so much further than it is played, s: strokes begin before what they lead to."""


def stand_still(state: LiveState, num_frames: int) -> LiveState:
    """The state with what its last ``num_frames`` frames drift taken out: an idle figure of a model turns by some
    degrees a minute, which nobody sees until it has turned away.

    Never more than :data:`DRIFT_RAD` and :data:`DRIFT_M`, so that whoever still comes to rest may do so.
    """
    turns = heading(state.frames.rotations[-num_frames - 1 :, 0]).double()
    hips = state.frames.hips[-num_frames - 1 :].double()
    if len(turns) <= num_frames:
        return state
    turn = math.remainder(float(turns[0] - turns[-1]), math.tau)
    way = (hips[0] - hips[-1])[[0, 2]]
    turn = min(max(turn, -DRIFT_RAD), DRIFT_RAD)
    way = way * min(1.0, DRIFT_M / max(float(way.norm()), 1e-9))
    share = torch.arange(1, num_frames + 1, dtype=torch.float64) / num_frames
    places = state.places.clone()
    places[-num_frames:] += share[:, None] * torch.cat([torch.tensor([turn]), way])
    frames = LiveFrames(state.frames.layout, state.frames.block.copy())
    last = slice(len(frames) - num_frames, len(frames))
    frames.rotations[last, 0] = quat_multiply(yaw_to_quat((share * turn).float()), frames.rotations[last, 0])
    frames.hips[last, 0] += (share * way[0]).float()
    frames.hips[last, 2] += (share * way[1]).float()
    return replace(state, places=places, frames=frames)


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
