"""Where knees and elbows point: the hinge axis of a limb over time, also while the limb is straight.

The two directions of a bent limb tell its hinge; those of a straight limb do not, and noise there would spin the bone.
So one angle per frame is solved for the whole clip: evidence where there is some, a smooth path where there is none.
Angles are measured in a rotation-minimising frame along the bone (Bishop 1975), in which no turn means no twist.

Everything here is about angles of one axis in its parent's frame; which limb it is and what is evidence, the caller
knows. Letters: K limbs, E kinds of evidence, T frames.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from motion_service.geometry.rotation import normalize, quat_between, quat_rotate

SWING_WEIGHT: Final = 0.1
"""How much the shortest swing out of the rest pose counts where nothing else is known; a clearly bent limb counts 1."""
SMOOTHING_SECONDS: Final = 0.075
"""Time over which a hinge follows evidence of weight 1: one and a half frames at 20 fps."""
_FAINT: Final = 1e-4
"""Certainty of a frame without evidence; above zero, so that there is one solution."""


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def signed_angle(a: Tensor, b: Tensor, axis: Tensor) -> Tensor:
    """Angle from ``a`` to ``b`` about the unit ``axis``, radians in -pi..pi; they need not stand upright on it."""
    sine = (torch.linalg.cross(a, b) * axis).sum(-1)
    cosine = (a * b).sum(-1) - (a * axis).sum(-1) * (b * axis).sum(-1)
    return torch.atan2(sine, cosine)


def swing_hinge(bone: Tensor, rest_bone: Tensor, rest_hinge: Tensor) -> Tensor:
    """The rest hinge (K, 3) carried along by the shortest rotation from the rest bone (K, 3) to ``bone`` (K, T, 3)."""
    return quat_rotate(quat_between(rest_bone[:, None], bone), rest_hinge[:, None])


def solve_hinge(bone: Tensor, swing: Tensor, rest_bone: Tensor, axes: Tensor, weights: Tensor, fps: float) -> Tensor:
    """Smooth unit hinge axes (K, T, 3) upright on the bones.

    ``bone`` (K, T, 3) unit directions in the parent's frame, ``swing`` (K, T, 3) of :func:`swing_hinge`, ``rest_bone``
    (K, 3), ``axes`` (E, K, T, 3) measured hinges and ``weights`` (E, K, T) their worth, 0..1. All float64.
    """
    roll = _swing_roll(bone, swing)  # (K, T) of the swing hinge in the rotation-minimising frame
    # Opposite to the rest pose every swing is a shortest one, so there it says nothing.
    swing_weight = SWING_WEIGHT * smoothstep(1 + (bone * rest_bone[:, None]).sum(-1), 0.1, 0.6) * (1 - weights.amax(0))
    seen = signed_angle(swing[None], axes, bone)  # (E, K, T) from the swing hinge
    evidence = torch.polar(weights, seen).sum(0) + swing_weight
    certainty = evidence.abs().clamp(_FAINT, 1)
    stiffness = (SMOOTHING_SECONDS * fps) ** 2
    rows = zip((evidence.angle() + roll).tolist(), certainty.tolist(), strict=True)
    angles = [smooth_angles(unwrap_angles(angle, sure), sure, stiffness) for angle, sure in rows]
    solved = torch.tensor(angles, dtype=roll.dtype)
    turn = (solved - roll)[..., None]
    return normalize(torch.cos(turn) * swing + torch.sin(turn) * torch.linalg.cross(bone, swing))


def _swing_roll(bone: Tensor, swing: Tensor) -> Tensor:
    """Angle of the swing hinge about the bone in a frame that is carried along without twist, radians. (K, T)"""
    carried = quat_rotate(quat_between(bone[:, :-1], bone[:, 1:]), swing[:, :-1])
    step = signed_angle(carried, swing[:, 1:], bone[:, 1:])
    return torch.cat([torch.zeros_like(bone[:, :1, 0]), step.cumsum(-1)], dim=-1)


def unwrap_angles(angle: list[float], certainty: list[float]) -> list[float]:
    """Add full turns so that angles stay near a running estimate, from the most certain frame outwards both ways."""
    angle = list(angle)
    start = max(range(len(angle)), key=certainty.__getitem__)
    for frames in (range(start + 1, len(angle)), range(start - 1, -1, -1)):
        estimate = angle[start]
        for t in frames:
            angle[t] -= math.tau * round((angle[t] - estimate) / math.tau)
            estimate += min(1.0, certainty[t] + 0.02) * (angle[t] - estimate)
    return angle


def smooth_angles(target: list[float], weight: list[float], stiffness: float) -> list[float]:
    """Minimise sum weight_t (x_t - target_t)^2 + stiffness sum (x_t - x_(t-1))^2, weights above 0: Thomas' method.

    Plain floats: for the four rows of a body a loop over them is faster than one over tensors.
    """
    last = len(target) - 1
    solved, follow = [], []  # x_t = solved_t + follow_t x_(t+1)
    before, passed = 0.0, 0.0
    for t, (goal, trust) in enumerate(zip(target, weight, strict=True)):
        back, ahead = stiffness * (t > 0), stiffness * (t < last)
        pivot = trust + ahead + back * (1 - passed)
        before, passed = (trust * goal + back * before) / pivot, ahead / pivot
        solved.append(before)
        follow.append(passed)
    for t in range(last - 1, -1, -1):
        solved[t] += follow[t] * solved[t + 1]
    return solved
