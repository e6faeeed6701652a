"""A clip for a stage: how far the figure may travel, and whether it comes to rest where it began.

A viewer that frames head and shoulders, plays the hips as they are and then fades to idle needs a figure that stays in
the picture and ends in a pose to fade from. Root modes change only where the hips are; heading and pose stay, so a
figure that walks goes on walking on the spot and one that turns away turns away. Feet slide where travel is taken out;
the foot lock comes after. Axes and units as in :mod:`motion_service.clips`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import heading
from motion_service.geometry.rotation import (
    normalize,
    quat_angle,
    quat_conjugate,
    quat_identity,
    quat_multiply,
    quat_unroll,
    rotvec_to_quat,
    yaw_to_quat,
)
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT
from motion_service.vrm.body import fold_bones
from motion_service.vrm.lowpass import smooth

RootMode = Literal["free", "bounded", "in_place"]
"""How far the hips may travel: anywhere, within :data:`BOUND` of the start, or not at all."""

BOUND: Final = 0.3
"""Radius in x and z that the hips of a bounded clip never leave, m."""
BOUND_HEIGHT: Final = 0.08
"""How far its hips rise above or sink below their rest height at most, m on the canonical body."""
SETTLE_S: Final = 0.6
"""How long a figure takes to settle when the way is short, s."""
_SETTLE_SHARE: Final = 0.3
"""In a short clip it takes at most this share of it ..."""
_LONGEST_SHARE: Final = 0.5
"""... and never more than this one, however far away neutral is."""
_SETTLE_SPEED: Final = 0.4
"""Mean speed at which the hips come home, m/s on the canonical body."""
_SETTLE_TURN: Final = 2.6
"""Mean speed at which heading and bones do, rad/s (150 degrees a second)."""
_TREND_S: Final = 0.4
"""Sigma of the Gaussian that tells travel from sway: of a sway of one stride a second, 4 % counts as travel."""

_START_TREND_S: Final = 0.12
"""The same at the very ends of a clip ..."""
_START_S: Final = 1.0
"""... from where it grows over this time, s."""

_NEUTRAL_HIPS_HEIGHT: Final = 0.9490018
"""Height of the hips in the neutral pose of the canonical body, m."""
_NEUTRAL_LEFT: Final[Mapping[str, tuple[float, float, float, float]]] = {
    # bone of the left side: local xyzw; the right side is the mirror image, all other bones rest
    "Shoulder": (0.0, 0.0, -0.02617695, 0.99965733),
    "UpperArm": (-0.03113062, 0.04207062, -0.59400761, 0.80275518),  # hanging, a hand's width off the thigh
    "LowerArm": (0.0, -0.12186935, 0.0, 0.99254614),
    "UpperLeg": (-0.01635192, 0.06133397, 0.01848248, 0.99781221),
    "LowerLeg": (0.0348995, 0.0, 0.0, 0.99939084),  # 4 degrees, so that the legs have slack
    "Foot": (-0.01744975, -0.00091339, -0.01742849, 0.99969542),  # sole flat, turned out by 7 degrees
}


def neutral_pose(rest_hips_height: float = CANONICAL_HIPS_HEIGHT, fps: float = 20.0) -> VrmClip:
    """The pose that settled clips end in, as one frame: relaxed standing at the origin, facing +Z, arms hanging.

    It is the pose that clips of ``mini`` begin in. On the canonical bones; for an avatar with fewer, ``fold_bones``.
    ``rest_hips_height`` of the body that it is for, m.
    """
    rotations = {bone: quat_identity(1) for bone in CANONICAL_BONES}
    for bone, xyzw in _NEUTRAL_LEFT.items():
        rotations[f"left{bone}"] = normalize(torch.tensor([xyzw]))
        rotations[f"right{bone}"] = rotations[f"left{bone}"] * torch.tensor([1.0, -1.0, -1.0, 1.0])
    height = _NEUTRAL_HIPS_HEIGHT * rest_hips_height / CANONICAL_HIPS_HEIGHT
    hips = torch.tensor([[0.0, height, 0.0]])
    return VrmClip(rotations, hips, torch.ones(1, 4), fps, rest_hips_height)


def stage_clip(clip: VrmClip, mode: RootMode = "free", settle: bool = False) -> VrmClip:
    """The clip with its travel limited by ``mode`` and, when asked, its last part eased to :func:`neutral_pose`.

    ``free`` leaves the path alone. ``in_place`` takes the travel out and keeps the sway within a step. ``bounded``
    scales travel and height down, as little as needed, and lets the figure drift back over the whole clip. Both start
    and end at x = z = 0.
    """
    path = clip.hips[:, [0, 2]]  # (T, 2)
    if mode == "in_place":
        clip = _with_path(clip, path - _trend(path, clip.fps))
    elif mode == "bounded":
        clip = _with_path(clip, _bounded_path(path, clip.fps), _bounded_height(clip))
    return settle_clip(clip) if settle else clip


# --- travel -----------------------------------------------------------------------------------------------------------


def _trend(path: Tensor, fps: float) -> Tensor:
    """The path (T, 2) without the sway of single steps; the same at both ends, in place and in speed.

    Speed is smoothed, not place: a figure that starts to walk would else be drawn back before its first step. Near the
    ends it is smoothed less, so that travel does not lag behind a figure that starts to run.
    """
    if len(path) < 3:
        return path
    speed = path[1:] - path[:-1]
    frames = torch.arange(len(speed), dtype=path.dtype)
    from_end = torch.minimum(frames, frames.flip(0)) / (_START_S * fps)
    inner = _ease(from_end.clamp(max=1.0))[:, None]
    smoothed = torch.lerp(smooth(speed, _START_TREND_S * fps), smooth(speed, _TREND_S * fps), inner)
    trend = torch.cat([path[:1], path[:1] + torch.cumsum(smoothed, dim=0)])
    return trend + (path[-1] - trend[-1]) * _ease(torch.linspace(0, 1, len(path)))[:, None]


def _bounded_path(path: Tensor, fps: float) -> Tensor:
    """The path (T, 2) from the origin back to it, never farther away than :data:`BOUND`.

    Sway is kept. Travel is scaled by one factor for the whole clip, so small steps stay as they are and a long walk
    becomes one on the spot, with no place where the figure would run into a wall.
    """
    trend = _trend(path, fps)
    sway = path - trend
    travel = trend - trend[:1]
    home = travel - travel[-1] * _ease(torch.linspace(0, 1, len(path)))[:, None]
    widest = float(torch.linalg.vector_norm(sway, dim=-1).max())
    farthest = float(torch.linalg.vector_norm(torch.stack([travel, home]), dim=-1).max())
    room = max(0.0, BOUND - widest)
    return home * min(1.0, room / max(farthest, 1e-6)) + sway * min(1.0, BOUND / max(widest, 1e-6))


def _bounded_height(clip: VrmClip) -> Tensor:
    """Heights (T,) of hips that rise and sink at most :data:`BOUND_HEIGHT`, all by one factor, so that the head of a
    runner or of somebody who sits down stays in the picture. Feet may leave the floor for it: they are not in it."""
    bound = BOUND_HEIGHT * clip.rest_hips_height / CANONICAL_HIPS_HEIGHT
    away = clip.hips[:, 1] - clip.rest_hips_height
    return clip.rest_hips_height + away * min(1.0, bound / max(float(away.abs().max()), 1e-6))


def _with_path(clip: VrmClip, path: Tensor, height: Tensor | None = None) -> VrmClip:
    return replace(
        clip, hips=torch.stack([path[:, 0], clip.hips[:, 1] if height is None else height, path[:, 1]], dim=-1)
    )


# --- rest -------------------------------------------------------------------------------------------------------------


def settle_clip(clip: VrmClip) -> VrmClip:
    """The clip with its last part eased to :func:`neutral_pose` at the origin, where it comes to rest.

    That part lasts :data:`SETTLE_S` or 30 % of the clip, whichever is shorter; longer when hips, heading or a bone have
    a long way to go; at most half of the clip. All before it is untouched, so a single frame stays what it is. Fingers
    keep their pose, expressions and gaze go to zero. Contacts of that part are 0: the feet are free to come home.
    """
    neutral = fold_bones(neutral_pose(clip.rest_hips_height), clip.rotations)
    bones = [bone for bone in clip.rotations if not bone.endswith(("Metacarpal", "Proximal", "Intermediate", "Distal"))]
    goal = torch.stack([neutral.rotations.get(bone, quat_identity(1)) for bone in bones]).to(clip.hips)  # (J, 1, 4)
    back = torch.arange(clip.num_frames - 1, -1, -1) / clip.fps  # (T,) s before the end
    amount = _ease(1 - back / _settle_seconds(clip, neutral.hips[0], bones, goal)) if len(back) > 1 else torch.zeros(1)
    start = int((amount == 0).sum())
    e, tail = amount[start:], slice(start, None)
    if not len(e):
        return clip
    tracks = torch.stack([clip.rotations[bone][tail] for bone in bones])  # (J, n, 4)
    settled = dict(zip(bones, _eased_quats(tracks, goal, e, bones.index("hips")), strict=True))
    return replace(
        clip,
        rotations={
            bone: torch.cat([track[:start], settled[bone]]) if bone in settled else track
            for bone, track in clip.rotations.items()
        },
        hips=torch.cat([clip.hips[:start], torch.lerp(clip.hips[tail], neutral.hips.to(clip.hips), e[:, None])]),
        contacts=torch.cat([clip.contacts[:start], torch.zeros_like(clip.contacts[tail])]),
        expressions={name: track * (1 - amount) for name, track in clip.expressions.items()},
        gaze=None if clip.gaze is None else clip.gaze * (1 - amount)[:, None],
    )


def _settle_seconds(clip: VrmClip, place: Tensor, bones: list[str], goal: Tensor) -> float:
    """How long settling takes, s: by the way from the last frame to hips at ``place`` (3,) and bones (J, 1, 4)."""
    length = (clip.num_frames - 1) / clip.fps
    scale = clip.rest_hips_height / CANONICAL_HIPS_HEIGHT
    way = float(torch.linalg.vector_norm(clip.hips[-1] - place.to(clip.hips)))
    turn = float(quat_angle(torch.stack([clip.rotations[bone][-1] for bone in bones]), goal[:, 0]).max())
    wanted = max(min(SETTLE_S, _SETTLE_SHARE * length), way / (_SETTLE_SPEED * scale), turn / _SETTLE_TURN)
    return min(wanted, _LONGEST_SHARE * length)


def _eased_quats(tracks: Tensor, goal: Tensor, amount: Tensor, hips: int) -> Tensor:
    """Tracks (J, n, 4) moved to ``goal`` (J, 1, 4) by ``amount`` (n,), each the way that is shorter at the start.

    The heading of row ``hips`` is unwound by itself, about +Y: a figure that turned back must not fall over on its way.
    """
    yaw = _unwrapped(heading(tracks[hips]))
    tracks = tracks.clone()
    tracks[hips] = quat_multiply(yaw_to_quat(-yaw), tracks[hips])
    way = quat_unroll(quat_multiply(quat_conjugate(tracks), goal))  # continuous, also beyond half a turn
    sine = torch.linalg.vector_norm(way[..., :3], dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, way[..., 3:])
    rotvec = way[..., :3] * torch.where(sine < 1e-6, torch.full_like(sine, 2.0), angle / sine.clamp_min(1e-8))
    eased = quat_multiply(tracks, rotvec_to_quat(rotvec * amount[:, None]))
    eased[hips] = quat_multiply(yaw_to_quat(yaw * (1 - amount)), eased[hips])
    return normalize(eased)


def _unwrapped(yaw: Tensor) -> Tensor:
    """Headings (n,) without jumps of a full turn; the last one in -pi..pi."""
    steps = torch.remainder(torch.diff(yaw) + torch.pi, 2 * torch.pi) - torch.pi
    back = torch.cat([steps.flip(0).cumsum(0).flip(0), yaw.new_zeros(1)])  # what is still to come
    return yaw[-1] - back


def _ease(amount: Tensor) -> Tensor:
    """0 up to 0, 1 from 1 on, between them a quintic with no speed and no acceleration at either end."""
    amount = amount.clamp(0, 1)
    return amount**3 * (10 + amount * (6 * amount - 15))
