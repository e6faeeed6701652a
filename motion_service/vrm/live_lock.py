"""The foot lock of endless motion: what :mod:`motion_service.vrm.footlock` does, looking back only.

A stream cannot wait for the end of a stance to know its middle, and it may be cut at any frame. So the correction of
each foot is a recurrence: while the foot is down, a grip closes over three frames and takes up what the foot slides;
when it lifts, the grip opens and the correction dies away. What is remembered after each frame is a handful of numbers,
from which any later frame can be made anew: windows have no borders here. The feet of B streams go through it together,
frame by frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.vrm.footlock import FLOOR_GIVE, GATE_HEIGHT, GATE_SPEED, MAX_MOVE, MAX_SINK

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

_NEXT_GRIP: Final = np.array([[0, 0, 1, 2], [0, 2, 3, 3], [1, 2, 3, 3]], np.intp)
"""How many of three frames a grip is closed after a frame, by what is down in it and by how many it was before. What is
down: nothing, only what is still held once caught, what is caught. (3, 4)"""

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Feet:
    """The feet of B streams: S sides, P = 2 parts, ankle and toe."""

    parts: Array
    """(T, B, S, P, 3) world places, m."""
    labels: Flags
    """(T, B, S, P) what the model takes to be in contact."""
    floor: Array
    """(B, S, P) height of the parts when the soles lie on the floor, m."""
    scale: Array
    """(B, 1) of the figures over the canonical body."""
    fps: float

    @property
    def max_move(self) -> Array:
        """(B, 1) how far an ankle is moved at most, m."""
        return MAX_MOVE * np.minimum(self.scale, 1.0)


def hold_feet(feet: Feet, memory: Array) -> tuple[Array, Array]:
    """How far each ankle moves in frames that follow those ``memory`` (B, S, 18) is of, (T, B, S, 3) m, and what is
    remembered after each frame, (T, B, S, 18).

    A memory of NaN: these are the first frames.
    """
    first = np.isnan(memory[:, :1, :1])
    memory = np.where(first, 0.0, memory)
    before, speed = (memory[..., columns].reshape(*memory.shape[:2], 2, 3) for columns in (slice(4, 10), slice(10, 16)))
    before = np.where(first[..., None], feet.parts[0], before)
    steps = np.diff(feet.parts, axis=0, prepend=before[None])  # (T, B, S, P, 3)
    speeds = _steady(steps * feet.fps, speed)
    down, grip = _grip(feet, speeds, memory[..., 0])
    hold = grip * grip * (3 - 2 * grip)  # (T, B, S)
    still = down & np.concatenate([memory[None, ..., 16:18] > 0.5, down[:-1]])
    weight = still[..., None] + 1e-3  # neither: both alike
    slide = (steps[..., [0, 2]] * weight).sum(-2) / weight.sum(-2)  # (T, B, S, 2)
    slid = _take_up(hold[..., None] * slide, hold, memory[..., 2:4], feet)
    lift = _follow(_wanted_lift(feet, down, hold), memory[..., 1], feet.fps)
    offsets = np.stack([slid[..., 0], lift, slid[..., 1]], axis=-1)
    flat = (*lift.shape, 6)
    after = [grip[..., None], lift[..., None], slid, feet.parts.reshape(flat), speeds.reshape(flat), down]
    return offsets, np.concatenate(after, axis=-1)


def _steady(raw: Array, speed: Array) -> Array:
    """Running means of velocities (T, ...) that go on from ``speed``."""
    steady = np.empty_like(raw)
    for t, now in enumerate(_STEADY * raw):
        steady[t] = speed = (1 - _STEADY) * speed + now
    return steady


def _grip(feet: Feet, speeds: Array, grip: Array) -> tuple[Flags, Array]:
    """Which parts are down (T, B, S, P), labelled so, low and slow; and how far each grip is closed (T, B, S)."""
    height = (feet.parts[..., 1] - feet.floor) / GATE_HEIGHT
    pace = np.sqrt((speeds * speeds).sum(-1)) / GATE_SPEED
    slack = np.where(feet.labels, np.maximum(height, pace), np.inf) / feet.scale[..., None]
    caught, kept = slack < 1, slack < _HOLD
    down: npt.NDArray[np.intp] = np.add(caught.any(-1), kept.any(-1), dtype=np.intp)  # (T, B, S), rows of the table
    closed = np.empty((len(down) + 1, *grip.shape), np.intp)
    closed[0] = np.rint(grip * _GRIP_FRAMES)
    for t, row in enumerate(down):
        closed[t + 1] = _NEXT_GRIP[row, closed[t]]
    return np.where(closed[:-1, ..., None] > 0, kept, caught), closed[1:] / _GRIP_FRAMES


def _take_up(slide: Array, hold: Array, slid: Array, feet: Feet) -> Array:
    """The corrections in x and z, (T, B, S, 2), that take up ``slide`` and die away with the hold."""
    give = 1 - math.exp(-1 / (feet.fps * _LET_GO_S))
    most, kept = feet.max_move, np.asarray(1 - give * (1 - hold[..., None]), np.float64)
    left = np.cumprod(kept, axis=0)  # of the first correction, if nothing limits it
    corrections: Array = np.asarray(left * (slid - np.cumsum(slide * kept / left, axis=0)), np.float64)
    if (np.hypot(corrections[..., 0], corrections[..., 1]) <= most).all():
        return corrections
    for t, share in enumerate(kept):
        slid = (slid - slide[t]) * share
        length = np.hypot(slid[..., 0], slid[..., 1])
        corrections[t] = slid = slid * (most / np.maximum(length, most))[..., None]
    return corrections


def _follow(wanted: Array, lift: Array, fps: float) -> Array:
    """Lifts (T, B, S) on their way to those wanted."""
    share = 1 - math.exp(-1 / (fps * _LIFT_S))
    lifts = np.empty_like(wanted)
    for t, goal in enumerate(wanted):
        lifts[t] = lift = lift + share * (goal - lift)
    return lifts


def _wanted_lift(feet: Feet, down: Flags, hold: Array) -> Array:
    """How far up each foot should be, (T, B, S) m: on the floor while held, else out of a soft one."""
    missing = feet.floor - feet.parts[..., 1]  # (T, B, S, P)
    lower = np.where(down | ~down.any(-1, keepdims=True), missing, -np.inf).max(-1)
    held = hold * lower.clip(-feet.scale * MAX_SINK, feet.max_move)
    depth = missing.max(-1).clip(0)
    sunk = np.minimum(depth**2 / (depth + feet.scale * FLOOR_GIVE), feet.max_move)
    lift: Array = np.where(sunk > 0, np.maximum(held, sunk), held)
    return lift
