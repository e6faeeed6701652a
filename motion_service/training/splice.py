"""Joining two takes of motion so that neither body nor feet jump: pure functions on batches, without chance.

Inertialisation (Bollo, "Inertialization: High-Performance Animation Transitions in Gears of War", GDC 2018; here with a
cubic Hermite instead of his quintic): the second take is shown at once, moved by an offset that starts with the first
take's pose and speed and dies out. Meanwhile the root moves so that the lower foot stays where it is, and a leg that
has to change place is lifted.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from motion_service.geometry.rotation import (
    normalize,
    quat_conjugate,
    quat_multiply,
    quat_to_rotvec,
    rotvec_to_quat,
)
from motion_service.humanoid import canonical_index
from motion_service.training.facing import feet, turn_about_y

_MAX_SPEED: Final = 0.25
"""Turning speed a bone may bring along across a splice, rad a frame (5 rad/s): more would overshoot."""
_LIFT_FROM: Final = 0.04
"""A foot that must move less than this slides: nobody lifts a foot for it. m"""
_LIFT_GAIN: Final = 2.5  # rad of thigh a metre
_LIFT_MOST: Final = 0.5  # rad, raises the foot by about 10 cm
_SOLE_SOFTNESS: Final = 0.01
"""Feet whose heights differ by this share the support, m."""
_MAX_PULL: Final = 0.05
"""What planting may add to the root's own step, m a frame (1 m/s)."""


class Fade(NamedTuple):
    """How much of the first take is left in each frame (B, T)."""

    place: Tensor
    """Weight of the offset: 1 at the last frame of the first take, 0 at the end. Cubic Hermite h00."""
    speed: Tensor
    """Weight of the offset's speed, in frames. Cubic Hermite h10."""
    share: Tensor
    """0..1, time since the last frame of the first take over the length of the splice."""
    after: Tensor
    """bool, the second take has begun."""

    @property
    def active(self) -> Tensor:
        """bool, the second take has begun and is still moved."""
        return self.after & (self.share < 1)


def fade_after(splice: Tensor, length: Tensor, num_frames: int) -> Fade:
    """``splice`` (B,) index of the second take's first frame, ``length`` (B,) frames until the offset is gone."""
    since = torch.arange(num_frames, device=splice.device) - splice[:, None] + 1  # (B, T)
    share = (since / length[:, None]).clamp(0, 1)
    place = (2 * share - 3) * share * share + 1
    return Fade(place, length[:, None] * share * (1 - share) ** 2, share, since >= 1)


def frame_at(track: Tensor, index: Tensor) -> Tensor:
    """Frame ``index`` (B,) of each track (B, T, ...), the nearest one where it lies outside. (B, ...)"""
    batch = torch.arange(track.shape[0], device=track.device)
    return track[batch, index.clamp(0, track.shape[1] - 1)]


def joined_rates(first: Tensor, second: Tensor, splice: Tensor, fade: Fade) -> Tensor:
    """Speeds (B, T, n) of two takes with the difference at the splice faded out."""
    offset = frame_at(first, splice - 1) - frame_at(second, splice)
    return torch.where(fade.after[..., None], second + offset[:, None] * fade.place[..., None], first)


def joined_pose(first: Tensor, second: Tensor, splice: Tensor, fade: Fade) -> Tensor:
    """Local rotations (B, T, 21, 4) of two takes, continuous in pose and speed at the splice."""
    last, before = frame_at(first, splice - 1), frame_at(first, splice - 2)
    start, entry = frame_at(second, splice), frame_at(second, splice - 1)
    offset = _turn_between(entry, last)  # (B, 21, 3)
    speed = _turn_between(before, last) - _turn_between(entry, start)
    size = torch.linalg.vector_norm(speed, dim=-1, keepdim=True)
    speed = speed * (_MAX_SPEED / size.clamp_min(_MAX_SPEED))
    turn = offset[:, None] * fade.place[..., None, None] + speed[:, None] * fade.speed[..., None, None]
    return torch.where(fade.after[..., None, None], quat_multiply(rotvec_to_quat(turn), second), first)


def _turn_between(a: Tensor, b: Tensor) -> Tensor:
    """Rotation vector that takes pose ``a`` to ``b``, in the parent's axes."""
    return quat_to_rotvec(quat_multiply(b, quat_conjugate(a)))


def untwisted(pose: Tensor) -> Tensor:
    """The pose (..., 21, 4) with the heading taken out of the hips: blending may have left a little."""
    hips = pose[..., 0, :]
    zero = torch.zeros_like(hips[..., 0])
    twist = normalize(torch.stack([zero, hips[..., 1], zero, hips[..., 3]], dim=-1))
    hips = quat_multiply(quat_conjugate(twist), hips)
    return torch.cat([hips[..., None, :], pose[..., 1:, :]], dim=-2)


def with_lifted_foot(pose: Tensor, first_feet: Tensor, second_feet: Tensor, splice: Tensor, fade: Fade) -> Tensor:
    """The pose with one foot lifted in mid-splice where the feet must change place relative to each other.

    ``first_feet``, ``second_feet`` (B, T, 4, 3) of the takes, facing frame. The foot that the second take holds
    higher, or that has the longer way, is the one that steps.
    """
    num_frames = pose.shape[1]
    span = fade.active.sum(1)
    start = frame_at(first_feet, splice - 1).unflatten(1, (2, 2)).mean(2)  # (B, 2 sides, 3)
    end = frame_at(second_feet, (splice + span).clamp(max=num_frames - 1)).unflatten(1, (2, 2)).mean(2)
    way = torch.stack([(end - start)[..., 0], (end - start)[..., 2]], dim=-1)  # (B, 2, 2)
    distance = torch.linalg.vector_norm(way[:, 0] - way[:, 1], dim=-1)  # (B,)
    each = torch.linalg.vector_norm(way, dim=-1) + 3 * end[..., 1]
    steps_left = each[:, 0] > each[:, 1]
    angle = ((distance - _LIFT_FROM) * _LIFT_GAIN).clamp(0, _LIFT_MOST)
    bump = angle[:, None] * torch.sin(torch.pi * fade.share) ** 2 * fade.active  # (B, T)
    bones = list(pose.unbind(-2))
    for side, steps in (("left", steps_left), ("right", ~steps_left)):
        for name, gain in (("UpperLeg", -1.0), ("LowerLeg", 2.0), ("Foot", -1.0)):
            bone = canonical_index(side + name)
            half = bump * steps[:, None] * (gain / 2)
            zero = torch.zeros_like(half)
            flex = torch.stack([torch.sin(half), zero, zero, torch.cos(half)], dim=-1)  # about the bone's own +X
            bones[bone] = quat_multiply(bones[bone], flex)
    return torch.stack(bones, dim=-2)


def planted_root(root_step: Tensor, positions: Tensor, clearance: Tensor, yaw_step: Tensor, support: Tensor) -> Tensor:
    """Root steps (B, T, 2) m that keep the supporting foot joint in place as far as ``support`` (B, T) in 0..1 says.

    ``positions`` (B, T, 21, 3) facing frame, ``clearance`` (B, T, 4) m, ``yaw_step`` (B, T) rad.
    """
    soles = feet(positions)  # (B, T, 4, 3)
    before = torch.cat([soles[:, :1], soles[:, :-1]], dim=1)
    low = clearance + torch.cat([clearance[:, :1], clearance[:, :-1]], dim=1)
    weight = torch.softmax(-low / (2 * _SOLE_SOFTNESS), dim=-1)[..., None]  # (B, T, 4, 1)
    step = ((turn_about_y(before, -yaw_step[..., None]) - soles) * weight).sum(-2)  # (B, T, 3)
    pull = torch.stack([step[..., 0], step[..., 2]], dim=-1) - root_step
    return root_step + pull.clamp(-_MAX_PULL, _MAX_PULL) * support[..., None]
