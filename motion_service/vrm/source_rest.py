"""The 22-joint HumanML3D skeleton as VRM bones, and the directions of its bones in an upright T-pose.

Order of the joints: https://github.com/EricGuo5513/HumanML3D (the first 22 of SMPL). Every joint is the head of one VRM
bone, and the tree is VRM's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from motion_service.geometry.rotation import normalize
from motion_service.humanoid import VRM_PARENT

JOINT_BONES: Final[tuple[str, ...]] = (
    "hips",
    "leftUpperLeg",
    "rightUpperLeg",
    "spine",
    "leftLowerLeg",
    "rightLowerLeg",
    "chest",
    "leftFoot",
    "rightFoot",
    "upperChest",
    "leftToes",
    "rightToes",
    "neck",
    "leftShoulder",
    "rightShoulder",
    "head",
    "leftUpperArm",
    "rightUpperArm",
    "leftLowerArm",
    "rightLowerArm",
    "leftHand",
    "rightHand",
)
"""The VRM bone that starts at each of the 22 joints."""

JOINT: Final[Mapping[str, int]] = {bone: joint for joint, bone in enumerate(JOINT_BONES)}
"""Index of the joint where a VRM bone starts."""

JOINT_PARENTS: Final[tuple[int, ...]] = tuple(JOINT.get(VRM_PARENT[bone] or "", -1) for bone in JOINT_BONES)
"""Index of each joint's parent, -1 for the hips; parents stand before children."""

_TRUNK: Final[Mapping[str, tuple[float, float, float]]] = {
    "spine": (0.0, 0.971, -0.238),
    "chest": (0.0, 0.999, 0.017),
    "upperChest": (0.0, 0.902, 0.432),
    "neck": (0.0, 0.981, -0.196),
    "head": (0.0, 0.785, 0.620),
}
_LEFT: Final[Mapping[str, tuple[float, float, float]]] = {
    "UpperLeg": (0.604, -0.795, -0.059),
    "LowerLeg": (0.0, -1.0, 0.0),
    "Foot": (0.0, -1.0, 0.0),
    "Toes": (0.197, -0.416, 0.888),
    "Shoulder": (0.529, 0.817, -0.228),
    "UpperArm": (0.947, 0.309, -0.091),
    "LowerArm": (1.0, 0.0, 0.0),
    "Hand": (1.0, 0.0, 0.0),
}


def _rest_direction(bone: str) -> tuple[float, float, float]:
    """From the parent's joint to the joint of ``bone``; right is the mirror image of left, the hips have none."""
    if bone.startswith("left"):
        return _LEFT[bone.removeprefix("left")]
    if bone.startswith("right"):
        x, y, z = _LEFT[bone.removeprefix("right")]
        return -x, y, z
    return _TRUNK.get(bone, (0.0, 0.0, 0.0))


REST_DIRECTIONS: Final = normalize(torch.tensor([_rest_direction(bone) for bone in JOINT_BONES], dtype=torch.float64))
"""(22, 3) unit direction from the parent joint to each joint in the source's T-pose, float64; zero for the hips.

Arms and legs are the ideal axes of VRM. The others are those of an average adult in that skeleton, approximate and
symmetric: subjects differ by 3 to 7 degrees in the shape of pelvis and chest.
"""
