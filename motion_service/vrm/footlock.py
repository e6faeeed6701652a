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
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import quat_identity
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT
from motion_service.vrm.body import Body
from motion_service.vrm.legs import SIDES, LegBones, LegPose, bend_legs, find_legs, pose_legs, sole_heights
from motion_service.vrm.lowpass import smooth

Floats = npt.NDArray[np.float32]

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
    local: Tensor  # (T, J, 4) rotations of these bones
    pose: LegPose  # (T, ...)
    floor: Tensor  # (S, P) height of the parts when the sole lies on the floor, m
    scale: float  # of the figure over the canonical body

    @property
    def parts(self) -> Tensor:
        """(T, S, P, 3) m."""
        return self.pose.parts

    @property
    def max_move(self) -> float:
        """How far an ankle is moved at most, m."""
        return MAX_MOVE * min(self.scale, 1.0)


def lock_feet(clip: VrmClip, body: Body) -> FootLock:
    """The clip with feet that neither slide nor sink while they stand. The clip must have been made for ``body``.

    Unchanged when it has no legs or nothing is labelled as contact. Contacts, hips and upper body stay as they are.
    """
    legs = _pose_legs(clip, body)
    if legs is None or not bool((clip.contacts > 0.5).any()):
        return FootLock(clip, 0.0, 0.0)
    down = _gate_contacts(clip, legs)  # (T, S, P)
    spans = [(s, a, b) for s in range(len(legs.bones.sides)) for a, b in _spans(down[:, s].any(-1), clip.fps)]
    standing = torch.zeros(down.shape[:2], dtype=torch.bool)  # (T, S)
    for s, a, b in spans:
        standing[a:b, s] = True
    down &= standing[..., None]
    offset = _correction(legs, down, standing, spans, clip.fps)  # (T, S, 3)
    bent, parts = bend_legs(legs.bones, legs.local, legs.pose, offset)
    tracks = zip(legs.bones.chain, bent.flatten(1, 2).unbind(1), strict=True)
    return FootLock(
        clip=replace(clip, rotations=dict(clip.rotations) | {bone: track.contiguous() for bone, track in tracks}),
        skate_before=_skate(legs.parts, down, clip.fps),
        skate_after=_skate(parts, down, clip.fps),
        moved_cm=100 * float(torch.linalg.vector_norm(parts - legs.parts, dim=-1)[..., 0].max()),
        spans=tuple(Span(SIDES[legs.bones.sides[s]], a, b) for s, a, b in spans),
    )


# --- what stands ----------------------------------------------------------------------------------------------------


def _pose_legs(clip: VrmClip, body: Body) -> _Legs | None:
    """The legs that body and clip both have, or None."""
    bones = find_legs(body, clip.rotations)
    if bones is None:
        return None
    rest = quat_identity(clip.num_frames).to(clip.hips)
    local = torch.stack([clip.rotations.get(bone, rest) for bone in bones.bones], dim=1)
    pose = pose_legs(bones, local, clip.hips, body.legs.offsets.to(clip.hips))
    floor = sole_heights(bones, body).to(clip.hips)
    return _Legs(bones, local, pose, floor, clip.rest_hips_height / CANONICAL_HIPS_HEIGHT)


def _gate_contacts(clip: VrmClip, legs: _Legs) -> Tensor:
    """Which parts of which feet are down: labelled so, low and slow. (T, S, P) bool"""
    label = clip.contacts.unflatten(1, (2, 2))[:, list(legs.bones.sides)] > 0.5
    low = legs.parts[..., 1] - legs.floor < legs.scale * GATE_HEIGHT
    speed = torch.zeros_like(legs.parts[..., 0])
    if clip.num_frames > 1:
        steady = smooth(legs.parts, _STEADY_S * clip.fps)
        speed = torch.linalg.vector_norm(torch.gradient(steady, dim=0)[0], dim=-1) * clip.fps
    down: Tensor = label & low & (speed < legs.scale * GATE_SPEED)
    return down


def _spans(down: Tensor, fps: float) -> list[tuple[int, int]]:
    """Stretches [start, stop) of a flag (T,) after a median filter, without short ones."""
    half = round(_MEDIAN_S * fps)
    window = torch.nn.functional.pad(down[None].float(), (half, half), mode="replicate")[0].unfold(0, 2 * half + 1, 1)
    steady = torch.nn.functional.pad((window.mean(-1) > 0.5).int(), (1, 1))
    edges = torch.diff(steady).nonzero()[:, 0].tolist()
    shortest = max(2, round(_SHORTEST_S * fps))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]


def _skate(parts: Tensor, down: Tensor, fps: float) -> float:
    """Mean horizontal speed, cm/s, over the steps (T - 1) that a part (T, S, P, 3) is down at both ends of."""
    both = down[1:] & down[:-1]
    speed = torch.linalg.vector_norm(torch.diff(parts, dim=0)[..., [0, 2]], dim=-1) * fps
    return 100 * float((speed * both).sum() / both.sum().clamp_min(1))


# --- where it should be -----------------------------------------------------------------------------------------------


def _correction(
    legs: _Legs, down: Tensor, standing: Tensor, spans: Sequence[tuple[int, int, int]], fps: float
) -> Tensor:
    """How far each foot moves, (T, S, 3) m: what holds it in its spans, fading outside of them."""
    slide = _slide(legs, down)
    wanted = torch.stack([-slide[..., 0], _lift(legs, down), -slide[..., 1]], dim=-1).numpy()  # (T, S, 3)
    held, placed = standing.numpy(), np.zeros_like(wanted)
    for side, start, stop in spans:
        placed[start:stop, side] = wanted[start:stop, side]
        placed[start:stop, side, ::2] -= _middle(wanted[start:stop, side, ::2])
    for side, start, stop in spans:
        _fade(placed[:, side], held[:, side], start, stop, fps, legs.scale)
    offset = torch.from_numpy(placed)
    sunk = _buoyancy(legs)
    offset[..., 1] = torch.where(sunk > 0, torch.maximum(offset[..., 1], sunk), offset[..., 1])
    offset = _capped(offset, legs.max_move)
    # Well inside of a span the foot is held exactly; only where it is caught and let go are the corners rounded.
    inside = (2 * smooth(standing.to(offset), _ROUNDING_FRAMES) - 1).clamp(0, 1)[..., None]
    return _capped(torch.lerp(smooth(offset, _ROUNDING_FRAMES), offset, inside), legs.max_move)


def _capped(offset: Tensor, most: float) -> Tensor:
    """No longer than ``most``; what lifts a foot out of the floor goes first. (..., 3)"""
    up = offset[..., 1].clamp(-most, most)
    level = torch.linalg.vector_norm(offset[..., [0, 2]], dim=-1)
    share = (torch.sqrt((most**2 - up**2).clamp_min(0)) / level.clamp_min(1e-9)).clamp(max=1)
    return torch.stack([offset[..., 0] * share, up, offset[..., 2] * share], dim=-1)


def _slide(legs: _Legs, down: Tensor) -> Tensor:
    """How far, in x and z, the parts that are down have slid since the first frame. (T, S, 2) m

    A foot that rolls from heel to toe hands over from one part to the other; what both agree on is slide.
    """
    steps = torch.diff(legs.parts[..., [0, 2]], dim=0)  # (T - 1, S, P, 2)
    weight = (down[1:] & down[:-1]).to(steps)[..., None] + 1e-3  # neither: both alike
    slid = (steps * weight).sum(-2) / weight.sum(-2)
    return torch.nn.functional.pad(slid.cumsum(0), (0, 0, 0, 0, 1, 0))


def _lift(legs: _Legs, down: Tensor) -> Tensor:
    """How far up the foot must go so that the lowest part that is down lies on the floor. (T, S) m"""
    missing = legs.floor - legs.parts[..., 1]  # (T, S, P)
    lower = down | ~down.any(-1, keepdim=True)  # neither: the lower one
    return missing.masked_fill(~lower, -torch.inf).amax(-1).clamp(-legs.scale * MAX_SINK, legs.max_move)


def _buoyancy(legs: _Legs) -> Tensor:
    """How far up a foot is pushed by a soft floor, in contact or not. (T, S) m

    Nearly the whole depth of one that is deep, next to nothing at a millimetre: there is no corner at the surface.
    """
    depth = (legs.floor - legs.parts[..., 1]).amax(-1).clamp_min(0)
    lift = smooth(depth**2 / (depth + legs.scale * FLOOR_GIVE), 1.0)
    return lift.masked_fill(lift < _TINY_M, 0.0)


def _middle(places: Floats) -> Floats:
    """The median of each column of places (n, 2), the mean of the middle two of an even number. (2,)"""
    ordered, n = np.sort(places, axis=0), len(places)
    middle: Floats = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle


def _fade(offset: Floats, held: npt.NDArray[np.bool_], start: int, stop: int, fps: float, scale: float) -> None:
    """Let the correction (T, 3) of the span die away on both sides, in place, as far as no other span begins.

    After the span it is gone by the last frame, so a clip that ends in a given pose still does.
    """
    before, after = (slice(start - 1, None, -1) if start else slice(0)), slice(stop, None)
    for edge, outside in ((start, before), (stop - 1, after)):
        others = np.flatnonzero(held[outside])
        room = len(held[outside])
        free = int(others[0]) if len(others) else room if outside is before else max(room - 1, 0)
        effort = math.hypot(*offset[edge].tolist()) / (_EASE_M * scale)
        ease = max(1, round(_EASE_S * fps * min(max(effort, 1.0), _LONGEST_EASE)))
        if outside is after or len(others):
            ease = min(free, ease)
        frames = min(ease, room)
        amount = np.arange(1, frames + 1, dtype=offset.dtype) / (ease + 1)
        offset[outside][:frames] += (1 - amount**3 * (10 + amount * (6 * amount - 15)))[:, None] * offset[edge]
