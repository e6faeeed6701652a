"""The foot lock of endless motion: what :mod:`motion_service.vrm.footlock` does, looking back only.

A stream cannot wait for the end of a stance to know its middle, and it may be cut at any frame. So the correction of
each foot is a recurrence: while the foot is down, a grip closes over three frames and takes up what the foot slides;
when it lifts, the grip opens and the correction dies away. What is remembered after each frame is a handful of numbers,
from which any later frame can be made anew: windows have no borders here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.vrm.body import Body
from motion_service.vrm.footlock import FLOOR_GIVE, GATE_HEIGHT, GATE_SPEED, MAX_SINK, Legs, bend_legs, pose_legs

MEMORY: Final = 2 * 18
"""Numbers remembered after a frame, 18 a side: grip, lift, correction x and z, for ankle and toe place, velocity and
whether it was down."""

_GRIP_FRAMES: Final = 3
"""How long a grip closes and opens."""
_LET_GO_S: Final = 0.12
"""Time constant of a correction that is let go."""
_LIFT_S: Final = 0.06
"""Time constant with which a foot follows the floor."""
_HOLD: Final = 1.5
"""A foot that is held stays down up to so many times the speed and height at which one is caught."""
_STEADY: Final = 0.6
"""Weight of the newest velocity in the running one that is gated."""

Array = npt.NDArray[np.float64]


def lock_live(clip: VrmClip, body: Body, memory: Tensor) -> tuple[VrmClip, Tensor]:
    """Frames (T) that follow those ``memory`` (36,) is of, with feet held, and the memory after each, (T, 36).

    A memory of NaN: these are the first frames. Clips without legs come back as they are.
    """
    legs = pose_legs(clip, body)
    if legs is None:
        return clip, memory.expand(clip.num_frames, -1)
    sides = [("left", "right").index(side) for side in legs.sides]
    label = clip.contacts.double().numpy().reshape(-1, 2, 2)[:, sides] > 0.5  # (T, S, P)
    offsets, after = _correct(legs, label, memory.double().numpy().reshape(2, -1)[sides], clip.fps)
    remembered = memory.expand(clip.num_frames, -1).reshape(-1, 2, MEMORY // 2).clone()
    remembered[:, sides] = torch.from_numpy(after).to(memory)
    offset = torch.from_numpy(offsets).to(clip.hips)  # (T, S, 3)
    return bend_legs(clip, legs, offset)[0], remembered.flatten(1)


def _correct(legs: Legs, label: npt.NDArray[np.bool_], memory: Array, fps: float) -> tuple[Array, Array]:
    """How far each ankle moves, (T, S, 3) m, and what is remembered after each frame, (T, S, 18)."""
    parts = legs.parts.double().numpy()  # (T, S, P, 3)
    floor = legs.floor.double().numpy()
    grip, lift, slid, place, speed, was_down = _unpack(memory, parts[0])
    give, follow = 1 - math.exp(-1 / (fps * _LET_GO_S)), 1 - math.exp(-1 / (fps * _LIFT_S))
    offsets, after = np.empty((*parts.shape[:2], 3)), np.empty((*parts.shape[:2], MEMORY // 2))
    for t, now in enumerate(parts):
        step = now - place  # (S, P, 3)
        speed = speed + _STEADY * (step * fps - speed)
        slack = legs.scale * np.where(grip > 0, _HOLD, 1.0)[:, None]
        low = now[..., 1] - floor < slack * GATE_HEIGHT
        down = label[t] & low & (np.linalg.norm(speed, axis=-1) < slack * GATE_SPEED)
        grip = (grip + np.where(down.any(-1), 1, -1) / _GRIP_FRAMES).clip(0, 1)
        hold = (grip * grip * (3 - 2 * grip))[:, None]
        weight = (down & (was_down > 0.5))[..., None] + 1e-3
        slide = (step[..., [0, 2]] * weight).sum(-2) / weight.sum(-2)  # (S, 2)
        slid = (slid - hold * slide) * (1 - give * (1 - hold))
        slid = slid * (legs.max_move / np.linalg.norm(slid, axis=-1, keepdims=True).clip(legs.max_move))
        lift = lift + follow * (_wanted_lift(now, floor, down, hold[:, 0], legs) - lift)
        place, was_down = now, down.astype(np.float64)
        offsets[t] = np.stack([slid[:, 0], lift, slid[:, 1]], axis=-1)
        after[t] = _pack(grip, lift, slid, place, speed, was_down)
    return offsets, after


def _wanted_lift(now: Array, floor: Array, down: npt.NDArray[np.bool_], hold: Array, legs: Legs) -> Array:
    """How far up each foot should be, (S,) m: on the floor while held, else out of a soft one."""
    missing = floor - now[..., 1]  # (S, P)
    lower = np.where(down | ~down.any(-1, keepdims=True), missing, -np.inf).max(-1)
    held = hold * lower.clip(-legs.scale * MAX_SINK, legs.max_move)
    depth = missing.max(-1).clip(0)
    sunk = np.minimum(depth**2 / (depth + legs.scale * FLOOR_GIVE), legs.max_move)
    lift: Array = np.where(sunk > 0, np.maximum(held, sunk), held)
    return lift


def _unpack(memory: Array, first: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """grip (S,), lift (S,), slid (S, 2), place (S, P, 3), speed (S, P, 3), was_down (S, P); of nothing yet for NaN."""
    sides = len(memory)
    if np.isnan(memory).any():
        still = np.zeros((sides, 2, 3))
        return np.zeros(sides), np.zeros(sides), np.zeros((sides, 2)), first, still, np.zeros((sides, 2))
    place, speed = memory[:, 4:10].reshape(sides, 2, 3), memory[:, 10:16].reshape(sides, 2, 3)
    return memory[:, 0], memory[:, 1], memory[:, 2:4], place, speed, memory[:, 16:18]


def _pack(*parts: Array) -> Array:
    packed: Array = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return packed
