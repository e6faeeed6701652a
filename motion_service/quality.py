"""Physical measures of a clip: what slides, sinks, floats, trembles or bends the wrong way.

Everything is measured on the canonical body by forward kinematics, whatever avatar the clip is for, so that clips of
different generators and real recordings stand in one table. Measures depend on the frame rate (a derivative of
sampled positions does): compare clips of one rate. It knows nothing of prompts or of where a clip came from.

Foot skate and its 3 cm are after Zhang et al. 2018, "Mode-Adaptive Neural Networks for Quadruped Motion Control"
(https://doi.org/10.1145/3197517.3201366); float and penetration are the usual measures of Yuan et al. 2023, "PhysDiff"
(https://arxiv.org/abs/2212.02500), taken at joints instead of mesh vertices; jerk is the third derivative, as in Flash
and Hogan 1985 (https://doi.org/10.1523/JNEUROSCI.05-07-01688.1985).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import CONTACT_HEIGHT, CONTACT_REST, OFFSET_PLANES, canonical_fk, planted
from motion_service.geometry.planes import Planes, forward_kinematics, length, multiply, to_planes, to_tensor
from motion_service.humanoid import (
    CANONICAL_BONES,
    CANONICAL_HIPS_HEIGHT,
    CANONICAL_PARENTS,
    CONTACT_BONES,
    canonical_index,
)
from motion_service.quality_body import hinge_share, hinge_swings, intersection_depth, limit_share
from motion_service.vrm.body import clip_to_planes

_FEET: Final = [canonical_index(bone) for bone in CONTACT_BONES]
_TOES: Final = [1, 3]
"""Which of the four contact joints are toes."""
_ON_UPPER_CHEST: Final = [canonical_index(bone) for bone in ("neck", "leftShoulder", "rightShoulder")]


REAL_RANGE: Final[Mapping[str, tuple[float, float]]] = {
    "skate_cm_s": (0.95, 50.0),
    "penetration_cm": (0.0, 0.13),
    "float_cm": (0.0, 1.4),
    "jitter_m_s3": (14.0, 290.0),
    "plant_share": (0.43, 1.0),
    "hinge_share": (1.0, 1.0),
    "limit_share": (0.0, 0.0),
    "self_intersection_cm": (0.0, 0.0094),
}
"""5th and 95th percentile over 400 recorded clips of up to 5 s of all actions: ``scripts/motion/real_range``."""


def faults(measures: Mapping[str, float | None]) -> float:
    """How far measures lie outside :data:`REAL_RANGE` on the bad side, summed over measures; 0 = none does.

    A measure that is twice its bound counts 1. What is only calmer than most recordings is no fault.
    """
    total = 0.0
    for name, slack in _SLACK.items():
        value, bound = measures.get(name), REAL_RANGE[name][1]
        if value is not None:
            total += max(0.0, value - bound) / max(bound, slack)
    return total


_SLACK: Final = {
    "skate_cm_s": 5.0, "penetration_cm": 1.0, "float_cm": 2.0, "jitter_m_s3": 50.0, "limit_share": 0.01,
    "self_intersection_cm": 2.0,
}  # fmt: skip
"""Measures of which more is worse, and what counts as much where the bound of recordings is next to nothing."""


@dataclass(frozen=True, slots=True)
class CanonicalPose:
    """A clip put on the canonical body: made once for all that measures it."""

    local: Planes
    """(4, 21, T) rotations of the bones."""
    positions: Planes
    """(3, 21, T) where they are in the world, m."""
    fps: float


def pose_clip(clip: VrmClip) -> CanonicalPose:
    """The clip on the canonical body, as :func:`clip_to_canonical` puts it there."""
    local = _canonical_planes(clip)
    hips = to_planes(clip.hips) * (CANONICAL_HIPS_HEIGHT / clip.rest_hips_height)
    positions, _ = forward_kinematics(local, hips, OFFSET_PLANES, CANONICAL_PARENTS)
    return CanonicalPose(local, positions, clip.fps)


def clip_to_canonical(clip: VrmClip) -> tuple[Tensor, Tensor]:
    """Local rotations (T, 21, 4) xyzw and hips (T, 3) m of a clip put on the canonical body.

    Bones that the clip lacks rest; ``upperChest``, which this body does not have, turns its children instead; the place
    of the hips is scaled by the ratio of the rest hips heights.
    """
    local = to_tensor(_canonical_planes(clip)).transpose(0, 1)  # (T, J, 4)
    return local, clip.hips * (CANONICAL_HIPS_HEIGHT / clip.rest_hips_height)


def clip_to_positions(clip: VrmClip) -> Tensor:
    """World positions of the canonical bones (T, 21, 3), m."""
    positions, _ = canonical_fk(*clip_to_canonical(clip))
    return positions


def measure_clip(clip: VrmClip) -> dict[str, float]:
    """:func:`measure_pose` of a clip."""
    return measure_pose(pose_clip(clip))


def measure_pose(pose: CanonicalPose) -> dict[str, float]:
    """All measures of one clip. Keys carry the unit; every value is finite; a measure without evidence is 0.

    ``skate_cm_s``
        mean horizontal speed of a toe over steps where it stays below 3 cm above its rest height, cm/s.
    ``low_share``
        share of toe steps that ``skate_cm_s`` rests on, 0..1. Weigh by it when averaging over clips.
    ``penetration_cm``
        99th percentile, over frames and the four foot joints, of the depth below the height that the joint has when the
        sole lies on the floor, cm.
    ``float_cm``
        median over frames of the height of the lowest foot joint above that height, cm. Walking and standing: near 0.
    ``jitter_m_s3``
        mean size of the jerk (third difference of positions) over the 21 bones, m/s^3.
    ``plant_share``
        share of frames in which at least one foot is planted: an ankle or toe low and slower than 0.3 m/s, 0..1.
    ``hinge_share``
        of all bending of elbows and knees, the share that is flexion about the hinge the right way, 0..1; 1 when
        nothing bends.
    ``limit_share``
        share of joints, over frames, turned farther than a joint turns, 0..1.
    ``self_intersection_cm``
        99th percentile over frames of how deep the deepest two parts of the body lie in each other, cm.
    """
    feet = pose.positions.take(_FEET, axis=1)  # (3, 4, T)
    height = feet[1] - CONTACT_REST  # above the standing height
    skate, low_share = _skate(feet[:, _TOES], height[_TOES], pose.fps)
    swings = hinge_swings(pose.local)
    return {
        "skate_cm_s": skate,
        "low_share": low_share,
        "penetration_cm": 100 * _quantile(np.maximum(-height, 0), 0.99),
        "float_cm": 100 * max(_lower_median(height.min(0)), 0.0),
        "jitter_m_s3": _jerk(pose.positions, pose.fps),
        "plant_share": float(planted(feet, pose.fps).any(0).mean()),
        "hinge_share": hinge_share(swings),
        "limit_share": limit_share(pose.local, swings),
        "self_intersection_cm": 100 * _quantile(intersection_depth(pose.positions), 0.99),
    }


def _canonical_planes(clip: VrmClip) -> Planes:
    """Local rotations (4, 21, T) of :func:`clip_to_canonical`."""
    local = clip_to_planes(clip, CANONICAL_BONES)
    upper_chest = clip.rotations.get("upperChest")
    if upper_chest is not None:
        local[:, _ON_UPPER_CHEST] = multiply(to_planes(upper_chest)[:, None], local[:, _ON_UPPER_CHEST])
    return local


def foot_depth(clip: VrmClip) -> Tensor:
    """Depth (T, 4) m of ankles and toes below where they are when the sole lies on the floor; 0 above it."""
    feet = clip_to_positions(clip)[:, _FEET, 1]
    return (torch.from_numpy(CONTACT_REST[:, 0]).to(feet) - feet).clamp_min(0)


def _skate(toes: Planes, height: Planes, fps: float) -> tuple[float, float]:
    """Mean horizontal speed in cm/s of toes (3, 2, T) over steps low at both ends, and the share of such steps."""
    if toes.shape[-1] < 2:
        return 0.0, 0.0
    low = height < CONTACT_HEIGHT
    low = low[:, 1:] & low[:, :-1]  # (2, T - 1)
    speed = length(toes[::2, :, 1:] - toes[::2, :, :-1]) * fps
    count = int(low.sum())
    return 100 * float((speed * low).sum()) / max(count, 1), count / low.size


def _quantile(values: Planes, share: float) -> float:
    """The value that this share lies below, between neighbours in proportion."""
    ordered = np.sort(values, axis=None)
    place = share * (len(ordered) - 1)
    left = int(place)
    return float(ordered[left] + (place - left) * (ordered[min(left + 1, len(ordered) - 1)] - ordered[left]))


def _lower_median(values: Planes) -> float:
    """The middle one in order, of an even number the lower of the two."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def mean_jerk(positions: Tensor, fps: float) -> float:
    """Mean over frames and joints of the size of the third difference of positions (T, J, 3), m/s^3; 0 for T < 4."""
    return _jerk(positions.numpy().T, fps)


def _jerk(positions: Planes, fps: float) -> float:
    """:func:`mean_jerk` of (3, J, T)."""
    if positions.shape[-1] < 4:
        return 0.0
    step = positions[..., 1:] - positions[..., :-1]
    third = step[..., 2:] - 2 * step[..., 1:-1] + step[..., :-2]
    return float(length(third).mean()) * fps**3


def joint_acceleration(clip: VrmClip) -> Tensor:
    """Largest joint acceleration (T - 2,) m/s^2 on the canonical body; entry i is centred on frame i + 1."""
    second = torch.diff(clip_to_positions(clip), n=2, dim=0) * clip.fps**2
    size: Tensor = torch.linalg.vector_norm(second, dim=-1)  # (T - 2, J)
    return size.amax(dim=-1)


def seam_acceleration(clip: VrmClip, borders: Sequence[int]) -> float:
    """Largest joint acceleration at window borders over the largest inside windows; about 1 or less means: no pop.

    ``borders`` are the first frames of the windows after the first. An acceleration is at a border when its three
    frames lie on both sides of it. 0 when nothing moves or no border lies inside the clip.
    """
    acceleration = joint_acceleration(clip)
    centre = torch.arange(1, clip.num_frames - 1)
    at_border = torch.zeros_like(centre, dtype=torch.bool)
    for border in borders:
        at_border |= (centre == border - 1) | (centre == border)
    if not bool(at_border.any()) or bool(at_border.all()):
        return 0.0
    seam, inside = float(acceleration[at_border].max()), float(acceleration[~at_border].max())
    return seam / max(inside, 1e-3)
