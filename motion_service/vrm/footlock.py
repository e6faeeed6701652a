"""Feet that stand stay where they stand: the foot lock for every generator and every avatar.

While a foot carries the figure, whatever part of it is down (ankle, toe or both) is held at the middle of the place
where it slid about, and not below the floor; the correction is eased in and out, and two-bone IK bends the leg to it.
The foot keeps its world orientation, so ankle and toe move alike. Labels of contact are only a hint: they are gated
again by height and speed, because a pin on a foot that really travels tears it back.

After Kovar, Schreiner and Gleicher 2002, "Footskate Cleanup for Motion Capture Editing"
(https://doi.org/10.1145/545261.545277): constraint spans, analytic limb IK, blended borders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.clips import VrmClip
from motion_service.geometry.planes import Planes, length, to_planes, to_tensor
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT
from motion_service.vrm.body import Body, clip_to_planes
from motion_service.vrm.legs import SIDES, LegBones, LegPose, bend_legs, find_legs, pose_legs, sole_heights
from motion_service.vrm.lowpass import smooth_planes

Flags = npt.NDArray[np.bool_]

MAX_MOVE: Final = 0.06
"""An ankle is moved at most this far, m: on the canonical body and taller ones, in proportion less on smaller ones."""
MAX_SINK: Final = 0.01
"""A foot that hovers while in contact is pushed down at most this far, m on the canonical body."""
FLOOR_GIVE: Final = 0.01
"""A foot that sinks while it is not in contact is lifted, too: by half of this when it is this deep, m on the canonical
body."""
GATE_SPEED: Final = 0.24
"""A foot joint faster than this, smoothed, is not in contact, whatever its label says; m/s on the canonical body."""
GATE_HEIGHT: Final = 0.04
"""Nor is one that is higher than this above its rest height, m on the canonical body."""
_STEADY_S: Final = 0.05
"""Sigma of the Gaussian on places before their speed is gated: one frame at 20 fps."""
_ROUNDING_FRAMES: Final = 0.8
"""Sigma of the Gaussian on corrections, which rounds the corners where a foot is caught and let go, at any rate."""
_MEDIAN_S: Final = 0.10
"""Half window of the median filter on contact: two frames at 20 fps."""
_SHORTEST_S: Final = 0.15
"""Shorter contact is none: three frames at 20 fps."""
_EASE_S: Final = 0.20
"""How long a correction of up to 2 cm fades before and after contact: four frames at 20 fps."""
_EASE_M: Final = 0.02  # on the canonical body
_LONGEST_EASE: Final = 2.0
"""A larger one takes longer in proportion, up to so many times."""
_TINY_M: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of frames in which a foot stands."""

    side: str
    """left or right."""
    start: int
    stop: int
    """First frame after it."""


@dataclass(frozen=True, slots=True)
class FootLock:
    """A clip with locked feet, and what the lock did."""

    clip: VrmClip
    skate_before: float
    """Mean horizontal speed of the parts of feet that are down, over the gated contacts, cm/s; 0 without contact."""
    skate_after: float
    """The same over the same frames of the locked clip."""
    moved_cm: float = 0.0
    """Largest displacement of an ankle, cm."""
    spans: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class _Legs:
    """The legs of a clip in world space; S sides, P = 2 parts of a foot: ankle and toe."""

    bones: LegBones
    local: Planes  # (4, J, T) rotations of these bones
    pose: LegPose  # (..., T)
    missing: Planes  # (P, S, T) how far above the parts they are when the sole lies on the floor, m
    scale: float  # of the figure over the canonical body

    @property
    def parts(self) -> Planes:
        """(3, P, S, T) m."""
        return self.pose.parts

    @property
    def max_move(self) -> float:
        """How far an ankle is moved at most, m."""
        return MAX_MOVE * min(self.scale, 1.0)


def lock_feet(clip: VrmClip, body: Body) -> FootLock:
    """The clip with feet that neither slide nor sink while they stand. The clip must have been made for ``body``.

    Unchanged when it has no legs or nothing is labelled as contact. Contacts, hips and upper body stay as they are.
    """
    labels = to_planes(clip.contacts) > 0.5  # (4, T)
    bones = find_legs(body, clip.rotations) if labels.any() else None
    if bones is None:
        return FootLock(clip, 0.0, 0.0)
    legs = _pose_legs(clip, body, bones)
    sides = labels.reshape(2, 2, -1)[list(bones.sides)].swapaxes(0, 1)  # (P, S, T)
    down = _gate_contacts(sides, legs, clip.fps)
    feet: Flags = np.logical_or.reduce(down)  # (S, T)
    spans = [(s, a, b) for s in range(len(feet)) for a, b in _spans(feet[s], clip.fps)]
    standing = np.zeros_like(feet)
    for s, a, b in spans:
        standing[s, a:b] = True
    down &= standing
    stays = down[..., 1:] & down[..., :-1]
    offset = _correction(legs, down, stays, standing, spans, clip.fps)  # (3, S, T)
    bent, parts = bend_legs(bones, legs.local, legs.pose, offset)
    tracks = zip(bones.chain, to_tensor(bent).flatten(0, 1).unbind(0), strict=True)
    return FootLock(
        clip=replace(clip, rotations={**clip.rotations, **dict(tracks)}),
        skate_before=_skate(legs.parts, stays, clip.fps),
        skate_after=_skate(parts, stays, clip.fps),
        moved_cm=100 * float(length(parts[:, 0] - legs.parts[:, 0]).max()),
        spans=tuple(Span(SIDES[bones.sides[s]], a, b) for s, a, b in spans),
    )


# --- what stands ----------------------------------------------------------------------------------------------------


def _pose_legs(clip: VrmClip, body: Body, bones: LegBones) -> _Legs:
    """The legs in the poses of the clip."""
    local = clip_to_planes(clip, bones.bones)
    pose = pose_legs(bones, local, to_planes(clip.hips), body.legs.offset_planes)
    missing = sole_heights(bones, body)[..., None] - pose.parts[1]
    return _Legs(bones, local, pose, missing, clip.rest_hips_height / CANONICAL_HIPS_HEIGHT)


def _gate_contacts(labels: Flags, legs: _Legs, fps: float) -> Flags:
    """Which parts of which feet are down: labelled so, low and slow. (P, S, T)"""
    down: Flags = labels & (-legs.missing < legs.scale * GATE_HEIGHT)
    if labels.shape[-1] > 1:
        places = smooth_planes(legs.parts, _STEADY_S * fps)
        way = np.empty_like(places)  # in two frames
        way[..., 1:-1] = places[..., 2:] - places[..., :-2]
        way[..., [0, -1]] = 2 * (places[..., [1, -1]] - places[..., [0, -2]])
        down &= length(way) * (fps / 2) < legs.scale * GATE_SPEED
    return down


def _spans(down: Flags, fps: float) -> list[tuple[int, int]]:
    """Stretches [start, stop) of a flag (T,) after a median filter, without short ones."""
    half = round(_MEDIAN_S * fps)
    padded = np.concatenate([[0], down[:1].repeat(half), down, down[-1:].repeat(half)])
    count = np.cumsum(padded)
    width = 2 * half + 1
    steady = np.zeros(len(down) + 2, np.int8)
    steady[1:-1] = 2 * (count[width:] - count[:-width]) > width
    edges = np.flatnonzero(np.diff(steady)).tolist()
    shortest = max(2, round(_SHORTEST_S * fps))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]


def _skate(parts: Planes, stays: Flags, fps: float) -> float:
    """Mean horizontal speed, cm/s, of the parts (3, P, S, T) over the steps (P, S, T - 1) that they stay down."""
    speed = length(np.diff(parts[::2])) * fps
    return 100 * float((speed * stays).sum()) / max(int(stays.sum()), 1)


# --- where it should be -----------------------------------------------------------------------------------------------


def _correction(
    legs: _Legs, down: Flags, stays: Flags, standing: Flags, spans: Sequence[tuple[int, int, int]], fps: float
) -> Planes:
    """How far each foot moves, (3, S, T) m: what holds it in its spans, fading outside of them."""
    slide_x, slide_z = _slide(legs, stays)
    wanted = np.array([-slide_x, _lift(legs, down), -slide_z])
    offset = np.zeros_like(wanted)
    for side, start, stop in spans:
        offset[:, side, start:stop] = wanted[:, side, start:stop]
        offset[::2, side, start:stop] -= _middle(wanted[::2, side, start:stop])
    for (side, start, stop), room in zip(spans, _rooms(spans, offset.shape[-1]), strict=True):
        _fade(offset[:, side], start, stop, room, fps, legs.scale)
    sunk = _buoyancy(legs)
    offset[1] = np.where(sunk > 0, np.maximum(offset[1], sunk), offset[1])
    offset = _capped(offset, legs.max_move)
    # Well inside of a span the foot is held exactly; only where it is caught and let go are the corners rounded.
    inside = np.clip(2 * smooth_planes(standing.astype(offset.dtype), _ROUNDING_FRAMES) - 1, 0, 1)
    rounded = smooth_planes(offset, _ROUNDING_FRAMES)
    return _capped(rounded + inside * (offset - rounded), legs.max_move)


def _capped(offset: Planes, most: float) -> Planes:
    """No longer than ``most``; what lifts a foot out of the floor goes first. (3, ...)"""
    up = np.clip(offset[1], -most, most)
    level = np.maximum(length(offset[::2]), 1e-9)
    share = np.minimum(np.sqrt(np.maximum(most**2 - up**2, 0)) / level, 1)
    return np.array([offset[0] * share, up, offset[2] * share])


def _slide(legs: _Legs, stays: Flags) -> Planes:
    """How far, in x and z, the parts that are down have slid since the first frame. (2, S, T) m

    A foot that rolls from heel to toe hands over from one part to the other; what both agree on is slide.
    """
    steps = np.diff(legs.parts[::2])  # (2, P, S, T - 1)
    weight = stays.astype(steps.dtype) + steps.dtype.type(1e-3)  # neither: both alike
    slide: Planes = np.zeros((2, *legs.parts.shape[2:]), steps.dtype)
    np.cumsum((steps * weight).sum(1) / weight.sum(0), axis=-1, out=slide[..., 1:])
    return slide


def _lift(legs: _Legs, down: Flags) -> Planes:
    """How far up the foot must go so that the lowest part that is down lies on the floor. (S, T) m"""
    lower = down | ~down.any(0)  # neither: the lower one
    least = np.where(lower, legs.missing, -np.inf).max(0)
    lift: Planes = np.clip(least, -legs.scale * MAX_SINK, legs.max_move)
    return lift


def _buoyancy(legs: _Legs) -> Planes:
    """How far up a foot is pushed by a soft floor, in contact or not. (S, T) m

    Nearly the whole depth of one that is deep, next to nothing at a millimetre: there is no corner at the surface.
    """
    depth = np.maximum(legs.missing.max(0), 0)
    lift = smooth_planes(depth**2 / (depth + legs.scale * FLOOR_GIVE), 1.0)
    return np.where(lift < _TINY_M, 0.0, lift)


def _middle(places: Planes) -> Planes:
    """The median of each row of places (2, n), the mean of the middle two of an even number. (2, 1)"""
    ordered, n = np.sort(places), places.shape[-1]
    middle: Planes = (ordered[:, (n - 1) // 2, None] + ordered[:, n // 2, None]) / 2
    return middle


def _rooms(spans: Sequence[tuple[int, int, int]], num_frames: int) -> list[tuple[int | None, int]]:
    """Frames before and behind each of the spans, in order of side and time, until there is another of its side; None:
    there is none before."""
    rooms = []
    for number, (side, start, stop) in enumerate(spans):
        before = spans[number - 1] if number else None
        behind = spans[number + 1] if number + 1 < len(spans) else None
        free = start - before[2] if before and before[0] == side else None
        # After the last one it is gone by the last frame, so a clip that ends in a given pose still does.
        end = behind[1] if behind and behind[0] == side else max(num_frames - 1, stop)
        rooms.append((free, end - stop))
    return rooms


def _fade(offset: Planes, start: int, stop: int, room: tuple[int | None, int], fps: float, scale: float) -> None:
    """Let the correction (3, T) of the span die away on both sides, in place, as far as there is room."""
    before, behind = room
    ease = _ease_frames(offset[:, start], fps, scale)
    ease = ease if before is None else min(before, ease)
    frames = min(ease, start)
    offset[:, start - frames : start] += _fading(frames, ease)[::-1] * offset[:, start, None]
    frames = min(behind, _ease_frames(offset[:, stop - 1], fps, scale))
    offset[:, stop : stop + frames] += _fading(frames, frames) * offset[:, stop - 1, None]


def _ease_frames(edge: Planes, fps: float, scale: float) -> int:
    """In how many frames a correction (3,) m is to die away."""
    effort = math.hypot(*edge.tolist()) / (_EASE_M * scale)
    return max(1, round(_EASE_S * fps * min(max(effort, 1.0), _LONGEST_EASE)))


@lru_cache(maxsize=256)
def _fading(frames: int, ease: int) -> Planes:
    """What is left of a correction in the first ``frames`` after its span, of ``ease`` in all."""
    amount = np.arange(1, frames + 1, dtype=np.float32) / (ease + 1)
    left: Planes = 1 - amount**3 * (10 + amount * (6 * amount - 15))
    return left
