"""Whether a body could do it: joints bent beyond what joints bend, and limbs that pass through the body.

Both on the canonical body, from its pose alone. Limits are wide (they hold for 99.9 % of recorded frames): what lies
beyond them is a fault, not a contortion. Sizes of the capsules are those of a slim adult in light clothes.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Final

import torch
from torch import Tensor

from motion_service.geometry.rotation import quat_multiply
from motion_service.humanoid import CANONICAL_BONES, canonical_index

HINGES: Final = [canonical_index(f"{side}Lower{limb}") for limb in ("Arm", "Leg") for side in ("left", "right")]
_FLEXION: Final = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
"""(4, 3) axis about which each of :data:`HINGES` flexes the way the joint can bend: elbows forward, knees back."""
_ALONG: Final = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
"""(4, 3) axis along each of those bones: turning about it is twist, which a hinge does not count."""
_HINGE_LIMITS: Final = (math.radians(-20), math.radians(165))
_BALL_LIMITS_DEG: Final = {
    "spine": 70, "chest": 60, "neck": 75, "head": 75, "Shoulder": 60, "Hand": 100, "UpperLeg": 150, "Foot": 85,
    "Toes": 85,
}  # fmt: skip
"""Largest turn of a bone against its parent, whatever the axis; upper arms have none: they reach everywhere."""


def _ball_limits() -> tuple[list[int], Tensor]:
    """Bones with a limit, and the limits (n,) rad."""
    limit_of = {
        bone: limit
        for bone in CANONICAL_BONES
        for part, limit in _BALL_LIMITS_DEG.items()
        if bone == part or bone in (f"left{part}", f"right{part}")
    }
    return [canonical_index(bone) for bone in limit_of], torch.deg2rad(torch.tensor(list(limit_of.values())).float())


_BALLS, _BALL_LIMITS = _ball_limits()


def hinge_swings(local: Tensor) -> Tensor:
    """Swing (T, 4, 4) xyzw of elbows and knees, w >= 0: their rotation without its twist. ``local`` (T, 21, 4)."""
    along, q = _ALONG.to(local), local[:, HINGES]
    q = torch.where(q[..., 3:] < 0, -q, q)
    twist = torch.cat([(q[..., :3] * along).sum(-1, keepdim=True) * along, q[..., 3:]], dim=-1)
    twist = twist / torch.linalg.vector_norm(twist, dim=-1, keepdim=True).clamp_min(1e-8)
    return quat_multiply(q, twist * twist.new_tensor([-1.0, -1.0, -1.0, 1.0]))


def hinge_share(local: Tensor) -> float:
    """Flexion the right way over all bending of elbows and knees, 0..1; 1 when nothing bends.

    Half-angle sines stand for angles: they weigh alike, and what matters is the direction of the swing's axis.
    """
    swing = hinge_swings(local)[..., :3]
    bending = float(torch.linalg.vector_norm(swing, dim=-1).sum())
    return float((swing * _FLEXION.to(swing)).sum(-1).clamp_min(0).sum()) / bending if bending > 1e-3 else 1.0


def limit_share(local: Tensor) -> float:
    """Share of (frame, joint) pairs in which a joint is turned beyond its limit, 0..1. ``local`` (T, 21, 4) xyzw."""
    swing = hinge_swings(local)
    flexion = 2 * torch.atan2((swing[..., :3] * _FLEXION.to(swing)).sum(-1), swing[..., 3])  # (T, 4)
    bent = (flexion < _HINGE_LIMITS[0]) | (flexion > _HINGE_LIMITS[1])
    turned = 2 * torch.acos(local[:, _BALLS, 3].abs().clamp(max=1)) > _BALL_LIMITS.to(local)  # (T, n)
    return float(torch.cat([bent, turned], dim=1).float().mean())


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
_RADII: Final = torch.tensor([radius for _, _, radius in _CAPSULES.values()])
_ENDS: Final = (
    [canonical_index(start) for start, _, _ in _CAPSULES.values()],
    [canonical_index(end) for _, end, _ in _CAPSULES.values()],
)


def intersection_depth(positions: Tensor) -> Tensor:
    """How deep (T,) m the deepest two parts of the body lie in each other; 0 when none touch. ``positions`` (T, 21, 3).

    Arms, legs, trunk and head as capsules.
    """
    starts, ends = positions[:, _ENDS[0]], positions[:, _ENDS[1]]  # (T, n, 3)
    raise_head = torch.zeros(len(_CAPSULES), 3).to(positions)
    raise_head[[*_CAPSULES].index("head"), 1] = _HEAD_RAISE
    starts, ends = starts + raise_head, ends + raise_head
    one, two = ([pair[i] for pair in _PAIRS] for i in (0, 1))
    distance = segment_distance(starts[:, one], ends[:, one], starts[:, two], ends[:, two])  # (T, pairs)
    radii = _RADII.to(positions)
    depth: Tensor = (radii[one] + radii[two] - distance).clamp_min(0).amax(dim=1)
    return depth


def segment_distance(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Shortest distance (...,) between the segments a-b and c-d, points (..., 3); an end may be its start.

    Ericson 2005, "Real-Time Collision Detection", 5.1.9: the best place on one line, clamped, then that on the other,
    clamped, and back once.
    """
    first, second, between = b - a, d - c, a - c
    aa, ee = first.square().sum(-1).clamp_min(1e-12), second.square().sum(-1).clamp_min(1e-12)
    ab, af, ef = (first * second).sum(-1), (first * between).sum(-1), (second * between).sum(-1)
    s = ((ab * ef - af * ee) / (aa * ee - ab * ab).clamp_min(1e-12)).clamp(0, 1)
    t = ((ab * s + ef) / ee).clamp(0, 1)
    s = ((ab * t - af) / aa).clamp(0, 1)
    distance: Tensor = torch.linalg.vector_norm(between + s[..., None] * first - t[..., None] * second, dim=-1)
    return distance
