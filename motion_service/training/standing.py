"""The neutral standing pose, made by hand, and the small movements of a living figure that stands.

Being ours, the pose carries no licence of any data set. It is the first prefix of every clip of ``mini``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from motion_service.features.vrm_native import VRM_FPS, bones_to_features, canonical_fk
from motion_service.geometry.kinematics import local_to_world_quat
from motion_service.geometry.rotation import (
    euler_to_quat,
    quat_conjugate,
    quat_identity,
    quat_multiply,
    rotvec_to_quat,
    yaw_to_quat,
)
from motion_service.humanoid import CANONICAL_PARENTS, CANONICAL_REST, CONTACT_BONES, canonical_index

_LEFT_DEG: Final = {
    # bone of the left side: degrees about X, Y, Z, taken in the order Y, X, Z; the right side is the mirror image
    "Shoulder": (0.0, 0.0, -3.0),
    "UpperArm": (0.0, 6.0, -73.0),  # hanging, a hand's width off the thigh, a little to the front
    "LowerArm": (0.0, -14.0, 0.0),
    "UpperLeg": (-2.0, 7.0, 2.0),
    "LowerLeg": (4.0, 0.0, 0.0),
}
_TOES_OUT: Final = math.radians(7.0)

_SWAYS: Final[tuple[tuple[float, float, Mapping[str, tuple[float, float, float]]], ...]] = (
    # slowest and fastest rate (Hz), {bone: degrees about X, Y, Z}: breathing, shifting, looking about
    (
        0.22,
        0.33,
        {"chest": (-0.7, 0, 0), "neck": (0.5, 0, 0), "leftShoulder": (0, 0, 0.8), "rightShoulder": (0, 0, -0.8)},
    ),
    (0.07, 0.16, {"spine": (0.5, 0.5, 0.8), "chest": (0, 0.6, -0.5), "head": (0.6, 0, -0.5)}),
    (
        0.05,
        0.12,
        {"head": (0.8, 4.0, 0), "neck": (0, 2.0, 0), "leftUpperArm": (0, 1.2, 0.6), "rightUpperArm": (0, 1, -0.7)},
    ),
)
NUM_SWAYS: Final = len(_SWAYS)


def standing_pose() -> tuple[Tensor, Tensor]:
    """Local rotations (21, 4) xyzw and hips (3,) m of relaxed standing: soles flat on the floor, arms at the sides."""
    local = quat_identity(len(CANONICAL_PARENTS))
    for side, mirror in (("left", 1.0), ("right", -1.0)):
        for bone, (x, y, z) in _LEFT_DEG.items():
            angles = torch.tensor([math.radians(y) * mirror, math.radians(x), math.radians(z) * mirror])
            local[canonical_index(side + bone)] = euler_to_quat(angles, "YXZ")
    world = local_to_world_quat(local, CANONICAL_PARENTS)
    for side, mirror in (("left", 1.0), ("right", -1.0)):
        shank, foot = world[canonical_index(f"{side}LowerLeg")], yaw_to_quat(torch.tensor(_TOES_OUT * mirror))
        local[canonical_index(f"{side}Foot")] = quat_multiply(quat_conjugate(shank), foot)
    positions, _ = canonical_fk(local, torch.zeros(3))
    soles = [canonical_index(bone) for bone in CONTACT_BONES]
    floor = min(float(positions[bone, 1]) - CANONICAL_REST[bone][1] for bone in soles)
    return local, torch.tensor([0.0, -floor, 0.0])


def standing_features(num_frames: int) -> Tensor:
    """Features (T, 260) of standing motionless, physical units: the prefix a clip starts from."""
    local, hips = standing_pose()
    features, _ = bones_to_features(local.expand(num_frames, -1, -1), hips.expand(num_frames, -1), VRM_FPS)
    return features


def sway_table() -> tuple[Tensor, Tensor]:
    """Rotation vectors (3, 21, 3) rad of the three movements at their height, and their rates (3, 2) in rad a frame.

    None of them moves the hips or a leg, so the feet stay exactly where they are.
    """
    shape = torch.zeros(NUM_SWAYS, len(CANONICAL_PARENTS), 3)
    for row, (_, _, bones) in enumerate(_SWAYS):
        for bone, degrees in bones.items():
            shape[row, canonical_index(bone)] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    rates = torch.tensor([[slow, fast] for slow, fast, _ in _SWAYS])
    return shape, rates * (2 * math.pi / VRM_FPS)


def swayed(pose: Tensor, rotvec: Tensor) -> Tensor:
    """Pose (21, 4) with small turns (..., 21, 3) rad added in each bone's own axes. (..., 21, 4)"""
    return quat_multiply(pose.expand(*rotvec.shape[:-1], 4), rotvec_to_quat(rotvec))
