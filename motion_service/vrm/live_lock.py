"""The foot lock of endless motion: what :mod:`motion_service.vrm.footlock` does, looking back only.

A stream cannot wait for the end of a stance to know its middle, and it may be cut at any frame. So the correction of
each foot is a recurrence: while the foot is down, a grip closes over three frames and takes up what the foot slides;
when it lifts, the grip opens and the correction dies away. What is remembered after each frame is a handful of numbers,
from which any later frame can be made anew: windows have no borders here.
"""

from __future__ import annotations

import math
from functools import lru_cache
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
    state, place, speed = _unpack(memory, parts[0])
    steps = np.diff(parts, axis=0, prepend=place[None])
    speeds = _running(speed, steps * fps)
    seen = _look(legs, parts[..., 1], steps[..., [0, 2]], np.linalg.norm(speeds, axis=-1), label)
    made = np.stack([_follow(seen[:, s].tolist(), state[s].tolist(), legs, fps) for s in range(len(memory))], axis=1)
    flat = (*made.shape[:2], -1)
    after = np.concatenate([made[..., :4], parts.reshape(flat), speeds.reshape(flat), made[..., 4:]], axis=-1)
    return made[..., [2, 1, 3]], after


def _look(legs: Legs, height: Array, steps: Array, speed: Array, label: npt.NDArray[np.bool_]) -> Array:
    """All that a frame tells by itself, (T, S, 11): for ankle and toe whether it may be caught and whether it may be
    held, as 0 or 1, their steps in x and z (m), how much they lack to the floor (m); how far a soft floor lifts (m).
    """
    missing = legs.floor.double().numpy() - height  # (T, S, P)
    slack = legs.scale * np.array([1.0, _HOLD])[:, None, None, None]
    may = label & (-missing < slack * GATE_HEIGHT) & (speed < slack * GATE_SPEED)  # (2, T, S, P)
    depth = missing.max(-1).clip(0)
    sunk = np.minimum(depth**2 / (depth + legs.scale * FLOOR_GIVE), legs.max_move)  # (T, S)
    ways = steps.reshape(*steps.shape[:2], -1)
    seen: Array = np.concatenate([may[0], may[1], ways, missing, sunk[..., None]], axis=-1)
    return seen


def _follow(seen: list[list[float]], state: list[float], legs: Legs, fps: float) -> list[tuple[float, ...]]:
    """One foot through its frames: (grip, lift, correction x and z, ankle down, toe down) after each, from ``state``.

    Plain numbers: at two feet and some tens of frames, arrays would take several times as long.
    """
    grip, lift, x, z, was_a, was_b = state
    give, follow = 1 - math.exp(-1 / (fps * _LET_GO_S)), 1 - math.exp(-1 / (fps * _LIFT_S))
    most, least = legs.max_move, -legs.scale * MAX_SINK
    rows: list[tuple[float, ...]] = []
    for caught_a, caught_b, held_a, held_b, a_x, a_z, b_x, b_z, miss_a, miss_b, sunk in seen:
        a, b = (held_a, held_b) if grip > 0 else (caught_a, caught_b)
        grip = min(max(grip + (1 if a or b else -1) / _GRIP_FRAMES, 0.0), 1.0)
        hold = grip * grip * (3 - 2 * grip)
        weigh_a, weigh_b = a * was_a + 1e-3, b * was_b + 1e-3  # neither: both alike
        share, keep = hold / (weigh_a + weigh_b), 1 - give * (1 - hold)
        x = (x - share * (a_x * weigh_a + b_x * weigh_b)) * keep
        z = (z - share * (a_z * weigh_a + b_z * weigh_b)) * keep
        shrink = most / max(math.hypot(x, z), most)
        x, z = x * shrink, z * shrink
        lower = max(miss_a, miss_b) if a == b else miss_a if a else miss_b
        wanted = hold * min(max(lower, least), most)
        lift += follow * (max(wanted, sunk) - lift if sunk > 0 else wanted - lift)
        was_a, was_b = a, b
        rows.append((grip, lift, x, z, a, b))
    return rows


def _running(before: Array, newest: Array) -> Array:
    """The running mean (T, ...) of ``newest`` that was ``before`` (...) one frame earlier."""
    weights, left = _weights(len(newest))
    mean: Array = np.tensordot(weights, newest, 1) + left.reshape(-1, *[1] * before.ndim) * before
    return mean


@lru_cache(maxsize=64)
def _weights(num_frames: int) -> tuple[Array, Array]:
    """(T, T) how much each frame counts in the mean of each; (T,) what is left of the mean before."""
    age = np.arange(num_frames)[:, None] - np.arange(num_frames)
    left = np.power(1 - _STEADY, np.arange(1, num_frames + 1), dtype=np.float64)
    return np.where(age >= 0, _STEADY * (1 - _STEADY) ** age.clip(0), 0.0), left


def _unpack(memory: Array, first: Array) -> tuple[Array, Array, Array]:
    """State of :func:`_follow` (S, 6), place and speed (S, P, 3); of nothing yet for NaN."""
    sides = len(memory)
    if np.isnan(memory).any():
        return np.zeros((sides, 6)), first, np.zeros((sides, 2, 3))
    state = np.concatenate([memory[:, :4], memory[:, 16:18]], axis=1)
    return state, memory[:, 4:10].reshape(sides, 2, 3), memory[:, 10:16].reshape(sides, 2, 3)
