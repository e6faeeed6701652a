"""Whether a body could do it: joints bent beyond what joints bend, and limbs that pass through the body.

Both on the canonical body, from its pose alone. Limits are wide (they hold for 99.9 % of recorded frames): what lies
beyond them is a fault, not a contortion. Sizes of the capsules are those of a slim adult in light clothes.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Final

import numpy as np

from motion_service.geometry.planes import Planes, dot, length
from motion_service.humanoid import CANONICAL_BONES, canonical_index

HINGES: Final = [canonical_index(f"{side}Lower{limb}") for limb in ("Arm", "Leg") for side in ("left", "right")]
_FLEXION: Final = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
"""(4, 3) axis about which each of :data:`HINGES` flexes the way the joint can bend: elbows forward, knees back."""
_ALONG: Final = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
"""(4, 3) axis along each of those bones: turning about it is twist, which a hinge does not count."""
_AXES: Final = np.array([_ALONG, _FLEXION, np.cross(_ALONG, _FLEXION)]).transpose(2, 0, 1)[..., None]
"""(3, 3 axes, 4, 1): along the bone, about the hinge, across both."""
_HINGE_LIMITS: Final = (math.tan(math.radians(-20) / 2), math.tan(math.radians(165) / 2))
"""From -20 to 165 degrees, as tangents of half angles."""
_BALL_LIMITS_DEG: Final = {
    "spine": 70, "chest": 60, "neck": 75, "head": 75, "Shoulder": 60, "Hand": 100, "UpperLeg": 150, "Foot": 85,
    "Toes": 85,
}  # fmt: skip
"""Largest turn of a bone against its parent, whatever the axis; upper arms have none: they reach everywhere."""


def _ball_limits() -> tuple[list[int], Planes]:
    """Bones with a limit, and the cosines (n, 1) of half the limits."""
    limit_of = {
        bone: limit
        for bone in CANONICAL_BONES
        for part, limit in _BALL_LIMITS_DEG.items()
        if bone == part or bone in (f"left{part}", f"right{part}")
    }
    cosines = np.cos(np.radians([*limit_of.values()]) / 2).astype(np.float32)
    return [canonical_index(bone) for bone in limit_of], cosines[:, None]


_BALLS, _BALL_LIMITS = _ball_limits()
_TINY: Final = 1e-8


def hinge_swings(local: Planes) -> Planes:
    """Swing of elbows and knees (3, 4, T): their rotation without its twist, of ``local`` (4, 21, T) xyzw.

    What is left about the hinge (positive: flexion) and across it, then w >= 0; along the bone nothing is.
    """
    turns = local.take(HINGES, axis=1)  # (4, 4, T)
    along, about, across = np.add.reduce(turns[:3, None] * _AXES)
    w = np.hypot(along, turns[3])
    sine, cosine = along / np.maximum(w, _TINY), turns[3] / np.maximum(w, _TINY)  # of half the twist
    return np.array([cosine * about - sine * across, cosine * across + sine * about, w])


def hinge_share(swings: Planes) -> float:
    """Flexion the right way over all bending of elbows and knees, 0..1; 1 when nothing bends.

    Half-angle sines stand for angles: they weigh alike, and what matters is the direction of the swing's axis.
    """
    bending, right = float(length(swings[:2]).sum()), float(np.maximum(swings[0], 0).sum())
    return right / bending if bending > 1e-3 else 1.0


def limit_share(local: Planes, swings: Planes) -> float:
    """Share of (frame, joint) pairs in which a joint is turned beyond its limit, 0..1: of ``local`` (4, 21, T) xyzw and
    its :func:`hinge_swings`."""
    flexion, _, w = swings
    bent = (flexion < _HINGE_LIMITS[0] * w) | (flexion > _HINGE_LIMITS[1] * w)  # (4, T)
    turned = np.abs(local[3, _BALLS]) < _BALL_LIMITS  # (n, T)
    beyond = int(bent.sum()) + int(turned.sum())
    return float(beyond / (bent.size + turned.size))


# --- limbs through the body -------------------------------------------------------------------------------------------

_CAPSULES: Final = {
    # name: (bone at one end, bone at the other, radius in m)
    "trunk": ("hips", "neck", 0.095),
    "head": ("head", "head", 0.085),
    **{f"{side}Forearm": (f"{side}LowerArm", f"{side}Hand", 0.035) for side in ("left", "right")},
    **{f"{side}Palm": (f"{side}Hand", f"{side}Hand", 0.035) for side in ("left", "right")},
    **{f"{side}Thigh": (f"{side}UpperLeg", f"{side}LowerLeg", 0.065) for side in ("left", "right")},
    **{f"{side}Shank": (f"{side}LowerLeg", f"{side}Foot", 0.045) for side in ("left", "right")},
}
_TINY_M2: Final = 1e-12
_HEAD_RAISE: Final = 0.09
"""Middle of the head above its joint, m."""
_TOUCHING: Final = {
    frozenset(pair)
    for pair in [("trunk", "head"), ("leftThigh", "rightThigh")]
    + [(f"{side}Forearm", f"{side}Palm") for side in ("left", "right")]
    + [(f"{side}Thigh", f"{side}Shank") for side in ("left", "right")]
    + [("trunk", f"{side}Thigh") for side in ("left", "right")]
}
"""Parts that meet at a joint, or touch in everybody."""
_PAIRS: Final = [pair for pair in combinations(range(len(_CAPSULES)), 2)
                 if frozenset([*_CAPSULES][i] for i in pair) not in _TOUCHING]  # fmt: skip
_ENDS: Final = (
    [canonical_index(start) for start, _, _ in _CAPSULES.values()],
    [canonical_index(end) for _, end, _ in _CAPSULES.values()],
)
_HEAD: Final = [*_CAPSULES].index("head")
_ONE, _TWO = (np.array([pair[i] for pair in _PAIRS]) for i in (0, 1))
_RADII: Final = np.array([radius for _, _, radius in _CAPSULES.values()], np.float32)
_TOUCH: Final = (_RADII[_ONE] + _RADII[_TWO])[:, None]
"""(pairs, 1) how far apart the lines of two parts are that just touch, m."""


def intersection_depth(positions: Planes) -> Planes:
    """How deep (T,) m the deepest two parts of the body lie in each other; 0 when none touch. ``positions`` (3, 21, T).

    Arms, legs, trunk and head as capsules.
    """
    starts, ends = (positions.take(bones, axis=1) for bones in _ENDS)  # (3, n, T)
    starts[1, _HEAD] += _HEAD_RAISE
    ends[1, _HEAD] += _HEAD_RAISE
    distance = segment_distance(*(points.take(part, axis=1) for part in (_ONE, _TWO) for points in (starts, ends)))
    deepest: Planes = np.maximum((_TOUCH - distance).max(0), 0)  # of (pairs, T)
    return deepest


def segment_distance(a: Planes, b: Planes, c: Planes, d: Planes) -> Planes:
    """Shortest distance (...,) between the segments a-b and c-d, points (3, ...); an end may be its start.

    Ericson 2005, "Real-Time Collision Detection", 5.1.9: the best place on one line, clamped, then that on the other,
    clamped, and back once.
    """
    first, second, between = b - a, d - c, a - c
    aa, ee = np.maximum(dot(first, first), _TINY_M2), np.maximum(dot(second, second), _TINY_M2)
    ab, af, ef = dot(first, second), dot(first, between), dot(second, between)
    s = np.clip((ab * ef - af * ee) / np.maximum(aa * ee - ab * ab, _TINY_M2), 0, 1)
    t = np.clip((ab * s + ef) / ee, 0, 1)
    s = np.clip((ab * t - af) / aa, 0, 1)
    return length(between + s * first - t * second)
