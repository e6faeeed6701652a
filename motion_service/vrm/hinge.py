"""Where knees and elbows point: the hinge axis of a limb over time, also while the limb is straight.

The two directions of a bent limb tell its hinge; those of a straight limb do not, and noise there would spin the bone.
So one angle per frame is solved for the whole clip: evidence where there is some, a smooth path where there is none.
Angles are measured in a rotation-minimising frame along the bone (Bishop 1975), in which no turn means no twist.

Everything here is about angles of one axis in its parent's frame; which limb it is and what is evidence, the caller
knows. Letters: K limbs, E kinds of evidence, T frames; vectors are :data:`~motion_service.geometry.planes.Planes`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from motion_service.geometry.planes import Planes, carry, cross, dot, unit

SWING_WEIGHT: Final = 0.1
"""How much the shortest swing out of the rest pose counts where nothing else is known; a clearly bent limb counts 1."""
SMOOTHING_SECONDS: Final = 0.075
"""Time over which a hinge follows evidence of weight 1: one and a half frames at 20 fps."""
_FAINT: Final = 1e-4
"""Certainty of a frame without evidence; above zero, so that there is one solution."""


def smoothstep(x: Planes, low: Planes | float, high: Planes | float) -> Planes:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t: Planes = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def signed_angle(a: Planes, b: Planes, axis: Planes) -> Planes:
    """Angle from ``a`` to ``b`` about the unit ``axis``, radians in -pi..pi; they need not stand upright on it."""
    angle: Planes = np.arctan2(*_sine_and_cosine(a, b, axis))
    return angle


def _sine_and_cosine(a: Planes, b: Planes, axis: Planes) -> tuple[Planes, Planes]:
    """Both of that angle, in one and the same unit."""
    return dot(cross(a, b), axis), dot(a, b) - dot(a, axis) * dot(b, axis)


def swing_hinge(bone: Planes, rest_bone: Planes, rest_hinge: Planes) -> Planes:
    """The rest hinge (3, K, 1) carried along by the shortest rotation from the rest bone (3, K, 1) to ``bone``
    (3, K, T)."""
    return carry(rest_hinge, rest_bone, bone)


def solve_hinge(bone: Planes, swing: Planes, rest_bone: Planes, axes: Planes, weights: Planes, fps: float) -> Planes:
    """Smooth unit hinge axes (3, K, T) upright on the bones.

    ``bone`` (3, K, T) unit directions in the parent's frame, ``swing`` (3, K, T) of :func:`swing_hinge`, ``rest_bone``
    (3, K, 1), ``axes`` (3, E, K, T) measured hinges and ``weights`` (E, K, T) their worth, 0..1. All float64.
    """
    roll = _swing_roll(bone, swing)  # (K, T) of the swing hinge in the rotation-minimising frame
    # Opposite to the rest pose every swing is a shortest one, so there it says nothing.
    swing_weight = SWING_WEIGHT * smoothstep(1 + dot(bone, rest_bone), 0.1, 0.6) * (1 - weights.max(0))
    sine, cosine = _sine_and_cosine(swing[:, None], axes, bone[:, None])  # (E, K, T) from the swing hinge
    size = np.hypot(sine, cosine)
    worth = weights / np.where(size > 0, size, 1.0)
    along = (worth * np.where(size > 0, cosine, 1.0)).sum(0) + swing_weight
    across = (worth * sine).sum(0)
    certainty = np.clip(np.hypot(along, across), _FAINT, 1)
    rows = zip((np.arctan2(across, along) + roll).tolist(), certainty.tolist(), strict=True)
    angles = [unwrap_angles(angle, sure) for angle, sure in rows]
    turn = smooth_angles(angles, certainty, (SMOOTHING_SECONDS * fps) ** 2) - roll
    return unit(np.cos(turn) * swing + np.sin(turn) * cross(bone, swing))


def _swing_roll(bone: Planes, swing: Planes) -> Planes:
    """Angle of the swing hinge about the bone in a frame that is carried along without twist, radians. (K, T)"""
    roll = np.zeros(bone.shape[1:])
    ahead = bone[..., 1:]
    carried = carry(swing[..., :-1], bone[..., :-1], ahead)
    np.cumsum(signed_angle(carried, swing[..., 1:], ahead), axis=-1, out=roll[..., 1:])
    return roll


def unwrap_angles(angle: list[float], certainty: list[float]) -> list[float]:
    """Add full turns so that angles stay near a running estimate, from the most certain frame outwards both ways."""
    if max(angle) - min(angle) <= math.pi:  # nor is any estimate farther away
        return angle
    angle = list(angle)
    start = max(range(len(angle)), key=certainty.__getitem__)
    for frames in (range(start + 1, len(angle)), range(start - 1, -1, -1)):
        estimate = angle[start]
        for t in frames:
            away = angle[t] - estimate
            if not -math.pi <= away <= math.pi:
                angle[t] -= math.tau * round(away / math.tau)
                away = angle[t] - estimate
            sure = certainty[t] + 0.02
            estimate += away if sure >= 1 else sure * away
    return angle


def smooth_angles(target: ArrayLike, weight: ArrayLike, stiffness: float) -> Planes:
    """Minimise sum weight_t (x_t - target_t)^2 + stiffness sum (x_t - x_(t-1))^2 over (..., T), weights above 0.

    The equations couple neighbours only. Each round takes out the neighbours of a frame and leaves it coupled to those
    twice as far away, until there are none (parallel cyclic reduction: Hockney and Jesshope 1981).
    """
    weight = np.asarray(weight, dtype=np.float64)
    goal, pivot = weight * target, weight.copy()
    pivot[..., 1:] += stiffness
    pivot[..., :-1] += stiffness
    link, far = np.full_like(weight[..., 1:], stiffness), 1  # between t and t + far
    while link.size:
        before, after = link / pivot[..., :-far], link / pivot[..., far:]
        told, goal, pivot = goal, goal.copy(), pivot.copy()
        goal[..., far:] += before * told[..., :-far]
        goal[..., :-far] += after * told[..., far:]
        pivot[..., far:] -= before * link
        pivot[..., :-far] -= after * link
        link = after[..., :-far] * link[..., far:]
        far *= 2
    solved: Planes = goal / pivot
    return solved
